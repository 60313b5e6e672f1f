"""Rules of events that bind a VEN (3.1, 3.2), played against the session and its event book."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import EventStatus, OptType, SignalType
from schemas.oadr20b.errors import ApplicationError, DeploymentError, SignalNotSupported
from schemas.oadr20b.units import WATT
from schemas.oadr20b.xmltypes import Duration
from tests.conformance.passive_events import priced, steps, with_signal
from tests.unit.ven.ven_fakes import (
    MARKET,
    SLOT,
    T0,
    FakeHome,
    Peer,
    after,
    distribute,
    event,
    kinds,
    only,
    operational,
    session_of,
)
from ven_client.instructions import ExportBound, PricePath
from ven_client.signals import understand

CANCELLED = EventStatus.CANCELLED
CONFIG: dict[str, object] = {"poll_jitter": 0.0, "market_contexts": (MARKET,), "resources": ("mine",)}


@pytest.fixture
def home() -> FakeHome:
    return FakeHome()


@pytest.fixture
def peer(home: FakeHome) -> Peer:
    return operational(home, **CONFIG)


def give(peer: Peer, *events: m.Event, minute: float = 1, request_id: str = "d1") -> list[m.EventResponse]:
    """Hand a set over at a poll; return the eventResponses."""
    sent = peer.give(distribute(*events, request_id=request_id), now=after(minutes=minute))
    answers = only(sent, m.CreatedEvent)
    assert len(answers) <= 1
    return [each for answer in answers for each in answer.event_responses or ()]


def codes(answers: list[m.EventResponse]) -> list[tuple[str, str, OptType]]:
    return [(each.qualified_event_id.event_id, each.code, each.opt_type) for each in answers]


IN, OUT = OptType.OPT_IN, OptType.OPT_OUT


def test_rule_001_fractions_of_a_second_are_read(peer: Peer, home: FakeHome) -> None:
    body = wire.write(distribute(event())).replace(b"T11:00:00Z", b"T11:00:00.75Z")
    sent = wire.read(body)
    assert isinstance(sent, m.DistributeEvent)
    assert codes(give(peer, *sent.events)) == [("e1", "200", IN)]
    assert home.told[-1][0].event.active_period.dtstart == after(hours=1)


@pytest.mark.parametrize(
    ("text", "acts"), [("true", False), ("HelloThere", False), ("False", True), (None, True)]
)
def test_rule_006_a_test_event_is_acknowledged_and_not_acted_on(
    peer: Peer, home: FakeHome, text: str | None, acts: bool
) -> None:
    assert codes(give(peer, event(test=text))) == [("e1", "200", IN)]
    assert bool(home.holds()) is acts


def test_rule_012_rule_062_always_is_answered_each_time_and_never_is_not(peer: Peer) -> None:
    both = (event("a"), event("n", always=False))
    assert codes(give(peer, *both)) == [("a", "200", IN)]
    assert codes(give(peer, *both, minute=2)) == [("a", "200", IN)]
    assert give(peer, both[1], minute=3) == []


def test_rule_018_an_event_ends_where_the_next_one_starts(peer: Peer, home: FakeHome) -> None:
    give(peer, event("a", start=after(minutes=10)), event("b", start=after(minutes=20)))
    peer.run(after(minutes=20) - timedelta(seconds=1))
    assert home.holds() == ("a", "b")
    peer.run(after(minutes=20))
    assert home.holds() == ("b",)


def test_rule_019_a_bad_event_does_not_spoil_the_others(peer: Peer, home: FakeHome) -> None:
    answers = give(peer, event("a"), event("x", context="http://other"), event("b"))
    assert codes(answers) == [("a", "200", IN), ("x", "462", OUT), ("b", "200", IN)]
    assert home.holds() == ("a", "b")


def test_rule_021_wrong_ids_are_errors_but_an_unknown_cancelled_event_is_none(peer: Peer) -> None:
    peer.items.append(distribute(event(), vtn_id="other"))
    (answer,) = only(peer.run(after(minutes=1)), m.CreatedEvent)
    assert (answer.response.code, answer.event_responses) == ("452", None)
    assert codes(give(peer, event("gone", 3, status=CANCELLED), minute=2)) == [("gone", "200", IN)]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (m.Target(), "200"),
        (m.Target(resource_ids=("foreign", "mine")), "200"),
        (m.Target(ven_ids=("ven-1",)), "200"),
        (m.Target(resource_ids=("foreign",)), "462"),
    ],
)
def test_rule_022_targets_are_alternatives_and_none_is_me(peer: Peer, target: m.Target, code: str) -> None:
    assert [each.code for each in give(peer, event(target=target))] == [code]


def test_rule_023_a_ven_refuses_what_only_a_ven_sends(peer: Peer) -> None:
    sent = peer.give(m.RequestEvent(request_id="q", ven_id="ven-1"), now=after(minutes=1))
    (answer,) = only(sent, m.Response)
    assert answer.response.code == "459"


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_rule_030_the_start_is_random_within_startafter_and_kept(home: FakeHome, share: float) -> None:
    draws = [share, 0.9, 0.1]
    session = session_of(home, lambda low, high: low + (high - low) * draws.pop(0), **CONFIG)
    session.begin(T0)
    peer = Peer(session)
    peer.run(T0)
    late = event(startafter=Duration(minutes=5))
    give(peer, late)
    assert home.told[-1][0].start_offset_s == 300 * share
    give(peer, replace_number(late, 1), minute=2)
    assert home.told[-1][0].event.descriptor.modification_number == 1
    assert home.told[-1][0].start_offset_s == 300 * share


def replace_number(at: m.Event, number: int, **changes: object) -> m.Event:
    descriptor = replace(at.event.descriptor, modification_number=number)
    return replace(at, event=replace(at.event, descriptor=descriptor, **changes))  # type: ignore[arg-type]  # by name


def test_rule_031_an_event_runs_from_dtstart_for_its_duration(peer: Peer, home: FakeHome) -> None:
    give(peer, event(start=after(minutes=10), duration=Duration(minutes=7)))
    peer.run(after(minutes=17) - timedelta(seconds=1))
    assert home.holds() == ("e1",)
    peer.run(after(minutes=17))
    assert home.holds() == ()


def test_rule_032_intervals_and_payloads_become_what_the_home_does() -> None:
    relative = with_signal(
        priced(duration=Duration(minutes=3)),
        signal_type=SignalType.PRICE_RELATIVE,
        intervals=(*steps(0.1), *steps(0.2, length=Duration(minutes=2))),
    )
    path = understand(relative.event)
    assert isinstance(path, PricePath)
    start = after(hours=1)
    assert [(each.start, each.end, each.value) for each in path.steps] == [
        (start, start + timedelta(minutes=1), 10_000),
        (start + timedelta(minutes=1), start + timedelta(minutes=3), 20_000),
    ]


def test_rule_033_a_ven_says_what_is_wrong_by_code(peer: Peer) -> None:
    sent = peer.give(
        m.CancelReport(request_id="q", report_request_ids=("none",), report_to_follow=False),
        now=after(minutes=1),
    )
    (answer,) = only(sent, m.CanceledReport)
    assert answer.response.code == "452"
    sent = peer.give(m.QueryRegistration(request_id="q"), now=after(minutes=2))
    assert only(sent, m.Response)[0].response.code == "459"


def test_rule_035_event_responses_are_there_unless_everything_is_wrong(peer: Peer) -> None:
    assert give(peer, event("a"), event("b"))
    sent = peer.give(distribute(event("a"), vtn_id="other"), now=after(minutes=2))
    (answer,) = only(sent, m.CreatedEvent)
    assert answer.event_responses is None
    assert not answer.response.code.startswith("2")


def test_rule_036_rule_059_a_cancellation_ends_the_event_and_is_acknowledged_once(
    peer: Peer, home: FakeHome
) -> None:
    give(peer, event())
    assert codes(give(peer, event(number=1, status=CANCELLED), minute=2)) == [("e1", "200", IN)]
    assert home.holds() == ()
    assert only(peer.run(after(minutes=3)), m.CreatedEvent) == []
    assert codes(give(peer, event(number=1, status=CANCELLED), minute=4)) == [("e1", "200", IN)]
    never = event("n", always=False)
    give(peer, never, minute=5)
    assert give(peer, replace_number(never, 1), minute=6) == []


def test_rule_037_rule_051_an_http_ven_pulls(home: FakeHome) -> None:
    peer = operational(home)
    assert "Poll" in kinds(peer.sent)
    registration = only(peer.sent, m.CreatePartyRegistration)[0]
    assert registration.http_pull_model is True
    push = operational(FakeHome(), push_address="http://home.example:8080")
    assert only(push.sent, m.CreatePartyRegistration)[0].http_pull_model is False
    assert "Poll" not in kinds(push.sent)


def test_rule_042_answers_carry_the_request_id_of_their_distribution(peer: Peer) -> None:
    sent = peer.give(distribute(event("a"), event("b"), request_id="77"), now=after(minutes=1))
    (answer,) = only(sent, m.CreatedEvent)
    assert answer.response.request_id == ""
    assert [each.request_id for each in answer.event_responses or ()] == ["77", "77"]


def test_rule_043_request_ids_may_come_twice(peer: Peer, home: FakeHome) -> None:
    assert codes(give(peer, event("a"), request_id="same")) == [("a", "200", IN)]
    assert codes(give(peer, event("a"), event("b"), minute=2, request_id="same")) == [
        ("a", "200", IN),
        ("b", "200", IN),
    ]
    assert home.holds() == ("a", "b")


def test_rule_046_empty_is_absent(peer: Peer, home: FakeHome) -> None:
    odd = event()
    descriptor = replace(odd.event.descriptor, vtn_comment="", test_event="", modification_reason="")
    answers = give(peer, replace(odd, event=replace(odd.event, descriptor=descriptor, target=m.Target())))
    assert codes(answers) == [("e1", "200", IN)]
    assert home.holds() == ("e1",)


def test_rule_047_duration_0_is_open_ended(peer: Peer, home: FakeHome) -> None:
    give(peer, event(start=after(minutes=2), duration=Duration()))
    peer.run(after(days=30))
    assert home.holds() == ("e1",)
    peer.give(distribute(event(number=1, duration=Duration(), status=CANCELLED)), now=after(days=31))
    assert home.holds() == ()


def test_rule_048_logical_errors_are_4xx_with_opt_out(peer: Peer, home: FakeHome) -> None:
    home.verdicts["signal"] = SignalNotSupported("no")
    answers = give(
        peer,
        event("context", context="http://other"),
        event("target", target=m.Target(resource_ids=("foreign",))),
        event("signal"),
    )
    assert codes(answers) == [("context", "462", OUT), ("target", "462", OUT), ("signal", "460", OUT)]


def test_rule_056_unknown_events_are_added(peer: Peer, home: FakeHome) -> None:
    give(peer, event("a"))
    give(peer, event("a"), event("b"), minute=2)
    assert home.holds() == ("a", "b")


def test_rule_057_a_higher_number_replaces(peer: Peer, home: FakeHome) -> None:
    give(peer, event())
    assert codes(give(peer, event(number=2, start=after(hours=2)), minute=2)) == [("e1", "200", IN)]
    assert home.told[-1][0].event.active_period.dtstart == after(hours=2)


def test_rule_058_a_lower_number_is_450_and_changes_nothing(peer: Peer, home: FakeHome) -> None:
    give(peer, event(number=5))
    assert codes(give(peer, event(number=3, start=after(hours=2)), minute=2)) == [("e1", "450", OUT)]
    assert home.told[-1][0].event.descriptor.modification_number == 5


def test_rule_060_an_unknown_cancelled_event_is_ignored_and_answered(peer: Peer, home: FakeHome) -> None:
    assert codes(give(peer, event("x", 1, status=CANCELLED))) == [("x", "200", IN)]
    assert home.holds() == ()
    assert give(peer, event("y", 1, status=CANCELLED, always=False), minute=2) == []


def test_rule_061_what_is_missing_is_cancelled(peer: Peer, home: FakeHome) -> None:
    give(peer, event("a"), event("b"))
    give(peer, event("b"), minute=2)
    assert home.holds() == ("b",)


@pytest.mark.parametrize("implied", [False, True])
def test_rule_065_a_running_randomised_event_ends_within_startafter(implied: bool, home: FakeHome) -> None:
    peer = operational(home, **CONFIG)
    late = event(start=after(minutes=1), duration=Duration(hours=1), startafter=Duration(minutes=4))
    give(peer, late)
    now = after(minutes=10)
    gone = () if implied else (event(number=1, status=CANCELLED, startafter=Duration(minutes=4)),)
    peer.give(distribute(*gone), now=now)
    assert home.holds() == ("e1",)
    peer.run(now + timedelta(minutes=4))
    assert home.holds() == ()


def test_rule_066_rule_114_the_own_clock_decides_and_completed_stops_nothing(home: FakeHome) -> None:
    peer = operational(home, **CONFIG)
    late = event(start=after(minutes=1), startafter=Duration(minutes=4))
    give(peer, late)
    descriptor = replace(late.event.descriptor, event_status=EventStatus.COMPLETED)
    told = replace(late, event=replace(late.event, descriptor=descriptor))
    peer.give(distribute(told), now=after(minutes=12))
    assert home.holds() == ("e1",)  # it started two minutes late
    peer.run(after(minutes=13))
    assert home.holds() == ()


def test_rule_114_a_status_that_lags_is_no_error(peer: Peer, home: FakeHome) -> None:
    assert codes(give(peer, event(start=T0, duration=SLOT, status=EventStatus.FAR))) == [("e1", "200", IN)]
    assert home.holds() == ("e1",)


# --- 3.2 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "at",
    [
        with_signal(priced(), signal_name="x-foo"),
        with_signal(priced(), item_base=WATT, signal_type=SignalType.PRICE_RELATIVE),
    ],
    ids=["name", "unit"],
)
def test_rule_109_an_unsupported_signal_is_460(peer: Peer, home: FakeHome, at: m.Event) -> None:
    with pytest.raises(SignalNotSupported) as caught:
        understand(at.event)
    home.verdicts["e1"] = caught.value
    assert codes(give(peer, at)) == [("e1", "460", OUT)]
    assert home.holds() == ()


def test_rule_111_a_signal_for_a_class_of_devices_is_not_acted_on_by_all() -> None:
    relative = with_signal(priced(), signal_type=SignalType.PRICE_RELATIVE)
    assert isinstance(understand(relative.event), PricePath)
    narrowed = with_signal(relative, target=m.Target(end_device_assets=("Thermostat",)))
    with pytest.raises(ApplicationError) as caught:
        understand(narrowed.event)
    assert caught.value.code == "460"


def test_rule_112_what_cannot_be_resolved_is_469(peer: Peer, home: FakeHome) -> None:
    home.verdicts["e1"] = DeploymentError("no such resource")
    assert codes(give(peer, event())) == [("e1", "469", OUT)]


def test_rule_032_a_load_dispatch_bounds_the_export() -> None:
    bound = with_signal(
        priced(),
        signal_name="LOAD_DISPATCH",
        signal_type=SignalType.SETPOINT,
        item_base=WATT,
        intervals=steps(500.0, length=SLOT),
    )
    instruction = understand(bound.event)
    assert isinstance(instruction, ExportBound)
    assert [each.value for each in instruction.steps] == [500]
