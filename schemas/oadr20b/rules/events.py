"""Checks of events: descriptor, period, order, answers.

Source: OpenADR 2.0b rules 2, 5, 8 to 10, 14, 15, 29, 35, 40 to 42, 48, 63, 105, 115.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import EventStatus, OptType
from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.rules.base import Finding, Rule, Subject
from schemas.oadr20b.rules.walk import events_of, is_simple, number_in, numbered, signals_of
from schemas.oadr20b.xmltypes import Duration

__all__ = ["RULES", "fills", "misnumbered"]

_DESCRIPTOR: Final = "eventDescriptor"
_ANY_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


def misnumbered(intervals: tuple[m.Interval, ...], path: str) -> Iterator[Finding]:
    """Yield the intervals whose uid is not their position, from 0."""
    for position, interval in enumerate(intervals):
        if interval.uid != str(position):
            yield f"{path}/intervals/interval[{position + 1}]/uid", f"{interval.uid!r} instead of {position}"


def fills(intervals: tuple[m.Interval, ...], start: datetime, whole: Duration) -> bool:
    """Return whether intervals add up to a whole; True where one has no duration, which is another fault."""
    moment = start
    try:
        for interval in intervals:
            if interval.duration is None:
                return True
            moment = interval.duration.after(moment)
        return moment == whole.after(start)
    except InvalidValue:
        return False


def _uids(s: Subject) -> Iterator[Finding]:
    for at in signals_of(s.message):
        yield from misnumbered(at.signal.intervals, at.path)


def _sums(s: Subject) -> Iterator[Finding]:
    for at in signals_of(s.message):
        period = at.event.active_period
        if not fills(at.signal.intervals, period.dtstart, period.duration):
            yield f"{at.path}/intervals", f"the intervals do not add up to {period.duration}"


def _levels(s: Subject) -> Iterator[Finding]:
    for at in signals_of(s.message):
        if not is_simple(at.signal):
            continue
        for path, interval in numbered(at.signal.intervals, f"{at.path}/intervals/interval"):
            if number_in(interval) not in (0.0, 1.0, 2.0, 3.0):
                yield f"{path}/signalPayload", "SIMPLE knows the levels 0 to 3"


def _current_level(s: Subject) -> Iterator[Finding]:
    for at in signals_of(s.message):
        active = at.event.descriptor.event_status is EventStatus.ACTIVE
        if is_simple(at.signal) and not active and at.signal.current_value not in (None, 0.0):
            yield f"{at.path}/currentValue", "SIMPLE has the current value 0 while not active"


def _current_value(s: Subject) -> Iterator[Finding]:
    now = s.exchange.at
    if now is None:
        return
    for at in signals_of(s.message):
        current = at.signal.current_value
        if current is None or at.event.descriptor.event_status is not EventStatus.ACTIVE:
            continue
        value = _running(at.signal.intervals, at.event.active_period.dtstart, now)
        if value is not None and value != current:
            yield f"{at.path}/currentValue", f"{current} while the running interval says {value}"


def _running(intervals: tuple[m.Interval, ...], start: datetime, now: datetime) -> float | None:
    moment = start
    try:
        for interval in intervals:
            length = interval.duration or Duration()
            end = length.after(moment)
            if moment <= now and (length.is_zero or now < end):
                return number_in(interval)
            moment = end
    except InvalidValue:
        return None
    return None


def _order(s: Subject) -> Iterator[Finding]:
    """Active before pending; active by priority, 0 last, then by start; pending by start.

    A cancelled event keeps a place that the message does not tell, a completed one only lingers: neither is
    looked at.
    """
    former: tuple[int, int, datetime] | None = None
    for at in events_of(s.message):
        descriptor, start = at.event.descriptor, at.event.active_period.dtstart
        match descriptor.event_status:
            case EventStatus.ACTIVE:
                key = (0, descriptor.priority or 2**32, start)
            case EventStatus.FAR | EventStatus.NEAR | EventStatus.NONE:
                key = (1, 0, start)
            case _:
                continue
        if former is not None and key < former:
            yield at.path, "stands behind an event that comes later by status, priority or start"
        former = key if former is None else max(key, former)


def _content(event: m.EiEvent) -> m.EiEvent:
    """Return an event without what may differ between two sendings of one version (r5)."""
    descriptor = replace(
        event.descriptor,
        modification_number=0,
        modification_date_time=None,
        created_date_time=_ANY_TIME,
        event_status=EventStatus.NONE,
    )
    signals = tuple(replace(each, current_value=None) for each in event.signals.signals)
    return replace(event, descriptor=descriptor, signals=replace(event.signals, signals=signals))


def _pairs(s: Subject) -> Iterator[tuple[str, m.EiEvent, m.EiEvent]]:
    """Yield each event that was in the former distribution too: path, now, then."""
    if s.exchange.former is None:
        return
    before = {each.event.descriptor.event_id: each.event for each in s.exchange.former.events}
    for at in events_of(s.message):
        former = before.get(at.event.descriptor.event_id)
        if former is not None:
            yield at.path, at.event, former


def _versions(s: Subject) -> Iterator[Finding]:
    for path, event, former in _pairs(s):
        number, before = event.descriptor.modification_number, former.descriptor.modification_number
        where = f"{path}/{_DESCRIPTOR}/modificationNumber"
        if number < before:
            yield where, f"{number} after {before}"
        elif number == before and _content(event) != _content(former):
            yield where, f"the content changed and the number stayed {number}"
        elif (
            number > before
            and _content(event) == _content(former)
            and event.descriptor.event_status is not EventStatus.CANCELLED
            and number == before + 1
        ):
            yield where, f"nothing changed from {before} to {number}"


def _cancellations(s: Subject) -> Iterator[Finding]:
    for path, event, former in _pairs(s):
        cancelled = event.descriptor.event_status is EventStatus.CANCELLED
        was = former.descriptor.event_status is EventStatus.CANCELLED
        same = event.descriptor.modification_number == former.descriptor.modification_number
        if cancelled and not was and same:
            yield f"{path}/{_DESCRIPTOR}/modificationNumber", "a cancellation is a new version"
        if was and not cancelled:
            yield f"{path}/{_DESCRIPTOR}/eventStatus", "a cancelled event came back"


def _response_in_answer(s: Subject) -> Iterator[Finding]:
    message = s.message
    if not isinstance(message, m.DistributeEvent) or message.response is not None:
        return
    if isinstance(s.exchange.request, m.Poll | m.RequestEvent):
        yield "oadrDistributeEvent/eiResponse", "is there when a request is answered"


def _request_id(s: Subject) -> Iterator[Finding]:
    if isinstance(s.message, m.DistributeEvent) and not s.message.request_id:
        yield "oadrDistributeEvent/requestID", "is not empty"


def _responses_present(s: Subject) -> Iterator[Finding]:
    message = s.message
    if not isinstance(message, m.CreatedEvent):
        return
    good = message.response.code.startswith("2")
    if good and not message.event_responses:
        yield "oadrCreatedEvent/eiCreatedEvent/eventResponses", "are there unless eiResponse is an error"


def _responses_correlate(s: Subject) -> Iterator[Finding]:
    message, path = s.message, "oadrCreatedEvent/eiCreatedEvent"
    if not isinstance(message, m.CreatedEvent):
        return
    if message.event_responses and message.response.request_id:
        yield f"{path}/eiResponse/requestID", "is empty beside eventResponses"
    request = s.exchange.request
    if not isinstance(request, m.DistributeEvent):
        return
    listed = {
        (each.event.descriptor.event_id, each.event.descriptor.modification_number) for each in request.events
    }
    for where, answer in numbered(message.event_responses or (), f"{path}/eventResponses/eventResponse"):
        if answer.request_id != request.request_id:
            yield f"{where}/requestID", f"{answer.request_id!r} answers {request.request_id!r}"
        qualified = answer.qualified_event_id
        if (qualified.event_id, qualified.modification_number) not in listed:
            yield f"{where}/qualifiedEventID", "names no event of the distribution"


def _refusals_opt_out(s: Subject) -> Iterator[Finding]:
    if not isinstance(s.message, m.CreatedEvent):
        return
    path = "oadrCreatedEvent/eiCreatedEvent/eventResponses/eventResponse"
    for where, answer in numbered(s.message.event_responses or (), path):
        if not answer.code.startswith("2") and answer.opt_type is not OptType.OPT_OUT:
            yield f"{where}/optType", f"is optOut beside the code {answer.code}"


def _one_ven(s: Subject) -> Iterator[Finding]:
    for at in events_of(s.message):
        if len(at.event.target.ven_ids) > 1:
            yield f"{at.path}/eiTarget/venID", f"{len(at.event.target.ven_ids)} times"


def _notification(s: Subject) -> Iterator[Finding]:
    for at in events_of(s.message):
        if at.event.active_period.notification is None:
            yield f"{at.path}/eiActivePeriod/properties/x-eiNotification", "is missing"


def _created_at(s: Subject) -> Iterator[Finding]:
    times = {at.event.descriptor.created_date_time for at in events_of(s.message)}
    if len(times) > 1:
        yield "oadrDistributeEvent/oadrEvent", f"{len(times)} different createdDateTime"
    for path, event, former in _pairs(s):
        changed = _content(event) != _content(former)
        if changed and event.descriptor.created_date_time < former.descriptor.created_date_time:
            yield f"{path}/{_DESCRIPTOR}/createdDateTime", "is older than that of the former version"


_SET: Final = (m.DistributeEvent,)
_ANSWER: Final = (m.CreatedEvent,)

RULES: Final = (
    Rule(number="2", check=_uids, messages=_SET),
    Rule(number="5", check=_versions, messages=_SET),
    Rule(number="8", check=_sums, messages=_SET),
    Rule(number="9", check=_levels, messages=_SET),
    Rule(number="10", check=_cancellations, messages=_SET),
    Rule(number="14", check=_current_level, messages=_SET),
    Rule(number="15", check=_order, messages=_SET),
    Rule(number="29", check=_current_value, messages=_SET),
    Rule(number="35", check=_responses_present, messages=_ANSWER),
    Rule(number="40", check=_response_in_answer, messages=_SET),
    Rule(number="41", check=_request_id, messages=_SET),
    Rule(number="42", check=_responses_correlate, messages=_ANSWER),
    Rule(number="48", check=_refusals_opt_out, messages=_ANSWER),
    Rule(number="63", check=_one_ven, messages=_SET),
    Rule(number="105", check=_notification, messages=_SET),
    Rule(number="115", check=_created_at, messages=_SET),
)
"""The checks of this file, by number."""
