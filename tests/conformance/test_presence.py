"""Each of the 23 messages has a codec entry and, for each role, whoever takes it (section 1.2)."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Final

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.codec import MESSAGE_TYPES, decode_message, encode_message
from schemas.oadr20b.rules import replies_to as rule_replies
from tests.conformance.passive_cases import CASES
from tests.unit.ven.ven_fakes import (
    OK,
    T0,
    FakeHome,
    Peer,
    after,
    create_report,
    distribute,
    event,
    operational,
    request,
    usual_reply,
)
from ven_client.messages import replies_to, service_of
from ven_client.receiving import SERVICES
from ven_client.session import State
from vtn_server.dispatch import TABLE

FROM_VEN: Final = {
    m.QueryRegistration,
    m.CreatePartyRegistration,
    m.CancelPartyRegistration,
    m.CanceledPartyRegistration,
    m.RegisterReport,
    m.RegisteredReport,
    m.CreateReport,
    m.CreatedReport,
    m.UpdateReport,
    m.UpdatedReport,
    m.CancelReport,
    m.CanceledReport,
    m.Poll,
    m.RequestEvent,
    m.CreatedEvent,
    m.CreateOpt,
    m.CancelOpt,
    m.Response,
}
"""What a VTN takes."""

FROM_VTN: Final = {
    m.CancelPartyRegistration,
    m.RequestReregistration,
    m.RegisterReport,
    m.CreateReport,
    m.UpdateReport,
    m.CancelReport,
    m.DistributeEvent,
}
"""What a VEN takes as a request: at a poll, or pushed."""

REPLIES_OF_VTN: Final = {
    m.CreatedPartyRegistration,
    m.CanceledPartyRegistration,
    m.RegisteredReport,
    m.UpdatedReport,
    m.CreatedOpt,
    m.CanceledOpt,
    m.DistributeEvent,
    m.Response,
}
"""What a VEN takes as the reply to its own request."""

NEVER_SENT: Final = {
    m.CreateReport: "our VEN asks a VTN for nothing",
    m.CancelReport: "our VEN asks a VTN for nothing, so it has nothing to cancel",
}
"""What a VEN may send and ours never does; our VTN takes it all the same."""


def name_of(kind: object) -> str:
    assert isinstance(kind, type)
    return kind.__name__


def by_name(kinds: Iterable[type[m.AnyMessage]]) -> list[type[m.AnyMessage]]:
    return sorted(kinds, key=name_of)


def test_there_are_23_messages() -> None:
    assert len(MESSAGE_TYPES) == 23
    assert set(MESSAGE_TYPES) == set(typing.get_args(m.AnyMessage))
    assert set(MESSAGE_TYPES) == FROM_VEN | FROM_VTN | REPLIES_OF_VTN


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=name_of)
def test_codec(kind: type[m.AnyMessage]) -> None:
    specimens = [case.message for case in CASES if case.good and type(case.message) is kind]
    specimens += [each for each in _others() if type(each) is kind]
    assert specimens
    for each in specimens:
        assert decode_message(encode_message(each)) == each
        wire.parse(wire.write(each))


def _others() -> tuple[m.AnyMessage, ...]:
    cancel = m.CancelPartyRegistration(request_id="q", registration_id="g", ven_id="v")
    return (
        cancel,
        usual_reply(cancel),
        m.CancelReport(request_id="q", report_request_ids=("r",), report_to_follow=True, ven_id="v"),
        m.CanceledReport(response=OK, pending=("r",), ven_id="v"),
        m.CanceledOpt(response=OK, opt_id="o"),
        m.RegisteredReport(response=OK, ven_id="v"),
    )


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=name_of)
def test_vtn(kind: type[m.AnyMessage]) -> None:
    row = TABLE[kind]
    assert (row.handler is not None) is (kind in FROM_VEN)
    assert row.services
    assert row.refusal is not None


@pytest.mark.parametrize("kind", by_name(FROM_VEN), ids=name_of)
def test_ven_knows_where_its_messages_go(kind: type[m.AnyMessage]) -> None:
    specimens = [case.message for case in CASES if type(case.message) is kind]
    message = next((each for each in (*specimens, *_others()) if type(each) is kind), None)
    assert message is not None
    if kind in NEVER_SENT:
        assert replies_to(message) == ()
        return
    assert service_of(message) in TABLE[kind].services
    assert set(replies_to(message)) == set(rule_replies(message))


@pytest.mark.parametrize("kind", by_name(FROM_VTN), ids=name_of)
@pytest.mark.parametrize("push", [False, True], ids=["pull", "push"])
def test_ven_answers_what_a_vtn_asks(kind: type[m.AnyMessage], push: bool) -> None:
    item = next(each for each in _asked() if type(each) is kind)
    address = {"push_address": "http://home.example"} if push else {}
    peer = operational(FakeHome(), poll_jitter=0.0, **address)
    assert peer.session.state is State.OPERATIONAL
    answers = _answers(peer, item, push)
    assert [type(each) for each in answers if isinstance(each, rule_replies(item))] == [rule_replies(item)[0]]
    assert len(SERVICES) == 3


def _answers(peer: Peer, item: m.AnyMessage, push: bool) -> list[m.AnyMessage]:
    now = after(minutes=1)
    if not push:
        return peer.give(item, now=now)
    reply = peer.session.receive(item, now)
    return [*([] if reply is None else [reply]), *peer.run(now)]


def _asked() -> tuple[m.AnyMessage, ...]:
    return (
        m.CancelPartyRegistration(request_id="q", registration_id="reg-1", ven_id="ven-1"),
        m.RequestReregistration(ven_id="ven-1"),
        m.RegisterReport(request_id="q", ven_id="ven-1"),
        create_report(request(start=T0)),
        m.UpdateReport(request_id="q", ven_id="ven-1"),
        m.CancelReport(request_id="q", report_request_ids=("r",), report_to_follow=False, ven_id="ven-1"),
        distribute(event()),
    )
