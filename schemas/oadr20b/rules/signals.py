"""Checks of signals and baselines: what they hold, which units fit which name, whom they may address.

Source: OpenADR 2.0b rules 100 to 104, 107, 111, 116; table 1 and the list of device classes of rule 111.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import SignalName, SignalType
from schemas.oadr20b.rules.base import Finding, Rule, Subject
from schemas.oadr20b.rules.events import fills, misnumbered
from schemas.oadr20b.rules.walk import (
    baselines_of,
    events_of,
    is_simple,
    number_in,
    numbered,
    signals_of,
)
from schemas.oadr20b.units import ItemKind

__all__ = ["DEVICE_CLASSES", "RULES", "device_class_faults"]

DEVICE_CLASSES: Final = frozenset(
    (
        "Thermostat",
        "Strip_Heater",
        "Baseboard_Heater",
        "Water_Heater",
        "Pool_Pump",
        "Sauna",
        "Hot_tub",
        "Smart_Appliance",
        "Irrigation_Pump",
        "Managed_Commercial_and_Industrial_Loads",
        "Simple_Residential_On_Off_Loads",
        "Exterior_Lighting",
        "Interior_Lighting",
        "Electric_Vehicle",
        "Generation_Systems",
        "Load_Control_Switch",
        "Smart_Inverter",
        "EVSE",
        "RESU",
        "Energy_Management_System",
        "Smart_Energy_Module",
        "Storage",
    )
)
"""The endDeviceAsset names of rule 111; others begin with x-."""

_POWER: Final = (ItemKind.POWER_REAL, ItemKind.POWER_APPARENT, ItemKind.POWER_REACTIVE)
_ENERGY: Final = (ItemKind.ENERGY_REAL, ItemKind.ENERGY_APPARENT, ItemKind.ENERGY_REACTIVE)
_CURRENCY: Final = (
    ItemKind.CURRENCY,
    ItemKind.CURRENCY_PER_KWH,
    ItemKind.CURRENCY_PER_KW,
    ItemKind.CURRENCY_PER_THM,
)


@dataclass(frozen=True, slots=True)
class _Form:
    """What table 1 says of a name and a type: units (empty is none), and the range of the values."""

    units: tuple[ItemKind, ...] = ()
    least: float = float("-inf")
    most: float = float("inf")
    whole: bool = False


_PRICES: Final = {
    SignalType.PRICE: _Form((ItemKind.CURRENCY_PER_KWH,)),
    SignalType.PRICE_RELATIVE: _Form((ItemKind.CURRENCY_PER_KWH,)),
    SignalType.PRICE_MULTIPLIER: _Form(),
}
_TABLE: Final[dict[str, dict[SignalType, _Form]]] = {
    SignalName.SIMPLE: {SignalType.LEVEL: _Form()},
    SignalName.SIMPLE_LOWER: {SignalType.LEVEL: _Form()},
    SignalName.ELECTRICITY_PRICE: _PRICES,
    SignalName.ENERGY_PRICE: _PRICES,
    SignalName.DEMAND_CHARGE: {
        SignalType.PRICE: _Form((ItemKind.CURRENCY_PER_KW,)),
        SignalType.PRICE_RELATIVE: _Form((ItemKind.CURRENCY_PER_KW,)),
        SignalType.PRICE_MULTIPLIER: _Form(),
    },
    SignalName.BID_PRICE: {SignalType.PRICE: _Form(_CURRENCY)},
    SignalName.BID_LOAD: {SignalType.SETPOINT: _Form(_POWER)},
    SignalName.BID_ENERGY: {SignalType.SETPOINT: _Form(_ENERGY)},
    SignalName.CHARGE_STATE: {
        SignalType.SETPOINT: _Form(_ENERGY),
        SignalType.DELTA: _Form(_ENERGY),
        SignalType.MULTIPLIER: _Form((), 0.0, 1.0),
    },
    SignalName.LOAD_DISPATCH: {
        SignalType.SETPOINT: _Form(_POWER),
        SignalType.DELTA: _Form(_POWER),
        SignalType.MULTIPLIER: _Form(),
        SignalType.LEVEL: _Form(_POWER, -10.0, 10.0, whole=True),
    },
    SignalName.LOAD_CONTROL: {
        SignalType.LOAD_CONTROL_CAPACITY: _Form((), 0.0, 1.0),
        SignalType.LOAD_CONTROL_LEVEL_OFFSET: _Form((), whole=True),
        SignalType.LOAD_CONTROL_SETPOINT: _Form(),
        SignalType.LOAD_CONTROL_PERCENT_OFFSET: _Form(),
    },
}
"""Table 1; the levels of SIMPLE are rule 9's and its type is rule 116's."""


def device_class_faults(target: m.Target | None, path: str) -> Iterator[Finding]:
    """Yield what is wrong with a target that may name classes of devices and nothing else."""
    if target is None:
        return
    if target != m.Target(end_device_assets=target.end_device_assets):
        yield path, "names something other than endDeviceAsset"
    if not target.end_device_assets:
        yield path, "is left out where it names nothing"
    for where, name in numbered(target.end_device_assets, f"{path}/endDeviceAsset"):
        if name not in DEVICE_CLASSES and not name.startswith("x-"):
            yield f"{where}/mrid", f"{name!r} is no class of devices"


def _one_number(s: Subject) -> Iterator[Finding]:
    for at in signals_of(s.message):
        for path, interval in numbered(at.signal.intervals, f"{at.path}/intervals/interval"):
            if number_in(interval) is None:
                yield path, "holds exactly one signalPayload with one payloadFloat"


def _baseline_uids(s: Subject) -> Iterator[Finding]:
    for path, baseline in baselines_of(s.message):
        yield from misnumbered(baseline.intervals, path)


def _durations(s: Subject) -> Iterator[Finding]:
    for at in signals_of(s.message):
        yield from _without_duration(at.signal.intervals, at.path)
    for path, baseline in baselines_of(s.message):
        yield from _without_duration(baseline.intervals, path)
        if not fills(baseline.intervals, baseline.dtstart, baseline.duration):
            yield f"{path}/intervals", f"the intervals do not add up to {baseline.duration}"


def _without_duration(intervals: tuple[m.Interval, ...], path: str) -> Iterator[Finding]:
    for where, interval in numbered(intervals, f"{path}/intervals/interval"):
        if interval.duration is None:
            yield f"{where}/duration", "is missing"


def _no_starts(s: Subject) -> Iterator[Finding]:
    placed = [(at.path, at.signal.intervals) for at in signals_of(s.message)]
    placed += [(path, baseline.intervals) for path, baseline in baselines_of(s.message)]
    for path, intervals in placed:
        for where, interval in numbered(intervals, f"{path}/intervals/interval"):
            if interval.dtstart is not None:
                yield f"{where}/dtstart", "has no place in a signal or a baseline"


def _table(s: Subject) -> Iterator[Finding]:
    for at in signals_of(s.message):
        signal = at.signal
        types = _TABLE.get(signal.signal_name)
        if types is None or (is_simple(signal) and signal.signal_type is not SignalType.LEVEL):
            continue  # a name of somebody's own, or rule 116
        form = types.get(signal.signal_type)
        if form is None:
            yield f"{at.path}/signalType", f"{signal.signal_name} has no {signal.signal_type}"
            continue
        kind = None if signal.item_base is None else signal.item_base.kind
        if (kind is not None or form.units) and kind not in form.units:
            yield f"{at.path}/itemBase", f"{kind} is no unit of {signal.signal_name}/{signal.signal_type}"
        for path, interval in numbered(signal.intervals, f"{at.path}/intervals/interval"):
            value = number_in(interval)
            if value is None:
                continue
            if not form.least <= value <= form.most or (form.whole and value % 1 != 0):
                yield f"{path}/signalPayload", f"{value} is out of range"


def _signal_ids(s: Subject) -> Iterator[Finding]:
    for at in events_of(s.message):
        ids = [signal.signal_id for signal in at.event.signals.signals]
        if len(set(ids)) != len(ids):
            yield f"{at.path}/eiEventSignals", "a signalID comes twice"


def _signal_targets(s: Subject) -> Iterator[Finding]:
    for at in signals_of(s.message):
        yield from device_class_faults(at.signal.target, f"{at.path}/eiTarget")


def _simple_levels(s: Subject) -> Iterator[Finding]:
    for at in signals_of(s.message):
        if is_simple(at.signal) and at.signal.signal_type is not SignalType.LEVEL:
            yield f"{at.path}/signalType", f"{at.signal.signal_type} instead of level"


_SET: Final = (m.DistributeEvent,)

RULES: Final = (
    Rule(number="100", check=_one_number, messages=_SET),
    Rule(number="101", check=_baseline_uids, messages=_SET),
    Rule(number="102", check=_durations, messages=_SET),
    Rule(number="103", check=_no_starts, messages=_SET),
    Rule(number="104", check=_table, messages=_SET),
    Rule(number="107", check=_signal_ids, messages=_SET),
    Rule(number="111", check=_signal_targets, messages=_SET),
    Rule(number="116", check=_simple_levels, messages=_SET),
)
"""The checks of this file, by number."""
