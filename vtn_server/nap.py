"""A sleep on a clock that can be cut short, in real and in simulated time."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final, Protocol

__all__ = ["Clock", "Nap"]

_RANK: Final = 2
"""The rank of the VTN among those who wake at one instant."""


class Clock(Protocol):
    """Time, of the wall or simulated."""

    def now(self) -> datetime:
        """Return the present instant, aware, UTC."""
        ...

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        """Return when the instant has come."""
        ...


class Nap:
    """Sleeps on a clock until an instant, or until woken; a wake while awake cuts the next sleep short."""

    def __init__(self, clock: Clock, key: str) -> None:
        self._clock = clock
        self._key = key
        self._woken = False
        self._sleep: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """End the sleep, or the next one."""
        self._woken = True
        if self._sleep is not None:
            self._sleep.cancel()

    async def until(self, when: datetime) -> None:
        """Return when the instant has come or somebody wakes us."""
        if not self._woken:
            sleep = self._sleep = asyncio.get_running_loop().create_task(self._until(when))
            try:
                await asyncio.wait((sleep,))
            except asyncio.CancelledError:
                sleep.cancel()  # the clock must have counted it awake before this task ends
                await asyncio.wait((sleep,))
                raise
            finally:
                self._sleep = None
            if not sleep.cancelled():
                sleep.result()
        self._woken = False

    async def _until(self, when: datetime) -> None:
        """As a task of its own, which may be cancelled before it has begun."""
        await self._clock.sleep_until(when, _RANK, self._key)
