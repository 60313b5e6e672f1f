"""What standard programmes make of a home's slot: hard limits first, then prices. Pure.

Rules (values that several events give for one quantity at one instant):

1. **SHED** (SIMPLE): the highest level counts. The home imports less than it had planned by what the level's
   :class:`ShedStep` names, and no more than its limit. Level 0 sheds nothing.
2. **EXCHANGE** (LOAD_DISPATCH outside the real-time context): a target for the exchange with the grid: the
   value, the planned exchange moved by it, or the planned exchange times it. Of several the lowest counts. A
   home with nothing to produce it from comes as near as its devices allow. (In the real-time context a set
   point is an export bound: :class:`ven_client.instructions.ExportBound`, which also cuts PV.)
3. Where 1 and 2 disagree the lower import counts.
4. **CHARGE** (CHARGE_STATE): the stored energy to reach as fast as the battery can, and to keep as long as
   the value holds; of several the one that started last. A delta counts from what was stored when its
   interval began. Rules 1 and 2 win over it.
5. **TARIFF**: set values replace the supplier's price (the one that started last), then multipliers multiply,
   then relative values are added. The feed-in price stays, but never above the supplier's (errata 29).
   The real-time price comes on top of that.
6. **PEAK** (DEMAND_CHARGE): a price on the highest mean import of a slot while it holds, on top of the
   contract's own, which is zero. What has been reached already costs nothing more.

While 1, 2, 4 or 6 hold, the battery may use its whole real-time range and power: the day's cycle shares are
for the real-time price only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from ven_client.hems.model import (
    MILLICENT_PER_CENT,
    SLOT_H,
    WH_PER_KWH,
    HomeParameters,
    MarketLimits,
    PeakCharge,
    Series,
    Tariffs,
)
from ven_client.instructions import MILLIONTHS, Change, Programme, ProgrammeKind, Step
from ven_client.slots import SLOT

__all__ = [
    "DEFAULT_SHED",
    "NO_PROGRAMME",
    "ShedStep",
    "ShedTable",
    "Situation",
    "held_peak_kw",
    "peak_since",
    "planned_limits",
    "planned_peak",
    "planned_tariffs",
    "situation",
    "unservable",
    "water_level_kw",
]

_INF: Final = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedStep:
    """What a level of SIMPLE means to a home.

    Attributes:
        flexible_share: Share of the flexible load's power that is not consumed, 0 to 1.
        battery_share: Share of the battery's power that is discharged, 0 to 1.
        import_limit_kw: Most the home imports, kW; None is no limit of its own.

    Raises:
        ValueError: if a share lies outside 0 to 1.
    """

    flexible_share: float = 0.0
    battery_share: float = 0.0
    import_limit_kw: float | None = None

    def __post_init__(self) -> None:
        """Check the shares."""
        if not (0.0 <= self.flexible_share <= 1.0 and 0.0 <= self.battery_share <= 1.0):
            raise ValueError("shares lie between 0 and 1")

    def reduction_kw(self, home: HomeParameters) -> float:
        """Return by how much a home lowers its import, kW."""
        battery = home.battery.power_kw if home.battery is not None else 0.0
        flexible = home.flexible.slot_limit_kwh / SLOT_H if home.flexible is not None else 0.0
        return self.battery_share * battery + self.flexible_share * flexible


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedTable:
    """The levels 1 (moderate), 2 (high) and 3 (special) of SIMPLE."""

    moderate: ShedStep
    high: ShedStep
    special: ShedStep

    def step(self, level: int) -> ShedStep:
        """Return the step of a level."""
        return (ShedStep(), self.moderate, self.high, self.special)[level]


DEFAULT_SHED: Final = ShedTable(
    moderate=ShedStep(flexible_share=1.0),
    high=ShedStep(flexible_share=1.0, battery_share=0.5),
    special=ShedStep(flexible_share=1.0, battery_share=1.0, import_limit_kw=0.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What programmes want of a home at one instant.

    Attributes:
        up_c_per_kwh: Supplier's price, c/kWh; None is the home's own.
        down_c_per_kwh: Feed-in price, c/kWh; None is the home's own.
        low_kw: Least import, kW; None is no limit.
        high_kw: Most import, kW; None is no limit.
        stored_kwh: Stored energy to reach and keep, kWh; None is free.
        peak_c_per_kw: Price of the highest import, c/kW.
        peak_since: Since when that price holds.
        peak_until: Until when.
    """

    up_c_per_kwh: float | None = None
    down_c_per_kwh: float | None = None
    low_kw: float | None = None
    high_kw: float | None = None
    stored_kwh: float | None = None
    peak_c_per_kw: float = 0.0
    peak_since: datetime | None = None
    peak_until: datetime | None = None

    @property
    def limits(self) -> bool:
        """Whether the exchange is limited."""
        return self.low_kw is not None or self.high_kw is not None

    @property
    def frees_battery(self) -> bool:
        """Whether the battery may use its whole range."""
        return self.limits or self.stored_kwh is not None or self.peak_c_per_kw > 0.0


NO_PROGRAMME: Final = Situation()


def situation(
    programmes: Sequence[Programme],
    now: datetime,
    *,
    home: HomeParameters,
    shed: ShedTable,
    planned_kwh: float,
    prices_c_per_kwh: tuple[float, float],
    stored_at: Callable[[datetime], float],
) -> Situation:
    """Return what programmes want of a home at an instant.

    Args:
        programmes: Those the home has opted in to.
        now: The instant.
        home: Devices.
        shed: What the levels of SIMPLE mean.
        planned_kwh: Planned exchange of the slot, kWh, + import.
        prices_c_per_kwh: The home's own supplier's and feed-in price.
        stored_at: Returns the energy that was stored at the start of an interval, kWh.
    """
    if not programmes:
        return NO_PROGRAMME
    low, high = _corridor(programmes, now, home, shed, planned_kwh / SLOT_H)
    supplier, feed_in = prices_c_per_kwh
    up: float | None = None
    down: float | None = None
    if _holding(programmes, ProgrammeKind.TARIFF, now):
        up = _tariff_c(programmes, supplier, now)
        down = min(feed_in, up)
    peaks = _holding(programmes, ProgrammeKind.PEAK, now)
    return Situation(
        up_c_per_kwh=up,
        down_c_per_kwh=down,
        low_kw=low if low > -_INF else None,
        high_kw=high if high < _INF else None,
        stored_kwh=_stored_kwh(programmes, now, home, stored_at),
        peak_c_per_kw=max(0.0, sum(step.value for _, step in peaks) / MILLICENT_PER_CENT),
        peak_since=peak_since(programmes, now),
        peak_until=max((step.end for _, step in peaks), default=None),
    )


def planned_tariffs(tariffs: Tariffs, programmes: Sequence[Programme], start: datetime) -> Tariffs:
    """Return the tariffs of a horizon that begins with a slot, with rule 5 applied at each slot's start."""
    if not _about(programmes, ProgrammeKind.TARIFF):
        return tariffs
    supplier = tuple(
        _tariff_c(programmes, price, start + k * SLOT) for k, price in enumerate(tariffs.supplier_c_per_kwh)
    )
    return Tariffs(
        supplier_c_per_kwh=supplier,
        feed_in_c_per_kwh=tuple(map(min, tariffs.feed_in_c_per_kwh, supplier)),
    )


def planned_limits(
    limits: MarketLimits, supplier_c_per_kwh: Series, programmes: Sequence[Programme], start: datetime
) -> MarketLimits:
    """Return the limits of offers: where a programme sets the tariff nobody bids above it (errata 4, 5)."""
    if not _about(programmes, ProgrammeKind.TARIFF):
        return limits
    slots = range(len(supplier_c_per_kwh))
    touched = [bool(_holding(programmes, ProgrammeKind.TARIFF, start + k * SLOT)) for k in slots]
    bids = tuple(
        min(limits.bid_c_per_kwh[k], supplier_c_per_kwh[k]) if touched[k] else limits.bid_c_per_kwh[k]
        for k in slots
    )
    asks = tuple(
        min(limits.ask_c_per_kwh[k], bids[k]) if touched[k] else limits.ask_c_per_kwh[k] for k in slots
    )
    return replace(limits, bid_c_per_kwh=bids, ask_c_per_kwh=asks)


def peak_since(programmes: Sequence[Programme], now: datetime) -> datetime | None:
    """Return since when a demand charge holds at an instant; None if none does."""
    return min((step.start for _, step in _holding(programmes, ProgrammeKind.PEAK, now)), default=None)


def planned_peak(
    programmes: Sequence[Programme], start: datetime, slots: int, reached_kw: float
) -> PeakCharge | None:
    """Return the demand charge of a horizon that begins with a slot (rule 6); None if none holds in it.

    Charges that hold at different times count as one, at the highest price any slot has.

    Args:
        programmes: Those the home has opted in to.
        start: First slot of the horizon.
        slots: Its length.
        reached_kw: Import that costs nothing more, kW.
    """
    if not _about(programmes, ProgrammeKind.PEAK):
        return None
    held = [_holding(programmes, ProgrammeKind.PEAK, start + k * SLOT) for k in range(slots)]
    price = max(sum(step.value for _, step in steps) for steps in held) / MILLICENT_PER_CENT
    if price <= 0.0:
        return None
    return PeakCharge(c_per_kw=price, reached_kw=reached_kw, holds=tuple(map(bool, held)))


def held_peak_kw(home: HomeParameters, e0_kwh: float, gaps_kwh: Sequence[float]) -> float:
    """Return the lowest peak that a home's battery can hold over slots, kW; see :func:`water_level_kw`.

    Args:
        home: Devices.
        e0_kwh: Stored energy now.
        gaps_kwh: Expected load less production per slot, kWh.
    """
    battery = home.battery
    if battery is None:
        return water_level_kw(gaps_kwh, 0.0, 0.0)
    return water_level_kw(gaps_kwh, max(0.0, e0_kwh - battery.e_low_kwh), battery.power_kw)


def water_level_kw(gaps_kwh: Sequence[float], energy_kwh: float, power_kw: float) -> float:
    """The lowest peak that a battery can hold over slots, kW, >= 0.

    The level L is the smallest at which the energy above it, ``sum max(0, gap - L dt)``, is no more than the
    battery gives, and no slot lies above it by more than the battery's power. Charging in between is left
    out: the level is safe, not the best.

    Args:
        gaps_kwh: Expected load less production per slot, kWh.
        energy_kwh: What the battery can give, kWh.
        power_kw: Its power, kW.

    Source: peak shaving as water-filling; exact for a piecewise linear sum.
    """
    gaps = sorted((gap for gap in gaps_kwh if gap > 0.0), reverse=True)
    level_kwh = max(0.0, gaps[0] - power_kw * SLOT_H) if gaps else 0.0
    above = 0.0
    for count, gap in enumerate(gaps, start=1):
        above += gap
        following = gaps[count] if count < len(gaps) else 0.0
        level = (above - energy_kwh) / count
        if level >= following:
            return max(level, level_kwh) / SLOT_H
    return level_kwh / SLOT_H


# --- values at an instant ----------------------------------------------------------------------------------

_Held = tuple[Change, Step]


def _about(programmes: Sequence[Programme], kind: ProgrammeKind) -> bool:
    return any(one.kind is kind for one in programmes)


def _holding(programmes: Sequence[Programme], kind: ProgrammeKind, when: datetime) -> tuple[_Held, ...]:
    return tuple(
        (one.change, step) for one in programmes if one.kind is kind for step in one.steps if step.holds(when)
    )


def _tariff_c(programmes: Sequence[Programme], own_c: float, when: datetime) -> float:
    held = _holding(programmes, ProgrammeKind.TARIFF, when)
    price = own_c
    fixed = [step for change, step in held if change is Change.SET]
    if fixed:
        price = max(fixed, key=lambda step: (step.start, step.value)).value / MILLICENT_PER_CENT
    for change, step in held:
        if change is Change.MULTIPLY:
            price *= step.value / MILLIONTHS
    return price + sum(step.value for change, step in held if change is Change.ADD) / MILLICENT_PER_CENT


def _corridor(
    programmes: Sequence[Programme], now: datetime, home: HomeParameters, shed: ShedTable, planned_kw: float
) -> tuple[float, float]:
    """Least and most import, kW, by rules 1 to 3."""
    low, high = -_INF, _INF
    for change, step in _holding(programmes, ProgrammeKind.EXCHANGE, now):
        match change:
            case Change.SET:
                target = step.value / 1000.0
            case Change.ADD:
                target = planned_kw + step.value / 1000.0
            case Change.MULTIPLY:
                target = planned_kw * (step.value / MILLIONTHS)
        low = high = min(high, target)
    level = max((step.value for _, step in _holding(programmes, ProgrammeKind.SHED, now)), default=0)
    if level:
        wanted = shed.step(level)
        high = min(high, planned_kw - wanted.reduction_kw(home))
        if wanted.import_limit_kw is not None:
            high = min(high, wanted.import_limit_kw)
    return min(low, high), high


def _stored_kwh(
    programmes: Sequence[Programme],
    now: datetime,
    home: HomeParameters,
    stored_at: Callable[[datetime], float],
) -> float | None:
    held = _holding(programmes, ProgrammeKind.CHARGE, now)
    if not held or home.battery is None:
        return None
    change, step = max(held, key=lambda one: (one[1].start, one[1].value))
    match change:
        case Change.SET:
            wanted = step.value / WH_PER_KWH
        case Change.ADD:
            wanted = stored_at(step.start) + step.value / WH_PER_KWH
        case Change.MULTIPLY:
            wanted = home.battery.capacity_kwh * step.value / MILLIONTHS
    return min(max(wanted, home.battery.e_low_kwh), home.battery.e_high_kwh)


def unservable(programme: Programme, home: HomeParameters) -> str | None:
    """Return why a home cannot serve a programme at all (460), None if it can."""
    battery, flexible = home.battery is not None, home.flexible is not None
    match programme.kind:
        case ProgrammeKind.SHED | ProgrammeKind.EXCHANGE if not (battery or flexible):
            return "this home has nothing to shed or shift"
        case ProgrammeKind.CHARGE if not battery:
            return "this home has no battery"
        case ProgrammeKind.PEAK if programme.change is Change.MULTIPLY:
            return "this home pays no demand charge that could be multiplied"
    return None
