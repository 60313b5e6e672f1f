"""Counters of a VEN's traffic."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from schemas.oadr20b.model import AnyMessage
from ven_client.messages import code_of, is_success

__all__ = ["ClientStats", "Tally"]

Counts = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStats:
    """A snapshot; each list of counts is sorted by name.

    Attributes:
        sent: Requests, by message type; one repeated at once on a fresh connection counts once.
        received: Replies, by message type.
        application_errors: Replies with a responseCode other than 2xx, by code.
        http_errors: Replies with another HTTP status than 200, by status.
        failures: Exchanges without any usable reply, HTTP errors included.
        reconnects: Requests repeated at once because a kept-alive connection turned out to be closed.
        bytes_sent: Bodies of requests.
        bytes_received: Bodies of replies.
    """

    sent: Counts = ()
    received: Counts = ()
    application_errors: Counts = ()
    http_errors: Counts = ()
    failures: int = 0
    reconnects: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


class Tally:
    """Counts as the traffic goes by."""

    def __init__(self) -> None:
        self._sent: Counter[str] = Counter()
        self._received: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self.failures = 0
        self.reconnects = 0
        self._bytes_sent = 0
        self._bytes_received = 0

    def sent(self, message: AnyMessage, size: int) -> None:
        """A request is about to leave."""
        self._sent[type(message).__name__] += 1
        self._bytes_sent += size

    def body(self, size: int, http_status: int) -> None:
        """A reply came, of whatever kind."""
        self._bytes_received += size
        if http_status != 200:
            self._statuses[str(http_status)] += 1

    def received(self, message: AnyMessage) -> None:
        """A reply was a message."""
        self._received[type(message).__name__] += 1
        code = code_of(message)
        if code is not None and not is_success(code):
            self._codes[code] += 1

    def snapshot(self) -> ClientStats:
        """Return the counts so far."""
        return ClientStats(
            sent=tuple(sorted(self._sent.items())),
            received=tuple(sorted(self._received.items())),
            application_errors=tuple(sorted(self._codes.items())),
            http_errors=tuple(sorted(self._statuses.items())),
            failures=self.failures,
            reconnects=self.reconnects,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
        )
