"""The event book: each duty of a VEN (section 1.6) by its rule number."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import EventStatus, OptType
from schemas.oadr20b.errors import SignalNotSupported
from schemas.oadr20b.xmltypes import Duration
from tests.unit.ven.ven_fakes import MARKET, T0, FakeHome, after, distribute, event, middle
from ven_client.application import Verdict
from ven_client.event_book import EventBook
from ven_client.settings import VenConfig

IN, OUT = OptType.OPT_IN, OptType.OPT_OUT
CANCELLED = EventStatus.CANCELLED


class Bench:
    """A book, its home, and a short way to give it distributions."""

    def __init__(self, **settings: object) -> None:
        self.home = FakeHome()
        self.draws: list[tuple[float, float]] = []
        config = VenConfig(ven_name="home-1", **settings)  # type: ignore[arg-type]  # settings by name
        self.book = EventBook(config, self.home, self._uniform)

    def _uniform(self, low: float, high: float) -> float:
        self.draws.append((low, high))
        return middle(low, high)

    def give(
        self, *events: m.Event, at: float = 0, request_id: str = "d1"
    ) -> list[tuple[str, int, str, OptType]]:
        """Return (eventID, modificationNumber, code, opt) of each answer."""
        answers = self.book.receive(distribute(*events, request_id=request_id), "ven-1", after(minutes=at))
        assert all(answer.request_id == request_id for answer in answers)  # r42
        return [
            (a.qualified_event_id.event_id, a.qualified_event_id.modification_number, a.code, a.opt_type)
            for a in answers
        ]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_r56_unknown_event_is_added(bench: Bench) -> None:
    assert bench.give(event()) == [("e1", 0, "200", IN)]
    assert bench.home.holds() == ("e1",)
    assert bench.book.held[0].received_at == T0


def test_r12_unchanged_event_is_answered_again_and_not_judged_again(bench: Bench) -> None:
    bench.home.verdicts["e1"] = Verdict(opt_type=OUT)
    first = bench.give(event())
    assert bench.give(event(), request_id="d2") == first == [("e1", 0, "200", OUT)]
    assert bench.home.judged == ["e1"]
    assert len(bench.home.told) == 1


def test_r12_r62_never_is_held_and_not_answered(bench: Bench) -> None:
    assert bench.give(event("a", always=False), event("b")) == [("b", 0, "200", IN)]
    assert bench.home.holds() == ("a", "b")


def test_r57_higher_number_replaces(bench: Bench) -> None:
    bench.give(event())
    assert bench.give(event(number=2, value=3.0), at=5) == [("e1", 2, "200", IN)]
    (held,) = bench.home.told[-1]
    assert held.event.signals.signals[0].intervals[0].signal_value == 3.0
    assert held.received_at == after(minutes=5)


def test_r58_lower_number_is_450_and_changes_nothing(bench: Bench) -> None:
    bench.give(event(number=5))
    assert bench.give(event(number=3)) == [("e1", 3, "450", OUT)]
    assert bench.book.held[0].event.descriptor.modification_number == 5
    assert len(bench.home.told) == 1


def test_r58_cancellation_with_lower_number_is_450(bench: Bench) -> None:
    bench.give(event(number=5))
    assert bench.give(event(number=3, status=CANCELLED)) == [("e1", 3, "450", OUT)]
    assert bench.home.holds() == ("e1",)


def test_r36_r59_cancelled_event_is_removed_and_acknowledged(bench: Bench) -> None:
    bench.give(event())
    assert bench.give(event(number=1, status=CANCELLED)) == [("e1", 1, "200", IN)]
    assert bench.home.holds() == ()
    assert bench.give() == []
    assert len(bench.home.told) == 2


def test_r60_unknown_cancelled_event_is_ignored_and_answered(bench: Bench) -> None:
    assert bench.give(event(number=1, status=CANCELLED)) == [("e1", 1, "200", IN)]
    assert bench.give(event(number=1, status=CANCELLED, always=False)) == []
    assert bench.home.told == []
    assert bench.home.judged == []


def test_r61_missing_event_is_cancelled(bench: Bench) -> None:
    bench.give(event("a"), event("b"))
    bench.give(event("b"))
    assert bench.home.holds() == ("b",)
    bench.give()
    assert bench.home.holds() == ()


def test_r19_r48_one_bad_event_does_not_spoil_the_others(bench: Bench) -> None:
    bench.home.verdicts["b"] = SignalNotSupported("x-foo")
    huge = Duration(years=9999)
    assert bench.give(event("a"), event("b"), event("c", duration=huge), event("d")) == [
        ("a", 0, "200", IN),
        ("b", 0, "460", OUT),
        ("c", 0, "454", OUT),
        ("d", 0, "200", IN),
    ]
    assert bench.home.holds() == ("a", "d")


def test_r48_error_verdict_is_opt_out_whatever_the_application_says(bench: Bench) -> None:
    bench.home.verdicts["e1"] = Verdict(opt_type=IN, code="460")
    assert bench.give(event()) == [("e1", 0, "460", OUT)]
    assert bench.home.told == []


def test_r48_refused_event_is_judged_again_when_it_changes(bench: Bench) -> None:
    bench.home.verdicts["e1"] = SignalNotSupported("x-foo")
    bench.give(event())
    assert bench.give(event()) == [("e1", 0, "460", OUT)]
    bench.home.verdicts.clear()
    assert bench.give(event(number=1)) == [("e1", 1, "200", IN)]
    assert bench.home.holds() == ("e1",)


@pytest.mark.parametrize(
    ("context", "code"),
    [
        (MARKET, "200"),
        ("HTTP://Feederloop.Example/local-market", "200"),
        ("http://feederloop.example/Local-market", "462"),
        ("http://elsewhere.example/local-market", "462"),
        ("", "462"),
    ],
)
def test_r48_r512_market_context(context: str, code: str) -> None:
    bench = Bench(market_contexts=(MARKET,))
    ((_, _, answered, opt),) = bench.give(event(context=context))
    assert answered == code
    assert (opt is IN) == (code == "200")


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (m.Target(), "200"),
        (m.Target(ven_ids=("ven-1",)), "200"),
        (m.Target(ven_ids=("VEN-1",)), "462"),
        (m.Target(resource_ids=("other", "switch-1")), "200"),
        (m.Target(resource_ids=("other",)), "462"),
        (m.Target(group_ids=("g",), resource_ids=("other",)), "200"),
        (m.Target(ven_ids=("ven-2",), group_ids=("h",)), "462"),
        (m.Target(end_device_assets=("Thermostat",)), "462"),
    ],
)
def test_r22_targets_are_alternatives_and_none_is_me(target: m.Target, code: str) -> None:
    bench = Bench(resources=("switch-1",), groups=("g",))
    assert bench.give(event(target=target))[0][2] == code


@pytest.mark.parametrize(
    ("text", "shown"), [("true", False), ("HelloThere", False), ("False", True), ("", True)]
)
def test_r6_test_event_is_acknowledged_and_not_acted_on(bench: Bench, text: str, shown: bool) -> None:
    assert bench.give(event(test=text)) == [("e1", 0, "200", IN)]
    assert (bench.home.holds() == ("e1",)) == shown


def test_r30_offset_is_drawn_once_and_kept_until_startafter_changes(bench: Bench) -> None:
    bench.give(event(startafter=Duration(minutes=10)))
    assert bench.book.held[0].start_offset_s == 300
    assert bench.draws == [(0, 600)]
    bench.give(event(number=1, startafter=Duration(minutes=10), value=2.0))
    assert bench.book.held[0].start_offset_s == 300
    assert len(bench.draws) == 1
    bench.give(event(number=2, startafter=Duration(minutes=20)))
    assert bench.book.held[0].start_offset_s == 600
    assert bench.draws[1:] == [(0, 1200)]


def test_r30_end_is_randomised_start_plus_duration(bench: Bench) -> None:
    bench.give(event(startafter=Duration(minutes=10)))  # from 60 + 5, for 10 minutes
    assert bench.book.next_end == after(minutes=75)


def test_r18_event_ends_by_its_own_clock_exclusively(bench: Bench) -> None:
    bench.give(event("a", start=T0), event("b"))
    bench.book.expire(after(minutes=10) - timedelta(seconds=1))
    assert bench.home.holds() == ("a", "b")
    bench.book.expire(after(minutes=10))
    assert bench.home.holds() == ("b",)
    bench.book.expire(after(minutes=11))
    assert len(bench.home.told) == 2


def test_r47_open_ended_event_stays_until_it_is_cancelled(bench: Bench) -> None:
    bench.give(event(start=T0, duration=Duration()))
    assert bench.book.next_end is None
    bench.book.expire(after(days=400))
    assert bench.home.holds() == ("e1",)
    bench.give(event(number=1, start=T0, duration=Duration(), status=CANCELLED), at=1000)
    assert bench.home.holds() == ()


def test_r66_completed_status_does_not_stop_a_randomised_event(bench: Bench) -> None:
    bench.give(event(start=T0, startafter=Duration(minutes=10)))
    late = event(start=T0, startafter=Duration(minutes=10), status=EventStatus.COMPLETED)
    assert bench.give(late, at=12) == [("e1", 0, "200", IN)]
    assert bench.home.holds() == ("e1",)
    bench.book.expire(after(minutes=15))
    assert bench.home.holds() == ()
    assert bench.give(late, at=16) == [("e1", 0, "200", IN)]  # still listed, still the same answer
    assert bench.home.holds() == ()
    assert bench.home.judged == ["e1"]


def test_event_that_is_over_when_it_arrives_is_answered_and_not_judged(bench: Bench) -> None:
    assert bench.give(event(start=T0), at=10) == [("e1", 0, "200", IN)]
    assert bench.home.told == []
    assert bench.home.judged == []


@pytest.mark.parametrize("implied", [True, False])
def test_r65_running_randomised_event_ends_after_a_delay(bench: Bench, implied: bool) -> None:
    kwargs = {"start": T0, "startafter": Duration(minutes=10), "duration": Duration(hours=1)}
    bench.give(event(**kwargs))  # type: ignore[arg-type]  # keyword by keyword
    cancel = () if implied else (event(number=1, status=CANCELLED, **kwargs),)  # type: ignore[arg-type]
    bench.give(*cancel, at=20)
    assert bench.home.holds() == ("e1",)
    assert bench.book.next_end == after(minutes=25)
    bench.give(*cancel, at=21)  # told again: the delay stays as drawn
    assert bench.book.next_end == after(minutes=25)
    assert len(bench.draws) == 2
    bench.book.expire(after(minutes=25))
    assert bench.home.holds() == ()
    assert len(bench.home.told) == 2


def test_r65_randomised_event_that_has_not_started_ends_at_once(bench: Bench) -> None:
    bench.give(event(startafter=Duration(minutes=10)))
    bench.give(event(number=1, startafter=Duration(minutes=10), status=CANCELLED))
    assert bench.home.holds() == ()


def test_event_may_come_back_after_an_implied_cancellation(bench: Bench) -> None:
    bench.give(event(number=3))
    bench.give()
    assert bench.give(event(number=3)) == [("e1", 3, "200", IN)]
    assert bench.home.holds() == ("e1",)


def test_negative_duration_is_454(bench: Bench) -> None:
    assert bench.give(event(duration=Duration(negative=True, minutes=5))) == [("e1", 0, "454", OUT)]
