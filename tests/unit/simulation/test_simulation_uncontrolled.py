"""The comparison day: the figures of the demo that do not depend on control."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dso_engine.model import SLOT, Limits
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import LimitKind
from feederloop.simulation.profiles import SLOTS_PER_DAY
from feederloop.simulation.scenario import Scenario, ScenarioOptions, load_scenario
from feederloop.simulation.uncontrolled import Uncontrolled, run_uncontrolled
from ven_client.hems.program import Planner


@cache
def day() -> tuple[Scenario, Uncontrolled]:
    scenario = load_scenario(ScenarioOptions())
    slots = [scenario.midnight + k * SLOT for k in range(SLOTS_PER_DAY)]
    return scenario, run_uncontrolled(scenario, slots, PandapowerFlow(scenario.network), Limits(), Planner())


def test_the_rural_feeder_breaks_its_voltage_limit_at_noon() -> None:
    scenario, found = day()
    nominal = Limits().v_nominal_v
    worst = np.array([np.abs(view.state.v_v / nominal - 1.0).max() for view in found.views])
    assert 11.8 <= 100.0 * worst.max() <= 12.0
    beyond = np.flatnonzero(worst > 0.10)
    assert len(beyond) == 11
    hours = [(found.views[k].slot - scenario.midnight).total_seconds() / 3600.0 for k in beyond]
    assert min(hours) >= 9.0
    assert max(hours) <= 16.0


def test_voltage_is_all_that_breaks() -> None:
    _, found = day()
    assert {v.kind for view in found.views for v in view.violations} == {LimitKind.VOLTAGE_HIGH}
    assert max(view.state.transformer_loading_pct for view in found.views) < 100.0


def test_batteries_end_where_they_began_and_bills_are_the_tariff() -> None:
    scenario, found = day()
    assert found.stored_change_kwh == pytest.approx(0.0, abs=1e-6)
    tariff = scenario.parameters.tariff
    plain = next(s for s in scenario.homes if not s.pv_kwp and not s.has_battery)
    expected = sum(
        scenario.load_kw(plain, scenario.midnight + k * SLOT) / 6.0 * tariff.supplier_at(k // 6)
        for k in range(SLOTS_PER_DAY)
    )
    assert found.bills_eur[plain.index] == pytest.approx(expected)


def test_a_battery_never_costs_its_owner_money() -> None:
    scenario, found = day()
    tariff = scenario.parameters.tariff
    for spec in (s for s in scenario.homes if s.has_battery):
        alone = 0.0
        for k in range(SLOTS_PER_DAY):
            slot = scenario.midnight + k * SLOT
            energy = (scenario.load_kw(spec, slot) - scenario.pv_kw(spec, slot)) / 6.0
            alone += energy * (tariff.supplier_at(k // 6) if energy > 0.0 else tariff.feed_in)
        assert found.bills_eur[spec.index] <= alone + 1e-3
