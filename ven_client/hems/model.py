"""Types of the home energy manager.

Units and signs (mechanisms.md 0): energy per slot in kWh, prices in c/kWh, power in kW; grid import and
battery discharge are positive; ``gap = load - pv = grid + battery + flexible``. A slot lasts ten minutes.

Errors::

    HemsError
     x InvalidHome      a device or an input series cannot be used
     x InvalidPrices    the feed-in price exceeds the supplier's (errata 29) or a series does not fit
     x PlanFailed       the linear programme ended without an optimum
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

SLOT_H: Final = 1.0 / 6.0
SLOTS_PER_HOUR: Final = 6
MILLICENT_PER_CENT: Final = 1000
WH_PER_KWH: Final = 1000

Series = tuple[float, ...]


class HemsError(Exception):
    """Base of all errors the home energy manager raises on purpose."""


class InvalidHome(HemsError):
    """A device parameter or an input series is inconsistent."""


class InvalidPrices(HemsError):
    """Prices that make the problem non-convex or that do not cover the horizon."""


class PlanFailed(HemsError):
    """The linear programme ended with a status other than optimal.

    Args:
        status: What the solver said.
        slots: Length of the horizon.
    """

    def __init__(self, status: str, slots: int) -> None:
        super().__init__(f"home plan over {slots} slots ended with status {status}")
        self.status = status
        self.slots = slots


def _finite(name: str, *values: float) -> None:
    if not all(map(math.isfinite, values)):
        raise InvalidHome(f"{name} holds a value that is not finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """An ideal battery with two ranges: a narrow one for the market, a wide one for real time.

    Raises:
        InvalidHome: if the ranges are not nested inside the capacity or a budget is negative.

    Source: thesis 4.3 of chapter 6; mechanisms.md 12 and errata 8.
    """

    capacity_kwh: float
    power_kw: float
    """Largest charging and discharging power, kW."""
    e_market_low_kwh: float
    e_market_high_kwh: float
    """Range of stored energy the hourly plan may use, kWh."""
    e_low_kwh: float
    e_high_kwh: float
    """Range of stored energy real time may use, kWh."""
    e_start_kwh: float
    """Stored energy at the start and, as a target, at the end of a day, kWh."""
    market_cycle_kwh: float
    """Budget of the hourly plan, kWh a day: as much may be charged, and as much discharged."""
    realtime_cycle_kwh: float
    """The same for deviations from the plan in real time, kWh a day."""

    def __post_init__(self) -> None:
        """Check the nesting of the ranges."""
        levels = (0.0, self.e_low_kwh, self.e_market_low_kwh, self.e_market_high_kwh, self.e_high_kwh)
        _finite("battery", *levels, self.capacity_kwh, self.power_kw, self.e_start_kwh)
        _finite("battery", self.market_cycle_kwh, self.realtime_cycle_kwh)
        if list(levels) != sorted(levels) or self.e_high_kwh > self.capacity_kwh:
            raise InvalidHome("battery ranges must be nested: 0 <= low <= market low <= market high <= high")
        if not self.e_low_kwh <= self.e_start_kwh <= self.e_high_kwh:
            raise InvalidHome("battery start is outside its range")
        if min(self.power_kw, self.market_cycle_kwh, self.realtime_cycle_kwh) < 0.0:
            raise InvalidHome("battery power and cycle budgets must not be negative")

    @property
    def slot_limit_kwh(self) -> float:
        """Largest energy a slot can move, kWh: power times the slot (errata 7)."""
        return self.power_kw * SLOT_H


@dataclass(frozen=True, slots=True, kw_only=True)
class FlexibleLoad:
    """Load that can be shifted, modelled as a small battery that starts half full (mechanisms.md 12).

    Raises:
        InvalidHome: if a value is negative or not finite.
    """

    energy_kwh: float
    """Energy that can be shifted, kWh: the size of the equivalent battery."""
    slot_limit_kwh: float
    """Largest shift in one slot, either way, kWh."""

    def __post_init__(self) -> None:
        """Check the signs."""
        _finite("flexible load", self.energy_kwh, self.slot_limit_kwh)
        if min(self.energy_kwh, self.slot_limit_kwh) < 0.0:
            raise InvalidHome("flexible load values must not be negative")

    @property
    def start_kwh(self) -> float:
        """State of the equivalent battery at the start of a day, kWh."""
        return self.energy_kwh / 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeParameters:
    """What a home owns and how it values deviations.

    Raises:
        InvalidHome: if a curvature is not positive where strict convexity needs it, or a limit is negative.

    Source: thesis (6.3), (6.6), (6.9) with errata 27; values in mechanisms.md 12.
    """

    battery: Battery | None
    flexible: FlexibleLoad | None
    contract_kw: float
    """Largest exchange with the grid, either way, kW."""
    curvature_c_per_kwh2: float
    """a: cost of battery use off the plan and of shifted load, c/kWh2 with energy per slot."""
    reward_curvature_c_per_kwh2: float
    """a_r: loss of reward for exchanging something else than planned, c/kWh2."""
    linear_c_per_kwh: float
    """b: linear cost of battery use off the plan and of shifted load, times the absolute value, c/kWh."""
    tie_break_c_per_kwh: float
    """Cost of battery throughput in the plan, c/kWh; decides between plans of equal bill."""
    comfort_weight: float = 1.0
    """Times a and b for shifting the flexible load."""
    no_discharge_hours: tuple[int, ...] = ()
    """Local hours, 0 to 23, in which the battery does not discharge."""

    def __post_init__(self) -> None:
        """Check signs and strict convexity."""
        _finite("home", self.comfort_weight)
        if self.comfort_weight <= 0.0:
            raise InvalidHome("comfort weight must be positive")
        _finite("home", self.contract_kw, self.curvature_c_per_kwh2, self.reward_curvature_c_per_kwh2)
        _finite("home", self.linear_c_per_kwh, self.tie_break_c_per_kwh)
        if self.curvature_c_per_kwh2 <= 0.0:
            raise InvalidHome("curvature must be positive")
        others = (self.reward_curvature_c_per_kwh2, self.linear_c_per_kwh, self.tie_break_c_per_kwh)
        if min(self.contract_kw, *others) < 0.0:
            raise InvalidHome("contract, reward curvature, linear cost and tie-break must not be negative")

    @property
    def contract_kwh(self) -> float:
        """Largest exchange with the grid in one slot, kWh (errata 7)."""
        return self.contract_kw * SLOT_H


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakCharge:
    """A price on the highest mean import of a slot while it holds (signals.md, DEMAND_CHARGE).

    Raises:
        InvalidHome: if a value is negative or not finite.
    """

    c_per_kw: float
    """Price of a higher peak, c/kW."""
    reached_kw: float
    """Import that was reached already and costs nothing more, kW."""
    holds: tuple[bool, ...]
    """Whether it holds, per slot of the horizon."""

    def __post_init__(self) -> None:
        """Check the signs."""
        _finite("peak charge", self.c_per_kw, self.reached_kw)
        if min(self.c_per_kw, self.reached_kw) < 0.0:
            raise InvalidHome("price and reached import of a peak charge must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """Forecasts from the first slot of the planned hour to the end of the local day, and the state before it.

    Raises:
        InvalidHome: if the series differ in length, are empty or hold values that are not finite.
    """

    load_kwh: Series
    pv_kwh: Series
    e0_kwh: float
    """Stored energy at the start of the first slot, kWh; of no meaning without a battery."""
    e_end_kwh: float
    """Target of stored energy at the end of the day, kWh."""
    charge_budget_kwh: float
    discharge_budget_kwh: float
    """What is left of the day's market cycle, kWh; values below zero count as zero."""
    no_discharge: tuple[bool, ...] = ()
    """Slots in which the battery must not discharge; empty: none."""
    peak: PeakCharge | None = None
    """A price on the highest import, None without one."""
    held_kwh: Series = ()
    """Energy traded the day before, per slot, + bought; empty: none."""

    def __post_init__(self) -> None:
        """Check lengths and values."""
        if not self.load_kwh or len(self.load_kwh) != len(self.pv_kwh):
            raise InvalidHome("load and production forecasts must have the same length, at least one slot")
        _finite("horizon", *self.load_kwh, *self.pv_kwh, self.e0_kwh, self.e_end_kwh)
        _finite("horizon", self.charge_budget_kwh, self.discharge_budget_kwh)
        _finite("horizon", *self.held_kwh)
        holds = self.peak.holds if self.peak is not None else ()
        for per_slot in (self.no_discharge, holds, self.held_kwh):
            if per_slot and len(per_slot) != len(self.load_kwh):
                raise InvalidHome("what holds per slot must cover the horizon")

    @property
    def slots(self) -> int:
        """Number of slots, tau."""
        return len(self.load_kwh)

    def held(self, k: int) -> float:
        """Return what was traded the day before for slot k, kWh, + bought."""
        return self.held_kwh[k] if self.held_kwh else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariffs:
    """Prices outside the local market, one value per slot of the horizon, c/kWh.

    Raises:
        InvalidPrices: if lengths differ, a value is not finite or feed-in exceeds the supplier (errata 29).
    """

    supplier_c_per_kwh: Series
    feed_in_c_per_kwh: Series

    def __post_init__(self) -> None:
        """Check lengths and order."""
        if len(self.supplier_c_per_kwh) != len(self.feed_in_c_per_kwh):
            raise InvalidPrices("supplier and feed-in prices differ in length")
        for supplier, feed_in in zip(self.supplier_c_per_kwh, self.feed_in_c_per_kwh, strict=True):
            check_prices(supplier, feed_in)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketLimits:
    """Reservation prices of a home on the local market, one value per slot of the horizon, c/kWh.

    The auction sees ``bid_c_per_kwh`` (gross) as the limit of a purchase; the plan counts a purchase at the
    bid less the rebate: two numbers (errata 5).

    Raises:
        InvalidPrices: if the lengths differ or a value is not finite.
    """

    bid_c_per_kwh: Series
    ask_c_per_kwh: Series
    rebate_c_per_kwh: Series

    def __post_init__(self) -> None:
        """Check lengths and values."""
        if not len(self.bid_c_per_kwh) == len(self.ask_c_per_kwh) == len(self.rebate_c_per_kwh):
            raise InvalidPrices("bid, ask and rebate differ in length")
        values = (*self.bid_c_per_kwh, *self.ask_c_per_kwh, *self.rebate_c_per_kwh)
        if not all(map(math.isfinite, values)):
            raise InvalidPrices("a market limit is not finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeReserve:
    """What real time may use in the six slots of the planned hour, for the report of flexibility."""

    charge_kwh: Series
    discharge_kwh: Series
    """Six allotments of the real-time cycle budget, kWh, from ``bounds.realtime_allotment``."""
    flexible_kwh: float
    """State of the flexible load, kWh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a home offers on the local market for the six slots of an hour, and the plan behind it."""

    volume_wh: tuple[int, ...]
    """Six signed volumes, Wh, + buy, - sell, rounded towards zero; zero: no order in that slot."""
    limit_millicent_per_kwh: tuple[int, ...]
    """Six limit prices, 1e-5 EUR/kWh: ask limit when selling, else bid limit (no order at zero volume)."""
    battery_kwh: Series
    """Planned battery energy per slot of the horizon, kWh, + discharge."""
    energy_kwh: Series
    """Stored energy at the end of each slot, kWh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Planned use of the battery to the end of the day and what the home says about the next hour."""

    battery_kwh: Series
    """Planned battery energy per slot of the horizon, kWh, + discharge."""
    energy_kwh: Series
    """Stored energy at the end of each slot, kWh."""
    grid_energy_wh: tuple[int, ...]
    """Whole exchange with the grid (market + supplier) per slot of the hour, Wh, + import."""
    flexibility_up_w: tuple[int, ...]
    """How far the mean import could be raised above the plan in each slot of the hour, W, >= 0."""
    flexibility_down_w: tuple[int, ...]
    """How far the mean import could be lowered below the plan, W, >= 0."""


def check_prices(price_up_c_per_kwh: float, price_down_c_per_kwh: float) -> None:
    """Raise unless buying more costs at least what selling more earns.

    Args:
        price_up_c_per_kwh: Supplier's price P_u, c/kWh.
        price_down_c_per_kwh: Feed-in price P_f, c/kWh.

    Raises:
        InvalidPrices: if P_f > P_u or a value is not finite.

    Source: thesis (6.5) with errata 29.
    """
    if not (math.isfinite(price_up_c_per_kwh) and math.isfinite(price_down_c_per_kwh)):
        raise InvalidPrices("a price is not finite")
    if price_down_c_per_kwh > price_up_c_per_kwh:
        raise InvalidPrices(
            f"feed-in price {price_down_c_per_kwh} exceeds the supplier's price {price_up_c_per_kwh}"
        )
