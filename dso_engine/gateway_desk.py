"""What the gateway asks of a VTN, wherever it runs, and the answer where it runs in this process.

The gateway says what a market result or a price looks like as an event; a desk brings it to a VTN. There are
two: :class:`LocalDesk` beside the VTN's own facade, and the one over the operator API of another process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from dso_engine.errors import ExchangeFailed
from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.model import EventSignal
from schemas.oadr20b.xmltypes import Duration
from vtn_server.operator import EventDraft, EventOpt, EventRecord, Fetched, Operator, Reading
from vtn_server.state import VenId

__all__ = ["Change", "Desk", "EventState", "LocalDesk", "Said", "end_of", "publish_once"]

Change: TypeAlias = tuple[str, tuple[EventSignal, ...]]
"""An eventID and its new signals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventState:
    """An event as it stands, how far it has come and what was answered."""

    event_id: str
    dtstart: datetime
    duration: Duration
    audience: tuple[VenId, ...]
    signals: tuple[EventSignal, ...]
    modification_number: int
    modified_at: datetime
    fetched: Mapping[VenId, Fetched]
    """The newest version each VEN was sent; empty for an event that is long over."""
    opts: Mapping[VenId, EventOpt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One value a VEN reported."""

    ven_id: VenId
    r_id: str
    start: datetime
    end: datetime | None
    """When its interval ends; None where it has no length, or one beyond the calendar."""
    value: float | None
    set_point: float | None
    """Of a status: the set point its load control is at."""
    received_at: datetime
    """When the VTN took it; of a value that was sent again, the last time."""

    def lasts(self, length: timedelta) -> bool:
        """Return whether its interval has a length, or does not say which: then it is the one asked for."""
        return self.end is None or self.end - self.start == length


class Desk(Protocol):
    """A VTN from the operator's side.

    Over a network each method raises :class:`dso_engine.errors.ExchangeFailed`.
    """

    async def known(self) -> frozenset[VenId]:
        """Return the VENs an event may be for."""
        ...

    async def publish(self, drafts: Sequence[EventDraft]) -> None:
        """Publish events, all or none, in one transaction."""
        ...

    async def modify(self, changes: Sequence[Change]) -> None:
        """Change the values of events, all or none, in one transaction."""
        ...

    async def events(self, event_ids: Sequence[str]) -> Mapping[str, EventState]:
        """Return those events that exist, however long they have been over."""
        ...

    async def readings(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
        """Return what was reported and starts in [start, end), sorted by start, VEN and rID."""
        ...

    async def distinct(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
        """Return the same; of readings of a VEN and rID that say the same only the newest need be in it."""
        ...

    async def opted_out(self, at: datetime) -> frozenset[VenId]:
        """Return the VENs with an optOut schedule that covers an instant."""
        ...


class LocalDesk:
    """The VTN of this process.

    Args:
        operator: Returns the facade; a function, because a VTN may be restarted while the engine runs.
    """

    def __init__(self, operator: Callable[[], Operator]) -> None:
        self._operator = operator

    async def known(self) -> frozenset[VenId]:
        """See :class:`Desk`."""
        return self._operator().known()

    async def publish(self, drafts: Sequence[EventDraft]) -> None:
        """See :class:`Desk`."""
        await self._operator().publish_events(drafts)

    async def modify(self, changes: Sequence[Change]) -> None:
        """See :class:`Desk`."""
        await self._operator().modify_events(changes)

    async def events(self, event_ids: Sequence[str]) -> Mapping[str, EventState]:
        """See :class:`Desk`."""
        operator = self._operator()
        records = await operator.stored_events(event_ids)
        opts = await operator.stored_opts([each.event_id for each in records])
        return {
            each.event_id: _state(each, operator.fetched(each.event_id), opts[each.event_id])
            for each in records
        }

    async def readings(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
        """See :class:`Desk`."""
        found = await self._operator().readings(report_specifier_id=specifier, start=start, end=end)
        return tuple(_said(each) for each in found)

    async def distinct(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
        """See :class:`Desk`."""
        return await self.readings(specifier, start, end)

    async def opted_out(self, at: datetime) -> frozenset[VenId]:
        """See :class:`Desk`."""
        return frozenset(self._operator().schedules(at))


def end_of(start: datetime, duration: Duration | None) -> datetime | None:
    """Return when the interval of a reading ends; see :class:`Said`."""
    if duration is None or duration.is_zero:
        return None
    try:
        return duration.after(start)
    except InvalidValue:
        return None


async def publish_once(
    desk: Desk, drafts: Sequence[EventDraft], now: datetime, *, whole: bool = False
) -> None:
    """Publish what is not there yet and not over, to VENs the VTN knows.

    What was asked for before an engine or a VTN went down may have happened: so it may be asked again.

    Args:
        desk: The VTN.
        drafts: The events.
        now: The present instant.
        whole: Whether nobody is to hear anything if somebody cannot be told.

    Raises:
        ExchangeFailed: if somebody cannot be told, and all of them must be.
    """
    if not drafts:
        return
    there = await desk.events([draft.event_id for draft in drafts])
    known = await desk.known()
    gone = {ven for draft in drafts if draft.event_id not in there for ven in draft.audience} - known
    if whole and gone:
        raise ExchangeFailed(f"nothing published: the VTN does not know {', '.join(sorted(gone))}")
    wanted = [
        replace(draft, audience=tuple(ven for ven in draft.audience if ven in known))
        for draft in drafts
        if draft.event_id not in there
    ]
    # A VTN refuses what is over, and with it what is not.
    if heard := [draft for draft in wanted if draft.audience and not _is_over(draft, now)]:
        await desk.publish(heard)


def _is_over(draft: EventDraft, now: datetime) -> bool:
    """Return whether the active period of an event has ended; an open-ended one (r47) does not end."""
    return not draft.duration.is_zero and draft.duration.after(draft.dtstart) <= now


def _state(
    record: EventRecord, fetched: Mapping[VenId, Fetched], opts: Mapping[VenId, EventOpt]
) -> EventState:
    return EventState(
        event_id=record.event_id,
        dtstart=record.dtstart,
        duration=record.duration,
        audience=record.audience,
        signals=record.signals,
        modification_number=record.modification_number,
        modified_at=record.modified_at,
        fetched=fetched,
        opts=opts,
    )


def _said(reading: Reading) -> Said:
    control = None if reading.status is None else reading.status.load_control_state
    point = None if control is None else control.set_point
    return Said(
        ven_id=reading.ven_id,
        r_id=reading.r_id,
        start=reading.start,
        end=end_of(reading.start, reading.duration),
        value=reading.value,
        set_point=None if point is None else point.current,
        received_at=reading.received_at,
    )
