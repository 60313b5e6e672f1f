"""What the VTN knows, in memory: aggregates, events, answers, deliveries. Changed only by applying writes.

One instance per VTN; it is read by the handlers and changed by the service, in one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from vtn_server.decision import (
    Delivery,
    Distribution,
    RaiseVersion,
    SaveDelivery,
    SaveEvent,
    SaveIdentity,
    SaveOpt,
    SaveVen,
    SharedWrite,
)
from vtn_server.expiry import Expiry
from vtn_server.records import EventOpt, EventRecord, Fetched
from vtn_server.sharing import Shared
from vtn_server.state import Ven, VenId
from vtn_server.store import Note, Snapshot, Versions

__all__ = ["Memory"]

_FRESH = Delivery()


class Memory:
    """The state of one VTN in memory; satisfies :class:`vtn_server.decision.World`."""

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self._vens: dict[str, Ven] = {}
        self._shared = Shared()
        self._expiry = Expiry()
        self._names: dict[str, str] = {}
        self._bound: dict[str, str] = {}
        self._events: dict[str, EventRecord] = {}
        self._routes: dict[str, set[str]] = {}
        self._opts: dict[str, dict[VenId, EventOpt]] = {}
        self._fetched: dict[str, dict[VenId, Fetched]] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._delivery_versions: dict[str, int] = {}
        self.identities = snapshot.identities
        """The number of the newest change of who is who, where several processes share the store."""
        for ven in snapshot.vens:
            self._put_ven(ven)
        for record in snapshot.events:
            self._put_event(record)
        for opt in snapshot.opts:
            self._put_opt(opt)
        for each in snapshot.deliveries:
            self._put_delivery(each, dirty=True)
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

    def open_events(self) -> int:
        """Return how many events are not over, as far as that was looked at."""
        return len(self._events) - self._expiry.over

    @property
    def expiry(self) -> Expiry:
        """When events leave memory."""
        return self._expiry

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

    def delivery_version(self, ven_id: VenId) -> int:
        """Return the version of a VEN's delivery in the store, where that is kept."""
        return self._delivery_versions.get(ven_id, 0)

    def delivery_versions(self) -> Mapping[str, int]:
        """Return a copy of the versions of all deliveries that are in the store."""
        return dict(self._delivery_versions)

    def fetched_of(self, ven_id: VenId, delivery: Delivery) -> Iterator[tuple[str, Fetched]]:
        """Yield what a VEN has fetched of the events in its delivery, by eventID."""
        for each in delivery.sent:
            fetched = self._fetched.get(each.event_id, {}).get(ven_id)
            if fetched is not None:
                yield each.event_id, fetched

    # --- changing ------------------------------------------------------------------------------------------

    def apply(self, writes: Iterable[SharedWrite]) -> None:
        """Take over the writes of a commit that are durable, as far as nothing newer is here already."""
        outdated: set[str] = set()
        for write in writes:
            match write:
                case SaveVen(ven=ven):
                    if ven.version > self._version(ven.ven_id):
                        self._put_ven(ven)
                    elif ven.version < self._version(ven.ven_id):
                        outdated.add(ven.ven_id)
                case RaiseVersion():
                    if write.version > self._version(write.ven_id):
                        self._vens[write.ven_id] = replace(self._vens[write.ven_id], version=write.version)
                    elif write.version < self._version(write.ven_id):  # else it was read before this
                        outdated.add(write.ven_id)
                case SaveEvent(record=record):
                    self._put_newer_event(record)
                case SaveOpt():
                    if write.ven_id not in outdated:
                        self._put_opt(write)
                case SaveDelivery():
                    if write.version > self.delivery_version(write.ven_id):
                        self._put_delivery(write, dirty=write.delivery.dirty)
                case SaveIdentity():
                    self.identities = max(self.identities, write.number)
                case _:
                    pass  # readings are not kept in memory

    def _version(self, ven_id: str) -> int:
        ven = self._vens.get(ven_id)
        return 0 if ven is None else ven.version

    def merge(self, found: Snapshot) -> None:
        """Take over what other processes have stored, as far as nothing newer is here already."""
        current = set()
        for ven in found.vens:
            mine = self._version(ven.ven_id)
            if ven.version > mine:
                self._put_ven(ven)
            if ven.version >= mine:
                current.add(ven.ven_id)
        for record in found.events:
            self._put_newer_event(record)
        for opt in found.opts:
            if opt.ven_id in current:
                self._put_opt(opt)
        for each in found.deliveries:
            if each.version > self.delivery_version(each.ven_id):
                self._put_delivery(each, dirty=True)
        self.identities = max(self.identities, found.identities)

    def skipped(self, found: Snapshot) -> frozenset[str]:
        """Return the VENs of which a version came in between that is not here: its answers may be missing."""
        return frozenset(
            each.ven_id for each in found.vens if self._version(each.ven_id) < each.version - 1 > 0
        )

    def answerable(self, ven_ids: frozenset[str], since: datetime) -> frozenset[tuple[str, str]]:
        """Return the eventIDs and venIDs of what some VENs may have answered since an instant."""
        over = (self._events[each] for each in self._expiry.over_since(since) if each in self._events)
        return frozenset(
            (event_id, ven_id) for ven_id in ven_ids for event_id in self._routes.get(ven_id, ())
        ) | {(each.event_id, ven_id) for each in over for ven_id in each.audience if ven_id in ven_ids}

    def outdated(self, versions: Versions, since: datetime) -> Note:
        """Return what is newer in the store; ``since`` is when memory was as the store for the last time."""
        vens = frozenset(key for key, version in versions.vens if version > self._version(key))
        return Note(
            origin="",
            vens=vens,
            events=frozenset(key for key, number in versions.events if number > self._number(key)),
            opts=self.answerable(vens, since),
            deliveries=frozenset(
                key for key, version in versions.deliveries if version > self.delivery_version(VenId(key))
            ),
            identities=versions.identities,
        )

    def forget_delivery(self, ven_id: str) -> None:
        """Begin anew with a delivery that the store has lost."""
        self._deliveries.pop(ven_id, None)
        self._delivery_versions.pop(ven_id, None)

    def _number(self, event_id: str) -> int:
        record = self._events.get(event_id)
        return -1 if record is None else record.modification_number

    def _put_newer_event(self, record: EventRecord) -> None:
        if record.modification_number > self._number(record.event_id):
            self._put_event(record)

    def _put_delivery(self, write: SaveDelivery, *, dirty: bool) -> None:
        self._delivery_versions[write.ven_id] = write.version
        self._deliveries[write.ven_id] = replace(write.delivery, dirty=dirty)
        for each in write.fetched:
            self._fetched.setdefault(each.event_id, {})[write.ven_id] = each.fetched

    def _put_ven(self, ven: Ven) -> None:
        former = self._vens.get(ven.ven_id)
        if former is not None and self._names.get(former.provision.ven_name) == ven.ven_id:
            del self._names[former.provision.ven_name]
        ven = self._vens[ven.ven_id] = self._shared.of(ven, former)
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

    def release(self, ven: Ven) -> None:
        """Undo :meth:`reserve` for a VEN that is not stored after all."""
        stored = self._vens.get(ven.ven_id)
        key = (ven.provision.fingerprint or "").upper()
        kept = "" if stored is None else (stored.provision.fingerprint or "").upper()
        if key == kept or self._bound.get(key) != ven.ven_id:
            return
        del self._bound[key]
        for other in self._vens.values():
            if (other.provision.fingerprint or "").upper() == key:
                self.reserve(other)

    def _put_event(self, record: EventRecord) -> None:
        record = self._events[record.event_id] = self._shared.of_event(record)
        self._expiry.put(record.event_id, record.over_at)
        for ven_id in record.audience:
            self._routes.setdefault(ven_id, set()).add(record.event_id)
            self.set_dirty(ven_id)

    def _put_opt(self, write: SaveOpt) -> None:
        self._opts.setdefault(write.event_id, {})[write.ven_id] = write.opt

    def set_delivery(self, ven_id: VenId, delivery: Delivery) -> None:
        """Remember how far a VEN is with its events."""
        self._deliveries[ven_id] = delivery

    def set_dirty(self, ven_id: VenId) -> None:
        """Remember that an event of a VEN has changed."""
        self._deliveries[ven_id] = replace(self.delivery(ven_id), dirty=True)

    def note_fetched(self, ven_id: VenId, sent: Distribution, now: datetime) -> None:
        """Remember which versions were put into an answer to a VEN."""
        for listed in sent.listed:
            record = listed.record
            by_ven = self._fetched.setdefault(record.event_id, {})
            former = by_ven.get(ven_id)
            if former is None or former.modification_number != record.modification_number:
                by_ven[ven_id] = Fetched(modification_number=record.modification_number, at=now)

    def forget_over(self, now: datetime, over_before: datetime) -> None:
        """Take events that are over out of the routing, and out of memory those over by ``over_before``.

        Where many are over, those that were first leave memory earlier; see :mod:`vtn_server.expiry`.
        """
        for event_id in self._expiry.ended(now):
            record = self._events.get(event_id)
            for ven_id in () if record is None else record.audience:
                self._routes.get(ven_id, set()).discard(event_id)
        for event_id in self._expiry.undelivered(now):
            self._fetched.pop(event_id, None)
        for event_id in self._expiry.forgotten(over_before):
            self._events.pop(event_id, None)
            self._opts.pop(event_id, None)
            self._fetched.pop(event_id, None)
