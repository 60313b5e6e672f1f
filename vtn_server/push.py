"""The push transport of the VTN: POSTs to VENs what waits for them. What and when is :mod:`.pushing`'s.

How to use it::

    settings = VtnSettings(vtn_id=..., push=True)            # push VENs may register
    service = await VtnService.start(settings, store, ...)
    dispatcher = PushDispatcher(service, WallClock(), random.Random())
    dispatcher.start()                                       # once, in the running loop
    ...
    await dispatcher.close()                                 # before ``service.close()``

On a simulated clock say ``spawn=clock.spawn`` as well: then an exchange holds time, as a pull VEN's does.

There is one worker per push VEN, so a slow or dead one delays nobody. It sleeps until something is due, or
is woken by a commit that concerns its VEN. Exchanges under way are bounded so that neither dead VENs nor slow
ones take all of the bound (:mod:`vtn_server.push_slots`).

Requests are never compressed nor chunked, redirects are not followed (section 9.1.9). An exchange is timed by
the wall, pauses by the clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from certs.envelope import CannotSign, Opened
from certs.tls import ClientTls
from schemas.oadr20b.errors import ApplicationError, SecurityError, WireError
from schemas.oadr20b.model import CreatedReport, Response
from vtn_server import outbox, pushing
from vtn_server.decision import Context, Delivery, Distribution, Reply, SaveVen, SharedWrite, Unchanged
from vtn_server.mail import wall_time
from vtn_server.nap import Clock, Nap
from vtn_server.push_http import Answer, Outbound, PushHttp, PushLimits
from vtn_server.push_slots import Slots, watch_push
from vtn_server.pushing import Link, Outcome, Parcel
from vtn_server.service import Exchange, VtnService
from vtn_server.settling import delivery_write
from vtn_server.signing import check_signed, signs_to
from vtn_server.state import PeerIdentity, Ven, VenId
from vtn_server.store import StoreBusy, StoreError

__all__ = ["Clock", "PushDispatcher", "PushLimits"]

_LOG: Final = logging.getLogger(__name__)
_IDLE: Final = timedelta(hours=1)
_BUSY_S: Final = 1.0

T = TypeVar("T")
Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A parcel that is on its way."""

    ven: Ven
    parcel: Parcel
    message: Reply
    before: Delivery

    @classmethod
    def of(cls, parcel: Parcel, ven: Ven, before: Delivery) -> _Taken:
        """Return a parcel as taken."""
        assert parcel.message is not None  # there is something in it
        return cls(ven=ven, parcel=parcel, message=parcel.message, before=before)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What an exchange brought, and the message in it, if there is one."""

    answer: Answer
    reply: Opened | None = None


class PushDispatcher:
    """Delivers to the push VENs of one VTN.

    Args:
        service: The VTN; its settings say ``push=True``. The dispatcher takes its ``books.on_work``.
        clock: The time of pauses; the same that the service lives in.
        rng: The jitter of the back-off.
        limits: Time-outs and bounds.
        tls: Our certificate and whom we trust, for https addresses; a VEN's listener then has to show the
            certificate that is enrolled for the VEN. None judges nobody.
        wall: The wall clock, in which certificates live.
        spawn: Starts a task: ``SimClock.spawn`` in simulated time, ``asyncio.create_task`` if left out.
    """

    def __init__(
        self,
        service: VtnService,
        clock: Clock,
        rng: random.Random,
        *,
        limits: PushLimits | None = None,
        tls: ClientTls | None = None,
        wall: Callable[[], datetime] = wall_time,
        spawn: Spawn | None = None,
    ) -> None:
        self._service = service
        self._clock = clock
        self._rng = rng
        self._limits = limits or PushLimits()
        self._spawn = spawn or (lambda work, name: asyncio.create_task(work, name=name))
        self._workers: dict[VenId, asyncio.Task[None]] = {}
        self._wakers: dict[VenId, Nap] = {}
        self._settling: set[asyncio.Task[Any]] = set()
        self._slots = Slots.of(self._limits)
        outbound = Outbound(targets=service.settings.push_targets, tls=tls, now=wall)
        self._http = PushHttp(self._limits, outbound, service.settings.max_bytes)
        watch_push(service, self._limits, self._slots, self._http)
        self._closing = False

    def start(self) -> None:
        """Serve the push VENs there are, and from now on those that register."""
        self._service.books.on_work = self.wake
        for ven in self._service.memory.vens():
            if outbox.is_push(ven):
                self.wake(ven.ven_id)

    def wake(self, ven_id: VenId) -> None:
        """Look at once whether something is due to a VEN."""
        if self._closing:
            return
        nap = self._wakers.get(ven_id)
        if nap is not None:
            nap.wake()
        elif outbox.is_push(self._service.memory.ven(ven_id)):
            self._wakers[ven_id] = Nap(self._clock, f"push {ven_id}")
            self._workers[ven_id] = self._spawn(self._work(ven_id), f"push {ven_id}")

    async def close(self) -> None:
        """End the workers; what is not delivered waits in the store for the next start."""
        self._closing = True
        self._service.books.on_work = None
        workers = tuple(self._workers.values())
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        while self._settling:
            await asyncio.gather(*self._settling, return_exceptions=True)
        await self._http.close()

    # --- one VEN -------------------------------------------------------------------------------------------

    async def _work(self, ven_id: VenId) -> None:
        nap = self._wakers[ven_id]
        try:
            await self._insist(lambda: self._recover(ven_id))
            link = Link()
            while outbox.is_push(self._ven(ven_id)) and not self._service.is_broken:
                link = pushing.link_of(link, self._ven(ven_id))
                due = self._due(ven_id, link)
                if due <= self._clock.now():
                    link = await self._push(ven_id, link)
                else:
                    await nap.until(due)
        except StoreError:
            _LOG.exception("the store failed; nothing more is pushed to %s", ven_id)
        finally:
            if self._wakers.get(ven_id) is nap:
                del self._wakers[ven_id], self._workers[ven_id]

    async def _recover(self, ven_id: VenId) -> None:
        """Let go out once more what a former process had under way (rule 7)."""
        if any(each.sent_at is not None for each in self._ven(ven_id).outbox):
            await self._change(ven_id, lambda ven, ctx: pushing.requeued(ven))
        if pushing.is_under_way(self._service.memory.delivery(ven_id)):
            await self._change(ven_id, deliver=lambda delivery, ctx: Delivery())

    def _ven(self, ven_id: VenId) -> Ven:
        ven = self._service.memory.ven(ven_id)
        assert ven is not None  # VENs are never removed
        return ven

    def _due(self, ven_id: VenId, link: Link) -> datetime:
        ctx = self._context(self._ven(ven_id))
        due = pushing.next_due(self._ven(ven_id), self._service.memory, ctx) or ctx.now + _IDLE
        return due if link.blocked_until is None else max(due, link.blocked_until)

    def _context(self, ven: Ven) -> Context:
        """Return the circumstances of a push: whoever listens at a VEN's address speaks for the VEN."""
        peer = PeerIdentity(fingerprint=ven.provision.fingerprint, connection=pushing.CONNECTION)
        return self._service.context(peer)

    async def _push(self, ven_id: VenId, link: Link) -> Link:
        """Push one message, if one is due, and return how the way to the VEN is afterwards."""
        async with self._slots.slot(doubtful=link.failures > 0):
            taken = await self._settle(lambda: self._take(ven_id, link))
            if taken is None:
                return link
            heard = await self._exchange(taken)
        return await self._settle(lambda: self._conclude(taken, heard, link))

    async def _settle(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run what must not be left half done, even if the worker is cancelled."""
        task = asyncio.get_running_loop().create_task(self._insist(work))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return await asyncio.shield(task)

    async def _insist(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it again while the store has no time for it: what is claimed must not stay so for ever."""
        while True:
            try:
                return await work()
            except StoreBusy as err:
                if self._closing:
                    raise
                _LOG.warning("a push waits for the store: %s", err)
                await asyncio.sleep(_BUSY_S)

    # --- before --------------------------------------------------------------------------------------------

    async def _take(self, ven_id: VenId, link: Link) -> _Taken | None:
        """Decide what goes next and make that durable."""

        def decide() -> tuple[Sequence[SharedWrite], _Taken | None]:
            memory, ven = self._service.memory, self._ven(ven_id)
            before = pushing.settled(memory.delivery(ven_id))
            memory.set_delivery(ven_id, before)
            parcel = pushing.parcel(ven, memory, self._context(ven), events_first=link.events_first)
            if parcel.message is None or parcel.delivery is None:
                looked_at = parcel.delivery or before
                memory.set_delivery(ven_id, looked_at)
                taken = None if parcel.message is None else _Taken.of(parcel, ven, before)
                return self._writes(ven, parcel.ven, looked_at), taken
            after = pushing.under_way(parcel.delivery)
            taken = _Taken.of(replace(parcel, delivery=after), ven, before)
            return self._writes(ven, parcel.ven, after), taken

        return await self._service.books.change((ven_id,), decide)

    async def _change(
        self,
        ven_id: VenId,
        change: Callable[[Ven, Context], Ven] | None = None,
        deliver: Callable[[Delivery, Context], Delivery] | None = None,
        sent: Distribution | None = None,
    ) -> None:
        """Change a VEN, its deliveries, or both; ``sent`` is a set it has taken."""

        def decide() -> tuple[Sequence[SharedWrite], None]:
            ven, delivery = self._ven(ven_id), self._service.memory.delivery(ven_id)
            ctx = self._context(ven)
            after = delivery if deliver is None else deliver(delivery, ctx)
            return self._writes(ven, ven if change is None else change(ven, ctx), after, sent), None

        await self._service.books.change((ven_id,), decide)

    def _writes(
        self, ven: Ven, after: Ven, delivery: Delivery, sent: Distribution | None = None
    ) -> Sequence[SharedWrite]:
        """Return what is to be stored; what of it is for other processes only, books know."""
        memory = self._service.memory
        writes: list[SharedWrite] = []
        if after is not ven:
            writes.append(SaveVen(ven=replace(after, version=ven.version + 1)))
        if sent is not None or delivery != memory.delivery(ven.ven_id):
            if not writes:
                writes.append(Unchanged(ven_id=ven.ven_id, version=ven.version))
            writes.append(delivery_write(ven.ven_id, delivery, memory, sent, self._clock.now()))
        return writes

    # --- the exchange --------------------------------------------------------------------------------------

    async def _exchange(self, taken: _Taken) -> _Heard:
        registration = taken.ven.registration
        assert registration is not None  # the parcel was made for a registered VEN
        service = pushing.service_for(taken.message)
        try:
            signed = signs_to(taken.ven, self._service.settings)
            body = self._service.mail.encode(taken.message, signed=signed)
        except WireError as err:
            return _Heard(answer=Answer(status=406, reason=f"it cannot be written: {err}"))
        except CannotSign as err:
            return _Heard(answer=Answer(status=None, reason=f"it cannot be signed: {err}"))
        url = pushing.url_of(registration.transport_address or "", service)
        answer = await self._http.post(url, body, taken.ven.provision.fingerprint)
        exchange = Exchange(
            at=self._clock.now(),
            service=service,
            ven_id=taken.ven.ven_id,
            request=body,
            status=answer.status or 0,
            reply=answer.body,
        )
        self._service.note_push(_name(taken.message), exchange)
        return await self._heard(taken, answer)

    async def _heard(self, taken: _Taken, answer: Answer) -> _Heard:
        """Read the synchronous reply; one that is not to be believed is no answer at all (rule 8)."""
        if pushing.outcome_of(answer.status) is not Outcome.TAKEN or not answer.body.strip():
            return _Heard(answer=answer)
        ven = taken.ven
        peer = replace(self._context(ven).peer, certificate=answer.certificate)
        try:
            opened = await self._service.open(answer.body, peer)
            check_signed(ven, signed=opened.signed, settings=self._service.settings)
        except WireError as err:
            _LOG.warning("%s replied to a push with no message: %s", ven.ven_id, err)
            return _Heard(answer=answer)
        except StoreBusy as err:
            return _Heard(answer=Answer(status=None, reason=f"its reply cannot be looked at: {err}"))
        except SecurityError as err:
            self._http.distrust()
            return _Heard(answer=Answer(status=None, reason=f"its reply is not to be believed: {err}"))
        return _Heard(answer=answer, reply=opened)

    # --- after ---------------------------------------------------------------------------------------------

    async def _conclude(self, taken: _Taken, heard: _Heard, link: Link) -> Link:
        """Act on what an exchange came to."""
        answer = heard.answer
        outcome = pushing.outcome_of(answer.status)
        name, ven_id = _name(taken.message), taken.ven.ven_id
        if outcome is Outcome.TAKEN:
            await self._taken(taken, heard.reply)
            return link.answered()
        _LOG.warning("%s was not pushed to %s: %s", name, ven_id, answer.reason, extra={"ven_id": ven_id})
        if outcome is Outcome.REFUSED:
            await self._give_up(taken, answer.reason)
            return link.answered()
        if isinstance(taken.message, Distribution):
            link = link.set_failed(taken.message)
            if link.set_failures >= self._service.settings.max_push_deliveries:
                await self._give_up(taken, f"{link.set_failures} deliveries failed: {answer.reason}")
            else:
                await self._undo(taken)
        else:
            await self._change(ven_id, lambda ven, ctx: pushing.queued_again(ven, taken.parcel.item_id))
        now = self._clock.now()
        return link.failed(
            now,
            factor=self._rng.uniform(0.9, 1.1),
            cap_s=self._limits.back_off_cap_s,
            at_least=pushing.retry_after(answer.retry_after, now),
        )

    async def _undo(self, taken: _Taken) -> None:
        after = taken.parcel.delivery
        assert after is not None  # it was a set
        await self._change(
            taken.ven.ven_id,
            deliver=lambda delivery, ctx: pushing.undone_set(delivery, taken.before, after),
        )

    async def _taken(self, taken: _Taken, reply: Opened | None) -> None:
        """The VEN has the message: take its synchronous reply, if it is one (rules 5 and 6)."""
        if isinstance(taken.message, Distribution):
            await self._set_taken(taken, taken.message, reply)
        elif isinstance(taken.message, CreatedReport):
            await self._change(taken.ven.ven_id, lambda ven, ctx: pushing.without(ven, taken.parcel.item_id))
        elif reply is not None:
            await self._reply(taken, reply)

    async def _set_taken(self, taken: _Taken, sent: Distribution, reply: Opened | None) -> None:
        message = None if reply is None else reply.message
        if isinstance(message, Response) and not message.response.code.startswith("2"):
            await self._give_up(taken, f"answered with {message.response.code}")
            return
        await self._change(
            taken.ven.ven_id, deliver=lambda delivery, ctx: pushing.settled(delivery), sent=sent
        )
        if reply is not None and not isinstance(message, Response):
            await self._reply(taken, reply)

    async def _reply(self, taken: _Taken, reply: Opened) -> None:
        ven = taken.ven
        item = next((each for each in taken.parcel.ven.outbox if each.item_id == taken.parcel.item_id), None)
        try:
            message = pushing.adapted(reply.message, ven, item)
            await self._service.take_reply(message, self._context(ven).peer, signed=reply.signed)
        except (ApplicationError, SecurityError) as err:
            _LOG.warning("a reply of %s was not taken: %s", ven.ven_id, err, extra={"ven_id": ven.ven_id})

    async def _give_up(self, taken: _Taken, reason: str) -> None:
        message, item_id = taken.message, taken.parcel.item_id
        if not isinstance(message, Distribution):
            await self._change(
                taken.ven.ven_id, lambda ven, ctx: pushing.gave_up(ven, item_id, _name(message), reason, ctx)
            )
            return
        await self._change(
            taken.ven.ven_id,
            lambda ven, ctx: pushing.gave_up(ven, message.request_id, _name(message), reason, ctx),
            lambda delivery, ctx: pushing.refused_set(delivery, message, ctx, taken.ven),
        )


def _name(message: Reply) -> str:
    return "DistributeEvent" if isinstance(message, Distribution) else type(message).__name__
