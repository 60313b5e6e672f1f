"""Homes behind PCCs that poll for the real-time price, second by second, without messages.

Each home answers with the product's own best response (`ven_client.hems.respond`) as soon as its next poll
brings the price, and sets powers that bring the slot's energies there (thesis 6.22, 6.23). The DSO reads the
PCC meters every ten seconds and steps by the loop's rule: only on a measurement taken after every home behind
the PCC has fetched the current price, or 20 s after publishing it (signals.md, "Real-time price").
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dso_engine.curtail import corrected_cap_kw, export_cap_kw
from dso_engine.game import (
    FlowBounds,
    Law,
    Measured,
    PriceState,
    prior_slope_kw_per_c,
    project,
    stricter_kw,
    worth_a_step,
)
from ven_client.hems.model import Battery, FlexibleLoad, HomeParameters
from ven_client.hems.respond import SetPoint, SlotState, respond, set_point

FloatArray = NDArray[np.float64]

SLOT_S: Final = 600
TICK_S: Final = 10
WAIT_S: Final = 20
"""Homes that have not fetched a price by then count as silent."""
HOMES: Final = 50
PCCS: Final = 6
GUARD: Final = 0.03
"""Guard band of the default settings for currents: the bound is this much inside the limit."""
_PER_HOUR: Final = 6.0
_FAR_C: Final = 60.0

BATTERY: Final = Battery(
    capacity_kwh=6.0,
    power_kw=3.0,
    e_market_low_kwh=0.6,
    e_market_high_kwh=3.3,
    e_low_kwh=0.6,
    e_high_kwh=5.4,
    e_start_kwh=1.8,
    market_cycle_kwh=2.7,
    realtime_cycle_kwh=2.7,
)
WITH_BATTERY: Final = HomeParameters(
    battery=BATTERY,
    flexible=FlexibleLoad(energy_kwh=1.0, slot_limit_kwh=0.03),
    contract_kw=9.0,
    curvature_c_per_kwh2=5.0,
    reward_curvature_c_per_kwh2=5.0,
    linear_c_per_kwh=5.0,
    tie_break_c_per_kwh=1e-4,
)
WITHOUT: Final = replace(WITH_BATTERY, battery=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is hard about a slot.

    Attributes:
        direction: -1 too much export, 1 too much import.
        silent: Share of homes that never fetch a price.
        noise: One sigma of a meter reading as a fraction of it.
        missing: Share of readings that do not arrive.
        late: Share of homes that join in mid-slot: they see their first price after half of it.
        drift: Change of every home's gap over the slot, a share of it (a cloud, more sun).
    """

    direction: int = -1
    silent: float = 0.0
    noise: float = 0.0
    missing: float = 0.0
    late: float = 0.0
    drift: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """One home in one slot: what it owns, what it knows, when it polls."""

    parameters: HomeParameters
    state: SlotState
    has_pv: bool
    period_s: int
    first_s: int
    """Its first poll that can bring a price; beyond the slot for a silent home."""

    def answer_kw(self, u_c: float) -> float:
        """Return the mean exchange of the slot at a price that held all along, kW."""
        return respond(self.parameters, self.state, u_c).x_kwh * _PER_HOUR

    @property
    def silent(self) -> bool:
        """Whether it never sees a price."""
        return self.first_s > SLOT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the price of one PCC did in one slot.

    Attributes:
        steps_within: Steps of the law after which the projected flow never again left 0.3 kW around its bound
            (true flow, not the noisy one); None if it still was outside at the end.
        end_violation_kw: Of the bound, by the mean flow of the slot.
        over_kw: How far a non-zero price moved the slot beyond its bound, to the other side of it.
        beyond_limit: Whether the slot ends with a power beyond the limit itself, that is beyond the bound by
            more than the guard band.
        saturated: Whether the law gave up and exports were bounded, as far as homes could be reached.
        published: Prices published.
    """

    steps_within: int | None
    end_violation_kw: float
    over_kw: float
    beyond_limit: bool
    saturated: bool
    published: int


def draw_homes(rng: np.random.Generator, case: Case) -> list[list[Home]]:
    """Return the homes of every PCC: scenario D's mix, a sunny slot (or a cold evening for imports)."""
    kinds = rng.permutation(np.repeat(np.arange(4), (25, 15, 5, 5)))  # PV and battery, PV, battery, nothing
    pcc = rng.permutation(np.arange(HOMES) % PCCS)
    sun = rng.uniform(0.5, 0.95) if case.direction < 0 else 0.0
    allotment = float(rng.uniform(0.05, 0.3))
    split: list[list[Home]] = [[] for _ in range(PCCS)]
    for kind, behind in zip(kinds, pcc, strict=True):
        battery, pv_kwp = kind in (0, 2), 4.5 if kind < 2 else 0.0
        scale = 0.4 if case.direction < 0 else 2.0
        gap = (float(rng.lognormal(np.log(scale), 0.6)) - pv_kwp * sun) / _PER_HOUR
        planned = float(rng.uniform(-0.15, 0.15)) if battery else 0.0
        expected = gap - planned
        traded = expected * float(rng.uniform(0.0, 1.0)) if rng.random() < 0.5 else 0.0
        quiet, tardy = bool(rng.random() < case.silent), bool(rng.random() < case.late)
        start = SLOT_S + 1 if quiet else SLOT_S // 2 if tardy else 0
        period = int(rng.integers(10, 16))
        state = SlotState(
            r_kwh=gap + float(rng.normal(0.0, 0.03)),
            s_hat_kwh=planned,
            x_hat_kwh=expected,
            x_m_kwh=traded,
            price_up_c_per_kwh=15.0,
            price_down_c_per_kwh=10.0,
            stored_value_c_per_kwh=12.5,
            e0_kwh=float(rng.uniform(1.2, 3.3)),
            charge_allotment_kwh=allotment,
            discharge_allotment_kwh=allotment,
            flexible_e0_kwh=float(rng.uniform(0.2, 0.8)),
        )
        split[int(behind)].append(
            Home(
                parameters=WITH_BATTERY if battery else WITHOUT,
                state=state,
                has_pv=pv_kwp > 0.0,
                period_s=period,
                first_s=start + int(rng.integers(0, period)),
            )
        )
    return split


def bound_of(homes: list[Home], case: Case, depth: float) -> FlowBounds:
    """Return a bound at a depth of what all homes could do; silent ones make it harder, as in the field."""
    free = sum(home.answer_kw(0.0) for home in homes)
    far = sum(home.answer_kw(_FAR_C * case.direction) for home in homes)
    level = free + depth * (far - free)
    return FlowBounds(c_lo_kw=level) if case.direction < 0 else FlowBounds(c_hi_kw=level)


@dataclass(slots=True, kw_only=True)
class Feeder:
    """One PCC with its homes, its meter and its price, through one slot."""

    homes: list[Home]
    bounds: FlowBounds
    case: Case
    law: Law
    rng: np.random.Generator
    state: PriceState = field(init=False)
    _u: NDArray[np.int64] = field(init=False)
    _battery_kwh: FloatArray = field(init=False)
    _flexible_kwh: FloatArray = field(init=False)
    _points: list[SetPoint] = field(init=False)
    published_s: int = 0
    _published: int = 0
    _exchanged_kwh: float = 0.0
    _seen: tuple[int, float] | None = None
    _seen_kwh: float = 0.0
    _outside: int = 0
    _cap_kw: float | None = None
    _capped_s: int = 0
    _capped_kw: FloatArray = field(init=False)
    """The export bound each home has heard of, kW."""

    def __post_init__(self) -> None:
        """Start at u = 0, published before the slot."""
        count = len(self.homes)
        responsive = sum(1 for home in self.homes if home.parameters.battery or home.parameters.flexible)
        self.state = self.law.start(slope_kw_per_c=prior_slope_kw_per_c(responsive, 5.0, 5.0))
        self._u = np.zeros(count, dtype=np.int64)
        self._battery_kwh, self._flexible_kwh = np.zeros(count), np.zeros(count)
        self._capped_kw = np.full(count, np.inf)
        self._points = [self._set(k, 0) for k in range(count)]

    def play(self) -> Outcome:
        """Play the slot second by second."""
        for second in range(SLOT_S):
            if second % TICK_S == 0 and second:
                self._tick(second)
            self._poll(second)
            self._pass_second(second)
        mean_kw = self._exchanged_kwh * _PER_HOUR
        last_kw = self._power_kw(SLOT_S - 1)
        violation = self.bounds.violation_kw(mean_kw)
        side = self.bounds.c_lo_kw if self.case.direction < 0 else self.bounds.c_hi_kw
        served = self.state.u_millicent * self.case.direction > 0
        guard_kw = GUARD * abs(side)
        return Outcome(
            steps_within=None if abs(violation) > 0.3 else self._outside,
            end_violation_kw=abs(violation),
            over_kw=max(0.0, self.case.direction * (side - mean_kw)) if served else 0.0,
            beyond_limit=abs(self.bounds.violation_kw(last_kw)) > guard_kw,
            saturated=self.state.saturated,
            published=self._published,
        )

    def _poll(self, second: int) -> None:
        for k, home in enumerate(self.homes):
            if second < home.first_s or (second - home.first_s) % home.period_s:
                continue
            if self._cap_kw is not None and home.has_pv:
                self._capped_kw[k] = self._cap_kw
            if self._u[k] != self.state.u_millicent:
                self._u[k] = self.state.u_millicent
                self._points[k] = self._set(k, second)

    def _set(self, k: int, second: int) -> SetPoint:
        home = self.homes[k]
        return set_point(
            home.parameters,
            respond(home.parameters, home.state, self._u[k] / 1000.0),
            done_battery_kwh=float(self._battery_kwh[k]),
            done_flexible_kwh=float(self._flexible_kwh[k]),
            elapsed_s=float(second),
        )

    def _pass_second(self, second: int) -> None:
        hours = 1.0 / 3600.0
        self._exchanged_kwh += self._power_kw(second) * hours
        for k, point in enumerate(self._points):
            self._battery_kwh[k] += point.battery_kw * hours
            self._flexible_kwh[k] += point.flexible_kw * hours

    def _power_kw(self, second: int) -> float:
        """Return the flow through the PCC now, kW."""
        return sum(self._powers_kw(second))

    def _powers_kw(self, second: int) -> list[float]:
        grown = 1.0 + self.case.drift * (second / SLOT_S)
        wanted = (
            home.state.r_kwh * _PER_HOUR * grown - point.battery_kw - point.flexible_kw
            for home, point in zip(self.homes, self._points, strict=True)
        )
        return [max(kw, -float(cap)) for kw, cap in zip(wanted, self._capped_kw, strict=True)]

    def _tick(self, second: int) -> None:
        """Read the meter and step where the reading answers the price in force."""
        left_h = (SLOT_S - second) / 3600.0
        true_kw = self._power_kw(second)
        truly = project(e_done_kwh=self._exchanged_kwh, p_kw=true_kw, remaining_h=left_h)
        if self.case.missing and self.rng.random() < self.case.missing:
            return
        read_kw = true_kw * (1.0 + self.case.noise * self.rng.normal()) if self.case.noise else true_kw
        self._count(second, read_kw)
        self._curtail(second, read_kw)
        seen = project(e_done_kwh=self._seen_kwh, p_kw=read_kw, remaining_h=left_h)
        seen = stricter_kw(self.bounds, projected_kw=seen, p_kw=read_kw)
        violation_kw = self.bounds.violation_kw(seen)
        if self._cap_kw is not None:
            return
        if not (self._answered(second) and worth_a_step(remaining_h=left_h, violation_kw=violation_kw)):
            return
        before = self.state.u_millicent
        self.state = self.law.step(self.state, Measured(flow_kw=seen, bounds=self.bounds))
        if abs(self.bounds.violation_kw(truly)) > 0.3:
            self._outside = self.state.steps
        if self.state.u_millicent != before:
            self.published_s, self._published = second, self._published + 1

    def _curtail(self, second: int, read_kw: float) -> None:
        """Bound exports where the law gave up, as `dso_engine.last_resort` does."""
        if not self.state.saturated or self.case.direction > 0:
            return
        shortage_kw = self.bounds.c_lo_kw - read_kw
        able = [k for k, home in enumerate(self.homes) if home.has_pv]
        if self._cap_kw is None:
            if shortage_kw > 0.0:
                powers = self._powers_kw(second)
                self._cap_kw = export_cap_kw([-powers[k] for k in able], shortage_kw)
                self._capped_s = second
        elif second - self._capped_s >= WAIT_S:
            cap_kw = corrected_cap_kw(self._cap_kw, homes=len(able), shortage_kw=shortage_kw)
            if cap_kw != self._cap_kw:
                self._cap_kw, self._capped_s = cap_kw, second

    def _count(self, second: int, read_kw: float) -> None:
        """Energy since the slot began, as the engine counts it: means between readings."""
        since, before = self._seen or (0, read_kw)
        self._seen_kwh += (before + read_kw) / 2.0 * (second - since) / 3600.0
        self._seen = (second, read_kw)

    def _answered(self, second: int) -> bool:
        if not self._published:
            return True
        waited = second - self.published_s
        return waited >= WAIT_S or all(self._fetched(home) < second for home in self.homes)

    def _fetched(self, home: Home) -> int:
        """Return when a home fetched the price in force; a poll at the same second comes after publishing."""
        if home.silent:
            return SLOT_S + 1
        polls = max(0, ceil((self.published_s - home.first_s) / home.period_s))
        return home.first_s + polls * home.period_s


def play_slot(law: Law, seed: int, case: Case, *, deepest: float = 0.8) -> tuple[Outcome, ...]:
    """Play one slot of one neighbourhood; one outcome per PCC.

    Args:
        law: Control law.
        seed: Draws homes, depth of the bounds, polls and noise.
        case: What is hard about it.
        deepest: Largest depth of a bound, a share of what all homes together could do.
    """
    rng = np.random.default_rng(seed)
    split = draw_homes(rng, case)
    return tuple(
        Feeder(
            homes=homes,
            bounds=bound_of(homes, case, float(rng.uniform(0.1, deepest))),
            case=case,
            law=law,
            rng=rng,
        ).play()
        for homes in split
    )
