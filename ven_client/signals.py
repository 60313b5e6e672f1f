"""OpenADR events as instructions to a home: which signals it understands, and in which units.

What an event says is told by the names of its signals and, for prices and dispatch, by whether its market
context is that of the real-time price. That the context is the VEN's is the session's check. Values are
rounded to the grid they came from (xs:float carries 24 bits).

====================================================  =====================  ============================
signals of the event                                  unit                   instruction
====================================================  =====================  ============================
ELECTRICITY_PRICE/price, x-COMMITTED_ENERGY/setpoint  currencyPerKWh EUR,    MarketResult
                                                      energyReal Wh
ELECTRICITY_PRICE/price, x-COMMITTED_BLOCK/setpoint   the same               DayAheadResult
x-PHASE_ALLOCATION/setpoint                           none                   PhasePlan
ELECTRICITY_PRICE/priceRelative, real-time context    currencyPerKWh EUR     PricePath
LOAD_DISPATCH/setpoint, real-time context             powerReal W            ExportBound (value >= 0)
any signals of :mod:`ven_client.programme_signals`    as there               Programmes
anything else                                                                460 for the whole event (r109)
====================================================  =====================  ============================

The two lines of the real-time context hold in every context if the home knows none.

Source: signals.md; 2.0b rules 47, 100, 102, 107, 109.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.oadr20b.enums import SignalName, SignalType
from schemas.oadr20b.errors import InvalidData, SignalNotSupported
from schemas.oadr20b.model import EiEvent, EventSignal
from schemas.oadr20b.units import ItemBase, ItemKind
from ven_client.hems.model import SLOTS_PER_HOUR
from ven_client.instructions import (
    DayAheadResult,
    ExportBound,
    Instruction,
    MarketResult,
    PhasePlan,
    PricePath,
    Programme,
    Programmes,
    Step,
)
from ven_client.messages import normal_uri
from ven_client.programme_signals import PROGRAMMES, checked
from ven_client.slots import DAY, HOUR, SLOT, day_start, hour_start

__all__ = ["COMMITTED_BLOCK", "COMMITTED_ENERGY", "MILLICENT_PER_EUR", "PHASE_ALLOCATION", "understand"]

COMMITTED_ENERGY: Final = "x-COMMITTED_ENERGY"
COMMITTED_BLOCK: Final = "x-COMMITTED_BLOCK"
PHASE_ALLOCATION: Final = "x-PHASE_ALLOCATION"
MILLICENT_PER_EUR: Final = 100_000

_LARGEST: Final = 1e12
_EVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
_Kind = tuple[str, SignalType]
_PRICE: Final[_Kind] = (SignalName.ELECTRICITY_PRICE, SignalType.PRICE)
_ENERGY: Final[_Kind] = (COMMITTED_ENERGY, SignalType.SETPOINT)
_BLOCK: Final[_Kind] = (COMMITTED_BLOCK, SignalType.SETPOINT)
_PHASES: Final[_Kind] = (PHASE_ALLOCATION, SignalType.SETPOINT)
_RELATIVE: Final[_Kind] = (SignalName.ELECTRICITY_PRICE, SignalType.PRICE_RELATIVE)
_BOUND: Final[_Kind] = (SignalName.LOAD_DISPATCH, SignalType.SETPOINT)


def understand(
    event: EiEvent, start_offset_s: int = 0, *, realtime_context: str | None = None
) -> Instruction:
    """Return what an event asks of a home.

    Args:
        event: The event.
        start_offset_s: The randomised delay of its start, seconds (r30).
        realtime_context: Market context of the real-time price; None takes every context for it.

    Raises:
        SignalNotSupported: if a signal, its unit or the combination is none of the table's.
        InvalidData: if a value, an interval or the number of intervals is out of range.
    """
    signals = {(signal.signal_name, signal.signal_type): signal for signal in event.signals.signals}
    if len(signals) != len(event.signals.signals):
        raise SignalNotSupported("the same signal twice in one event")
    for signal in signals.values():
        if signal.target is not None and signal.target.end_device_assets:
            raise SignalNotSupported("signals for a class of devices are not supported")
    start = event.active_period.dtstart + timedelta(seconds=start_offset_s)
    context = normal_uri(event.descriptor.market_context)
    realtime = realtime_context is None or context == normal_uri(realtime_context)
    match sorted(signals):
        case [kind] if kind == _RELATIVE and realtime:
            return PricePath(steps=_steps(event, start, signals[kind], _price_scale(signals[kind])))
        case [kind] if kind == _BOUND and realtime:
            factor = _scale(signals[kind], ItemKind.POWER_REAL, "W")
            return _export_bound(_steps(event, start, signals[kind], factor))
        case [kind] if kind == _PHASES:
            return _phase_plan(_steps(event, start, signals[kind], _no_unit(signals[kind])))
        case [first, second] if (first, second) == (_PRICE, _ENERGY):
            return _market_result(event, start, signals[first], signals[second])
        case [first, second] if (first, second) == (_PRICE, _BLOCK):
            return _day_ahead_result(event, start, signals[first], signals[second])
        case kinds if kinds and all(kind in PROGRAMMES for kind in kinds):
            return Programmes(parts=tuple(_programme(event, start, signals[kind]) for kind in kinds))
    names = ", ".join(f"{name}/{kind}" for name, kind in sorted(signals))
    raise SignalNotSupported(f"cannot act on {names}")


def _programme(event: EiEvent, start: datetime, signal: EventSignal) -> Programme:
    how = PROGRAMMES[signal.signal_name, signal.signal_type]
    unit = _no_unit(signal) if how.unit is None else _scale(signal, how.unit, how.units)
    return checked(how, _steps(event, start, signal, unit * how.factor))


def _market_result(event: EiEvent, start: datetime, price: EventSignal, energy: EventSignal) -> MarketResult:
    prices = _steps(event, start, price, _price_scale(price))
    volumes = _steps(event, start, energy, _scale(energy, ItemKind.ENERGY_REAL, "Wh"))
    edges = tuple((start + k * SLOT, start + (k + 1) * SLOT) for k in range(SLOTS_PER_HOUR))
    if hour_start(start) != start or any(
        tuple((step.start, step.end) for step in steps) != edges for steps in (prices, volumes)
    ):
        raise InvalidData("a market result covers one hour with six intervals of ten minutes per signal")
    return MarketResult(
        hour=start,
        price_millicent=tuple(step.value for step in prices),
        volume_wh=tuple(step.value for step in volumes),
    )


def _day_ahead_result(
    event: EiEvent, start: datetime, price: EventSignal, energy: EventSignal
) -> DayAheadResult:
    prices = _steps(event, start, price, _price_scale(price))
    energies = _steps(event, start, energy, _scale(energy, ItemKind.ENERGY_REAL, "Wh"))
    hours = tuple((start + k * HOUR, start + (k + 1) * HOUR) for k in range(DAY // HOUR))
    if day_start(start) != start or any(
        tuple((step.start, step.end) for step in steps) != hours for steps in (prices, energies)
    ):
        raise InvalidData("a day-ahead result covers one local day with 24 intervals of an hour per signal")
    if any(step.value % SLOTS_PER_HOUR for step in energies):
        raise InvalidData("the energy of a block is the same whole number of Wh in each of its six slots")
    return DayAheadResult(
        day=start,
        price_millicent=tuple(step.value for step in prices),
        volume_wh=tuple(step.value // SLOTS_PER_HOUR for step in energies),
    )


def _phase_plan(steps: tuple[Step, ...]) -> PhasePlan:
    if any(step.value not in (1, 2, 3) for step in steps):
        raise InvalidData("a phase is 1, 2 or 3")
    return PhasePlan(steps=steps)


def _export_bound(steps: tuple[Step, ...]) -> ExportBound:
    if any(step.value < 0 for step in steps):
        raise InvalidData("an export bound is not negative")
    return ExportBound(steps=steps)


def _steps(event: EiEvent, start: datetime, signal: EventSignal, factor: float) -> tuple[Step, ...]:
    """The intervals of a signal one after another, values times factor to the nearest whole number."""
    period = event.active_period.duration
    limit = _EVER if period.is_zero else period.after(start)
    steps: list[Step] = []
    begin = start
    for k, interval in enumerate(signal.intervals):
        last = k == len(signal.intervals) - 1
        if interval.duration is None or interval.duration.is_zero:
            if not last:
                raise InvalidData("only the last interval may be without a duration (r102)")
            end = limit
        else:
            end = interval.duration.after(begin)
        value = interval.signal_value * factor
        if end <= begin or end > limit or not abs(value) <= _LARGEST:  # NaN compares false
            raise InvalidData(f"interval {k} of {signal.signal_name} is empty, too long or not a number")
        steps.append(Step(start=begin, end=end, value=round(value)))
        begin = end
    return tuple(steps)


def _price_scale(signal: EventSignal) -> float:
    return _scale(signal, ItemKind.CURRENCY_PER_KWH, "EUR") * MILLICENT_PER_EUR


def _scale(signal: EventSignal, kind: ItemKind, units: str) -> float:
    """The factor from the signal's unit to the plain one, W, Wh or EUR/kWh."""
    base: ItemBase | None = signal.item_base
    if base is None or base.kind is not kind or base.units != units:
        raise SignalNotSupported(f"{signal.signal_name}/{signal.signal_type} needs {kind} in {units}")
    return float(10.0 ** (base.scale.exponent if base.scale is not None else 0))


def _no_unit(signal: EventSignal) -> float:
    if signal.item_base is not None:
        raise SignalNotSupported(f"{signal.signal_name} has no unit")
    return 1.0
