"""Clocks: the wall, and simulated time in lockstep.

Rules of the simulated clock:

1. Time moves only when nobody is busy. A task that the clock started is busy until it ends or sleeps on the
   clock, and everything such a task waits for (an HTTP exchange, a commit, a pool job) keeps it busy. An
   event loop on real sockets looks idle while bytes are in the kernel; counting busy tasks is what tells
   the difference.
2. Sleepers wake in the order (time, rank, key). All sleepers of one instant and rank wake together, so what
   they do must commute; the next rank of the same instant waits until they are quiet.
3. A sleep that is already over still waits for its turn at the present instant.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Final, Protocol

__all__ = ["Clock", "Rank", "SimClock", "WallClock"]


_LONGEST_SLEEP_S: Final = 30.0


class Rank(IntEnum):
    """Who goes first at one instant."""

    PLANT = 0
    METER = 1
    VTN = 2
    DSO = 3
    VEN = 4
    OBSERVER = 5


class Clock(Protocol):
    """What shells ask of time."""

    def now(self) -> datetime:
        """Return the present instant, aware, UTC."""
        ...

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        """Return when the instant has come."""
        ...


class WallClock:
    """Real time."""

    def now(self) -> datetime:
        """Return the present instant, aware, UTC."""
        return datetime.now(UTC)

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        """Sleep until the instant; rank and key do not matter on the wall.

        Never wakes early, and looks at the clock from time to time: it may have been set.
        """
        del rank, key
        await asyncio.sleep(0)
        while (rest_s := (when - self.now()).total_seconds()) > 0.0:
            await asyncio.sleep(min(rest_s, _LONGEST_SLEEP_S))


class SimClock:
    """Simulated time in lockstep: runs as fast as the machine allows, and the same way twice.

    Args:
        start: The first instant, aware.
    """

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime, int, str, int, asyncio.Future[None]]] = []
        self._serial = itertools.count()
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._failure: BaseException | None = None

    def now(self) -> datetime:
        """Return the simulated instant."""
        return self._now

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task whose activity holds time; its failure ends :meth:`run` with the same error."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._take()
        task.add_done_callback(self._ended)
        return task

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        """Sleep until simulated time reaches ``when``; only for tasks that :meth:`spawn` started."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (max(when, self._now), int(rank), key, next(self._serial), woken)
        heapq.heappush(self._sleepers, entry)
        self._release()
        try:
            await woken
        except asyncio.CancelledError:
            if not woken.done() or woken.cancelled():
                self._take()  # a cancelled sleeper is awake again, and busy until it ends
            raise

    async def run(self, until: datetime) -> None:
        """Let time pass up to and including ``until``.

        Raises:
            BaseException: whatever a spawned task failed with.
        """
        while True:
            await self._quiet.wait()
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if not self._sleepers or self._sleepers[0][0] > until:
                self._now = max(self._now, until)
                return
            self._wake()

    def _wake(self) -> None:
        when, rank = self._sleepers[0][:2]
        self._now = when
        while self._sleepers and self._sleepers[0][:2] == (when, rank):
            woken = heapq.heappop(self._sleepers)[-1]
            if not woken.done():
                self._take()
                woken.set_result(None)

    def _take(self) -> None:
        self._busy += 1
        self._quiet.clear()

    def _release(self) -> None:
        self._busy -= 1
        if self._busy == 0:
            self._quiet.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and self._failure is None:
            self._failure = task.exception()
        self._release()
