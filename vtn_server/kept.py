"""How many connections are kept alive: a bound on the idle ones of a client, by where they lead. Pure."""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = ["Kept"]

Place: TypeAlias = tuple[str | None, int | None]
"""Host and port."""


class Kept:
    """The places to which a connection may be open, with when it was last used.

    Args:
        most: How many there may be.
        keep_s: How long an idle connection is kept.
    """

    def __init__(self, most: int, keep_s: float) -> None:
        self._most: Final = most
        self._keep_s: Final = keep_s
        self._used_s: Final[dict[Place, float]] = {}  # in the order of use
        self.refused = 0
        """How many exchanges were told to end their connection."""

    def __len__(self) -> int:
        return len(self._used_s)

    def take(self, place: Place, now_s: float) -> bool:
        """Return whether the connection to a place may be kept after an exchange that begins now."""
        known = self._used_s.pop(place, None) is not None
        while self._used_s:
            first = next(iter(self._used_s))
            if now_s - self._used_s[first] <= self._keep_s:
                break
            del self._used_s[first]
        if not known and len(self._used_s) >= self._most:
            self.refused += 1
            return False
        self._used_s[place] = now_s
        return True
