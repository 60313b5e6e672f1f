"""How one process follows what the others on its store commit.

Rules:

1. Each commit tells which aggregates, events and deliveries it has changed. Whoever hears of it reads those
   anew, and takes over what is newer than its own. Nothing is ever decided on that alone: a commit checks the
   versions again, so a note that comes late costs a second decision, never an effect.
2. :meth:`Follower.catch_up` sends a note and waits until it has come back: notes come in the order of the
   commits, so everything that was committed before is in memory then.
3. When the line is lost, notes may be lost with it. With a new line the versions of everything are compared.
4. A process hears itself at least every ``beat_s``; it takes the line for lost if it does not within
   ``deaf_s``, or if the database takes longer to answer. One that has not caught up for ``stale_s`` says so
   (:attr:`Follower.is_current`): then nothing may be answered from memory any more.
5. One process leads: while it does, :meth:`Follower.leading` holds its duties, such as pushes.

How late a poll may be at a process that serves: normally ``gather_s`` and the few milliseconds of one
notification and one read; at the worst ``stale_s``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from vtn_server.settings import FollowLimits
from vtn_server.state import VenId
from vtn_server.store import Line, LineLost, Note, Sharing, Snapshot, StoreBusy, StoreClosed, StoreError
from vtn_server.world import Memory

__all__ = ["Follower"]

_LOG: Final = logging.getLogger(__name__)
_MOST_AT_ONCE: Final = 1000
_MARGIN: Final = timedelta(minutes=1)
"""Longer than a request is under way, and clocks differ."""
T = TypeVar("T")


class Follower:
    """Keeps one process's memory as the store is.

    Args:
        sharing: The store.
        memory: What is kept.
        over_by: The instant by which an event must have been over to be left out.
        now: The protocol's clock.
        on_work: Told whose VENs may have something to get.
        limits: How long what may take.
    """

    def __init__(
        self,
        sharing: Sharing,
        memory: Memory,
        *,
        now: Callable[[], datetime],
        over_by: Callable[[datetime], datetime],
        on_work: Callable[[VenId], None],
        limits: FollowLimits,
    ) -> None:
        self._sharing: Final = sharing
        self._memory: Final = memory
        self._now: Final = now
        self._over_by: Final = over_by
        self._on_work: Final = on_work
        self.limits: Final = limits
        self._notes: list[Note] = []
        self._arrived = asyncio.Event()
        self._answered = asyncio.Event()
        self._wanted = asyncio.Event()
        self._asked = 0
        self._heard = 0
        self._done = asyncio.Condition()
        self._caught_up = 0
        self._loop = asyncio.get_running_loop()
        self._current_at = self._loop.time()
        self._task: asyncio.Task[None] | None = None
        self._leads = asyncio.Event()
        self._follows = asyncio.Event()
        self._follows.set()

    @property
    def origin(self) -> str:
        """The name of this process among the others."""
        return self._sharing.origin

    @property
    def is_current(self) -> bool:
        """Whether what is in memory may be answered from."""
        return self._loop.time() - self._current_at < self.limits.stale_s

    def start(self, line: Line) -> None:
        """Follow what is said on a line, and on others when it is lost.

        Args:
            line: It was opened before the memory was loaded.
        """
        self._task = self._loop.create_task(self._follow(line), name="follow the other processes")

    async def close(self) -> None:
        """Follow nobody any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def catch_up(self) -> None:
        """Return when everything that was committed before is in memory.

        Raises:
            StoreBusy: if that takes too long.
        """
        self._asked += 1
        ticket = self._asked
        self._wanted.set()
        try:
            async with asyncio.timeout(self.limits.patience_s), self._done:
                await self._done.wait_for(lambda: self._caught_up >= ticket)
        except TimeoutError as err:
            raise StoreBusy("the other processes could not be caught up with") from err

    @asynccontextmanager
    async def leading(self, duties: Callable[[], AbstractAsyncContextManager[None]]) -> AsyncIterator[None]:
        """Hold duties whenever this process leads."""
        task = self._loop.create_task(self._lead(duties), name="duties of the leader")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _lead(self, duties: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        while True:
            await self._leads.wait()
            _LOG.info("this process leads: it pushes, and deletes what is old")
            async with duties():
                await self._follows.wait()
            _LOG.warning("this process leads no more")

    def _set_leading(self, leads: bool) -> None:
        for event, wanted in ((self._leads, leads), (self._follows, not leads)):
            if wanted:
                event.set()
            else:
                event.clear()

    # --- lines ---------------------------------------------------------------------------------------------

    async def _follow(self, first: Line) -> None:
        line: Line | None = first
        while True:
            try:
                if line is None:
                    line = await self._within(self.limits.stale_s, self._sharing.open_line())
                    await self._compare()
                await self._serve(line)
            except StoreClosed:
                return
            except (StoreError, OSError) as err:
                _LOG.warning("%s; with the next line all that is in memory is compared with the store", err)
            except Exception:  # noqa: BLE001 - who follows nobody is of no use: better try once more
                _LOG.exception("the other processes could not be followed; tried again with another line")
            finally:
                self._set_leading(False)
                if line is not None:
                    await line.close()
                    line = None
            await asyncio.sleep(self.limits.pause_s)

    @staticmethod
    async def _within(length_s: float, work: Coroutine[Any, Any, T]) -> T:
        """Return what comes of saying something to the database.

        Raises:
            LineLost: if it takes too long.
        """
        try:
            async with asyncio.timeout(length_s):
                return await work
        except TimeoutError as err:
            raise LineLost(f"the database has not answered within {length_s:g} s") from err

    async def _serve(self, line: Line) -> None:
        """Follow a line until it is lost.

        Raises:
            LineLost, StoreError: when that is.
        """
        self._notes.clear()
        self._heard = self._caught_up
        works: tuple[Coroutine[Any, Any, None], ...] = (self._listen(line), self._apply(), self._beat(line))
        tasks = [self._loop.create_task(each) for each in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for each in ended:
            if isinstance(each, Exception):
                raise each

    async def _listen(self, line: Line) -> None:
        async for note in line.notes():
            if note.origin == self.origin and note.ping:
                self._heard = max(self._heard, note.ping)
                self._answered.set()
            self._notes.append(note)
            self._arrived.set()

    async def _beat(self, line: Line) -> None:
        """Hear ourselves now and then, and whenever somebody wants to catch up."""
        sent = heard = self._heard
        look_at = since = self._loop.time()
        while True:
            if self._loop.time() >= look_at:
                self._set_leading(await self._within(self.limits.deaf_s, line.lead()))
                look_at = self._loop.time() + self.limits.beat_s
            try:
                async with asyncio.timeout(self.limits.beat_s):
                    await self._wanted.wait()
            except TimeoutError:
                self._asked += 1
            self._wanted.clear()
            if self._heard >= sent or self._heard > heard:  # what was said last may be on its way
                heard, since = self._heard, self._loop.time()
            elif self._loop.time() - since > self.limits.deaf_s:
                raise LineLost("what this process says does not come back")
            sent = self._asked
            await self._within(self.limits.deaf_s, line.ping(sent))

    # --- memory --------------------------------------------------------------------------------------------

    async def _apply(self) -> None:
        while True:
            await self._arrived.wait()
            await self._gather()
            self._arrived.clear()
            notes, self._notes = self._notes[:_MOST_AT_ONCE], self._notes[_MOST_AT_ONCE:]
            if self._notes:
                self._arrived.set()
            await self._take(_joined(each for each in notes if each.origin != self.origin))
            ping = max((each.ping for each in notes if each.origin == self.origin), default=0)
            if ping:
                await self._is_current_by(ping)

    async def _gather(self) -> None:
        """Let more notes come, so that what many commits changed is read at one go, unless somebody waits."""
        try:
            async with asyncio.timeout(self.limits.gather_s):
                await self._answered.wait()
        except TimeoutError:
            return
        self._answered.clear()

    async def _is_current_by(self, ticket: int) -> None:
        self._current_at = self._loop.time()
        async with self._done:
            self._caught_up = max(self._caught_up, ticket)
            self._done.notify_all()

    async def _take(self, note: Note) -> None:
        """Read what a note names, take it over, and tell of the work it makes."""
        if note == replace(_NOTHING, origin=note.origin):
            return
        found = await self._sharing.changed(note)
        if skipped := self._memory.skipped(found):  # it was read after a commit whose note is still to come
            self._memory.merge(Snapshot(vens=(), events=found.events, opts=()))
            more = self._memory.answerable(skipped, self._current_from())
            found = await self._sharing.changed(replace(note, opts=note.opts | more))
        self._memory.merge(found)
        if found.events:
            now = self._now()
            self._memory.forget_over(now, self._over_by(now))
        for ven_id in {ven_id for record in found.events for ven_id in record.audience}:
            self._on_work(ven_id)
        for ven in found.vens:
            self._loop.call_later(self.limits.push_delay_s, self._on_work, ven.ven_id)

    def _current_from(self) -> datetime:
        """Return an instant at which memory was as the store."""
        return self._now() - timedelta(seconds=self._loop.time() - self._current_at) - _MARGIN

    async def _compare(self) -> None:
        """Take over whatever is newer in the store: notes may have been lost."""
        asked, known = self._asked, self._memory.delivery_versions()
        versions = await self._sharing.versions(self._over_by(self._now()))
        stored = dict(versions.deliveries)
        for ven_id, version in known.items():
            if stored.get(ven_id, 0) < version:  # the database has crashed
                self._memory.forget_delivery(ven_id)
        since = self._current_from()
        note = self._memory.outdated(versions, since)
        await self._take(replace(_NOTHING, events=note.events))
        await self._take(self._memory.outdated(versions, since))
        await self._is_current_by(asked)


_NOTHING: Final = Note(origin="")


def _joined(notes: Iterable[Note]) -> Note:
    some = tuple(notes)
    return Note(
        origin="",
        vens=frozenset().union(*(each.vens for each in some)),
        events=frozenset().union(*(each.events for each in some)),
        opts=frozenset().union(*(each.opts for each in some)),
        deliveries=frozenset().union(*(each.deliveries for each in some)),
        identities=max((each.identities for each in some), default=0),
    )
