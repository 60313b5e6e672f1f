"""What a home can report, as OpenADR metadata, and its values as intervals of reports.

Source: signals.md, "The market hour", "The day before", "Phase command", "Metering"; 2.0b rules 305, 308,
311, 312, 317, 331.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from schemas.oadr20b.enums import DataQuality, ReadingType, ReportName, ReportType
from schemas.oadr20b.model import (
    Interval,
    LoadControlState,
    LoadControlValue,
    Report,
    ReportDescription,
    ReportPayload,
    ResourceStatus,
    SamplingRate,
    Target,
)
from schemas.oadr20b.units import EUR_PER_KWH, WATT, WATT_HOUR, ItemBase
from schemas.oadr20b.xmltypes import Duration
from ven_client.hems.day_ahead import BlockOffer
from ven_client.hems.model import SLOTS_PER_HOUR, Offer, Plan
from ven_client.signals import MILLICENT_PER_EUR
from ven_client.slots import HOUR, SLOT

__all__ = [
    "MINUTE",
    "Specifier",
    "Value",
    "block_values",
    "commitment_values",
    "interval",
    "metadata",
    "offer_values",
    "only",
    "status",
]


MINUTE: Final = timedelta(minutes=1)
_KEPT: Final = Duration(hours=1)
"""How much of each report the home holds (r312)."""


class Specifier:
    """reportSpecifierIDs."""

    OFFER: Final = "offer"
    DAY_AHEAD: Final = "day-ahead-offer"
    COMMITMENT: Final = "commitment"
    METER_ENERGY: Final = "meter-energy"
    METER_POWER: Final = "meter-power"
    STORAGE: Final = "storage"
    STATUS: Final = "status"
    SWITCH: Final = "switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A number of a report."""

    r_id: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """One rID of the table of reports."""

    r_id: str
    report_type: str
    reading_type: str
    unit: ItemBase | None = None


_PROJECTED: Final = ReadingType.PROJECTED
_READ: Final = ReadingType.DIRECT_READ
_NONE: Final = ReadingType.NOT_APPLICABLE

_OFFER: Final = (
    _Point(r_id="volume", report_type=ReportType.SET_POINT, reading_type=_PROJECTED, unit=WATT_HOUR),
    _Point(r_id="limit-price", report_type=ReportType.PRICE, reading_type=_NONE, unit=EUR_PER_KWH),
)
_BLOCKS: Final = (
    _Point(r_id="block-volume", report_type=ReportType.SET_POINT, reading_type=_PROJECTED, unit=WATT_HOUR),
    _Point(r_id="block-limit-price", report_type=ReportType.PRICE, reading_type=_NONE, unit=EUR_PER_KWH),
)
_COMMITMENT: Final = (
    _Point(r_id="grid-energy", report_type=ReportType.SET_POINT, reading_type=_PROJECTED, unit=WATT_HOUR),
    _Point(r_id="flexibility-up", report_type=ReportType.DELTA_SET_POINT, reading_type=_PROJECTED, unit=WATT),
    _Point(
        r_id="flexibility-down", report_type=ReportType.DELTA_SET_POINT, reading_type=_PROJECTED, unit=WATT
    ),
)
_ENERGY: Final = (_Point(r_id="energy", report_type=ReportType.USAGE, reading_type=_READ, unit=WATT_HOUR),)
_POWER: Final = (_Point(r_id="power", report_type=ReportType.USAGE, reading_type=_READ, unit=WATT),)
_STORAGE: Final = (
    _Point(r_id="stored-energy", report_type=ReportType.STORED_ENERGY, reading_type=_READ, unit=WATT_HOUR),
    _Point(r_id="battery-power", report_type=ReportType.SET_POINT, reading_type=_READ, unit=WATT),
)
_STATUS: Final = (_Point(r_id="status", report_type=ReportType.RESOURCE_STATUS, reading_type=_NONE),)
_PHASE: Final = (_Point(r_id="phase", report_type=ReportType.RESOURCE_STATUS, reading_type=_NONE),)


def metadata(
    now: datetime,
    *,
    local_market: str,
    has_battery: bool,
    switch_id: str | None,
    day_ahead_market: str | None = None,
) -> tuple[Report, ...]:
    """Return the metadata of everything a home reports.

    Args:
        now: Becomes createdDateTime.
        local_market: Market context of offers and commitments.
        has_battery: Whether there is storage to report.
        switch_id: resourceID of the transfer switch, None without one.
        day_ahead_market: Market context of offers for hourly blocks; None where the home makes none.
    """
    slot, minute = Duration.of(SLOT), Duration.of(MINUTE)
    usage, state = ReportName.METADATA_TELEMETRY_USAGE, ReportName.METADATA_TELEMETRY_STATUS
    reports = [
        _report(Specifier.OFFER, "x-METADATA_LOCAL_MARKET_OFFER", _OFFER, slot, now, context=local_market),
        _report(Specifier.COMMITMENT, "x-METADATA_COMMITMENT", _COMMITMENT, slot, now, context=local_market),
        _report(Specifier.METER_ENERGY, usage, _ENERGY, slot, now),
        _report(Specifier.METER_POWER, usage, _POWER, minute, now),
        _report(Specifier.STATUS, state, _STATUS, slot, now),
    ]
    if day_ahead_market is not None:
        name, hour, market = "x-METADATA_DAY_AHEAD_OFFER", Duration.of(HOUR), day_ahead_market
        reports.append(_report(Specifier.DAY_AHEAD, name, _BLOCKS, hour, now, context=market))
    if has_battery:
        reports.append(_report(Specifier.STORAGE, "x-METADATA_STORAGE_STATUS", _STORAGE, slot, now))
    if switch_id is not None:
        source = Target(resource_ids=(switch_id,))
        reports.append(_report(Specifier.SWITCH, state, _PHASE, minute, now, source=source, on_change=True))
    return tuple(reports)


def _report(
    specifier: str,
    name: str,
    points: tuple[_Point, ...],
    period: Duration,
    now: datetime,
    *,
    context: str | None = None,
    source: Target | None = None,
    on_change: bool = False,
) -> Report:
    rate = SamplingRate(min_period=period, max_period=period, on_change=on_change)
    return Report(
        duration=_KEPT,
        descriptions=tuple(
            ReportDescription(
                r_id=point.r_id,
                report_data_source=source,
                report_type=point.report_type,
                item_base=point.unit,
                reading_type=point.reading_type,
                market_context=context,
                sampling_rate=rate,
            )
            for point in points
        ),
        report_request_id="0",
        report_specifier_id=specifier,
        report_name=name,
        created_date_time=now,
    )


def offer_values(offer: Offer) -> tuple[tuple[Value, ...], ...]:
    """Return volume (Wh) and limit price (EUR/kWh) of each slot of an offer."""
    return tuple(
        (Value(r_id="volume", value=volume), Value(r_id="limit-price", value=limit / MILLICENT_PER_EUR))
        for volume, limit in zip(offer.volume_wh, offer.limit_millicent_per_kwh, strict=True)
    )


def block_values(offer: BlockOffer) -> tuple[tuple[Value, ...], ...]:
    """Return energy of the whole hour (Wh) and limit price (EUR/kWh) of each block of an offer."""
    return tuple(
        (
            Value(r_id="block-volume", value=SLOTS_PER_HOUR * volume),
            Value(r_id="block-limit-price", value=limit / MILLICENT_PER_EUR),
        )
        for volume, limit in zip(offer.volume_wh, offer.limit_millicent_per_kwh, strict=True)
    )


def commitment_values(plan: Plan) -> tuple[tuple[Value, ...], ...]:
    """Return planned exchange (Wh) and flexibility (W) of each slot of an hour."""
    return tuple(
        (
            Value(r_id="grid-energy", value=grid),
            Value(r_id="flexibility-up", value=up),
            Value(r_id="flexibility-down", value=down),
        )
        for grid, up, down in zip(
            plan.grid_energy_wh, plan.flexibility_up_w, plan.flexibility_down_w, strict=True
        )
    )


def interval(start: datetime, length: timedelta, values: Iterable[Value]) -> Interval:
    """Return numbers as an interval."""
    payloads = tuple(ReportPayload.of(value.r_id, value.value) for value in values)
    return Interval(dtstart=start, duration=Duration.of(length), payloads=payloads)


def status(
    r_id: str,
    start: datetime,
    length: timedelta | None,
    *,
    set_point: int | None = None,
    changed: bool = True,
) -> Interval:
    """Return the state of a resource that is online, with the current set point if it has one.

    Args:
        r_id: The rID.
        start: When the state was read.
        length: The stretch it holds for, None for a point in time.
        set_point: oadrSetPoint, for a switch its phase.
        changed: False says that it is the value reported before (r317).
    """
    control = None
    if set_point is not None:
        control = LoadControlState(set_point=LoadControlValue(current=float(set_point)))
    payload = ReportPayload(
        r_id=r_id,
        payload=ResourceStatus(online=True, manual_override=False, load_control_state=control),
        data_quality=None if changed else DataQuality.PREVIOUS_VALUE_USED,
    )
    return Interval(
        dtstart=start, duration=None if length is None else Duration.of(length), payloads=(payload,)
    )


def only(intervals: Iterable[Interval], r_ids: frozenset[str]) -> tuple[Interval, ...]:
    """Return the intervals cut to the rIDs that were asked for, empty ones left out."""
    cut = []
    for one in intervals:
        payloads = tuple(p for p in one.payloads if isinstance(p, ReportPayload) and p.r_id in r_ids)
        if payloads:
            cut.append(Interval(dtstart=one.dtstart, duration=one.duration, uid=one.uid, payloads=payloads))
    return tuple(cut)
