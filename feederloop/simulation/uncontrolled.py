"""The comparison: the same day if every home only minds its own bill.

Each home plans the day once, knowing it, with its battery at tariff and feed-in; a tiny cost of throughput
decides between equal plans. No market, no phases, no price, no messages (mechanisms.md 12, last row).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from dso_engine.metrics import Metrics, summarise
from dso_engine.model import SLOT, SLOTS_PER_HOUR, FloatArray, Limits
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import Injections, violations
from dso_engine.slot_figures import run_series
from feederloop.simulation.homes import parameters_of, price_sheet
from feederloop.simulation.plant import SlotView
from feederloop.simulation.profiles import SLOTS_PER_DAY
from feederloop.simulation.scenario import HomeSpec, Scenario
from ven_client.hems.baseline import own_bill
from ven_client.hems.model import Horizon
from ven_client.hems.program import Planner

__all__ = ["Uncontrolled", "own_plan", "run_uncontrolled"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Uncontrolled:
    """The day without control."""

    views: tuple[SlotView, ...]
    metrics: Metrics
    bills_eur: tuple[float, ...]
    """Of each home over the slots, at supplier and feed-in prices."""
    stored_change_kwh: float
    """Energy in all batteries at the end of the slots less at their start."""


def run_uncontrolled(
    scenario: Scenario, slots: Sequence[datetime], flow: PandapowerFlow, limits: Limits, planner: Planner
) -> Uncontrolled:
    """Return what the slots look like without control.

    Raises:
        PlanFailed: if a home's programme has no optimum.
        PowerFlowDiverged: naming the slot.
    """
    day = [scenario.midnight + k * SLOT for k in range(SLOTS_PER_DAY)]
    battery_kwh = np.array([own_plan(scenario, spec, day, planner) for spec in scenario.homes])
    q_per_p = scenario.parameters.homes.load_q_per_p
    views: list[SlotView] = []
    for slot in slots:
        load = np.array([scenario.load_kw(spec, slot) for spec in scenario.homes])
        pv = np.array([scenario.pv_kw(spec, slot) for spec in scenario.homes])
        k = (slot - scenario.midnight) // SLOT
        net = load - pv - battery_kwh[:, k] * SLOTS_PER_HOUR
        phase = scenario.network.home_phase
        state = flow.solve(
            Injections(p_kw=net, q_kvar=q_per_p * load, phase=phase), f"no control, {slot:%H:%M}"
        )
        views.append(
            SlotView(
                slot=slot,
                state=state,
                net_kw=net,
                phase=phase,
                violations=violations(scenario.network, state, limits, guard=False),
            )
        )
    return Uncontrolled(
        views=tuple(views),
        metrics=summarise(run_series([view.state for view in views]), limits),
        bills_eur=tuple(_bills(scenario, slots, np.array([view.net_kw for view in views]))),
        stored_change_kwh=-float(battery_kwh[:, [(s - scenario.midnight) // SLOT for s in slots]].sum()),
    )


def own_plan(
    scenario: Scenario, spec: HomeSpec, day: Sequence[datetime], planner: Planner
) -> tuple[float, ...]:
    """Return the battery energy of a home that minds its own bill, per slot of the day, kWh, + discharge.

    Raises:
        PlanFailed: if its programme has no optimum.
    """
    home = parameters_of(scenario, spec)
    if home.battery is None:
        return (0.0,) * len(day)
    horizon = Horizon(
        load_kwh=tuple(scenario.load_kw(spec, slot) / SLOTS_PER_HOUR for slot in day),
        pv_kwh=tuple(scenario.pv_kw(spec, slot) / SLOTS_PER_HOUR for slot in day),
        e0_kwh=home.battery.e_start_kwh,
        e_end_kwh=home.battery.e_start_kwh,
        charge_budget_kwh=home.battery.market_cycle_kwh,
        discharge_budget_kwh=home.battery.market_cycle_kwh,
    )
    tariffs = price_sheet(scenario, spec).tariffs(day[0])
    return own_bill(planner, home, horizon, tariffs).battery_kwh


def _bills(scenario: Scenario, slots: Sequence[datetime], net_kw: FloatArray) -> list[float]:
    tariff = scenario.parameters.tariff
    bills = np.zeros(net_kw.shape[1])
    for row, slot in zip(net_kw, slots, strict=True):
        hour = ((slot - scenario.midnight) // SLOT) // SLOTS_PER_HOUR % 24
        energy = row / SLOTS_PER_HOUR
        bills += np.maximum(energy, 0.0) * tariff.supplier_at(hour)
        bills += np.minimum(energy, 0.0) * tariff.feed_in
    return [float(bill) for bill in bills]
