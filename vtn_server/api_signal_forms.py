"""Signals, baselines and units: from the operator API to the standard, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Final

from schemas.oadr20b.enums import SiScale
from schemas.oadr20b.errors import InvalidData, InvalidValue
from schemas.oadr20b.model import EventBaseline, EventSignal, Interval, Target
from schemas.oadr20b.units import ItemBase, ItemKind, PowerAttributes, form_of
from schemas.oadr20b.xmltypes import Duration
from vtn_server import api_models as api

__all__ = ["baseline_of", "baseline_out", "signal_of", "signal_out"]

_DESCRIPTIONS: Final = {
    ItemKind.CURRENCY: "currency",
    ItemKind.CURRENCY_PER_KW: "currencyPerKW",
    ItemKind.CURRENCY_PER_KWH: "currencyPerKWh",
    ItemKind.CURRENCY_PER_THM: "currencyPerThm",
}
"""Of the kinds whose description the schema leaves to a list of its own."""


# --- in ----------------------------------------------------------------------------------------------------


def signal_of(signal: api.SignalModel) -> EventSignal:
    """Return a signal.

    Raises:
        InvalidData: if its unit does not fit.
    """
    classes = signal.device_classes
    return EventSignal(
        intervals=_intervals_of(signal.intervals),
        target=Target(end_device_assets=classes) if classes else None,
        signal_name=signal.name,
        signal_type=signal.type,
        signal_id=signal.id,
        item_base=None if signal.unit is None else _unit_of(signal.unit),
    )


def baseline_of(baseline: api.BaselineModel, start: datetime) -> EventBaseline:
    """Return a baseline, as long as its intervals are.

    Raises:
        InvalidData: if its unit does not fit, or it ends outside the calendar.
    """
    begin = end = baseline.start or start
    try:
        for each in baseline.intervals:
            end = Duration.parse(each.duration).after(end)
    except InvalidValue as err:
        raise InvalidData(f"the baseline: {err}") from err
    return EventBaseline(
        dtstart=begin,
        duration=Duration.of(end - begin),
        intervals=_intervals_of(baseline.intervals),
        baseline_id=baseline.id,
        resource_ids=baseline.resource_ids,
        baseline_name=baseline.name,
        item_base=None if baseline.unit is None else _unit_of(baseline.unit),
    )


def _intervals_of(intervals: Iterable[api.IntervalModel]) -> tuple[Interval, ...]:
    return tuple(
        Interval.of_signal(k, Duration.parse(each.duration), each.value) for k, each in enumerate(intervals)
    )


def _unit_of(unit: api.UnitModel) -> ItemBase:
    form = form_of(unit.kind)
    attributes = None
    if form.has_attributes:
        attributes = PowerAttributes(hertz=Decimal(unit.hertz), voltage=Decimal(unit.voltage), ac=unit.ac)
    description = unit.description or form.description or _DESCRIPTIONS.get(unit.kind)
    units = unit.units or form.units
    if description is None or units is None:
        raise InvalidData(f"a unit of kind {unit.kind} needs units and a description")
    try:
        return ItemBase(
            kind=unit.kind,
            description=description,
            units=units,
            scale=(unit.scale or SiScale.NONE) if form.has_scale else unit.scale,
            attributes=attributes,
            pulse_factor=unit.pulse_factor,
        )
    except InvalidValue as err:
        raise InvalidData(str(err)) from err


# --- out ---------------------------------------------------------------------------------------------------


def signal_out(signal: EventSignal) -> api.SignalModel:
    """Return a signal as it came in."""
    return api.SignalModel(
        name=signal.signal_name,
        type=signal.signal_type,
        id=signal.signal_id,
        unit=None if signal.item_base is None else _unit_out(signal.item_base),
        intervals=_intervals_out(signal.intervals),
        device_classes=() if signal.target is None else signal.target.end_device_assets,
    )


def baseline_out(baseline: EventBaseline) -> api.BaselineModel:
    """Return a baseline as it came in."""
    return api.BaselineModel(
        id=baseline.baseline_id,
        name=baseline.baseline_name,
        start=baseline.dtstart,
        unit=None if baseline.item_base is None else _unit_out(baseline.item_base),
        intervals=_intervals_out(baseline.intervals),
        resource_ids=baseline.resource_ids,
    )


def _intervals_out(intervals: Iterable[Interval]) -> tuple[api.IntervalModel, ...]:
    return tuple(
        api.IntervalModel(duration=str(each.duration or Duration()), value=each.signal_value)
        for each in intervals
    )


def _unit_out(unit: ItemBase) -> api.UnitModel:
    plain = api.UnitModel(
        kind=unit.kind,
        units=unit.units,
        description=unit.description,
        scale=unit.scale,
        pulse_factor=unit.pulse_factor,
    )
    if unit.attributes is None:
        return plain
    return plain.model_copy(
        update={
            "hertz": str(unit.attributes.hertz),
            "voltage": str(unit.attributes.voltage),
            "ac": unit.attributes.ac,
        }
    )
