"""Events as they stand in an oadrDistributeEvent. Pure.

Between the versions of an event only values change (:func:`vtn_server.event.modify`), and with them a number
and two instants. So an event that has changed once is encoded with marks in these places, and every version
from then on is filled into what lies between them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Final

from lxml import etree

from schemas.oadr20b.codec import encode_element
from schemas.oadr20b.declare import clark
from schemas.oadr20b.enums import EventStatus
from schemas.oadr20b.leaves import leaf_of
from schemas.oadr20b.model import Event, EventSignal, Interval, PayloadFloat, SignalPayload
from schemas.oadr20b.xmltypes import format_datetime
from vtn_server.event import wire_event
from vtn_server.frames import Frame
from vtn_server.records import EventDraft, EventRecord, EventVersion

__all__ = ["EventTexts", "event_text"]

_EVENT: Final = clark("oadr:oadrEvent")
_FLOAT: Final = leaf_of(float)
_COUNT: Final = leaf_of(int)
_MOST_VALUES: Final = 300
_MARK_NUMBER: Final = 4_123_456_789
_MARK_MODIFIED: Final = datetime(1911, 1, 1, tzinfo=UTC)
_MARK_CREATED: Final = datetime(1912, 2, 2, tzinfo=UTC)
_MARK_VALUE: Final = 7_000_000.5


def event_text(event: Event) -> bytes:
    """Return an event without the namespaces that the root of a message declares.

    Raises:
        InvalidValue: if a value cannot be written.
    """
    element = encode_element(event, _EVENT)
    body = etree.tostring(element)
    bare = etree.tostring(etree.Element(_EVENT, nsmap=element.nsmap))
    prefix = bare.removesuffix(b"/>")
    return b"<oadr:oadrEvent" + body[len(prefix) :] if body.startswith(prefix) else body


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """What the versions of an event have in common; None if it is not that simple."""

    draft: EventDraft
    values: int
    frame: Frame | None


class EventTexts:
    """Encodes events, and keeps the forms of those that change.

    Args:
        kept: How many forms.
    """

    def __init__(self, kept: int = 512) -> None:
        self._kept: Final = kept
        self._forms: Final[OrderedDict[tuple[str, EventStatus], _Form]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._forms)

    def of(self, record: EventRecord, status: EventStatus, created_at: datetime) -> bytes:
        """Return the newest version of an event.

        Raises:
            InvalidValue: if a value cannot be written.
        """
        if record.modification_number:
            form = self._form(record, status)
            values = _values(record.signals)
            if form.frame is not None and form.values == len(values):
                return form.frame.filled(*_changing(record, created_at), *values)
        return event_text(wire_event(record, status, created_at))

    def _form(self, record: EventRecord, status: EventStatus) -> _Form:
        key = (record.event_id, status)
        form = self._forms.get(key)
        if form is None or form.draft is not record.draft:
            form = self._forms[key] = _form_of(record, status)
            if len(self._forms) > self._kept:
                self._forms.popitem(last=False)
        return form


def _values(signals: tuple[EventSignal, ...]) -> list[str]:
    """Return the texts that may change from version to version."""
    assert _FLOAT is not None
    return [_FLOAT.write(interval.signal_value) for signal in signals for interval in signal.intervals]


def _changing(record: EventRecord, created_at: datetime) -> tuple[str, str, str]:
    """Return the texts that do change, in the order in which they stand."""
    assert _COUNT is not None
    number = _COUNT.write(record.modification_number)
    return number, format_datetime(record.modified_at), format_datetime(created_at)


def _form_of(record: EventRecord, status: EventStatus) -> _Form:
    numbers = count()
    signals = tuple(
        replace(signal, intervals=tuple(_marked(each, numbers) for each in signal.intervals))
        for signal in record.signals
    )
    version = EventVersion(modification_number=_MARK_NUMBER, at=_MARK_MODIFIED, signals=signals)
    marked = EventRecord(draft=record.draft, versions=(version,))
    marks = (*_changing(marked, _MARK_CREATED), *_values(signals))
    body = event_text(wire_event(marked, status, _MARK_CREATED))
    simple = len(marks) <= _MOST_VALUES and all(body.count(mark.encode()) == 1 for mark in marks)
    frame = Frame.of(body, marks) if simple else None
    return _Form(draft=record.draft, values=next(numbers), frame=frame)


def _marked(interval: Interval, numbers: Iterator[int]) -> Interval:
    payload = PayloadFloat(value=_MARK_VALUE + next(numbers))
    return replace(interval, payloads=(SignalPayload(payload=payload),))
