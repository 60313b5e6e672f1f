"""When a pull VEN polls next; a push VEN never does (r500). Pure.

1. After an item the next poll is due at once, until the queue is drained (r500) or ``drain_limit`` items
   came in a row.
2. Otherwise a poll is due one idle period, with jitter, after the previous one.
3. While a real-time price event is active, or starts within ``fast_lead``, a poll is due one fast period
   after the previous one, without jitter.
4. No period is ever shorter than what the VTN asked for.

Source: signals.md, Poll cadence; S 9.1.8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from ven_client.event_book import HeldSpan
from ven_client.messages import normal_uri
from ven_client.settings import VenConfig

__all__ = ["Cadence"]

_MIDNIGHT: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Cadence:
    """The due time of the next poll.

    Args:
        config: Periods and fast contexts.
        uniform: Returns a number between its two arguments at random.
    """

    def __init__(self, config: VenConfig, uniform: Callable[[float, float], float]) -> None:
        self._config = config
        self._polls = config.push_address is None
        self._uniform = uniform
        self._fast_contexts = frozenset(normal_uri(uri) for uri in config.fast_contexts)
        self._fast_spans: tuple[HeldSpan, ...] = ()
        self._least = timedelta(0)
        self._drained = 0
        self.due: datetime | None = None
        """When to poll next; None is not at all."""

    @property
    def least(self) -> timedelta:
        """The period the VTN asks for."""
        return self._least

    def require(self, least: timedelta) -> None:
        """Take the period the VTN asks for (oadrRequestedOadrPollFreq)."""
        self._least = max(least, timedelta(0))

    def watch(self, spans: Sequence[HeldSpan]) -> None:
        """Take the events that are held; they count from the end of this series of polls."""
        self._fast_spans = tuple(span for span in spans if span.market_context in self._fast_contexts)

    def stop(self) -> None:
        """Poll no more."""
        self.due = None

    def at_once(self, now: datetime) -> None:
        """Poll now, as the first of a series."""
        self._drained = 0
        self.due = now if self._polls else None

    def item(self, now: datetime) -> None:
        """A poll brought something: poll again at once, within the limit."""
        self._drained += 1
        if self._polls and self._drained < self._config.drain_limit:
            self.due = now
        else:
            self.empty(now)

    def empty(self, now: datetime) -> None:
        """A poll brought nothing: wait for a period."""
        self._drained = 0
        if not self._polls:
            return
        jitter = self._config.poll_jitter
        factor = 1 + (self._uniform(-jitter, jitter) if jitter else 0.0)
        due = now + max(self._config.idle_poll * factor, self._least)
        for span in self._fast_spans:
            candidate = self._aligned(max(now + self._fast, span.start - self._config.fast_lead))
            if candidate < due and (span.end is None or candidate < span.end):
                due = candidate
        self.due = due

    @property
    def _fast(self) -> timedelta:
        return max(self._config.fast_poll, self._least)

    def _aligned(self, earliest: datetime) -> datetime:
        phase = self._config.fast_phase
        if phase is None:
            return earliest
        over = (earliest - _MIDNIGHT - phase) % self._fast
        return earliest if not over else earliest + self._fast - over
