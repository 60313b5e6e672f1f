"""One request through all layers: bytes in, decide, commit, bytes out.

Rules:

1. The aggregates in memory are the truth while the process runs; the store is the truth at the start.
2. Requests of one VEN are decided one after another: a lock per VEN, held until the commit of the decision.
   A decision without writes, such as an empty poll, neither waits nor touches the store.
3. A reply leaves only after its writes are durable. If a commit fails, memory and store may differ, so the
   service answers 503 from then on; a new start reloads.
4. Any bytes get a status; nothing raises.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import (
    ApplicationError,
    ComplianceError,
    InvalidId,
    NotRecognised,
    NotRegistered,
    WireError,
)
from schemas.oadr20b.model import AnyMessage, CreatedEvent, CreatePartyRegistration
from vtn_server import distribute
from vtn_server.decision import OK, Context, Decision, Distribution, Reply, SaveEvent, SaveVen, Write
from vtn_server.dispatch import Needs, Row, row_of
from vtn_server.encoder import Encoder
from vtn_server.exchange import Exchange
from vtn_server.registration import authorise, subject
from vtn_server.replies import Refusal, ven_id_of
from vtn_server.rulewatch import watched
from vtn_server.settings import ReportPlan, VtnSettings, no_reports
from vtn_server.state import PeerIdentity, Ven, VenId
from vtn_server.stats import Stats, Tally
from vtn_server.store import Store, StoreError, StoreFailed
from vtn_server.world import Memory

__all__ = ["Exchange", "Reply", "VtnService"]

_LOG: Final = logging.getLogger(__name__)
_NEW_VENS: Final = ""
"""The key of the lock under which VENs come into being."""


class VtnService:
    """A VTN without its transports. Make it with :meth:`start`.

    Args:
        now: The protocol's clock.
        new_id: Makes ids that are unique in this VTN.
        report_plan: Which reports to ask of a VEN that announces its metadata.
        on_exchange: Called after each request that was answered.
    """

    def __init__(
        self,
        settings: VtnSettings,
        store: Store,
        memory: Memory,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        report_plan: ReportPlan = no_reports,
        on_exchange: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.settings: Final = settings
        self.memory: Final = memory
        self.store: Final = store
        self.now: Final = now
        self._new_id: Final = new_id
        self._report_plan: Final = report_plan
        self._encoder: Final = Encoder()
        self._tally: Final = Tally()
        self._on_exchange: Final = watched(settings.check_rules, self._tally.rule_violations, on_exchange)
        self._locks: Final[dict[str, asyncio.Lock]] = {}
        self._settling: Final[set[asyncio.Task[None]]] = set()
        self._broken = False
        self.on_work: Callable[[VenId], None] | None = None
        """Told after each commit whose VENs may have something to get; for a transport that pushes."""

    @classmethod
    async def start(
        cls,
        settings: VtnSettings,
        store: Store,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        report_plan: ReportPlan = no_reports,
        on_exchange: Callable[[Exchange], None] | None = None,
    ) -> VtnService:
        """Return a VTN that goes on where its store says it stopped."""
        present = now()
        memory = Memory(await store.load(over_by(present, settings)), present)
        return cls(
            settings,
            store,
            memory,
            now=now,
            new_id=new_id,
            report_plan=report_plan,
            on_exchange=on_exchange,
        )

    @property
    def is_broken(self) -> bool:
        """Whether a commit has failed; the process should end and start anew."""
        return self._broken

    def stats(self) -> Stats:
        """Return the counters."""
        return self._tally.snapshot(self.store.commits)

    def count_http_error(self, status: int) -> None:
        """Count a request the transport refused."""
        self._tally.http_errors[str(status)] += 1

    async def close(self) -> None:
        """Finish what is under way; the store stays open, it belongs to whoever made it."""
        while self._settling:
            await asyncio.gather(*self._settling, return_exceptions=True)

    # --- requests ------------------------------------------------------------------------------------------

    async def handle(self, body: bytes, peer: PeerIdentity, service: ServiceName) -> tuple[int, bytes]:
        """Return the HTTP status and the body that answer a request."""
        self._tally.bytes_in += len(body)
        message: AnyMessage | None = None
        if self._broken:
            status, reply = 503, b""
        else:
            try:
                message = wire.read(
                    body, max_bytes=self.settings.max_bytes, bare_root=self.settings.accept_bare_root
                )
                status, reply = 200, await self._answer(message, peer, service)
            except WireError as err:
                if message is not None:  # the fault is in our reply
                    status, reply = 500, self._unexpected()
                else:
                    _LOG.info("refused a body: %s", err)
                    status, reply = err.http_status, b""
            except StoreError:
                _LOG.exception("the store failed; this VTN serves nothing more")
                status, reply = 503, b""
            except Exception:  # noqa: BLE001 - the last resort of rule 4
                status, reply = 500, self._unexpected()
        if status != 200:
            self._tally.http_errors[str(status)] += 1
        self._tally.bytes_out += len(reply)
        if self._on_exchange is not None:
            self._on_exchange(
                Exchange(
                    at=self.now(),
                    service=service,
                    ven_id=None if message is None else ven_id_of(message),
                    request=body,
                    status=status,
                    reply=reply,
                )
            )
        return status, reply

    def _unexpected(self) -> bytes:
        """Log the exception at hand; return the reference by which a peer can ask about it."""
        reference = self._new_id()
        _LOG.exception("unexpected, reference %s", reference)
        return f"reference {reference}".encode()

    async def _answer(self, message: AnyMessage, peer: PeerIdentity, service: ServiceName) -> bytes:
        self._tally.messages_in[type(message).__name__] += 1
        self._count_peer_errors(message)
        row = row_of(message)
        ctx = self.context(peer)
        try:
            if service not in row.services:
                raise NotRecognised(f"{type(message).__name__} does not belong to {service}")
            decision = await self._serve(message, row, ctx)
            reply, code = decision.reply, decision.code
        except ApplicationError as err:
            refusal = Refusal(error=err, vtn_id=self.settings.vtn_id, fresh_id=self._new_id())
            reply, code = row.refusal(message, refusal), err.code
        if code != OK:
            self._tally.application_errors[code] += 1
            _LOG.info("answered %s with %s", type(message).__name__, code)
        name = "DistributeEvent" if isinstance(reply, Distribution) else type(reply).__name__
        self._tally.messages_out[name] += 1
        return self.encode(reply)

    def encode(self, message: Reply) -> bytes:
        """Return a message of ours as a body.

        Raises:
            WireError: if it cannot be written, or is not valid where the settings want that checked.
        """
        body = self._encoder.encode(message)
        if self.settings.validate_outgoing:
            wire.parse(body)
        return body

    async def take_reply(self, message: AnyMessage, peer: PeerIdentity) -> None:
        """Take a VEN's synchronous answer to what was pushed to it, as if it had come by POST.

        Raises:
            ApplicationError: if it would be refused.
            StoreError: if it cannot be made durable.
        """
        self._tally.messages_in[type(message).__name__] += 1
        self._count_peer_errors(message)
        await self._serve(message, row_of(message), self.context(peer))

    def note_push(self, name: str, exchange: Exchange) -> None:
        """Count an exchange that we began, and show it to whoever keeps a log."""
        self._tally.messages_out[name] += 1
        self._tally.bytes_out += len(exchange.request)
        self._tally.bytes_in += len(exchange.reply)
        if self._on_exchange is not None:
            self._on_exchange(replace(exchange, pushed=True))

    async def _serve(self, message: AnyMessage, row: Row[AnyMessage], ctx: Context) -> Decision:
        """Decide under the VEN's lock, and return when the decision is durable."""
        if row.handler is None:
            raise NotRecognised(f"{type(message).__name__} is what a VTN sends")
        if row.needs is Needs.NOBODY:
            return row.handler(message, None, self.memory, ctx)
        key, lock = await self._lock_for(message)
        settling: asyncio.Task[None] | None = None
        try:
            ven = self._sender(message, row.needs, ctx)
            decision = row.handler(message, ven, self.memory, ctx)
            settling = self._settle(decision, ven, lock)
        finally:
            if settling is None:
                lock.release()
        if settling is not None:
            await asyncio.shield(settling)
        for notice in decision.notices:
            _LOG.info("%s: %s", key, notice, extra={"ven_id": key})
        return decision

    def context(self, peer: PeerIdentity) -> Context:
        """Return the circumstances of a decision made now."""
        return Context(
            now=self.now(),
            peer=peer,
            new_id=self._new_id,
            settings=self.settings,
            report_plan=self._report_plan,
        )

    # --- who asks ------------------------------------------------------------------------------------------

    def _key_of(self, message: AnyMessage) -> str:
        ven_id = ven_id_of(message)
        if ven_id is None and isinstance(message, CreatePartyRegistration) and message.ven_name:
            ven = self.memory.ven_named(message.ven_name)
            ven_id = None if ven is None else ven.ven_id
        return ven_id if ven_id is not None and self.memory.ven(ven_id) is not None else _NEW_VENS

    async def _lock_for(self, message: AnyMessage) -> tuple[str, asyncio.Lock]:
        while True:
            key = self._key_of(message)
            lock = await self.lock(key)
            if key == self._key_of(message):
                return key, lock
            lock.release()

    async def lock(self, key: str) -> asyncio.Lock:
        """Return the lock of a VEN, taken."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        await lock.acquire()
        return lock

    def unlock(self, key: str) -> None:
        """Let the lock of a VEN go."""
        self._locks[key].release()

    def _sender(self, message: AnyMessage, needs: Needs, ctx: Context) -> Ven:
        """Return the VEN a message comes from.

        Raises:
            ComplianceError: if the message does not say (r508).
            InvalidId: if it names a VEN we do not know.
            NotRegistered: if the peer may not speak for it, or it is not registered where it must be.
        """
        if isinstance(message, CreatePartyRegistration):
            ven = subject(message, self.memory, ctx)
        else:
            ven_id = ven_id_of(message)
            if ven_id is None:
                raise ComplianceError("a message to the VTN carries the venID (r508)")
            found = self.memory.ven(ven_id)
            if found is None:
                raise InvalidId(f"no venID {ven_id}")
            ven = found
        authorise(ven.provision, ctx.peer, self.settings)
        if needs is Needs.REGISTERED and ven.registration is None:
            raise NotRegistered(f"{ven.ven_id} is not registered")
        delivery = self.memory.delivery(ven.ven_id)
        after = distribute.heard(delivery, ctx.peer.connection)
        if after is not delivery:
            self.memory.set_delivery(ven.ven_id, after)
        return ven

    # --- durability ----------------------------------------------------------------------------------------

    def _settle(self, decision: Decision, ven: Ven, lock: asyncio.Lock) -> asyncio.Task[None] | None:
        """Apply a decision; return the task that commits it and then frees the lock, if it has writes."""
        changed = decision.ven
        writes = decision.writes
        if changed is not None and changed is not ven:
            writes = (SaveVen(ven=replace(changed, version=ven.version + 1)), *writes)
        if decision.delivery is not None:
            self.memory.set_delivery(ven.ven_id, decision.delivery)  # at once: an event may change meanwhile
        if isinstance(decision.reply, Distribution):
            self.memory.note_fetched(ven.ven_id, decision.reply, self.now())
        if not writes:
            return None

        async def settle() -> None:
            try:
                await self._commit(writes)
            finally:
                lock.release()

        return self._spawn(settle())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return task

    async def _commit(self, writes: Sequence[Write]) -> None:
        if self._broken:
            raise StoreFailed("an earlier commit failed")
        try:
            await self.store.commit(writes)
        except StoreError:
            self._broken = True
            raise
        self.memory.apply(writes)
        if self.on_work is not None:
            for ven_id in audience_of(writes):
                self.on_work(ven_id)

    async def write(self, writes: Sequence[Write]) -> None:
        """Commit and apply writes an operator asks for; never half done, even if the caller is cancelled."""
        await asyncio.shield(self._spawn(self._commit(writes)))

    def _count_peer_errors(self, message: AnyMessage) -> None:
        response = getattr(message, "response", None)
        if response is not None and not response.code.startswith("2"):
            self._tally.peer_errors[response.code] += 1
        if isinstance(message, CreatedEvent):
            for answer in message.event_responses or ():
                if not answer.code.startswith("2"):
                    self._tally.peer_errors[answer.code] += 1


def audience_of(writes: Sequence[Write]) -> tuple[VenId, ...]:
    """Return the VENs some writes are about, each once."""
    found: dict[VenId, None] = {}
    for write in writes:
        match write:
            case SaveVen(ven=ven):
                found[ven.ven_id] = None
            case SaveEvent(record=record):
                found.update(dict.fromkeys(record.audience))
            case _:
                pass  # answers and data make no work
    return tuple(found)


def over_by(now: datetime, settings: VtnSettings) -> datetime:
    """Return the instant by which an event must have been over to leave memory."""
    try:
        return now - settings.keep_completed
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
