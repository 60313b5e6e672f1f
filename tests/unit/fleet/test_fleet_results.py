"""Summary, worst values and table of a run, by hand."""

from __future__ import annotations

import csv
import io

import pytest

from feederloop.fleet.files import results_csv
from feederloop.fleet.page import fleet_charts
from feederloop.fleet.result import Condition, SlotResult, summarise, worst_of
from tests.unit.fleet.fleet_rig import slot

RESULTS = (
    SlotResult(
        feeder=0,
        slot=slot(0),
        homes=50,
        condition=Condition.CALM,
        traded_wh=1500,
        price_bid_millicent=12_000,
        switch_operations=2,
        v_low_before=-0.02,
        v_high_before=0.05,
        v_low=-0.02,
        v_high=0.05,
        vuf_pct=0.4,
        transformer_loading=0.3,
        verified=True,
    ),
    SlotResult(
        feeder=1,
        slot=slot(0),
        homes=40,
        condition=Condition.NEAR,
        armed=True,
        price_rounds=8,
        prices_set=2,
        price_low_millicent=-60_000,
        curtailed_kw=6.0,
        broken_before=3,
        v_low_before=-0.01,
        v_high_before=0.12,
        v_low=-0.01,
        v_high=0.09,
        vuf_pct=1.1,
        transformer_loading=0.8,
        relief_feasible=True,
        verified=True,
    ),
    SlotResult(
        feeder=0,
        slot=slot(1),
        homes=50,
        condition=Condition.BROKEN,
        armed=True,
        traded_wh=500,
        price_rounds=4,
        broken_before=1,
        broken_after=1,
        v_low_before=-0.11,
        v_high_before=0.02,
        v_low=-0.105,
        v_high=0.02,
        verified=True,
    ),
    SlotResult(
        feeder=1, slot=slot(1), homes=40, condition=Condition.UNSOLVED, armed=True, fault="no solution"
    ),
)


def test_summary() -> None:
    found = summarise(RESULTS)
    assert (found.feeders, found.homes, found.slots) == (2, 90, 2)
    assert (found.armed, found.priced, found.curtailed) == (3, 1, 1)
    assert (found.broken_before, found.broken_after, found.unsolved, found.unverified) == (2, 1, 1, 1)
    assert (found.v_low, found.v_high, found.vuf_pct) == (-0.105, 0.09, 1.1)
    assert found.traded_kwh == pytest.approx(2.0)
    assert found.curtailed_kwh == pytest.approx(1.0)
    assert found.switch_operations == 2
    assert found.price_rounds_mean == pytest.approx(6.0)


def test_worst_of_each_feeder() -> None:
    first, second = worst_of(RESULTS)
    assert (first.feeder, first.homes, first.solved, first.unsolved) == (0, 50, 2, 0)
    assert (first.v_low_before, first.v_high_before, first.v_low, first.v_high) == (-0.11, 0.05, -0.105, 0.05)
    assert (first.broken_before, first.broken_after) == (1, 1)
    assert (second.feeder, second.solved, second.unsolved, second.v_high) == (1, 1, 1, 0.09)
    assert worst_of(RESULTS[::-1]) == (first, second)


def test_a_feeder_that_was_never_solved_has_no_extremes() -> None:
    (only,) = worst_of(RESULTS[3:])
    assert (only.solved, only.v_high, only.v_low) == (0, 0.0, 0.0)
    assert summarise(RESULTS[3:]).v_high == 0.0


def test_the_table_has_a_line_per_result_and_nothing_is_lost() -> None:
    rows = list(csv.DictReader(io.StringIO(results_csv(RESULTS))))
    assert [row["feeder"] for row in rows] == ["0", "1", "0", "1"]
    assert rows[1]["slot"] == "2018-05-16T11:00:00+00:00"
    assert [row["condition"] for row in rows] == ["calm", "near", "broken", "unsolved"]
    assert [row["price_bid_millicent"] for row in rows] == ["12000", "", "", ""]
    assert [row["relief_feasible"] for row in rows] == ["", "True", "", ""]
    assert rows[3]["fault"] == "no solution"
    assert float(rows[2]["v_low"]) == -0.105


def test_one_slot_has_one_drawing_and_several_have_two() -> None:
    assert [chart.name for chart in fleet_charts(RESULTS)] == ["fleet_voltages", "fleet_limits"]
    assert [chart.name for chart in fleet_charts(RESULTS[:2])] == ["fleet_voltages"]
    assert fleet_charts(RESULTS)[0].svg == fleet_charts(RESULTS)[0].svg
