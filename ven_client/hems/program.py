"""The linear programme of a home with a battery: (4.4) to (4.6), corrected. The only file that touches cvxpy.

One formulation serves offer, commitment and the plan without a market; only parameters differ::

    min  sum a_buy * buy - a_sell * sell + tie * (dis + cha) + penalty * |e_T - e_end| + 2 * penalty * spill
    s.t. buy - sell - spill + dis - cha = gap                gap = load - pv - held - cleared volume
         e_t = e_{t-1} - dis_t + cha_t                       errata 1
         low_t <= e_t <= high_t
         0 <= buy <= buy_max, 0 <= sell <= sell_max          errata 3, 7
         0 <= dis, cha <= power * dt;  sum dis, sum cha <= budgets        errata 2
         dis = 0 in slots where the customer wants no discharge

What was traded the day before (``held``, + bought) is one more source, or one more load: the programme trades
the difference, and may sell again what was bought. The contract limits the sum of both.

With a demand charge also ``+ c_peak * peak / dt`` with ``peak >= import - reached * dt`` in the slots where
it holds, import being the whole exchange, everything traded included. It is a programme of its own, so that
the plan of a home without one does not depend on it.

It always has a solution. ``spill`` gives back market energy that the battery cannot take after all, at the
cost of a penalty: bought energy is never planned to be resold (errata 3), but a volume that was rounded, or
a battery moved in real time since the offer, must not make the problem infeasible. A battery that real time
left outside the market's range is brought back as fast as the home's own use allows: ``low_t`` and
``high_t`` follow that path. The end-of-day target is soft for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from ven_client.hems.model import (
    SLOT_H,
    SLOTS_PER_HOUR,
    Battery,
    HomeParameters,
    Horizon,
    PeakCharge,
    PlanFailed,
    Series,
)

FloatArray = NDArray[np.float64]

PENALTY_FACTOR: Final = 10.0
"""Penalties are this many times the largest price: enough to be exact, not enough to scale badly."""

SLACK_KWH: Final = 1e-6
"""Room around the way back into the range (1 mWh): sums rounded differently must not look infeasible."""

_FAR_KWH: Final = 100.0
"""More than a battery moves in a slot."""

SOLVER_OPTIONS: Final = {
    "solver": "simplex",
    "threads": 1,
    "random_seed": 0,
    "primal_feasibility_tolerance": 1e-9,
    "dual_feasibility_tolerance": 1e-9,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Cost of energy bought and value of energy sold per slot of the horizon, c/kWh."""

    buy_c_per_kwh: Series
    sell_c_per_kwh: Series
    """At most the buying price in every slot (errata 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The optimum: battery energy (+ discharge) and stored energy at the end of each slot, kWh."""

    battery_kwh: Series
    energy_kwh: Series


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """Right-hand sides of one call, kWh per slot."""

    gap: FloatArray
    buy_max: FloatArray
    sell_max: FloatArray
    spill_max: FloatArray
    low: FloatArray
    high: FloatArray
    discharge_max: FloatArray
    above_reached: FloatArray
    """Load less production less the import that is free of a demand charge."""
    charge_budget: float
    discharge_budget: float


def _terms(home: HomeParameters, battery: Battery, horizon: Horizon, volumes_kwh: FloatArray) -> _Terms:
    """Bounds of (4.4c) to (4.4f), corrected by errata 1, 3 and 7; see the module's text for the rest."""
    whole = np.asarray(horizon.load_kwh) - np.asarray(horizon.pv_kwh)
    held = np.asarray(horizon.held_kwh) if horizon.held_kwh else np.zeros(horizon.slots)
    passive = whole - held
    gap = passive - volumes_kwh
    surplus = np.maximum(0.0, -passive)
    # A home may always import its own load and export its own production; only plans obey the contract.
    buy_max = np.maximum(0.0, np.maximum(home.contract_kwh - held, passive) - volumes_kwh)
    # What was sold on the market leaves less to sell for the feed-in price; what was bought adds nothing.
    sell_max = np.minimum(surplus, np.maximum(0.0, -gap))
    charge_budget = max(0.0, horizon.charge_budget_kwh)
    discharge_budget = max(0.0, horizon.discharge_budget_kwh)
    discharge_max = np.full(horizon.slots, battery.slot_limit_kwh)
    if horizon.no_discharge:
        discharge_max[np.asarray(horizon.no_discharge)] = 0.0
    down = np.cumsum(np.clip(gap, 0.0, discharge_max))
    up = np.cumsum(np.clip(buy_max - gap, 0.0, battery.slot_limit_kwh))
    # Only a battery that starts outside the range needs a way back; inside it the range is exact.
    e0 = horizon.e0_kwh
    above, below = e0 > battery.e_market_high_kwh, e0 < battery.e_market_low_kwh
    way_down = e0 - np.minimum(discharge_budget, down) + SLACK_KWH if above else -np.inf
    way_up = e0 + np.minimum(charge_budget, up) - SLACK_KWH if below else np.inf
    return _Terms(
        gap=gap,
        buy_max=buy_max,
        sell_max=sell_max,
        spill_max=np.maximum(0.0, -gap) - sell_max,
        low=np.broadcast_to(np.minimum(battery.e_market_low_kwh, way_up), gap.shape),
        high=np.broadcast_to(np.maximum(battery.e_market_high_kwh, way_down), gap.shape),
        discharge_max=discharge_max,
        above_reached=_above_reached(horizon.peak, whole),
        charge_budget=charge_budget,
        discharge_budget=discharge_budget,
    )


def _above_reached(peak: PeakCharge | None, whole: FloatArray) -> FloatArray:
    """Where the charge does not hold the value is below zero, so that the constraint says nothing."""
    if peak is None:
        return np.zeros_like(whole)
    above = whole - peak.reached_kw * SLOT_H
    return np.where(np.asarray(peak.holds), above, np.minimum(above, -_FAR_KWH))


class _Program:
    """The programme compiled for one horizon length; parameters are filled on every call."""

    def __init__(self, slots: int, *, with_peak: bool = False) -> None:
        self._slots, self._with_peak = slots, with_peak
        spilling = min(slots, SLOTS_PER_HOUR)
        self._gap = cp.Parameter(slots)
        self._a_buy, self._a_sell = cp.Parameter(slots), cp.Parameter(slots)
        self._buy_max, self._sell_max = cp.Parameter(slots, nonneg=True), cp.Parameter(slots, nonneg=True)
        self._spill_max = cp.Parameter(spilling, nonneg=True)
        self._low, self._high = cp.Parameter(slots), cp.Parameter(slots)
        self._power, self._discharge_max = cp.Parameter(nonneg=True), cp.Parameter(slots, nonneg=True)
        self._peak_price, self._above_reached = cp.Parameter(nonneg=True), cp.Parameter(slots)
        self._charge_budget, self._discharge_budget = cp.Parameter(nonneg=True), cp.Parameter(nonneg=True)
        self._e0, self._e_end = cp.Parameter(), cp.Parameter()
        self._tie, self._penalty = cp.Parameter(nonneg=True), cp.Parameter(nonneg=True)
        self._energy = cp.Variable(slots)
        self._problem = self._formulate(spilling)

    def _formulate(self, spilling: int) -> cp.Problem:
        slots = self._slots
        buy, sell = cp.Variable(slots, nonneg=True), cp.Variable(slots, nonneg=True)
        discharge, charge = cp.Variable(slots, nonneg=True), cp.Variable(slots, nonneg=True)
        spill = cp.Variable(spilling, nonneg=True)
        over, under = cp.Variable(nonneg=True), cp.Variable(nonneg=True)
        spilled = cp.hstack([spill, np.zeros(slots - spilling)]) if slots > spilling else spill
        before = cp.hstack([self._e0, self._energy[:-1]])
        cost = (
            self._a_buy @ buy
            - self._a_sell @ sell
            + self._tie * (cp.sum(discharge) + cp.sum(charge))
            + self._penalty * (over + under + 2.0 * cp.sum(spill))
        )
        constraints = [
            buy - sell - spilled + discharge - charge == self._gap,
            self._energy == before - discharge + charge,
            self._energy >= self._low,
            self._energy <= self._high,
            self._energy[slots - 1] - over + under == self._e_end,
            buy <= self._buy_max,
            sell <= self._sell_max,
            spill <= self._spill_max,
            discharge <= self._discharge_max,
            charge <= self._power,
            cp.sum(discharge) <= self._discharge_budget,
            cp.sum(charge) <= self._charge_budget,
        ]
        if self._with_peak:
            peak = cp.Variable(nonneg=True)
            cost = cost + self._peak_price * peak
            constraints.append(peak + discharge - charge >= self._above_reached)
        return cp.Problem(cp.Minimize(cost), constraints)

    def solve(
        self, home: HomeParameters, battery: Battery, horizon: Horizon, prices: Prices, terms: _Terms
    ) -> Schedule:
        """Fill the parameters, solve, and return a schedule that obeys the bounds exactly."""
        peak_price = horizon.peak.c_per_kw / SLOT_H if horizon.peak is not None else 0.0
        largest = max(map(abs, (*prices.buy_c_per_kwh, *prices.sell_c_per_kwh, peak_price)))
        self._gap.value = terms.gap
        self._a_buy.value = np.asarray(prices.buy_c_per_kwh)
        self._a_sell.value = np.asarray(prices.sell_c_per_kwh)
        self._buy_max.value, self._sell_max.value = terms.buy_max, terms.sell_max
        self._spill_max.value = terms.spill_max[:SLOTS_PER_HOUR]
        self._low.value, self._high.value = terms.low, terms.high
        self._power.value, self._discharge_max.value = battery.slot_limit_kwh, terms.discharge_max
        self._peak_price.value, self._above_reached.value = peak_price, terms.above_reached
        self._charge_budget.value = terms.charge_budget
        self._discharge_budget.value = terms.discharge_budget
        self._e0.value, self._e_end.value = horizon.e0_kwh, horizon.e_end_kwh
        self._tie.value = home.tie_break_c_per_kwh
        self._penalty.value = PENALTY_FACTOR * (largest + 1.0)
        try:
            # A cold start: with a warm one the optimum among equals would depend on the home solved before.
            self._problem.solve(solver=cp.HIGHS, warm_start=False, highs_options=dict(SOLVER_OPTIONS))
        except (cp.error.SolverError, ValueError) as err:  # cvxpy: ValueError for a status it does not know
            raise PlanFailed(str(err), self._slots) from err
        if self._problem.status != cp.OPTIMAL:
            raise PlanFailed(str(self._problem.status), self._slots)
        energy = np.clip(
            np.asarray(self._energy.value, dtype=np.float64),
            min(horizon.e0_kwh, battery.e_market_low_kwh),
            max(horizon.e0_kwh, battery.e_market_high_kwh),
        )
        battery_kwh = -np.diff(energy, prepend=horizon.e0_kwh)
        return Schedule(
            battery_kwh=tuple(battery_kwh.tolist()),
            energy_kwh=tuple(energy.tolist()),
        )


class Planner:
    """Compiled programmes, one per horizon length; one planner may serve all homes of a thread.

    The same input gives the same output bit for bit, whatever was planned before.
    """

    def __init__(self) -> None:
        self._programs: dict[tuple[int, bool], _Program] = {}

    def schedule(
        self,
        home: HomeParameters,
        battery: Battery,
        horizon: Horizon,
        prices: Prices,
        volumes_kwh: Series = (),
    ) -> Schedule:
        """The cheapest use of the battery over the horizon.

        Args:
            home: Contract and tie-break; its battery is given apart because the programme needs one.
            battery: The battery.
            horizon: Forecasts, stored energy and budgets.
            prices: Per slot of the horizon, c/kWh.
            volumes_kwh: Cleared market volumes of the first slots, kWh, + bought; the rest counts as zero.

        Raises:
            PlanFailed: if the solver ends with a status other than optimal.

        Source: thesis (4.4) to (4.6), corrected: see mechanisms.md 1, errata 1 to 7, and 3.
        """
        volumes = np.zeros(horizon.slots)
        volumes[: len(volumes_kwh)] = volumes_kwh
        key = (horizon.slots, horizon.peak is not None)
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = _Program(horizon.slots, with_peak=key[1])
        return program.solve(home, battery, horizon, prices, _terms(home, battery, horizon, volumes))
