"""The session: registration, bootstrap, failures, and what the VTN may hand over."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptReason, OptType, ServiceName
from schemas.oadr20b.errors import NotRegistered, TransportError
from schemas.oadr20b.xmltypes import Duration
from tests.unit.ven.ven_fakes import (
    FAST,
    NOTHING,
    OK,
    SLOT,
    T0,
    FakeHome,
    Peer,
    after,
    create_report,
    created_registration,
    distribute,
    event,
    kinds,
    only,
    operational,
    request,
    session_of,
)
from ven_client.messages import service_of
from ven_client.opt import OptDraft
from ven_client.registration import NEXT
from ven_client.session import State

SILENCE = TransportError("no answer")
BUSY = TransportError("HTTP status 503", 503)
NOT_FOUND = TransportError("HTTP status 404", 404)
UNKNOWN = m.Response(response=m.EiResponse(code="463", request_id=""))
VTN_METADATA = m.RegisterReport(request_id="v1", ven_id="ven-1")
POLLED = after(minutes=1)
"""When an idle session without jitter polls for the second time."""


@pytest.fixture
def home() -> FakeHome:
    return FakeHome()


@pytest.fixture
def peer(home: FakeHome) -> Peer:
    return operational(home, poll_jitter=0.0)


# --- bootstrap ----------------------------------------------------------------------------------------------


def test_r405_bootstrap_order(home: FakeHome) -> None:
    session = session_of(home)
    assert session.take(T0) is None  # nothing before begin
    session.begin(T0)
    peer = Peer(session, items=[VTN_METADATA, create_report(request(back=Duration()))])
    sent = peer.run(T0)
    assert kinds(sent) == [
        "CreatePartyRegistration",
        "RegisterReport",
        "Poll",
        "RegisteredReport",
        "RequestEvent",
        "Poll",
        "CreatedReport",
        "Poll",
        "UpdateReport",
    ]
    assert session.state is State.OPERATIONAL
    assert (session.ven_id, session.registration_id) == ("ven-1", "reg-1")


def test_r402_first_registration_has_no_ids(home: FakeHome) -> None:
    session = session_of(home)
    session.begin(T0)
    first = session.take(T0)
    assert isinstance(first, m.CreatePartyRegistration)
    assert (first.registration_id, first.ven_id, first.transport_address) == (None, None, None)
    assert (first.ven_name, first.http_pull_model, first.report_only) == ("home-1", True, False)


def test_r402_preconfigured_ven_id_is_sent(home: FakeHome) -> None:
    session = session_of(home, ven_id="ven-1")
    session.begin(T0)
    first = session.take(T0)
    assert isinstance(first, m.CreatePartyRegistration)
    assert first.ven_id == "ven-1"


def test_r311_metadata_is_announced_unasked(peer: Peer) -> None:
    (register,) = only(peer.sent, m.RegisterReport)
    assert register.report_request_id is None
    assert register.ven_id == "ven-1"
    assert [report.report_specifier_id for report in register.reports] == ["meter", "offer", "past"]


def test_query_comes_first_if_wanted(home: FakeHome) -> None:
    peer = operational(home, query_first=True)
    assert kinds(peer.sent)[:2] == ["QueryRegistration", "CreatePartyRegistration"]


def test_report_only_ven_never_asks_for_events(home: FakeHome) -> None:
    peer = operational(home, report_only=True)
    peer.session.on_failure(m.Poll(ven_id="ven-1"), SILENCE, POLLED)
    peer.run(POLLED)
    assert "RequestEvent" not in kinds(peer.sent)


def test_vtn_without_metadata_does_not_stop_the_bootstrap(peer: Peer) -> None:
    assert kinds(peer.sent)[2:] == ["Poll", "RequestEvent", "Poll"]


@pytest.mark.parametrize(
    "reply",
    [
        created_registration(code="452"),
        created_registration(registration_id=None),
        created_registration(ven_id=None),
        NOTHING,
    ],
)
def test_refused_registration_is_tried_again_later(home: FakeHome, reply: m.AnyMessage) -> None:
    session = session_of(home)
    session.begin(T0)
    peer = Peer(session, replies={m.CreatePartyRegistration: reply})
    assert kinds(peer.run(T0)) == ["CreatePartyRegistration"]
    assert str(session.state) == "unregistered"
    assert session.next_due(T0) == after(seconds=60)
    peer.replies.clear()
    peer.run(after(seconds=60))
    assert session.state is State.OPERATIONAL


def test_r400_registration_by_another_vtn_is_not_taken(home: FakeHome) -> None:
    session = session_of(home, vtn_id="mine")
    session.begin(T0)
    Peer(session).run(T0)
    assert session.state is State.UNREGISTERED
    assert session.ven_id is None


def test_piggybacked_report_request_is_taken_r344(home: FakeHome) -> None:
    session = session_of(home)
    session.begin(T0)
    registered = m.RegisteredReport(response=OK, requests=(request("r9"),))
    peer = Peer(session, replies={m.RegisterReport: registered})
    sent = peer.run(T0)
    assert kinds(sent)[2] == "CreatedReport"
    (created,) = only(sent, m.CreatedReport)
    assert created.pending == ("r9",)


def test_every_transition_leads_to_a_known_state() -> None:
    assert set(NEXT) == set(State)
    reached = {State.UNREGISTERED}
    while (more := reached.union(*(NEXT[state] for state in reached))) != reached:
        reached = more
    assert reached == set(State)


# --- items the VTN hands over -------------------------------------------------------------------------------


def test_created_event_answers_and_echoes_r42(peer: Peer) -> None:
    (created,) = peer.give(distribute(event("a"), event("b"), request_id="d7"), now=POLLED)
    assert isinstance(created, m.CreatedEvent)
    assert created.response.request_id == ""
    assert created.event_responses is not None
    assert [answer.request_id for answer in created.event_responses] == ["d7", "d7"]
    assert created.ven_id == "ven-1"


def test_r62_only_never_events_give_no_created_event(peer: Peer, home: FakeHome) -> None:
    assert peer.give(distribute(event(always=False)), now=POLLED) == []
    assert home.holds() == ("e1",)


def test_r21_r35_unknown_vtn_is_answered_as_a_whole(peer: Peer, home: FakeHome) -> None:
    (created,) = peer.give(distribute(event(), vtn_id="other"), now=POLLED)
    assert isinstance(created, m.CreatedEvent)
    assert (created.response.code, created.response.request_id) == ("452", "d1")
    assert created.event_responses is None
    assert home.told == []


def test_distribution_with_an_error_cancels_nothing(peer: Peer, home: FakeHome) -> None:
    peer.give(distribute(event()), now=POLLED)
    refused = m.DistributeEvent(
        response=m.EiResponse(code="459", request_id=""), request_id="d2", vtn_id="vtn"
    )
    assert peer.give(refused, now=after(minutes=2)) == []
    assert home.holds() == ("e1",)


def test_r500_queue_is_drained_at_once_and_then_the_period_holds(peer: Peer) -> None:
    peer.items = [distribute(event()), VTN_METADATA, create_report(request())]
    assert len(only(peer.run(POLLED), m.Poll)) == 4
    assert peer.session.next_send(POLLED) == after(minutes=2)


def test_draining_ends_even_if_the_vtn_never_does(home: FakeHome) -> None:
    peer = operational(home, drain_limit=7, poll_jitter=0.0)
    peer.replies[m.Poll] = distribute(event())
    assert len(only(peer.run(POLLED), m.Poll)) == 7


def test_reregistration_on_demand_keeps_everything(peer: Peer, home: FakeHome) -> None:
    peer.give(distribute(event()), create_report(request()), now=POLLED)
    answers = peer.give(m.RequestReregistration(ven_id="ven-1"), now=after(minutes=2))
    assert kinds(answers) == ["Response", "CreatePartyRegistration"]
    response, again = answers
    assert isinstance(response, m.Response)
    assert response.ven_id == "ven-1"
    assert isinstance(again, m.CreatePartyRegistration)
    assert (again.registration_id, again.ven_id) == ("reg-1", "ven-1")
    assert peer.session.state is State.OPERATIONAL
    assert peer.session.pending_reports == ("r1",)
    assert home.holds() == ("e1",)


def test_r400_reregistration_must_bring_the_same_registration(peer: Peer) -> None:
    peer.replies[m.CreatePartyRegistration] = created_registration(registration_id="reg-2")
    peer.give(m.RequestReregistration(ven_id="ven-1"), now=after(seconds=60))
    sent = only(peer.sent, m.CreatePartyRegistration)
    assert [message.registration_id for message in sent] == [None, "reg-1", None]


def test_refused_reregistration_leads_to_a_new_registration(peer: Peer) -> None:
    peer.replies[m.CreatePartyRegistration] = created_registration(code="452")
    peer.give(m.RequestReregistration(ven_id="ven-1"), now=POLLED)
    assert peer.session.state is not State.OPERATIONAL
    peer.replies.clear()
    peer.sent.clear()
    peer.run(after(minutes=2))
    first = peer.sent[0]
    assert isinstance(first, m.CreatePartyRegistration)
    assert (first.registration_id, first.ven_id) == (None, None)


def test_r407_cancellation_by_the_vtn_forgets_everything(peer: Peer, home: FakeHome) -> None:
    peer.give(distribute(event()), create_report(request()), now=POLLED)
    cancel = m.CancelPartyRegistration(request_id="x1", registration_id="reg-1", ven_id="ven-1")
    (answer,) = peer.give(cancel, now=after(minutes=2))
    assert isinstance(answer, m.CanceledPartyRegistration)
    assert (answer.response.code, answer.response.request_id) == ("200", "x1")
    assert (answer.registration_id, answer.ven_id) == ("reg-1", "ven-1")
    assert peer.session.state is State.UNREGISTERED
    assert home.holds() == ()
    assert peer.session.pending_reports == ()
    assert peer.run(after(minutes=11, seconds=59)) == []
    assert kinds(peer.run(after(minutes=12)))[0] == "CreatePartyRegistration"


def test_lost_answer_to_a_cancellation_is_repeated(peer: Peer) -> None:
    session = peer.session
    cancel = m.CancelPartyRegistration(request_id="x1", registration_id="reg-1")
    poll = session.take(POLLED)
    assert isinstance(poll, m.Poll)
    session.on_reply(poll, cancel, POLLED)
    answer = session.take(POLLED)
    assert isinstance(answer, m.CanceledPartyRegistration)
    session.on_failure(answer, SILENCE, POLLED)
    assert session.next_due(POLLED) == POLLED
    assert session.take(POLLED) == answer
    session.on_reply(answer, NOTHING, POLLED)
    assert session.take(POLLED) is None


def test_r400_cancellation_with_a_wrong_id_is_refused(peer: Peer) -> None:
    cancel = m.CancelPartyRegistration(request_id="x1", registration_id="other")
    (answer,) = peer.give(cancel, now=POLLED)
    assert isinstance(answer, m.CanceledPartyRegistration)
    assert answer.response.code == "452"
    assert peer.session.state is State.OPERATIONAL


def test_own_cancellation_ends_the_traffic(peer: Peer) -> None:
    peer.session.cancel_registration()
    assert kinds(peer.run(after(seconds=5))) == ["CancelPartyRegistration"]
    assert peer.session.state is State.UNREGISTERED
    assert peer.session.next_due(POLLED) is None
    assert peer.run(after(days=1)) == []


@pytest.mark.parametrize(
    ("item", "answer"),
    [
        (m.RegisterReport(request_id="q", ven_id="x"), "RegisteredReport"),
        (create_report(request(), ven_id="x"), "CreatedReport"),
        (
            m.CancelReport(request_id="q", report_request_ids=("r",), report_to_follow=False, ven_id="x"),
            "CanceledReport",
        ),
        (m.UpdateReport(request_id="q", ven_id="x"), "UpdatedReport"),
        (m.RequestReregistration(ven_id="x"), "Response"),
        (
            m.CancelPartyRegistration(request_id="q", registration_id="reg-1", ven_id="x"),
            "CanceledPartyRegistration",
        ),
    ],
)
def test_r304_foreign_ven_id_is_452_in_the_fitting_reply(peer: Peer, item: m.AnyMessage, answer: str) -> None:
    (sent,) = peer.give(item, now=POLLED)
    assert kinds([sent]) == [answer]
    assert getattr(sent, "response").code == "452"  # noqa: B009  # every one of them has it
    assert peer.session.state is State.OPERATIONAL
    assert peer.session.pending_reports == ()


def test_r23_request_of_a_ven_from_the_vtn_is_an_error_and_not_drained(peer: Peer) -> None:
    peer.replies[m.Poll] = m.RequestEvent(request_id="q", ven_id="ven-1")
    poll, response = peer.run(POLLED)
    assert isinstance(response, m.Response)
    assert (response.response.code, response.response.request_id) == ("459", "q")
    assert peer.session.protocol_faults == 1
    assert isinstance(poll, m.Poll)


# --- lost registrations -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["463", "452"])
def test_r517_vtn_that_does_not_know_us_gets_a_new_registration(
    peer: Peer, home: FakeHome, code: str
) -> None:
    peer.give(distribute(event()), create_report(request()), now=POLLED)
    lost = m.Response(response=m.EiResponse(code=code, request_id=""))
    peer.replies[m.RequestEvent] = distribute(event())
    peer.sent.clear()
    peer.give(lost, now=after(minutes=2))
    assert kinds(peer.sent)[:3] == ["Poll", "CreatePartyRegistration", "RegisterReport"]
    assert peer.session.state is State.OPERATIONAL
    assert peer.session.pending_reports == ()
    assert home.holds() == ("e1",)
    assert len(home.told) == 1  # the event stayed all the time


def test_registrations_keep_their_distance(home: FakeHome) -> None:
    session = session_of(home)
    session.begin(T0)
    refused = m.RegisteredReport(response=m.EiResponse(code="463", request_id=""))
    peer = Peer(session, replies={m.RegisterReport: refused})
    assert kinds(peer.run(T0)) == ["CreatePartyRegistration", "RegisterReport"]
    assert session.next_due(T0) == after(seconds=60)
    assert kinds(peer.run(after(seconds=59))) == []
    assert kinds(peer.run(after(seconds=60)))[0] == "CreatePartyRegistration"


# --- failures -----------------------------------------------------------------------------------------------


def test_lost_poll_is_followed_by_request_event(peer: Peer) -> None:
    poll = peer.session.take(POLLED)
    assert isinstance(poll, m.Poll)
    peer.session.on_failure(poll, SILENCE, POLLED)
    assert kinds(peer.run(after(minutes=1, seconds=1))) == ["RequestEvent", "Poll"]


def test_lost_answer_to_events_is_given_by_way_of_the_new_set(peer: Peer) -> None:
    session = peer.session
    poll = session.take(POLLED)
    assert poll is not None
    session.on_reply(poll, distribute(event(number=1)), POLLED)
    created = session.take(POLLED)
    assert isinstance(created, m.CreatedEvent)
    session.on_failure(created, SILENCE, POLLED)
    peer.replies[m.RequestEvent] = distribute(event(number=2), request_id="d2")
    sent = peer.run(after(minutes=1, seconds=1))
    assert kinds(sent) == ["RequestEvent", "CreatedEvent", "Poll"]
    (again,) = only(sent, m.CreatedEvent)
    assert again.event_responses is not None
    assert again.event_responses[0].qualified_event_id.modification_number == 2


@pytest.mark.parametrize("number", range(6))
def test_bootstrap_survives_the_loss_of_any_one_exchange(home: FakeHome, number: int) -> None:
    session = session_of(home)
    session.begin(T0)
    peer = Peer(session, items=[VTN_METADATA])
    for _ in range(number):
        message = session.take(T0)
        assert message is not None
        session.on_reply(message, peer._reply(message), T0)
    message = session.take(T0)
    assert message is not None
    session.on_failure(message, SILENCE, T0)
    peer.run(after(seconds=1))
    assert session.state is State.OPERATIONAL
    peer.run(after(seconds=1))
    assert session.ven_id == "ven-1"


def test_answer_refused_as_pointless_is_dropped(peer: Peer) -> None:
    session = peer.session
    poll = session.take(POLLED)
    assert poll is not None
    session.on_reply(poll, VTN_METADATA, POLLED)
    registered = session.take(POLLED)
    assert isinstance(registered, m.RegisteredReport)
    session.on_failure(registered, NOT_FOUND, POLLED)
    assert kinds(peer.run(after(minutes=2))) == ["RequestEvent", "Poll"]


def test_answer_that_a_busy_vtn_refuses_is_given_up_after_some_attempts(peer: Peer) -> None:
    session = peer.session
    poll = session.take(POLLED)
    assert poll is not None
    session.on_reply(poll, VTN_METADATA, POLLED)
    attempts = 0
    while (message := session.take(POLLED)) is not None:
        if isinstance(message, m.RegisteredReport):
            attempts += 1
            session.on_failure(message, BUSY, POLLED)
        else:
            session.on_reply(message, peer._reply(message), POLLED)
    assert attempts == session.config.request_attempts


def test_vtn_without_the_event_service_is_polled_all_the_same(peer: Peer) -> None:
    session = peer.session
    ask = m.RequestEvent(request_id="q", ven_id="ven-1")
    session.on_failure(ask, NOT_FOUND, POLLED)
    assert kinds(peer.run(POLLED)) == ["Poll"]


# --- opts ---------------------------------------------------------------------------------------------------


def test_opt_schedule_and_its_cancellation(peer: Peer) -> None:
    draft = OptDraft(
        opt_type=OptType.OPT_OUT,
        reason=OptReason.NOT_PARTICIPATING,
        availability=(m.Period(dtstart=after(hours=1), duration=SLOT),),
        market_context=FAST,
    )
    opt_id = peer.session.send_opt(draft, T0)
    assert peer.session.opt_code(opt_id) is None
    (create,) = peer.run(T0)
    assert isinstance(create, m.CreateOpt)
    assert service_of(create) is ServiceName.EI_OPT
    assert (create.opt_id, create.ven_id, create.target.ven_ids) == (opt_id, "ven-1", ("ven-1",))
    assert peer.session.opt_code(opt_id) == "200"
    peer.session.cancel_opt(opt_id)
    (cancel,) = peer.run(T0)
    assert isinstance(cancel, m.CancelOpt)
    assert cancel.opt_id == opt_id


def test_opt_needs_a_registration(home: FakeHome) -> None:
    session = session_of(home)
    with pytest.raises(NotRegistered):
        session.cancel_opt("o")
    with pytest.raises(NotRegistered):
        session.cancel_registration()


def test_r200_r206_opt_drafts_that_make_no_sense() -> None:
    period = m.Period(dtstart=T0, duration=SLOT)
    qualified = m.QualifiedEventId(event_id="e", modification_number=0)
    out, why = OptType.OPT_OUT, OptReason.ECONOMIC
    with pytest.raises(ValueError, match="r206"):
        OptDraft(opt_type=out, reason=why)
    with pytest.raises(ValueError, match="r206"):
        OptDraft(opt_type=out, reason=why, availability=(period,), qualified_event_id=qualified)
    with pytest.raises(ValueError, match="r206"):
        OptDraft(opt_type=out, reason=why, qualified_event_id=qualified, market_context=FAST)
    ramped = m.Period(dtstart=T0, duration=SLOT, ramp_up=SLOT)
    with pytest.raises(ValueError, match="r200"):
        OptDraft(opt_type=out, reason=why, availability=(ramped,))


# --- poll cadence -------------------------------------------------------------------------------------------


def test_idle_polls_are_spread_and_never_faster_than_asked() -> None:
    for draw, expected in ((-0.1, 54), (0.1, 66)):
        session = session_of(FakeHome(), uniform=lambda low, high, draw=draw: draw)  # type: ignore[misc]
        session.begin(T0)
        Peer(session).run(T0)
        assert session.next_send(T0) == after(seconds=expected)
    hasty = operational(FakeHome(), idle_poll=timedelta(seconds=3), poll_jitter=0.0)
    assert hasty.session.next_send(T0) == after(seconds=10)  # the VTN asked for PT10S


def _polls(peer: Peer, until: float) -> list[float]:
    """Let time pass; return the seconds of all polls."""
    seconds = []
    now = T0
    while (due := peer.session.next_due(now)) is not None and due <= after(seconds=until):
        now = due
        if only(peer.run(now), m.Poll):
            seconds.append((now - T0).total_seconds())
    return seconds


def test_fast_polls_start_90_s_before_and_end_with_the_event(home: FakeHome) -> None:
    price = event(context=FAST, start=after(minutes=5), duration=Duration(minutes=1), always=False)
    peer = operational(home, fast_contexts=(FAST,), poll_jitter=0.0)
    peer.items = [distribute(price)]
    assert _polls(peer, 480) == [60, 120, 180, *range(210, 360, 10), 410, 470]


def test_fast_polls_may_fall_on_whole_multiples(home: FakeHome) -> None:
    price = event(context=FAST, start=after(minutes=5), duration=Duration(minutes=1), always=False)
    peer = operational(
        home,
        fast_contexts=(FAST,),
        poll_jitter=0.0,
        fast_phase=timedelta(seconds=3),
        idle_poll=timedelta(seconds=52),
    )
    peer.items = [distribute(price)]
    assert _polls(peer, 300) == [52, 104, 156, 208, *range(223, 300, 10)]


def test_r500_fast_polls_are_not_faster_than_the_vtn_asks(home: FakeHome) -> None:
    session = session_of(home, fast_contexts=(FAST,), poll_jitter=0.0)
    session.begin(T0)
    slow = replace(created_registration(), poll_frequency=Duration(seconds=30))
    price = event(context=FAST, start=T0, always=False)
    peer = Peer(session, replies={m.CreatePartyRegistration: slow, m.RequestEvent: distribute(price)})
    peer.run(T0)
    assert _polls(peer, 100) == [30, 60, 90]


def test_other_events_and_refused_ones_do_not_quicken_polls(home: FakeHome) -> None:
    peer = operational(home, fast_contexts=(FAST,), poll_jitter=0.0)
    elsewhere = event("b", context=FAST, start=T0, target=m.Target(ven_ids=("x",)))
    peer.items = [distribute(event("a", start=T0), elsewhere)]
    assert _polls(peer, 240) == [60, 120, 180, 240]
