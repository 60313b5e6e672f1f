"""What a program that runs programmes may do with a VTN: publish, ask, look.

One instance per VTN, beside its service. Every method that changes something returns when it is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from schemas.oadr20b.enums import OptType
from schemas.oadr20b.errors import InvalidId, NotAllowed, NotRegistered, TargetMismatch
from schemas.oadr20b.model import CancelPartyRegistration, EventSignal, RequestReregistration
from schemas.oadr20b.uris import is_among
from vtn_server import event as rules
from vtn_server import history, outbox, report
from vtn_server.books import EVENTS, NEW_VENS
from vtn_server.decision import Context, SaveEvent, SaveVen
from vtn_server.enrolment import bound, check_distinct, with_fingerprint
from vtn_server.limits import Limit, LimitReached
from vtn_server.opt import in_force
from vtn_server.records import EventDraft, EventOpt, EventRecord, EventVersion, Fetched
from vtn_server.service import VtnService
from vtn_server.state import (
    PeerIdentity,
    Provision,
    Reading,
    ReportRequestDraft,
    Schedule,
    Ven,
    VenId,
    takes_part,
)
from vtn_server.stats import Stats
from vtn_server.views import VenView, view_of

__all__ = [
    "EventDraft",
    "EventOpt",
    "EventRecord",
    "EventVersion",
    "Fetched",
    "Operator",
    "Provision",
    "Reading",
    "ReportRequestDraft",
    "Schedule",
    "Stats",
    "VenId",
    "VenView",
]

_NOBODY = PeerIdentity()


class Operator:
    """The facade of one VTN."""

    def __init__(self, service: VtnService) -> None:
        self._service = service
        self._memory = service.memory
        self._books = service.books

    def _context(self) -> Context:
        return self._service.context(_NOBODY)

    async def catch_up(self) -> None:
        """Return when whatever was done before, by any process on the store, is to be seen here.

        Raises:
            StoreBusy: if that takes too long.
        """
        await self._books.tries().doubt()

    # --- VENs ----------------------------------------------------------------------------------------------

    async def provision(self, vens: Sequence[Provision], *, replace_identity: bool = False) -> None:
        """Make VENs known in advance, or change what is known of them. Registrations stay.

        A VEN whose provision names no certificate keeps the one it has.

        Raises:
            NotAllowed: if two VENs would have one id, one name or one certificate, or one that is known
                another name or certificate and that is not wanted (``replace_identity``).
        """
        ids = {each.ven_id for each in vens}
        names = {each.ven_name for each in vens}
        if len(ids) != len(vens) or len(names) != len(vens):
            raise NotAllowed("a venID or a venName comes twice")
        check_distinct(vens)

        def decide() -> tuple[Sequence[SaveVen], None]:
            writes = []
            for each in vens:
                namesake = self._memory.ven_named(each.ven_name)
                if namesake is not None and namesake.ven_id != each.ven_id:
                    raise NotAllowed(f"the name {each.ven_name!r} is {namesake.ven_id}'s")
                former = self._memory.ven(each.ven_id) or Ven(ven_id=each.ven_id, provision=each)
                known = bound(each, former.provision, self._memory, replace_identity=replace_identity)
                if former.version == 0 or former.provision != known:
                    writes.append(SaveVen(ven=replace(former, provision=known, version=former.version + 1)))
            return writes, None

        await self._books.change((NEW_VENS, *ids), decide)

    async def set_fingerprint(self, ven_id: VenId, fingerprint: str | None) -> None:
        """Give a VEN another certificate, from its next request on; None takes its certificate away.

        Raises:
            InvalidId: if it is unknown or was removed.
            NotAllowed: if the certificate is another VEN's.
        """

        def changed(ven: Ven) -> Ven:
            if ven.provision.removed:
                raise InvalidId(f"no venID {ven_id}")
            return with_fingerprint(ven, fingerprint, self._memory)

        await self._change(ven_id, changed, NEW_VENS)

    async def remove(self, ven_id: VenId) -> None:
        """Forget a VEN's registration, reports and queue, and refuse it from now on (463).

        Its events, answers and readings stay on record; :meth:`provision` lets it in again.

        Raises:
            InvalidId: if it is unknown, or removed already.
        """

        def changed(ven: Ven) -> Ven:
            if ven.provision.removed:
                raise InvalidId(f"no venID {ven_id}")
            return Ven(ven_id=ven_id, provision=replace(ven.provision, removed=True))

        await self._change(ven_id, changed, NEW_VENS)  # names come and go under that lock

    async def _change(self, ven_id: VenId, changed: Callable[[Ven], Ven], *more: str) -> tuple[Ven, Ven]:
        """Change a VEN under its lock; return it before and after.

        Raises:
            InvalidId: if it is unknown.
        """

        def decide() -> tuple[Sequence[SaveVen], tuple[Ven, Ven]]:
            ven = self._memory.ven(ven_id)
            if ven is None:
                raise InvalidId(f"no venID {ven_id}")
            after = changed(ven)
            if after is ven:
                return (), (ven, ven)
            return (SaveVen(ven=replace(after, version=ven.version + 1)),), (ven, after)

        return await self._books.change((ven_id, *more), decide)

    def removed(self) -> tuple[VenId, ...]:
        """Return the VENs that were removed, by venID."""
        return tuple(ven.ven_id for ven in self._memory.vens() if ven.provision.removed)

    def enrolled(self) -> dict[VenId, Provision]:
        """Return the VENs an event may be for, those that were not removed, by venID."""
        vens = self._memory.vens()
        return {ven.ven_id: ven.provision for ven in vens if not ven.provision.removed}

    def known(self) -> frozenset[VenId]:
        """Return the VENs an event may be for."""
        return frozenset(self.enrolled())

    def vens(self) -> tuple[VenView, ...]:
        """Return all VENs that were not removed, by venID."""
        ctx = self._context()
        return tuple(
            view_of(ven, self._memory, ctx) for ven in self._memory.vens() if not ven.provision.removed
        )

    def ven(self, ven_id: str) -> VenView | None:
        """Return a VEN that was not removed."""
        ven = self._memory.ven(ven_id)
        return None if ven is None or ven.provision.removed else view_of(ven, self._memory, self._context())

    async def request_reregistration(self, ven_id: VenId) -> None:
        """Ask a VEN to register again, at its next poll.

        Raises:
            NotRegistered: if it is not registered.
        """

        def changed(ven: Ven) -> Ven:
            _registration_id(ven)
            return outbox.enqueue(ven, RequestReregistration(ven_id=ven_id), self._context().new_id)

        await self._change(ven_id, changed)

    async def cancel_registration(self, ven_id: VenId) -> None:
        """End a VEN's registration, at its next poll (r407).

        Raises:
            NotRegistered: if it is not registered.
        """

        def changed(ven: Ven) -> Ven:
            ctx = self._context()
            message = CancelPartyRegistration(
                request_id=ctx.new_id(), registration_id=_registration_id(ven), ven_id=ven_id
            )
            return outbox.enqueue(ven, message, ctx.new_id)

        await self._change(ven_id, changed)

    # --- events --------------------------------------------------------------------------------------------

    async def publish_events(self, drafts: Sequence[EventDraft]) -> tuple[EventRecord, ...]:
        """Publish new events, all or none, in one transaction.

        Raises:
            NotAllowed: if an eventID exists already, or comes twice.
            InvalidId: if an audience names a VEN we do not know.
            InvalidData: if a draft breaks a rule of the profile.
            TargetMismatch: if a market context is not one of this VTN's, or a VEN of the audience takes part
                in other ones only.
            LimitReached: if there are too many events that are not over.
        """
        ids = [draft.event_id for draft in drafts]
        if len(set(ids)) != len(ids):
            raise NotAllowed("an eventID comes twice")

        async def look() -> None:
            stored = await self._service.store.known_events(ids)
            if stored:
                raise NotAllowed(f"events exist: {sorted(stored)}")

        def decide() -> tuple[Sequence[SaveEvent], tuple[EventRecord, ...]]:
            for draft in drafts:
                self._check(draft)
            if self._memory.open_events() + len(drafts) > self._service.settings.max_events:
                raise LimitReached(Limit.EVENTS, f"{self._memory.open_events()} events are open already")
            records = tuple(rules.publish(draft, self._service.now()) for draft in drafts)
            return tuple(SaveEvent(record=each) for each in records), records

        now = self._service.now()
        self._memory.forget_over(now, self._service.settings.over_by(now))
        records = await self._books.change((EVENTS,), decide, look)
        self._service.mail.prepare(records)
        return records

    def _check(self, draft: EventDraft) -> None:
        contexts = self._service.settings.market_contexts
        if contexts and not is_among(draft.market_context, contexts):
            raise TargetMismatch(f"{draft.market_context} is not a market context of this VTN")
        for ven_id in draft.audience:
            ven = self._memory.ven(ven_id)
            if ven is None or ven.provision.removed:
                raise InvalidId(f"no venID {ven_id}")
            if not takes_part(ven.provision, draft.market_context):
                raise TargetMismatch(f"{ven_id} does not take part in {draft.market_context}")

    async def modify_event(self, event_id: str, *, signals: tuple[EventSignal, ...]) -> EventRecord:
        """Change the values of an event; see :meth:`modify_events`."""
        return (await self.modify_events(((event_id, signals),)))[0]

    async def modify_events(
        self, changes: Sequence[tuple[str, tuple[EventSignal, ...]]]
    ) -> tuple[EventRecord, ...]:
        """Change the values of events, all or none, in one transaction; modificationNumber + 1 for each.

        An event whose signals do not differ stays as it is.

        Raises:
            InvalidId: if an event is unknown.
            NotAllowed: if a change touches what has elapsed, or anything but values (r20, G20), or an event
                comes twice.
            InvalidData: if the new signals break a rule of the profile.
        """
        if len({event_id for event_id, _ in changes}) != len(changes):
            raise NotAllowed("an eventID comes twice")

        def changed() -> tuple[EventRecord, ...]:
            now = self._service.now()
            return tuple(rules.modify(self._known(event_id), signals, now) for event_id, signals in changes)

        return await self._change_events(changed)

    async def cancel_event(self, event_id: str) -> EventRecord:
        """Cancel an event (r10); the same one where it is cancelled already.

        Raises:
            InvalidId: if it is unknown.
            NotAllowed: if it is completed.
        """
        changed = await self._change_events(
            lambda: (rules.cancel(self._known(event_id), self._service.now()),)
        )
        return changed[0]

    async def _change_events(self, changed: Callable[[], tuple[EventRecord, ...]]) -> tuple[EventRecord, ...]:
        def decide() -> tuple[Sequence[SaveEvent], tuple[EventRecord, ...]]:
            records = changed()
            new = (each for each in records if each is not self._memory.event(each.event_id))
            return tuple(SaveEvent(record=each) for each in new), records

        records = await self._books.change((EVENTS,), decide)
        self._service.mail.prepare(records)
        return records

    def _known(self, event_id: str) -> EventRecord:
        record = self._memory.event(event_id)
        if record is None:
            raise InvalidId(f"no event {event_id}")
        return record

    def event(self, event_id: str) -> EventRecord | None:
        """Return an event that is not long over."""
        return self._memory.event(event_id)

    async def stored_event(self, event_id: str) -> EventRecord | None:
        """Return an event, however long it has been over."""
        return self._memory.event(event_id) or await self._service.store.event(event_id)

    async def stored_events(self, event_ids: Sequence[str]) -> tuple[EventRecord, ...]:
        """Return those of some events that exist, however old, in the order they are asked for."""
        return await history.events_of(self._memory, self._service.store, event_ids)

    async def stored_opts(self, event_ids: Sequence[str]) -> Mapping[str, Mapping[VenId, EventOpt]]:
        """Return the VENs' answers to some events, however long these have been over."""
        return await history.answers_to(self._memory, self._service.store, event_ids)

    def events(self) -> tuple[EventRecord, ...]:
        """Return all events that are not long over, by start and id."""
        return self._memory.events()

    def fetched(self, event_id: str) -> Mapping[VenId, Fetched]:
        """Return the delivery record of an event: the newest version put into an answer to each VEN."""
        return self._memory.fetched(event_id)

    def opts(self, event_id: str) -> Mapping[VenId, EventOpt]:
        """Return the VENs' answers to an event."""
        return self._memory.opts(event_id)

    def schedules(self, now: datetime) -> Mapping[VenId, tuple[Schedule, ...]]:
        """Return the optOut schedules that cover an instant; only VENs that have one."""
        found = {ven.ven_id: in_force(ven, OptType.OPT_OUT, now) for ven in self._memory.vens()}
        return {ven_id: schedules for ven_id, schedules in found.items() if schedules}

    # --- reports -------------------------------------------------------------------------------------------

    async def request_reports(self, ven_id: VenId, drafts: Sequence[ReportRequestDraft]) -> tuple[str, ...]:
        """Ask a VEN for reports, at its next poll; return the reportRequestIDs, in the order of the drafts.

        Raises:
            InvalidId: if the VEN is unknown or did not announce what is asked.
            InvalidData: if a granularity is finer than the VEN samples.
            NotRegistered: if it is not registered.
        """

        def changed(ven: Ven) -> Ven:
            _registration_id(ven)
            report.check_granularity(ven, tuple(drafts))
            return report.request(ven, tuple(drafts), self._context())

        before, after = await self._change(ven_id, changed)
        return tuple(each.report_request_id for each in after.requests[len(before.requests) :])

    async def cancel_reports(self, ven_id: VenId, report_request_ids: Sequence[str]) -> None:
        """Ask a VEN to stop some reports, at its next poll.

        Raises:
            InvalidId: if the VEN is unknown or an id is not one of our requests to it.
        """
        await self._change(
            ven_id, lambda ven: report.cancel_requests(ven, tuple(report_request_ids), self._context())
        )

    async def readings(
        self, *, report_specifier_id: str, start: datetime, end: datetime, ven_id: VenId | None = None
    ) -> tuple[Reading, ...]:
        """Return the readings that start in [start, end), the latest content of each, sorted."""
        return await self._service.store.readings(
            report_specifier_id=report_specifier_id, start=start, end=end, ven_id=ven_id
        )

    def count_limit(self, limit: Limit) -> None:
        """Count that a bound was reached."""
        self._service.count_limit(limit)

    def watch(self, limit: Limit, most: int, now: Callable[[], int]) -> None:
        """Show a bound among the counters."""
        self._service.watch(limit, most, now)

    def stats(self) -> Stats:
        """Return the counters."""
        return self._service.stats()


def _registration_id(ven: Ven) -> str:
    """Return the registrationID in force.

    Raises:
        NotRegistered: if there is none.
    """
    if ven.registration is None:
        raise NotRegistered(f"{ven.ven_id} is not registered")
    return ven.registration.registration_id
