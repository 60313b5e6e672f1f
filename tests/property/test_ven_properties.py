"""Any traffic whatsoever: the book agrees with a model of the rules, and the session never falls over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.codec import MESSAGE_TYPES
from schemas.oadr20b.enums import EventStatus, OptType
from schemas.oadr20b.errors import TransportError
from schemas.oadr20b.xmltypes import Duration
from tests.property.codec_strategies import messages_of
from tests.unit.ven.ven_fakes import T0, FakeHome, after, distribute, event, request, session_of, usual_reply
from ven_client.application import Verdict
from ven_client.event_book import EventBook
from ven_client.messages import replies_to
from ven_client.registration import State
from ven_client.session import Session
from ven_client.settings import VenConfig

IDS = ("a", "b", "c")
BAD = "b"  # the home refuses every version of it with an odd number

# --- the event book -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """One event of a distribution, as the test describes it."""

    event_id: str
    number: int
    cancelled: bool
    always: bool
    start_min: int
    open_ended: bool

    def build(self) -> m.Event:
        return event(
            self.event_id,
            self.number,
            start=after(minutes=self.start_min),
            duration=Duration() if self.open_ended else Duration(minutes=10),
            status=EventStatus.CANCELLED if self.cancelled else EventStatus.FAR,
            always=self.always,
        )

    def over(self, now: datetime) -> bool:
        return not self.open_ended and now >= after(minutes=self.start_min + 10)


LISTED = st.builds(
    Listed,
    event_id=st.sampled_from(IDS),
    number=st.integers(0, 3),
    cancelled=st.sampled_from([False, False, True]),
    always=st.booleans(),
    start_min=st.integers(-5, 60),
    open_ended=st.booleans(),
)
SETS = st.lists(LISTED, max_size=3, unique_by=lambda listed: listed.event_id)
STEPS = st.lists(st.tuples(st.integers(0, 15), SETS | st.none()), max_size=12)


class OddRefuser(FakeHome):
    """Refuses odd versions of one event."""

    def judge(self, event: m.Event, now: datetime) -> Verdict:
        descriptor = event.event.descriptor
        if descriptor.event_id == BAD and descriptor.modification_number % 2:
            return Verdict(opt_type=OptType.OPT_OUT, code="460")
        return super().judge(event, now)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_book_agrees_with_the_rules_for_any_distributions(
    steps: list[tuple[int, list[Listed] | None]],
) -> None:
    home = OddRefuser()
    book = EventBook(VenConfig(ven_name="home-1"), home, lambda low, high: low)
    known: dict[str, tuple[Listed, str]] = {}  # the model: what was last taken, and the code it got
    now = T0
    shown: tuple[m.EiEvent, ...] = ()
    for minutes, listed in steps:
        now += timedelta(minutes=minutes)
        told = len(home.told)
        if listed is None:
            book.expire(now)
        else:
            expected = []
            for one in listed:
                code, opt = _model(known, one, now)
                if one.always:
                    expected.append((one.event_id, one.number, code, opt))
            for gone in set(known) - {one.event_id for one in listed}:
                del known[gone]
            answers = book.receive(distribute(*(one.build() for one in listed)), "ven-1", now)
            assert [
                (a.qualified_event_id.event_id, a.qualified_event_id.modification_number, a.code, a.opt_type)
                for a in answers
            ] == expected
        running = {
            (key, one.number) for key, (one, code) in known.items() if code == "200" and not one.over(now)
        }
        held = {(h.event.descriptor.event_id, h.event.descriptor.modification_number) for h in book.held}
        assert held == running
        assert home.holds() == tuple(h.event.descriptor.event_id for h in book.held)
        assert (len(home.told) > told) == (tuple(h.event for h in book.held) != shown)
        shown = tuple(h.event for h in book.held)
        assert book.next_end is None or book.next_end > now


def _model(known: dict[str, tuple[Listed, str]], one: Listed, now: datetime) -> tuple[str, OptType]:
    before = known.get(one.event_id)
    if before is not None and one.number < before[0].number:
        return "450", OptType.OPT_OUT
    if one.cancelled:
        known.pop(one.event_id, None)
        return "200", OptType.OPT_IN
    if before is None or one.number > before[0].number:
        refused = one.event_id == BAD and one.number % 2 == 1 and not one.over(now)
        known[one.event_id] = (one, "460" if refused else "200")
    code = known[one.event_id][1]
    return code, OptType.OPT_IN if code == "200" else OptType.OPT_OUT


# --- the session --------------------------------------------------------------------------------------------


ANY_MESSAGE = st.sampled_from(MESSAGE_TYPES).flatmap(messages_of)
LIKELY = st.one_of(
    SETS.map(lambda listed: distribute(*(one.build() for one in listed))),
    st.builds(
        lambda kind, back, granularity, start: m.CreateReport(
            request_id="c",
            requests=(request("r", kind, back=Duration(minutes=back), granularity=granularity, start=start),),
        ),
        st.sampled_from(["meter", "offer", "past", "METADATA", "unknown"]),
        st.integers(0, 30),
        st.sampled_from([Duration(), Duration(minutes=1), Duration(years=1)]),
        st.sampled_from([None, T0, after(days=-500), after(days=500)]),
    ),
    st.builds(
        m.CancelReport,
        request_id=st.just("x"),
        report_request_ids=st.just(("r",)),
        report_to_follow=st.booleans(),
    ),
    st.just(m.RequestReregistration(ven_id="ven-1")),
    st.just(m.CancelPartyRegistration(request_id="x", registration_id="reg-1")),
    st.just(m.RegisterReport(request_id="x")),
    st.builds(
        lambda code: m.Response(response=m.EiResponse(code=code, request_id="")),
        st.sampled_from(["200", "452", "463"]),
    ),
)
OUTCOMES = st.one_of(
    st.just("usual"),
    st.just("usual"),
    ANY_MESSAGE,
    LIKELY,
    st.builds(TransportError, st.just("x"), st.sampled_from([None, 404, 500, 503])),
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(data=st.data())
def test_session_survives_any_valid_replies_and_recovers(data: st.DataObject) -> None:
    """No exception, what it sends is valid, it comes to rest at each instant, and in the end it works."""
    home = FakeHome()
    session = session_of(home, drain_limit=5)
    session.begin(T0)
    now = T0
    for _ in range(data.draw(st.integers(1, 8))):
        session.on_time(now)
        for _ in range(data.draw(st.integers(1, 8))):
            if (message := session.take(now)) is None:
                break
            assert wire.read(wire.write(message)) == message
            _settle(session, message, data.draw(OUTCOMES), now)
        now += timedelta(minutes=data.draw(st.integers(0, 20)))
    for _ in range(30):
        now = max(now, session.next_due(now) or now)
        session.on_time(now)
        sent = 0
        while (message := session.take(now)) is not None:
            sent += 1
            assert sent < 200
            session.on_reply(message, usual_reply(message), now)
    assert session.state is State.OPERATIONAL
    assert not session.unsent_reports
    assert home.holds() == tuple(h.event.descriptor.event_id for h in session.events)


def _settle(session: Session, message: m.AnyMessage, outcome: object, now: datetime) -> None:
    if isinstance(outcome, TransportError):
        session.on_failure(message, outcome, now)
        return
    reply = usual_reply(message) if outcome == "usual" else outcome
    assert isinstance(reply, m.Message)
    faults = session.protocol_faults
    session.on_reply(message, reply, now)  # type: ignore[arg-type]  # every Message drawn is one of AnyMessage
    assert (session.protocol_faults > faults) == (type(reply) not in replies_to(message))
