"""What the VTN knows, in memory and in its store: locked, decided upon, committed, told of.

Rules:

1. The aggregates in memory are the truth while the process runs, and the store is at the start; where several
   processes share the store it always is, and memory follows it (:mod:`.catchup`).
2. Whatever is decided about a VEN is decided under its lock, which is held until the commit. A decision that
   stores nothing waits for nothing.
3. What a decision changes in memory it changes when it is durable. Nothing of one that is not remains.
4. If a commit fails, memory and store may differ, so nothing is written any more. Where the store is shared,
   that somebody else was faster is no failure: whoever decided catches up and decides again, after a short
   pause of random length, until ``patience_s`` is over.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

from schemas.oadr20b.errors import ApplicationError
from schemas.oadr20b.model import AnyMessage
from vtn_server.catchup import Follower
from vtn_server.decision import (
    AddReadings,
    Decision,
    Delivery,
    Distribution,
    SaveDelivery,
    SaveEvent,
    SaveOpt,
    SaveVen,
    SharedWrite,
    audience_of,
)
from vtn_server.distribute import heard
from vtn_server.settings import VtnSettings
from vtn_server.settling import is_doubtful, shared_writes, with_identities, writes_of
from vtn_server.state import Ven, VenId
from vtn_server.store import Line, Sharing, Store, StoreBusy, StoreConflict, StoreError, StoreFailed
from vtn_server.world import Memory

__all__ = ["EVENTS", "NEW_VENS", "Books", "Doubtful", "Heard", "Tries"]

NEW_VENS: Final = ""
"""The key of the lock under which VENs come into being, and names and certificates change hands."""
EVENTS: Final = "\0events"
"""The key of the lock under which an operator changes events; no venID has such a character."""
_PAUSE_S: Final = 0.002
_LONGEST_PAUSE_S: Final = 0.1
T = TypeVar("T")
Heard: TypeAlias = tuple[Delivery, Delivery]
"""A VEN's delivery before and after a request of it was heard."""
Deliveries: TypeAlias = Sequence[tuple[VenId, Delivery]]


class Doubtful(Exception):
    """A decision has to be made again, by what is certain."""


class Tries:
    """The tries of one decision, until it counts.

    Args:
        follower: Follows the other processes; None where there are none.
    """

    def __init__(self, follower: Follower | None) -> None:
        self._follower = follower
        self._conflicts = 0
        self._until: float | None = None
        self.certain: bool = follower is None
        """Whether everything that was committed before the decision was asked for is in memory."""

    async def doubt(self) -> None:
        """Catch up with the others.

        Raises:
            StoreBusy: if that takes too long.
        """
        if self._follower is not None:
            await self._follower.catch_up()
        self.certain = True

    async def conflict(self, err: StoreConflict) -> None:
        """Catch up with whoever was faster, and wait a little.

        Raises:
            StoreConflict: if nobody else may write.
            StoreBusy: if this has gone on for too long.
        """
        if self._follower is None:
            raise err
        loop = asyncio.get_running_loop()
        if self._until is None:
            self._until = loop.time() + self._follower.limits.patience_s
        elif loop.time() > self._until:
            raise StoreBusy(f"others were faster {self._conflicts} times: {err}") from err
        longest = min(_LONGEST_PAUSE_S, _PAUSE_S * 2.0 ** min(self._conflicts, 10))
        self._conflicts += 1
        await asyncio.sleep(random.uniform(0.0, longest))
        await self.doubt()


class Books:
    """The state of one VTN.

    Args:
        store: What survives.
        memory: What it held.
        now: The protocol's clock.
    """

    def __init__(self, store: Store, memory: Memory, now: Callable[[], datetime]) -> None:
        self.store: Final = store
        self.memory: Final = memory
        self._now: Final = now
        self._locks: Final[dict[str, asyncio.Lock]] = {}
        self._settling: Final[set[asyncio.Task[Any]]] = set()
        self.follower: Follower | None = None
        """Follows the other processes; None where there are none."""
        self.is_broken = False
        """Whether a commit has failed."""
        self.on_work: Callable[[VenId], None] | None = None
        """Told whose VENs may have something to get."""

    def follow(self, sharing: Sharing, line: Line, settings: VtnSettings) -> None:
        """Follow the other processes from now on, on a line that was opened before the memory was loaded."""
        self.follower = Follower(
            sharing,
            self.memory,
            now=self._now,
            over_by=settings.over_by,
            on_work=self.work,
            limits=settings.follow,
        )
        self.follower.start(line)

    async def close(self) -> None:
        """Finish what is under way."""
        while self._settling:
            await asyncio.gather(*self._settling, return_exceptions=True)
        if self.follower is not None:
            await self.follower.close()

    def tries(self) -> Tries:
        """Return the tries of a decision."""
        return Tries(self.follower)

    # --- locks ---------------------------------------------------------------------------------------------

    async def lock(self, *keys: str) -> None:
        """Take the locks of some VENs, always in the same order."""
        if len(keys) == 1:
            lock = self._locks.get(keys[0])
            if lock is not None:
                await lock.acquire()
                return
        taken: list[asyncio.Lock] = []
        try:
            for key in sorted(keys):
                lock = self._locks.get(key)
                if lock is None:
                    lock = self._locks[key] = asyncio.Lock()
                await lock.acquire()
                taken.append(lock)
        except BaseException:
            for lock in taken:
                lock.release()
            raise

    def unlock(self, *keys: str) -> None:
        """Let the locks of some VENs go."""
        for key in keys:
            self._locks[key].release()

    # --- decisions about what a VEN says -------------------------------------------------------------------

    def hear(self, ven_id: VenId, connection: str) -> Heard:
        """Take note that a VEN is heard on a connection."""
        before = self.memory.delivery(ven_id)
        after = heard(before, connection)
        if after is not before:
            self.memory.set_delivery(ven_id, after)
        return before, after

    def unhear(self, ven_id: VenId, this: Heard) -> None:
        """Undo :meth:`hear` where other processes did not get to know of it."""
        before, after = this
        if self.follower is not None and self.memory.delivery(ven_id) is after:
            self.memory.set_delivery(ven_id, before)

    def settle(
        self,
        message: AnyMessage,
        decision: Decision,
        ven: Ven,
        this: Heard,
        keys: Sequence[str],
        *,
        certain: bool,
    ) -> asyncio.Task[Sequence[SharedWrite]] | None:
        """Carry out a decision: at once, or, if it stores something, by the task that is returned.

        The task frees the locks.

        Raises:
            Doubtful: if it has to be made again.
        """
        before, at = this
        if self.follower is None:
            writes: Sequence[SharedWrite] = writes_of(decision, ven)
        else:
            writes = shared_writes(decision, ven, self.memory, before, self._now())
            if not certain and is_doubtful(message, decision, writes):
                raise Doubtful
        if not writes:
            self._remember(decision, ven.ven_id, at)
            return None
        self._reserve(writes)

        async def settle() -> Sequence[SharedWrite]:
            try:
                await self._commit(writes, ((ven.ven_id, at),))
                self._remember(decision, ven.ven_id, at)
            except StoreConflict:
                self.unhear(ven.ven_id, this)
                raise
            finally:
                self.unlock(*keys)
            return writes

        return self._spawn(settle())

    def _remember(self, decision: Decision, ven_id: VenId, at: Delivery) -> None:
        """Remember what of a decision is in memory only."""
        after = decision.delivery
        if after is not None and (self.follower is None or self.memory.delivery(ven_id) is at):
            changed = self.memory.delivery(ven_id) is not at  # by an event, meanwhile
            self.memory.set_delivery(ven_id, replace(after, dirty=True) if changed else after)
        if isinstance(decision.reply, Distribution):
            self.memory.note_fetched(ven_id, decision.reply, self._now())

    # --- decisions of others -------------------------------------------------------------------------------

    async def change(
        self,
        keys: Sequence[str],
        decide: Callable[[], tuple[Sequence[SharedWrite], T]],
        look: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        """Decide under some locks, until the decision counts; return what it comes to, once it is durable.

        Args:
            keys: Of the locks.
            decide: Returns what to write and what it comes to. It may be called again and again.
            look: Awaited before each decision, under the locks.

        Raises:
            ApplicationError: what ``decide`` raises, by what is certain.
            StoreError: if it cannot be made durable.
        """
        tries = self.tries()
        while True:
            try:
                return await self._change(keys, decide, look)
            except ApplicationError:
                if tries.certain:
                    raise
                await tries.doubt()
            except StoreConflict as err:
                await tries.conflict(err)

    async def _change(
        self,
        keys: Sequence[str],
        decide: Callable[[], tuple[Sequence[SharedWrite], T]],
        look: Callable[[], Awaitable[None]] | None,
    ) -> T:
        await self.lock(*keys)
        writing: asyncio.Task[None] | None = None
        try:
            if look is not None:
                await look()
            wanted, result = decide()
            if wanted:
                writes = (
                    tuple(wanted) if self.follower is None else tuple(with_identities(wanted, self.memory))
                )
                self._reserve(writes)
                saved = (each.ven_id for each in writes if isinstance(each, SaveDelivery))
                at = tuple((ven_id, self.memory.delivery(ven_id)) for ven_id in saved)
                writing = self._spawn(self._write(writes, keys, at))
        finally:
            if writing is None:
                self.unlock(*keys)
        if writing is not None:
            await asyncio.shield(writing)  # never half done, even if the caller is cancelled
        return result

    async def _write(self, writes: Sequence[SharedWrite], keys: Sequence[str], at: Deliveries) -> None:
        try:
            await self._commit(writes, at)
        finally:
            self.unlock(*keys)
        self.tell(writes)

    async def write(self, writes: Sequence[SharedWrite]) -> None:
        """Commit and apply writes that are decided; never half done, even if the caller is cancelled."""
        await asyncio.shield(self._spawn(self._write(writes, (), ())))

    # --- durability ----------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._settling.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited for it may have gone

    def _reserve(self, writes: Sequence[SharedWrite]) -> None:
        for write in writes:
            if isinstance(write, SaveVen):
                self.memory.reserve(write.ven)

    async def _commit(self, writes: Sequence[SharedWrite], at: Deliveries) -> None:
        """Make writes durable, and take them over into memory.

        Args:
            writes: What was decided.
            at: The deliveries that are written, as they were when that was decided.

        Raises:
            StoreConflict: if somebody else was faster; memory is as it was.
            StoreFailed: if they are not durable.
        """
        if self.is_broken:
            raise StoreFailed("an earlier commit failed")
        stored = writes if self.follower is not None else [each for each in writes if type(each) in _ALONE]
        try:
            if stored:
                await self.store.commit(stored)
        except StoreError as err:
            if self.follower is None or not isinstance(err, StoreConflict):
                self.is_broken = True
            for write in writes:
                if isinstance(write, SaveVen):
                    self.memory.release(write.ven)
            raise
        moved = [ven_id for ven_id, delivery in at if self.memory.delivery(ven_id) is not delivery]
        self.memory.apply(writes)
        for ven_id in moved:  # an event has changed meanwhile
            self.memory.set_dirty(ven_id)

    def tell(self, writes: Sequence[SharedWrite]) -> None:
        """Tell whose VENs may have something to get."""
        for ven_id in () if self.on_work is None else audience_of(writes):
            self.work(ven_id)

    def work(self, ven_id: VenId) -> None:
        """Tell that a VEN may have something to get."""
        if self.on_work is not None:
            self.on_work(ven_id)


_ALONE: Final = (SaveVen, SaveEvent, SaveOpt, AddReadings)
"""What a store takes that no other process writes."""
