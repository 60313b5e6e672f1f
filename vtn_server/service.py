"""One request through all layers: bytes in, decide, commit, bytes out.

Rules:

1. Decisions are made, committed and made again by the rules of :mod:`.books`: one VEN's one after another,
   each on the newest state of all processes that share the store, except that an empty poll may be late.
2. A decision without writes, such as an empty poll, neither waits nor touches the store.
3. A reply leaves only after its writes are durable. If a commit fails, memory and store may differ, so the
   service answers 503 from then on; a new start reloads.
4. Any bytes get a status; nothing raises.
5. A signature is verified, and its nonce durable, before its message is looked at. A message that is not
   believed changes nothing and gets status 403 without a body (r514).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from typing import Final

from certs.envelope import Opened
from certs.xmldsig import Signer
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import (
    ApplicationError,
    ComplianceError,
    InvalidId,
    NotRecognised,
    NotRegistered,
    NotSigned,
    SecurityError,
    WireError,
)
from schemas.oadr20b.model import AnyMessage, CreatePartyRegistration
from vtn_server.after_reply import settled
from vtn_server.books import NEW_VENS, Books, Doubtful, Heard
from vtn_server.decision import OK, Context, Decision, Distribution, Reply, SharedWrite
from vtn_server.dispatch import Needs, Row, row_of
from vtn_server.exchange import Exchange
from vtn_server.levels import watch_memory
from vtn_server.limits import Limit, LimitReached
from vtn_server.mail import Mail, wall_time
from vtn_server.refusal_log import log_code, log_refusal
from vtn_server.registration import authorise, identified, subject
from vtn_server.replies import Refusal, ven_id_of
from vtn_server.rulewatch import watched
from vtn_server.settings import ReportPlan, VtnSettings, no_reports
from vtn_server.signing import check_signed
from vtn_server.state import PeerIdentity, Ven
from vtn_server.stats import Stats, Tally
from vtn_server.store import Store, StoreBusy, StoreConflict, StoreError
from vtn_server.world import Memory

__all__ = ["Exchange", "Reply", "VtnService"]

_LOG: Final = logging.getLogger(__name__)


class VtnService:
    """A VTN without its transports. Make it with :meth:`start`.

    Args:
        now: The protocol's clock.
        new_id: Makes ids that are unique in this VTN.
        report_plan: Which reports to ask of a VEN that announces its metadata.
        on_exchange: Called after each request that was answered.
        signer: Signs what leaves; needed unless the settings want no signatures.
        wall: The wall clock, in which certificates live.

    Raises:
        ValueError: if the settings want signatures, and there is nothing to sign with.
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
        signer: Signer | None = None,
        wall: Callable[[], datetime] = wall_time,
    ) -> None:
        self.settings: Final = settings
        self.memory: Final = memory
        self.store: Final = store
        self.now: Final = now
        self._new_id: Final = new_id
        self._report_plan: Final = report_plan
        self.mail: Final = Mail(settings, store, now=now, new_id=new_id, signer=signer, wall=wall)
        self._tally: Final = Tally()
        watch_memory(self._tally, settings, memory)
        self._on_exchange: Final = watched(settings.check_rules, self._tally.rule_violations, on_exchange)
        self.books: Final = Books(store, memory, now)

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
        signer: Signer | None = None,
        wall: Callable[[], datetime] = wall_time,
    ) -> VtnService:
        """Return a VTN that goes on where its store says it stopped."""
        present = now()
        sharing = store.sharing
        line = None if sharing is None else await sharing.open_line()  # before what it tells of is loaded
        service = cls(
            settings,
            store,
            Memory(await store.load(settings.over_by(present)), present),
            now=now,
            new_id=new_id,
            report_plan=report_plan,
            on_exchange=on_exchange,
            signer=signer,
            wall=wall,
        )
        if sharing is not None and line is not None:
            service.books.follow(sharing, line, settings)
        return service

    @property
    def is_broken(self) -> bool:
        """Whether a commit has failed; the process should end and start anew."""
        return self.books.is_broken

    @property
    def is_current(self) -> bool:
        """Whether this process has heard of the others on its store lately; without others it always has."""
        return self.books.follower is None or self.books.follower.is_current

    def alone(
        self, duties: Callable[[], AbstractAsyncContextManager[None]]
    ) -> AbstractAsyncContextManager[None]:
        """Hold duties that one process at a time has, of all that share the store."""
        follower = self.books.follower
        return duties() if follower is None else follower.leading(duties)

    def stats(self) -> Stats:
        """Return the counters."""
        return self._tally.snapshot(self.store.commits)

    def count_http_error(self, status: int) -> None:
        """Count a request the transport refused."""
        self._tally.http_errors[str(status)] += 1

    def count_closed(self, why: str) -> None:
        """Count a connection the transport refused or cut off."""
        self._tally.closed[why] += 1

    def count_limit(self, limit: Limit) -> None:
        """Count that a bound was reached, which refused somebody something."""
        self._tally.reached[limit] += 1

    def watch(
        self,
        limit: Limit,
        most: int,
        now: Callable[[], int] | None,
        reached: Callable[[], int] | None = None,
    ) -> None:
        """Show a bound among the counters; see :meth:`vtn_server.stats.Tally.watch`."""
        self._tally.watch(limit, most, now, reached)

    async def close(self) -> None:
        """Finish what is under way; the store stays open, it belongs to whoever made it."""
        await self.books.close()

    # --- requests ------------------------------------------------------------------------------------------

    async def handle(self, body: bytes, peer: PeerIdentity, service: ServiceName) -> tuple[int, bytes]:
        """Return the HTTP status and the body that answer a request."""
        self._tally.bytes_in += len(body)
        message: AnyMessage | None = None
        if self.books.follower is not None:  # a name that no other process gives
            peer = replace(peer, connection=f"{self.books.follower.origin} {peer.connection}")
        if self.is_broken or not self.is_current:
            status, reply = 503, b""
        else:
            try:
                opened = await self.open(body, peer)
                message = opened.message
                status, reply = 200, await self._answer(opened, peer, service)
            except WireError as err:
                if message is not None:  # the fault is in our reply
                    status, reply = 500, self._unexpected()
                else:
                    _LOG.info("refused a body: %s", err)
                    status, reply = err.http_status, b""
            except SecurityError as err:
                _LOG.warning("refused a message from %s: %s", peer.fingerprint, err)
                status, reply = err.http_status, b""
            except StoreBusy as err:
                _LOG.warning("not now: %s", err)
                status, reply = 503, b""
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

    async def open(self, body: bytes, peer: PeerIdentity) -> Opened:
        """Return the message in a body; see :meth:`vtn_server.mail.Mail.open` for the errors."""
        try:
            return await self.mail.open(body, peer)
        except StoreError as err:
            if isinstance(err, StoreConflict) and self.books.follower is not None:
                raise StoreBusy(str(err)) from err
            self.books.is_broken = True
            raise

    def _unexpected(self) -> bytes:
        """Log the exception at hand; return the reference by which a peer can ask about it."""
        reference = self._new_id()
        _LOG.exception("unexpected, reference %s", reference)
        return f"reference {reference}".encode()

    async def _answer(self, opened: Opened, peer: PeerIdentity, service: ServiceName) -> bytes:
        message = opened.message
        self._tally.messages_in[type(message).__name__] += 1
        self._tally.count_answers(message)
        row = row_of(message)
        ctx = self.context(peer, signed=opened.signed)
        try:
            if service not in row.services:
                raise NotRecognised(f"{type(message).__name__} does not belong to {service}")
            decision = await self._serve(message, row, ctx)
            reply, code = decision.reply, decision.code
            log_code(code, reply, message, peer)
        except ApplicationError as err:
            log_refusal(err, message, peer)
            if isinstance(err, LimitReached):
                self.count_limit(err.limit)
            refusal = Refusal(error=err, vtn_id=self.settings.vtn_id, fresh_id=self._new_id())
            reply, code = row.refusal(message, refusal), err.code
        if code != OK:
            self._tally.application_errors[code] += 1
        name = "DistributeEvent" if isinstance(reply, Distribution) else type(reply).__name__
        self._tally.messages_out[name] += 1
        return self.mail.encode(reply, signed=opened.signed)

    async def take_reply(self, message: AnyMessage, peer: PeerIdentity, *, signed: bool = False) -> None:
        """Take a VEN's synchronous answer to what was pushed to it, as if it had come by POST.

        Raises:
            ApplicationError: if it would be refused.
            NotSigned: if it should be signed.
            StoreError: if it cannot be made durable.
        """
        self._tally.messages_in[type(message).__name__] += 1
        self._tally.count_answers(message)
        await self._serve(message, row_of(message), self.context(peer, signed=signed))

    def note_push(self, name: str, exchange: Exchange) -> None:
        """Count an exchange that we began, and show it to whoever keeps a log."""
        self._tally.messages_out[name] += 1
        self._tally.bytes_out += len(exchange.request)
        self._tally.bytes_in += len(exchange.reply)
        if self._on_exchange is not None:
            self._on_exchange(replace(exchange, pushed=True))

    async def _serve(self, message: AnyMessage, row: Row[AnyMessage], ctx: Context) -> Decision:
        """Decide under the VEN's lock, and return when the decision is durable."""
        identified(ctx.peer, self.settings)
        if row.handler is None:
            raise NotRecognised(f"{type(message).__name__} is what a VTN sends")
        if row.needs is Needs.NOBODY:
            return row.handler(message, None, self.memory, ctx)
        if self.books.follower is None:
            return await self._decide(message, row, ctx, certain=True)
        tries = self.books.tries()
        while True:
            try:
                return await self._decide(message, row, ctx, certain=tries.certain)
            except (ApplicationError, NotSigned):
                if tries.certain:
                    raise
                await tries.doubt()
            except Doubtful:
                await tries.doubt()
            except StoreConflict as err:
                await tries.conflict(err)
            ctx = replace(ctx, now=self.now())

    async def _decide(
        self, message: AnyMessage, row: Row[AnyMessage], ctx: Context, *, certain: bool
    ) -> Decision:
        """Decide once under the VEN's lock, and return when the decision is durable.

        Raises:
            Doubtful: if it has to be made again once everything is certain.
            StoreConflict: if another process was faster.
        """
        keys = await self._lock_for(message)
        settling: asyncio.Task[Sequence[SharedWrite]] | None = None
        this: Heard | None = None
        try:
            ven = self._sender(message, row.needs, ctx)
            this = self.books.hear(ven.ven_id, ctx.peer.connection)
            decision = row.handler(message, ven, self.memory, ctx)  # type: ignore[misc]  # there is one
            settling = self.books.settle(message, decision, ven, this, keys, certain=certain)
        except BaseException:
            if this is not None:
                self.books.unhear(ven.ven_id, this)
            raise
        finally:
            if settling is None:
                self.books.unlock(*keys)
        if settling is not None:
            await settled(settling, self.books.tell)
        for notice in decision.notices:
            _LOG.info("%s: %s", ven.ven_id, notice, extra={"ven_id": ven.ven_id})
        return decision

    def context(self, peer: PeerIdentity, *, signed: bool = False) -> Context:
        """Return the circumstances of a decision made now."""
        return Context(
            now=self.now(),
            peer=peer,
            signed=signed,
            new_id=self._new_id,
            settings=self.settings,
            report_plan=self._report_plan,
        )

    # --- who asks ------------------------------------------------------------------------------------------

    def _keys_of(self, message: AnyMessage) -> tuple[str, ...]:
        """Return the locks under which a message is decided on."""
        ven_id = ven_id_of(message)
        registers = isinstance(message, CreatePartyRegistration)
        if ven_id is None and isinstance(message, CreatePartyRegistration) and message.ven_name:
            ven = self.memory.ven_named(message.ven_name)
            ven_id = None if ven is None else ven.ven_id
        if ven_id is None or self.memory.ven(ven_id) is None:
            return (NEW_VENS,)
        # whoever registers may come by a certificate, which must be nobody's in any process
        pins = registers and self.settings.open_enrolment and self.books.follower is not None
        return (NEW_VENS, ven_id) if pins else (ven_id,)

    async def _lock_for(self, message: AnyMessage) -> tuple[str, ...]:
        while True:
            keys = self._keys_of(message)
            await self.books.lock(*keys)
            if keys == self._keys_of(message):
                return keys
            self.books.unlock(*keys)

    def _sender(self, message: AnyMessage, needs: Needs, ctx: Context) -> Ven:
        """Return the VEN a message comes from.

        Raises:
            ComplianceError: if the message does not say (r508).
            InvalidId: if it names a VEN we do not know.
            NotRegistered: if the peer may not speak for it, or it is not registered where it must be.
            NotSigned: if it signs, but did not sign this one.
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
        check_signed(ven, signed=ctx.signed, settings=self.settings)
        if needs is Needs.REGISTERED and ven.registration is None:
            raise NotRegistered(f"{ven.ven_id} is not registered")
        return ven
