"""When events are over: found without looking at all of them whenever one is published. Pure.

1. An event that is over leaves the routing of its VENs at once.
2. What is over stays in memory for a while, for whoever asks; it stays in the store as long as the retention
   says. Where there is more of it than a bound, what was over first leaves earlier.
3. Who fetched which version is kept for an hour: of a price for ten thousand VENs it is a megabyte.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

__all__ = ["Expiry"]

_MOST_OVER: Final = 10_000
_DELIVERIES: Final = timedelta(hours=1)


class Expiry:
    """The ends of the events in memory.

    Args:
        most_over: How many events that are over stay.
    """

    def __init__(self, most_over: int = _MOST_OVER) -> None:
        self.most_over: Final = most_over
        self._ends: Final[list[tuple[datetime, str]]] = []
        self._end_of: Final[dict[str, datetime]] = {}
        self._over: Final[dict[str, datetime]] = {}
        self._delivered: Final[dict[str, datetime]] = {}
        self.crowded_out = 0
        """How many events left memory early."""

    @property
    def over(self) -> int:
        """How many events in memory are over."""
        return len(self._over)

    def put(self, event_id: str, over_at: datetime | None) -> None:
        """Note when an event will be over; None is not by itself."""
        if over_at is None:
            self._end_of.pop(event_id, None)
        elif self._end_of.get(event_id) != over_at:
            self._end_of[event_id] = over_at
            heapq.heappush(self._ends, (over_at, event_id))

    def ended(self, now: datetime) -> Iterator[str]:
        """Yield the events that are over since this was asked last."""
        while self._ends and self._ends[0][0] <= now:
            over_at, event_id = heapq.heappop(self._ends)
            if self._end_of.get(event_id) != over_at:
                continue  # it ends at another time by now
            del self._end_of[event_id]
            self._over[event_id] = self._delivered[event_id] = over_at
            yield event_id

    def over_since(self, moment: datetime) -> Iterator[str]:
        """Yield the events in memory that have been over since an instant, the last one first."""
        for event_id in reversed(self._over):
            if self._over[event_id] < moment:
                return
            yield event_id

    def undelivered(self, now: datetime) -> Iterator[str]:
        """Yield the events whose deliveries are of no interest any more, once each."""
        yield from _taken(self._delivered, now - _DELIVERIES)

    def forgotten(self, over_before: datetime) -> Iterator[str]:
        """Yield the events that leave memory."""
        yield from _taken(self._over, over_before)
        while len(self._over) > self.most_over:
            first = next(iter(self._over))
            del self._over[first]
            self.crowded_out += 1
            yield first


def _taken(ends: dict[str, datetime], until: datetime) -> Iterator[str]:
    """Take out and yield what ended by an instant; it is in the order of the ends."""
    while ends:
        first = next(iter(ends))
        if ends[first] > until:
            return
        del ends[first]
        yield first
