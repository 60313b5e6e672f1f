"""The rules of events: status, order, new versions. Pure.

::

    far --(dtstart - ramp up, if one is defined)--> near --(dtstart)--> active --(end)--> completed
    any of far, near, active --(cancelled)--> cancelled, until the active period would have been over

An open-ended event (duration zero) never completes. A VTN lists an event with a start tolerance until
dtstart + duration + startafter, as completed.

Source: OpenADR 2.0b rules 4, 5, 8 to 10, 13, 15, 20, 47, 66, 102, 107, 115; G8, G20.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from schemas.oadr20b.enums import EventStatus, SignalName
from schemas.oadr20b.errors import InvalidData, InvalidValue, NotAllowed
from schemas.oadr20b.model import (
    ActivePeriod,
    EiEvent,
    Event,
    EventDescriptor,
    EventSignal,
    EventSignals,
    Interval,
)
from schemas.oadr20b.xmltypes import Duration
from vtn_server.limits import Limit, LimitReached
from vtn_server.records import EventDraft, EventRecord, EventVersion

__all__ = [
    "MOST_VERSIONS",
    "cancel",
    "changed_at",
    "is_over",
    "modify",
    "order_key",
    "publish",
    "status",
    "wire_event",
]

MOST_VERSIONS: Final = 10_000
"""Versions of one event; all of them stay in memory with it."""

_LEVELS: Final = (0.0, 1.0, 2.0, 3.0)


def is_over(record: EventRecord, now: datetime) -> bool:
    """Return whether the event is no longer listed to anybody (r50, r66)."""
    return record.over_at is not None and now >= record.over_at


def _course(record: EventRecord, now: datetime) -> EventStatus:
    """Return the status apart from a cancellation."""
    if record.end is not None and now >= record.end:
        return EventStatus.COMPLETED
    if now >= record.dtstart:
        return EventStatus.ACTIVE
    return EventStatus.NEAR if record.near_at is not None and now >= record.near_at else EventStatus.FAR


def status(record: EventRecord, now: datetime) -> EventStatus:
    """Return the status of an event at an instant (r13)."""
    if record.cancelled:
        return EventStatus.CANCELLED
    return _course(record, now)


def changed_at(record: EventRecord, now: datetime) -> datetime:
    """Return when anything a VEN sees of the event last changed, its status included (r115, G8)."""
    changed = record.modified_at
    for edge in (record.near_at, record.dtstart, record.end):
        if edge is not None and changed < edge <= now:
            changed = edge
    return changed


def order_key(record: EventRecord, now: datetime) -> tuple[int, int, datetime, str]:
    """Return the sort key of r15.

    Active events first, by priority (1 is highest, 0 is lowest, r3), then by start; pending ones by start;
    what only lingers for its tolerance last. A cancelled event keeps the place it would have had.
    """
    priority = record.draft.priority
    match _course(record, now):
        case EventStatus.ACTIVE:
            return (0, priority or 2**32, record.dtstart, record.event_id)
        case EventStatus.COMPLETED:
            return (2, 0, record.dtstart, record.event_id)
    return (1, 0, record.dtstart, record.event_id)


def wire_event(record: EventRecord, at_status: EventStatus, created_at: datetime) -> Event:
    """Return the oadrEvent of the newest version."""
    draft = record.draft
    descriptor = EventDescriptor(
        event_id=draft.event_id,
        modification_number=record.modification_number,
        modification_date_time=record.modified_at,
        priority=draft.priority,
        market_context=draft.market_context,
        created_date_time=created_at,
        event_status=at_status,
        test_event=draft.test_event,
        vtn_comment=draft.comment,
    )
    period = ActivePeriod(
        dtstart=draft.dtstart,
        duration=draft.duration,
        startafter=draft.startafter,
        notification=draft.notification,
        ramp_up=draft.ramp_up,
        recovery=draft.recovery,
    )
    event = EiEvent(
        descriptor=descriptor,
        active_period=period,
        signals=EventSignals(signals=record.signals, baseline=draft.baseline),
        target=draft.target,
    )
    return Event(event=event, response_required=draft.response_required)


# --- new versions ------------------------------------------------------------------------------------------


def publish(draft: EventDraft, now: datetime) -> EventRecord:
    """Return a new event, version 0 (r4).

    Raises:
        InvalidData: if the draft breaks a rule of the profile, or its active period is over already.
    """
    _check_draft(draft)
    version = EventVersion(modification_number=0, at=now, signals=draft.signals)
    try:
        record = EventRecord(draft=draft, versions=(version,))
    except InvalidValue as err:
        raise InvalidData(f"event {draft.event_id}: {err}") from err
    _check_signals(draft, draft.signals)
    _check_baseline(draft)
    if status(record, now) == EventStatus.COMPLETED:  # nobody could do anything about it any more
        raise InvalidData(f"event {draft.event_id} would be over: its active period ends at {record.end}")
    return record


def modify(record: EventRecord, signals: tuple[EventSignal, ...], now: datetime) -> EventRecord:
    """Return the event with other values (r5, r20, G20); the same event where nothing differs.

    The value of the running interval and of those to come may change. What has elapsed may not, nor may
    the names, types, units, targets and durations.

    Raises:
        NotAllowed: for any other change, and for an event that is cancelled or completed.
        InvalidData: if the new signals break a rule of the profile.
        LimitReached: if it has too many versions.
    """
    if status(record, now) in (EventStatus.CANCELLED, EventStatus.COMPLETED):
        raise NotAllowed(f"event {record.event_id} is {status(record, now)}")
    _check_signals(record.draft, signals)
    if len(signals) != len(record.signals):
        raise NotAllowed(f"event {record.event_id} has {len(record.signals)} signals")
    for old, new in zip(record.signals, signals, strict=True):
        _check_change(record, old, new, now)
    if signals == record.signals:
        return record
    if len(record.versions) >= MOST_VERSIONS:
        raise LimitReached(Limit.VERSIONS, f"event {record.event_id} has {MOST_VERSIONS} versions")
    return _next_version(record, EventVersion(modification_number=0, at=now, signals=signals))


def cancel(record: EventRecord, now: datetime) -> EventRecord:
    """Return the event cancelled (r10); the same event where it is already.

    Raises:
        NotAllowed: if it is completed.
    """
    if record.cancelled:
        return record
    if status(record, now) == EventStatus.COMPLETED:
        raise NotAllowed(f"event {record.event_id} is completed")
    version = EventVersion(modification_number=0, at=now, signals=record.signals, cancelled=True)
    return _next_version(record, version)


def _next_version(record: EventRecord, version: EventVersion) -> EventRecord:
    numbered = replace(version, modification_number=record.modification_number + 1)
    return replace(record, versions=(*record.versions, numbered))


def _check_draft(draft: EventDraft) -> None:
    if not draft.event_id or not draft.audience:
        raise InvalidData("an event needs an eventID and an audience")
    if draft.dtstart.tzinfo is None or draft.dtstart.microsecond:
        raise InvalidData(f"dtstart must be aware and in whole seconds: {draft.dtstart!r}")
    if draft.priority < 0 or draft.duration.negative:
        raise InvalidData(f"event {draft.event_id}: negative priority or duration")
    if len(draft.target.ven_ids) > 1:
        raise InvalidData(f"event {draft.event_id}: more than one venID in the target (r63)")


def _check_signals(draft: EventDraft, signals: tuple[EventSignal, ...]) -> None:
    name = draft.event_id
    if not signals or len({signal.signal_id for signal in signals}) != len(signals):
        raise InvalidData(f"event {name}: signals need ids of their own (r107)")
    for signal in signals:
        _check_intervals(draft, signal)
        values = [interval.signal_value for interval in signal.intervals]
        if not all(math.isfinite(value) for value in values):
            raise InvalidData(f"event {name}: a value is not a number")
        if signal.current_value is not None:
            raise InvalidData(f"event {name}: a fixed currentValue is wrong once time goes on (r14, r29)")
        is_simple = signal.signal_name in (SignalName.SIMPLE, SignalName.SIMPLE_LOWER)
        if is_simple and any(value not in _LEVELS for value in values):
            raise InvalidData(f"event {name}: SIMPLE takes the levels 0 to 3 (r9)")


def _check_intervals(draft: EventDraft, signal: EventSignal) -> None:
    end = _end_of_intervals(draft, draft.dtstart, signal.intervals)
    if not signal.intervals or end != draft.duration.after(draft.dtstart):
        raise InvalidData(f"event {draft.event_id}: the intervals do not fill the active period (r8, r102)")


def _end_of_intervals(draft: EventDraft, start: datetime, intervals: tuple[Interval, ...]) -> datetime:
    name = draft.event_id
    moment = start
    try:
        for index, interval in enumerate(intervals):
            _ = interval.signal_value
            if interval.duration is None or interval.dtstart is not None or interval.uid != str(index):
                raise InvalidData(
                    f"event {name}: intervals have uid 0, 1, ... and a duration (r2, r101 to r103)"
                )
            moment = interval.duration.after(moment)
    except InvalidValue as err:
        raise InvalidData(f"event {name}: {err}") from err
    return moment


def _check_baseline(draft: EventDraft) -> None:
    baseline = draft.baseline
    if baseline is None:
        return
    name, start = draft.event_id, baseline.dtstart
    if start.tzinfo is None or start.microsecond:
        raise InvalidData(f"event {name}: the baseline's dtstart must be aware and in whole seconds")
    if not all(math.isfinite(each.signal_value) for each in baseline.intervals):
        raise InvalidData(f"event {name}: a value of the baseline is not a number")
    end = _end_of_intervals(draft, start, baseline.intervals)
    if end <= start or end != baseline.duration.after(start):
        raise InvalidData(f"event {name}: the baseline's intervals do not fill its duration (r102)")


def _check_change(record: EventRecord, old: EventSignal, new: EventSignal, now: datetime) -> None:
    if replace(new, intervals=old.intervals) != old:
        raise NotAllowed(f"event {record.event_id}: only values of signal {old.signal_id} may change")
    if [each.duration for each in old.intervals] != [each.duration for each in new.intervals]:
        raise NotAllowed(f"event {record.event_id}: the intervals of {old.signal_id} may not move")
    for ended, before, after in zip(_ends(record, old.intervals), old.intervals, new.intervals, strict=True):
        if ended is not None and ended <= now and before != after:
            raise NotAllowed(f"event {record.event_id}: an elapsed interval may not change (r20)")


def _ends(record: EventRecord, intervals: Iterable[Interval]) -> Iterable[datetime | None]:
    moment = record.dtstart
    for interval in intervals:
        length = interval.duration or Duration()
        moment = length.after(moment)
        yield None if length.is_zero else moment
