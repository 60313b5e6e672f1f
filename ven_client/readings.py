"""Values that come from devices when they please: the last one of each quantity, with its age. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ven_client.devices import StaleReading

__all__ = ["Quantity", "Readings"]

_KEPT: Final = timedelta(hours=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A quantity as it is known at an instant.

    Attributes:
        name: Its name.
        value: The last value; None if none has come yet.
        age_s: How old it is, s; None without a value.
        stale: Whether it is missing, or too old to act on.
    """

    name: str
    value: float | None
    age_s: float | None
    stale: bool


class Readings:
    """The last values of named quantities.

    Args:
        names: The quantities that are expected.
        stale_after: A value older than this is not acted on.
    """

    def __init__(self, names: tuple[str, ...], stale_after: timedelta) -> None:
        self._names, self._stale_after = names, stale_after
        self._last: dict[str, tuple[datetime, float]] = {}
        self._past: dict[str, deque[tuple[datetime, float]]] = {}

    def keep_past(self, name: str) -> None:
        """Keep two hours of a quantity, for :meth:`mean`."""
        self._past.setdefault(name, deque())

    def put(self, name: str, value: float, at: datetime) -> None:
        """Take a value that has just come."""
        self._last[name] = (at, value)
        past = self._past.get(name)
        if past is not None:
            past.append((at, value))
            while past[0][0] < at - _KEPT:
                past.popleft()

    def value(self, name: str, now: datetime) -> float:
        """Return the last value of a quantity.

        Raises:
            StaleReading: if it is missing or too old.
        """
        known = self._last.get(name)
        if known is None:
            raise StaleReading(f"{name} has never been read")
        if now - known[0] > self._stale_after:
            raise StaleReading(f"{name} is {(now - known[0]).total_seconds():.0f} s old")
        return known[1]

    def mean(self, name: str, start: datetime, end: datetime) -> float | None:
        """Return the mean of a past stretch, each value holding until the next one.

        Returns:
            None if somewhere in the stretch the last value was missing or too old.
        """
        samples = list(self._past.get(name, ()))
        if start >= end or not samples or samples[0][0] > start:
            return None
        total = 0.0
        following = [at for at, _ in samples[1:]] + [end]
        for (at, value), until in zip(samples, following, strict=True):
            first, last = max(at, start), min(until, end)
            if first >= last:
                continue
            if last - at > self._stale_after:
                return None
            total += value * (last - first).total_seconds()
        return total / (end - start).total_seconds()

    def quantities(self, now: datetime) -> tuple[Quantity, ...]:
        """Return everything that is expected, with its age."""
        found = []
        for name in self._names:
            known = self._last.get(name)
            age = None if known is None else now - known[0]
            found.append(
                Quantity(
                    name=name,
                    value=None if known is None else known[1],
                    age_s=None if age is None else age.total_seconds(),
                    stale=age is None or age > self._stale_after,
                )
            )
        return tuple(found)
