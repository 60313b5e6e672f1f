"""Days of the studies: who exchanges what, and that nothing is lost on the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from dso_engine.day_phases import dynamic_phases
from dso_engine.errors import SolversDisagree
from dso_engine.model import SLOT, IntArray
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import GridState, Injections
from feederloop.simulation.scenario import Scenario
from feederloop.study.allocation import operations
from feederloop.study.flows import DayFlows, load_only, market_day, own_day
from feederloop.study.grid import NetworkModel
from feederloop.study.settings import Setting, scenario_of
from ven_client.hems.program import Planner

SETTING = Setting(network="lv_33h_17pv.json", scenario="chapter4_33h", day=date(2018, 5, 16))


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return scenario_of(SETTING)


@pytest.fixture(scope="module")
def own(scenario: Scenario) -> DayFlows:
    return own_day(scenario, Planner())


@pytest.fixture(scope="module")
def market(scenario: Scenario) -> DayFlows:
    return market_day(scenario, Planner())


def test_a_setting_says_everything_that_differs() -> None:
    scenario = scenario_of(
        Setting(
            network="lv_33h_17pv.json",
            scenario="chapter4_33h",
            day=date(2018, 5, 16),
            battery_kwh=9.0,
            rebate_eur_per_kwh=0.04,
            pv_kwp=2.0,
            peak_eur_per_kwh=0.45,
        )
    )
    assert scenario.parameters.battery.capacity_kwh == 9.0
    assert scenario.parameters.market.rebate_max_eur_per_kwh == 0.04
    assert scenario.parameters.tariff.supplier_at(18) == 0.45
    assert {spec.pv_kwp for spec in scenario.homes} == {0.0, 2.0}
    assert sum(spec.has_battery for spec in scenario.homes) == 25


def test_without_devices_a_home_imports_its_load(scenario: Scenario) -> None:
    flows = load_only(scenario)
    assert flows.net_kw.shape == (144, 33)
    assert (flows.net_kw == flows.load_kw).all()
    assert flows.net_kw[0, 3] == scenario.load_kw(scenario.homes[3], scenario.midnight)


def test_without_market_batteries_only_shift(scenario: Scenario, own: DayFlows) -> None:
    """Start and end of the day hold the same energy, so the day's energy is load less production."""
    pv_kwh = sum(
        scenario.pv_kw(spec, scenario.midnight + k * SLOT) for spec in scenario.homes for k in range(144)
    )
    assert own.net_kw.sum() == pytest.approx(own.load_kw.sum() - pv_kwh, abs=1e-5)
    lonely = [k for k, spec in enumerate(scenario.homes) if not spec.has_battery and not spec.pv_kwp]
    assert (own.net_kw[:, lonely] == own.load_kw[:, lonely]).all()


def test_the_market_shifts_too_and_never_loses_energy(own: DayFlows, market: DayFlows) -> None:
    """Batteries end where they began: the day's energy differs by rounding to Wh only."""
    assert market.net_kw.sum(axis=0) / 6.0 == pytest.approx(own.net_kw.sum(axis=0) / 6.0, abs=0.144 / 2)
    assert market.tradable_slots > 30
    assert market.traded_kwh.min() >= 0.0


def test_a_home_that_trades_pays_less_in_all(own: DayFlows, market: DayFlows) -> None:
    assert market.bill_eur.sum() < own.bill_eur.sum()
    assert not np.allclose(market.bill_eur, own.bill_eur)


def test_the_same_setting_gives_the_same_day(scenario: Scenario, market: DayFlows) -> None:
    again = market_day(scenario, Planner())
    assert (again.net_kw == market.net_kw).all()
    assert (again.bill_eur == market.bill_eur).all()


def test_figures_of_a_day_come_from_the_network(scenario: Scenario, own: DayFlows) -> None:
    model = NetworkModel(scenario.network, 0.2)
    day = model.day(own)
    assert day.v_v.shape == (144, len(scenario.network.buses), 3)
    # What came from medium voltage covers load, losses of the lines, and what went back less.
    crossed = (day.metrics.imported_kwh - day.metrics.exported_kwh) - own.net_kw.sum() / 6.0
    assert crossed == pytest.approx(day.metrics.line_loss_kwh, rel=0.05)
    assert day.metrics.vuf_pct == day.vuf_pct.max()


def test_a_solver_that_is_off_is_caught(
    scenario: Scenario, own: DayFlows, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = NetworkModel(scenario.network, 0.2)
    exact = PandapowerFlow(scenario.network)

    def off(self: PandapowerFlow, injections: Injections, label: str) -> GridState:
        return exact.solve(replace(injections, p_kw=1.01 * injections.p_kw), label)

    monkeypatch.setattr(model, "_record", SimpleNamespace(solve=partial(off, exact)))
    with pytest.raises(SolversDisagree, match="power flows differ"):
        model.day(own)


def test_switches_follow_the_slots(scenario: Scenario, own: DayFlows) -> None:
    chosen = [2, 9, 17, 25]
    phases = dynamic_phases(scenario.network, own.net_kw, chosen, 0.0)
    fixed = [k for k in range(33) if k not in chosen]
    assert (phases[:, fixed] == scenario.network.home_phase[fixed]).all()
    assert operations(scenario.network, phases) > 0

    def imbalance(on: IntArray) -> float:
        total = 0.0
        for feeder in range(len(scenario.network.feeders)):
            mine = scenario.network.home_feeder == feeder
            for row, net in zip(on, own.net_kw, strict=True):
                flow = np.bincount(row[mine], weights=net[mine], minlength=3)
                total += float(((flow - flow.mean()) ** 2).sum())
        return total

    built = np.tile(scenario.network.home_phase, (144, 1))
    assert imbalance(phases) < imbalance(built)


def test_an_operation_that_costs_too_much_is_not_done(scenario: Scenario, own: DayFlows) -> None:
    phases = dynamic_phases(scenario.network, own.net_kw, [2, 9], 1e6)
    assert operations(scenario.network, phases) == 0
