"""What is believed of a meter, and what happens to the rest."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dso_engine.model import Pcc, Phase
from feederloop.telemetry.board import Board, Fault
from feederloop.telemetry.report import FaultLog
from tests.unit.telemetry.telemetry_kit import METERS, NOW, PCCS, PLAUSIBLE, at, powers

GOOD: dict[str, object] = {"time": at(0), "pcc": "F1-A", "p_kw": "-12.5", "q_kvar": "1.25", "v_v": "231.4"}


def board() -> Board:
    return Board(METERS, PLAUSIBLE)


def test_a_good_reading_is_taken_as_it_is() -> None:
    made = board()
    assert made.put(GOOD, NOW) is None
    (reading,) = made.newest()
    assert (reading.pcc, reading.p_kw, reading.q_kvar, reading.v_v, reading.taken_at) == (
        Pcc(feeder=1, phase=Phase.A),
        -12.5,
        1.25,
        231.4,
        NOW,
    )
    assert made.state().taken == 1
    assert made.state().refused == ()
    assert dict(made.state().newest)[PCCS[0]] == NOW
    assert dict(made.state().newest)[PCCS[1]] is None


def test_names_say_the_units() -> None:
    made = board()
    watts: dict[str, object] = {"time": at(0), "pcc": "F1-B", "p_w": -12_500, "q_var": 1_250, "v_kv": 0.2314}
    assert made.put(watts, NOW) is None
    (reading,) = made.newest()
    assert (reading.p_kw, reading.q_kvar, reading.v_v) == pytest.approx((-12.5, 1.25, 231.4))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"p_kw": "NaN"}, Fault.NO_NUMBER),
        ({"p_kw": "inf"}, Fault.NO_NUMBER),
        ({"q_kvar": ""}, Fault.NO_NUMBER),
        ({"v_v": "231,4"}, Fault.NO_NUMBER),
        ({"v_v": None}, Fault.NO_NUMBER),
        ({"p_kw": True}, Fault.NO_NUMBER),
        ({"p_kw": "\u0663"}, Fault.NO_NUMBER),
        ({"p_kw": 10**400}, Fault.NO_NUMBER),
        ({"p_kw": "-12500"}, Fault.ABSURD),  # watts under the name of kilowatts
        ({"p_kw": "100.1"}, Fault.ABSURD),
        ({"q_kvar": "-50.1"}, Fault.ABSURD),
        ({"v_v": "400.8"}, Fault.ABSURD),  # between phases
        ({"v_v": "0.2314"}, Fault.ABSURD),
        ({"v_v": "0"}, Fault.ABSURD),
        ({"pcc": "F3-A"}, Fault.UNKNOWN_PCC),
        ({"pcc": None}, Fault.UNKNOWN_PCC),
        ({"time": "2026-05-16T10:00:00"}, Fault.NO_TIME),  # of which zone?
        ({"time": "yesterday"}, Fault.NO_TIME),
        ({"time": None}, Fault.NO_TIME),
        ({"time": "0001-01-01T00:00:00+14:00"}, Fault.NO_TIME),
        ({"time": at(5.1)}, Fault.FUTURE),
        ({"p_mw": "1", "p_kw": ...}, Fault.UNREADABLE),  # ... leaves the name out
        ({"v_v": ...}, Fault.UNREADABLE),
        ({"p_w": "1"}, Fault.UNREADABLE),  # twice, in two units
        ({"time": ...}, Fault.UNREADABLE),
    ],
)
def test_what_is_wrong_is_counted_and_never_used(change: dict[str, object], fault: Fault) -> None:
    made = board()
    made.put(GOOD, NOW)
    bad = {name: value for name, value in {**GOOD, **change}.items() if value is not ...}
    if "time" not in change:
        bad["time"] = at(1)
    assert made.put(bad, NOW) is fault
    assert powers(made.newest()) == {"F1-A": (-12.5, 0.0)}
    assert made.state().refused == ((fault, 1),)


def test_a_clock_that_is_a_little_ahead_is_no_fault() -> None:
    made = board()
    assert made.put({**GOOD, "time": at(5)}, NOW) is None


def test_the_newest_by_its_own_time_counts_whenever_it_comes() -> None:
    made = board()
    faults = [
        made.put({**GOOD, "time": at(second), "p_kw": str(second)}, NOW + timedelta(minutes=1))
        for second in (10, 30, 20, 30, 40)
    ]
    assert faults == [None, None, Fault.LATE, None, None]
    assert powers(made.newest()) == {"F1-A": (40.0, 40.0)}
    assert made.state().taken == 3  # the one that came twice is neither new nor a fault


def test_other_offsets_are_the_same_instant() -> None:
    made = board()
    local = NOW.astimezone(timezone(timedelta(hours=2)))
    assert made.put({**GOOD, "time": local}, NOW) is None
    assert made.newest()[0].taken_at == NOW
    assert made.newest()[0].taken_at.tzinfo is UTC


@given(
    st.dictionaries(
        st.sampled_from(["time", "pcc", "p_kw", "q_kvar", "v_v", "p_w", "x"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=30)
        | st.sampled_from(["F1-A", "1", "231"])
        | st.datetimes()
        | st.lists(st.integers(), max_size=2),
    )
)
def test_whatever_comes_nothing_absurd_gets_through(cells: dict[str, object]) -> None:
    made = board()
    made.put(cells, NOW)
    for reading in made.newest():
        assert abs(reading.p_kw) <= 100.0
        assert abs(reading.q_kvar) <= 50.0
        assert 115.0 <= reading.v_v <= 300.0
        assert reading.taken_at <= NOW + timedelta(seconds=5)


def test_a_source_that_is_broken_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = FaultLog(logging.getLogger("meters"))
    with caplog.at_level(logging.WARNING):
        for second in range(130):
            log.note(Fault.ABSURD, "x" * 1000, "file", NOW + timedelta(seconds=second))
        log.note(Fault.LATE, "y", "file", NOW + timedelta(seconds=131))
    assert [record.getMessage()[:40] for record in caplog.records] == [
        "file: reading refused, absurd: '" + "x" * 8,
        "file: reading refused, absurd: '" + "x" * 8,
        "file: reading refused, absurd: '" + "x" * 8,
        "file: reading refused, late: 'y'",
    ]
    assert "59 more" in caplog.records[1].getMessage()
    assert all(len(record.getMessage()) < 200 for record in caplog.records)


def test_datetimes_without_zone_are_refused() -> None:
    assert board().put({**GOOD, "time": datetime(2026, 5, 16, 10)}, NOW) is Fault.NO_TIME  # noqa: DTZ001
