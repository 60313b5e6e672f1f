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
is woken by a commit that concerns its VEN. Exchanges under way are bounded; VENs whose last exchange failed
share a small part of the bound, so that many dead ones cannot take it all.

Requests are never compressed nor chunked, redirects are not followed (section 9.1.9). An exchange is timed by
the wall, pauses by the clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from certs.envelope import CannotSign, Opened
from certs.tls import ClientTls
from schemas.oadr20b.errors import ApplicationError, SecurityError, WireError
from schemas.oadr20b.model import CreatedReport, Response
from vtn_server import outbox, pushing
from vtn_server.decision import Context, Delivery, Distribution, Reply, SaveVen
from vtn_server.mail import wall_time
from vtn_server.nap import Clock, Nap
from vtn_server.push_http import Answer, Outbound, PushHttp, PushLimits
from vtn_server.pushing import Link, Outcome, Parcel
from vtn_server.service import Exchange, VtnService
from vtn_server.signing import check_signed, signs_to
from vtn_server.state import PeerIdentity, Ven, VenId
from vtn_server.store import StoreError

__all__ = ["Clock", "PushDispatcher", "PushLimits"]

_LOG: Final = logging.getLogger(__name__)
_IDLE: Final = timedelta(hours=1)

T = TypeVar("T")
Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A parcel that is on its way."""

    ven: Ven
    parcel: Parcel
    message: Reply
    before: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What an exchange brought, and the message in it, if there is one."""

    answer: Answer
    reply: Opened | None = None


class PushDispatcher:
    """Delivers to the push VENs of one VTN.

    Args:
        service: The VTN; its settings say ``push=True``. The dispatcher takes its ``on_work``.
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
        self._spawn = spawn or _create_task
        self._workers: dict[VenId, asyncio.Task[None]] = {}
        self._wakers: dict[VenId, Nap] = {}
        self._settling: set[asyncio.Task[Any]] = set()
        self._sound = asyncio.Semaphore(self._limits.exchanges - self._limits.doubtful_exchanges)
        self._doubtful = asyncio.Semaphore(self._limits.doubtful_exchanges)
        outbound = Outbound(targets=service.settings.push_targets, tls=tls, now=wall)
        self._http = PushHttp(self._limits, outbound, service.settings.max_bytes)
        self._closing = False

    def start(self) -> None:
        """Serve the push VENs there are, and from now on those that register."""
        self._service.on_work = self.wake
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
        self._service.on_work = None
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
            if any(each.sent_at is not None for each in self._ven(ven_id).outbox):
                await self._change(ven_id, lambda ven, ctx: pushing.requeued(ven))  # a former process sent it
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

    def _ven(self, ven_id: VenId) -> Ven:
        ven = self._service.memory.ven(ven_id)
        assert ven is not None  # VENs are never removed
        return ven

    def _due(self, ven_id: VenId, link: Link) -> datetime:
        ctx = self._context(self._ven(ven_id))
        due = pushing.next_due(self._ven(ven_id), self._service.memory, ctx)
        if due is None:
            return ctx.now + _IDLE
        return due if link.blocked_until is None else max(due, link.blocked_until)

    def _context(self, ven: Ven) -> Context:
        """Return the circumstances of a push: whoever listens at a VEN's address speaks for the VEN."""
        peer = PeerIdentity(fingerprint=ven.provision.fingerprint, connection=pushing.CONNECTION)
        return self._service.context(peer)

    async def _push(self, ven_id: VenId, link: Link) -> Link:
        """Push one message, if one is due, and return how the way to the VEN is afterwards."""
        async with self._doubtful if link.failures else self._sound:
            taken = await self._settle(self._take(ven_id, link))
            if taken is None:
                return link
            heard = await self._exchange(taken)
        return await self._settle(self._conclude(taken, heard, link))

    async def _settle(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what must not be left half done, even if the worker is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return await asyncio.shield(task)

    # --- before --------------------------------------------------------------------------------------------

    async def _take(self, ven_id: VenId, link: Link) -> _Taken | None:
        """Decide what goes next and make that durable."""
        await self._service.lock(ven_id)
        try:
            memory, ven = self._service.memory, self._ven(ven_id)
            before = pushing.settled(memory.delivery(ven_id))
            memory.set_delivery(ven_id, before)
            parcel = pushing.parcel(ven, memory, self._context(ven), events_first=link.events_first)
            if parcel.delivery is not None:
                memory.set_delivery(ven_id, parcel.delivery)
            if parcel.ven is not ven:
                await self._service.write((SaveVen(ven=replace(parcel.ven, version=ven.version + 1)),))
            if parcel.message is None:
                return None
            return _Taken(ven=ven, parcel=parcel, message=parcel.message, before=before)
        finally:
            self._service.unlock(ven_id)

    async def _change(self, ven_id: VenId, change: Callable[[Ven, Context], Ven]) -> None:
        await self._service.lock(ven_id)
        try:
            ven = self._ven(ven_id)
            after = change(ven, self._context(ven))
            if after is not ven:
                await self._service.write((SaveVen(ven=replace(after, version=ven.version + 1)),))
        finally:
            self._service.unlock(ven_id)

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
                self._undo(taken)
        else:
            await self._change(ven_id, lambda ven, ctx: _again(ven, taken.parcel.item_id))
        now = self._clock.now()
        return link.failed(
            now,
            factor=self._rng.uniform(0.9, 1.1),
            cap_s=self._limits.back_off_cap_s,
            at_least=pushing.retry_after(answer.retry_after, now),
        )

    def _undo(self, taken: _Taken) -> None:
        memory, ven_id = self._service.memory, taken.ven.ven_id
        after = taken.parcel.delivery
        assert after is not None  # it was a set
        memory.set_delivery(ven_id, pushing.undone_set(memory.delivery(ven_id), taken.before, after))

    async def _taken(self, taken: _Taken, reply: Opened | None) -> None:
        """The VEN has the message: take its synchronous reply, if it is one (rules 5 and 6)."""
        if isinstance(taken.message, Distribution):
            await self._set_taken(taken, taken.message, reply)
        elif isinstance(taken.message, CreatedReport):
            await self._change(taken.ven.ven_id, lambda ven, ctx: _without(ven, taken.parcel.item_id))
        elif reply is not None:
            await self._reply(taken, reply)

    async def _set_taken(self, taken: _Taken, sent: Distribution, reply: Opened | None) -> None:
        memory, ven_id = self._service.memory, taken.ven.ven_id
        message = None if reply is None else reply.message
        if isinstance(message, Response) and not message.response.code.startswith("2"):
            await self._give_up(taken, f"answered with {message.response.code}")
            return
        memory.set_delivery(ven_id, pushing.settled(memory.delivery(ven_id)))
        memory.note_fetched(ven_id, sent, self._clock.now())
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
        if isinstance(message, Distribution):
            memory, ven_id = self._service.memory, taken.ven.ven_id
            current, ctx = memory.delivery(ven_id), self._context(taken.ven)
            memory.set_delivery(ven_id, pushing.refused_set(current, message, ctx, taken.ven))
            item_id = message.request_id
        await self._change(
            taken.ven.ven_id, lambda ven, ctx: pushing.gave_up(ven, item_id, _name(message), reason, ctx)
        )


def _create_task(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work, name=name)


def _name(message: Reply) -> str:
    return "DistributeEvent" if isinstance(message, Distribution) else type(message).__name__


def _without(ven: Ven, item_id: str) -> Ven:
    return replace(ven, outbox=tuple(each for each in ven.outbox if each.item_id != item_id))


def _again(ven: Ven, item_id: str) -> Ven:
    return pushing.requeued(ven, item_id) if any(each.item_id == item_id for each in ven.outbox) else ven
