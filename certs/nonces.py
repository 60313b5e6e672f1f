"""Nonces in memory: for a VEN, for tests, and as the model of what a durable store must do."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta

__all__ = ["MemoryNonces"]


class MemoryNonces:
    """Remembers nonces until their time stamps are too old to be accepted anyway.

    Args:
        now: Returns the present instant, aware.
        window: The verifier's window.
    """

    def __init__(self, *, now: Callable[[], datetime], window: timedelta) -> None:
        self._now = now
        self._window = window
        self._known: set[str] = set()
        self._by_time: list[tuple[datetime, str]] = []

    def __len__(self) -> int:
        return len(self._known)

    async def remember(self, nonce: str, timestamp: datetime) -> bool:
        """Remember a nonce; return False if it was there already."""
        oldest = self._now() - self._window
        while self._by_time and self._by_time[0][0] < oldest:
            self._known.discard(heapq.heappop(self._by_time)[1])
        if nonce in self._known:
            return False
        self._known.add(nonce)
        heapq.heappush(self._by_time, (timestamp, nonce))
        return True
