"""An event from the options of a command line: the common cases. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.oadr20b.enums import ResponseRequired, SignalName, SignalType
from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.units import ItemKind
from schemas.oadr20b.xmltypes import Duration
from vtn_server import api_models as api

__all__ = ["BadOption", "Wanted", "event_of", "instant"]


class BadOption(Exception):
    """An option that says nothing sensible, alone or with the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the options say; the values of exactly one signal.

    Attributes:
        levels: SIMPLE, one per interval; the intervals share the duration equally.
        prices_eur_per_kwh: ELECTRICITY_PRICE.
        relative: priceRelative instead of price.
        dispatch_w: LOAD_DISPATCH, setpoint.
    """

    market_context: str
    duration: str
    start: datetime
    levels: tuple[float, ...] = ()
    prices_eur_per_kwh: tuple[float, ...] = ()
    relative: bool = False
    dispatch_w: tuple[float, ...] = ()
    ven_ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    all_vens: bool = False
    event_id: str | None = None
    priority: int = 0
    never: bool = False
    test: bool = False
    comment: str | None = None


def instant(text: str, now: datetime) -> datetime:
    """Return an instant: ISO 8601 with an offset, ``now``, or ``+PT10M`` from now; whole seconds.

    Raises:
        BadOption: if it is none.
    """
    try:
        if text == "now":
            return now.replace(microsecond=0)
        if text.startswith("+"):
            return Duration.parse(text[1:]).after(now).replace(microsecond=0)
        when = datetime.fromisoformat(text)
    except (ValueError, InvalidValue) as err:
        raise BadOption(f"{text!r} is no instant: 2026-05-16T10:00:00Z, now, or +PT10M") from err
    if when.tzinfo is None:
        raise BadOption(f"{text!r} has no offset: end it with Z for UTC")
    return when.replace(microsecond=0)


def event_of(wanted: Wanted) -> api.EventCreate:
    """Return the event.

    Raises:
        BadOption: if not exactly one signal is given, or the duration cannot be shared among its values.
    """
    signal = _signal(wanted)
    return api.EventCreate(
        event_id=wanted.event_id,
        market_context=wanted.market_context,
        start=wanted.start,
        duration=wanted.duration,
        signals=(signal,),
        ven_ids=wanted.ven_ids,
        groups=wanted.groups,
        all_vens=wanted.all_vens,
        response_required=ResponseRequired.NEVER if wanted.never else ResponseRequired.ALWAYS,
        priority=wanted.priority,
        test_event="true" if wanted.test else None,
        comment=wanted.comment,
    )


def _signal(wanted: Wanted) -> api.SignalModel:
    if wanted.relative and not wanted.prices_eur_per_kwh:
        raise BadOption("--relative belongs to --price")
    match (bool(wanted.levels), bool(wanted.prices_eur_per_kwh), bool(wanted.dispatch_w)):
        case (True, False, False):
            name, kind, values, unit = SignalName.SIMPLE, SignalType.LEVEL, wanted.levels, None
        case (False, True, False):
            name, values = SignalName.ELECTRICITY_PRICE, wanted.prices_eur_per_kwh
            kind = SignalType.PRICE_RELATIVE if wanted.relative else SignalType.PRICE
            unit = api.UnitModel(kind=ItemKind.CURRENCY_PER_KWH, units="EUR")
        case (False, False, True):
            name, kind, values = SignalName.LOAD_DISPATCH, SignalType.SETPOINT, wanted.dispatch_w
            unit = api.UnitModel(kind=ItemKind.POWER_REAL, units="W")
        case _:
            raise BadOption("one of --simple, --price and --dispatch-w, or a file with the event")
    return api.SignalModel(name=name, type=kind, unit=unit, intervals=_intervals(wanted.duration, values))


def _intervals(duration: str, values: Sequence[float]) -> tuple[api.IntervalModel, ...]:
    try:
        whole = Duration.parse(duration)
        share = whole
        if len(values) > 1:
            length = whole.timedelta() / len(values)
            if length <= timedelta(0):
                raise BadOption("an open-ended event has one value")
            share = Duration.of(length)
    except InvalidValue as err:
        raise BadOption(f"{duration} cannot be shared by {len(values)} values: {err}") from err
    return tuple(api.IntervalModel(duration=str(share), value=value) for value in values)
