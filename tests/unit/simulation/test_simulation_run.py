"""What a run is made of, by its options."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from feederloop.simulation.day_before import opening
from feederloop.simulation.result import DayAheadSummary, to_json
from feederloop.simulation.run import DayRun, RunOptions
from feederloop.simulation.scenario import Scenario, ScenarioOptions, load_scenario
from tests.unit.report.report_samples import controlled
from ven_client.hems.program import Planner


@cache
def street(*, day_ahead: bool) -> Scenario:
    scenario = load_scenario(ScenarioOptions(homes=33))
    market = scenario.parameters.market.model_copy(update={"day_ahead": day_ahead})
    return replace(scenario, parameters=scenario.parameters.model_copy(update={"market": market}))


def timers(folder: Path, *, day_ahead: bool = False, price: bool = True) -> set[str]:
    """The timers of a run's engine."""
    options = RunOptions(slots=1, price=price, database=folder / "vtn.sqlite")
    dso = DayRun(street(day_ahead=day_ahead), options, planner=Planner())._dso()
    found = dict(dso.engine(dso.gateway()).timers())
    for work in found.values():
        work.close()
    return set(found)


def test_the_timers_follow_the_options(tmp_path: Path) -> None:
    always = {"dso-market", "dso-phases"}
    assert timers(tmp_path) == always | {"dso-arm", "dso-ticks"}
    assert timers(tmp_path, day_ahead=True, price=False) == always | {"dso-day-ahead"}


@pytest.mark.parametrize(("start", "begins_before"), [(0, 0), (1, 2), (12, 2)])
def test_a_run_with_a_day_ahead_market_begins_before_its_gate(
    tmp_path: Path, start: int, begins_before: int
) -> None:
    options = RunOptions(start=timedelta(hours=start), slots=1, database=tmp_path / "vtn.sqlite")
    scenario = street(day_ahead=True)
    made = DayRun(scenario, options, planner=Planner())
    assert made.begin == scenario.midnight + timedelta(hours=start - begins_before)
    assert made.clock.now() == opening(scenario) == scenario.midnight - timedelta(hours=13, minutes=20)
    without = DayRun(street(day_ahead=False), options, planner=Planner())
    assert without.clock.now() == without.begin - timedelta(minutes=10)


def test_a_result_names_the_market_only_where_there_is_one() -> None:
    """Without it the bytes are what they were before there was such a market."""
    assert "day_ahead" not in json.loads(to_json(controlled()))
    with_it = replace(controlled(), day_ahead=DayAheadSummary(blocks=(), traded_kwh=1.5))
    assert json.loads(to_json(with_it))["day_ahead"] == {"blocks": [], "traded_kwh": 1.5}
    assert "with_control" in json.loads(to_json(replace(controlled(), with_control=None)))
