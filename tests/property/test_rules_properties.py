"""Whatever a peer sends, checking the rules finds breaches and raises nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.codec import encode_message
from schemas.oadr20b.model import AnyMessage
from schemas.oadr20b.rules import RULES, Direction, Exchange, PushOrPull, check
from schemas.oadr20b.rules.watch import Conversation
from tests.property.codec_strategies import MESSAGES, messages_of

ANY = MESSAGES
NOW = st.datetimes(timezones=st.just(UTC))
NUMBERS = {rule.number for rule in RULES}


@given(
    message=ANY,
    request=ANY | st.none(),
    former=messages_of(m.DistributeEvent) | st.none(),
    offered=messages_of(m.RegisterReport),
    asked=messages_of(m.CreateReport),
    direction=st.sampled_from(Direction),
    model=st.sampled_from(PushOrPull) | st.none(),
    at=NOW | st.none(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_check_never_raises(
    message: AnyMessage,
    request: AnyMessage | None,
    former: m.DistributeEvent | None,
    offered: m.RegisterReport,
    asked: m.CreateReport,
    direction: Direction,
    model: PushOrPull | None,
    at: datetime | None,
) -> None:
    context = Exchange(
        request=request,
        model=model,
        at=at,
        former=former,
        metadata=offered.reports,
        requests=asked.requests,
    )
    found = check(message, direction=direction, element=encode_message(message), context=context)
    assert {each.rule for each in found} <= NUMBERS


@given(exchanges=st.lists(st.tuples(ANY, ANY, NOW, st.booleans()), max_size=6))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_conversation_takes_anything(
    exchanges: list[tuple[AnyMessage, AnyMessage, datetime, bool]],
) -> None:
    conversation = Conversation()
    for request, reply, at, pushed in exchanges:
        look = conversation.pushed if pushed else conversation.exchange
        look(wire.write(request), wire.write(reply), at)
        look(b"no xml", b"", at)
