"""What the VTN knows, in memory: aggregates, events, answers, deliveries. Changed only by applying writes.

One instance per VTN; it is read by the handlers and changed by the service, in one thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from vtn_server import event as rules
from vtn_server.decision import AddReadings, Delivery, Distribution, SaveEvent, SaveOpt, SaveVen, Write
from vtn_server.records import EventOpt, EventRecord, Fetched
from vtn_server.state import Ven, VenId
from vtn_server.store import Snapshot

__all__ = ["Memory"]

_FRESH = Delivery()


class Memory:
    """The state of one VTN in memory; satisfies :class:`vtn_server.decision.World`."""

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self._vens: dict[str, Ven] = {}
        self._names: dict[str, str] = {}
        self._bound: dict[str, str] = {}
        self._events: dict[str, EventRecord] = {}
        self._routes: dict[str, set[str]] = {}
        self._opts: dict[str, dict[VenId, EventOpt]] = {}
        self._fetched: dict[str, dict[VenId, Fetched]] = {}
        self._deliveries: dict[str, Delivery] = {}
        for ven in snapshot.vens:
            self._put_ven(ven)
        for record in snapshot.events:
            self._put_event(record)
        for opt in snapshot.opts:
            self._put_opt(opt)
        self.forget_over(now, datetime.min.replace(tzinfo=UTC))

    # --- reading -------------------------------------------------------------------------------------------

    def ven(self, ven_id: str) -> Ven | None:
        """Return a VEN by its venID."""
        return self._vens.get(ven_id)

    def ven_named(self, ven_name: str) -> Ven | None:
        """Return a VEN by its name."""
        ven_id = self._names.get(ven_name)
        return None if ven_id is None else self._vens[ven_id]

    def ven_with(self, fingerprint: str) -> Ven | None:
        """Return the VEN a certificate is bound to; one that was removed where no other has it."""
        ven_id = self._bound.get(fingerprint.upper())
        return None if ven_id is None else self._vens.get(ven_id)

    def ven_count(self) -> int:
        """Return how many VENs there are, those that were removed among them."""
        return len(self._vens)

    def vens(self) -> tuple[Ven, ...]:
        """Return all VENs, by venID."""
        return tuple(self._vens[key] for key in sorted(self._vens))

    def event(self, event_id: str) -> EventRecord | None:
        """Return an event."""
        return self._events.get(event_id)

    def events(self) -> tuple[EventRecord, ...]:
        """Return the events in memory, by start and id."""
        return tuple(sorted(self._events.values(), key=lambda each: (each.dtstart, each.event_id)))

    def events_of(self, ven_id: VenId) -> tuple[EventRecord, ...]:
        """Return the events routed to a VEN that are not over."""
        return tuple(self._events[each] for each in self._routes.get(ven_id, ()))

    def opt(self, event_id: str, ven_id: VenId) -> EventOpt | None:
        """Return a VEN's answer to an event."""
        return self._opts.get(event_id, {}).get(ven_id)

    def opts(self, event_id: str) -> dict[VenId, EventOpt]:
        """Return a copy of all answers to an event."""
        return dict(self._opts.get(event_id, {}))

    def fetched(self, event_id: str) -> dict[VenId, Fetched]:
        """Return a copy of the delivery record of an event."""
        return dict(self._fetched.get(event_id, {}))

    def delivery(self, ven_id: VenId) -> Delivery:
        """Return how far a VEN is with its events."""
        return self._deliveries.get(ven_id, _FRESH)

    # --- changing ------------------------------------------------------------------------------------------

    def apply(self, writes: Iterable[Write]) -> None:
        """Take over writes that are durable."""
        for write in writes:
            match write:
                case SaveVen(ven=ven):
                    self._put_ven(ven)
                case SaveEvent(record=record):
                    self._put_event(record)
                case SaveOpt():
                    self._put_opt(write)
                case AddReadings():
                    pass  # readings are not kept in memory

    def _put_ven(self, ven: Ven) -> None:
        former = self._vens.get(ven.ven_id)
        if former is not None and not former.provision.removed:
            self._names.pop(former.provision.ven_name, None)
        self._vens[ven.ven_id] = ven
        self._rebind(ven, None if former is None else former.provision.fingerprint)
        if not ven.provision.removed:  # another VEN may have its name
            self._names[ven.provision.ven_name] = ven.ven_id

    def _rebind(self, ven: Ven, former: str | None) -> None:
        present = ven.provision.fingerprint
        lost = former is not None and (present is None or former.upper() != present.upper())
        if former is not None and lost and self._bound.get(former.upper()) == ven.ven_id:
            del self._bound[former.upper()]
        self.reserve(ven)

    def reserve(self, ven: Ven) -> None:
        """Bind a VEN's certificate to it now, before that is durable, so that no other VEN gets it."""
        fingerprint = ven.provision.fingerprint
        if fingerprint is None:
            return
        holder = self.ven_with(fingerprint)
        if not ven.provision.removed or holder is None or holder.provision.removed:
            self._bound[fingerprint.upper()] = ven.ven_id

    def _put_event(self, record: EventRecord) -> None:
        self._events[record.event_id] = record
        for ven_id in record.audience:
            self._routes.setdefault(ven_id, set()).add(record.event_id)
            self._deliveries[ven_id] = replace(self.delivery(ven_id), dirty=True)

    def _put_opt(self, write: SaveOpt) -> None:
        self._opts.setdefault(write.event_id, {})[write.ven_id] = write.opt

    def set_delivery(self, ven_id: VenId, delivery: Delivery) -> None:
        """Remember how far a VEN is with its events."""
        self._deliveries[ven_id] = delivery

    def note_fetched(self, ven_id: VenId, sent: Distribution, now: datetime) -> None:
        """Remember which versions were put into an answer to a VEN."""
        for listed in sent.listed:
            record = listed.record
            by_ven = self._fetched.setdefault(record.event_id, {})
            former = by_ven.get(ven_id)
            if former is None or former.modification_number != record.modification_number:
                by_ven[ven_id] = Fetched(modification_number=record.modification_number, at=now)

    def forget_over(self, now: datetime, over_before: datetime) -> None:
        """Take events that are over out of the routing, and out of memory those over by ``over_before``."""
        for event_id, record in tuple(self._events.items()):
            if not rules.is_over(record, now):
                continue
            for ven_id in record.audience:
                self._routes.get(ven_id, set()).discard(event_id)
            if rules.is_over(record, over_before):
                del self._events[event_id]
                self._opts.pop(event_id, None)
                self._fetched.pop(event_id, None)
