"""Polls that were read before: a VEN sends the same bytes every few seconds, and they always mean the same.

What bytes mean depends on nothing but the bytes, so a body that was parsed, found valid and decoded need not
be again. An oadrPoll carries nothing that changes from one to the next. Only bodies whose signature nobody
looks at are kept here; signed ones have :mod:`certs.known_shapes`.
"""

from __future__ import annotations

from typing import Final

from schemas.oadr20b.model import AnyMessage, Poll

__all__ = ["KnownPolls"]

_MOST: Final = 20_000
"""Two for each VEN that a process may have."""
_MOST_BYTES: Final = 1000
"""A body beyond this is read anew each time; an ordinary one has 300 to 800."""


class KnownPolls:
    """The bodies and what they say; where there is no more room, the oldest goes."""

    def __init__(self, most: int = _MOST) -> None:
        self._most: Final = most
        self._polls: Final[dict[bytes, Poll]] = {}

    def find(self, body: bytes) -> Poll | None:
        """Return the poll that a body is, if it was learned."""
        return self._polls.get(body)

    def learn(self, body: bytes, message: AnyMessage) -> None:
        """Remember what a body says, if it is a poll and not long."""
        if not isinstance(message, Poll) or len(body) > _MOST_BYTES:
            return
        if len(self._polls) >= self._most:
            del self._polls[next(iter(self._polls))]
        self._polls[body] = message
