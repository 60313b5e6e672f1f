"""Counters of what went through a VTN."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from schemas.oadr20b.model import AnyMessage, CreatedEvent
from vtn_server.limits import Level, Limit

__all__ = ["Counts", "Stats", "Tally"]

_Read = Callable[[], int]
Counts = tuple[tuple[str, int], ...]
"""Names with their counts, sorted by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A snapshot of the counters.

    Attributes:
        messages_in: Messages received, by oadr name without the prefix.
        messages_out: Messages answered, likewise.
        application_errors: Error codes we answered.
        peer_errors: Error codes VENs answered to us, in eiResponse or eventResponse.
        http_errors: HTTP statuses other than 200.
        closed: Connections that were refused or cut off, by reason; see :mod:`certs.connections`.
        rule_violations: Breaches of the profile's rules by number, where the settings want them checked.
        levels: What is bounded, and how full it is.
    """

    messages_in: Counts = ()
    messages_out: Counts = ()
    application_errors: Counts = ()
    peer_errors: Counts = ()
    http_errors: Counts = ()
    closed: Counts = ()
    rule_violations: Counts = ()
    bytes_in: int = 0
    bytes_out: int = 0
    commits: int = 0
    levels: tuple[Level, ...] = ()

    @property
    def messages(self) -> int:
        """All messages in both directions."""
        return sum(count for _, count in (*self.messages_in, *self.messages_out))

    @property
    def rejected(self) -> int:
        """All requests that ended in an application error or an HTTP error."""
        return sum(count for _, count in (*self.application_errors, *self.http_errors))


class Tally:
    """The running counters."""

    def __init__(self) -> None:
        self.messages_in: Counter[str] = Counter()
        self.messages_out: Counter[str] = Counter()
        self.application_errors: Counter[str] = Counter()
        self.peer_errors: Counter[str] = Counter()
        self.http_errors: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.rule_violations: Counter[str] = Counter()
        self.bytes_in = 0
        self.bytes_out = 0
        self.reached: Counter[Limit] = Counter()
        self._gauges: dict[Limit, tuple[int, _Read | None, _Read | None]] = {}

    def watch(self, limit: Limit, most: int, now: _Read | None, reached: _Read | None = None) -> None:
        """Show from now on how full something is.

        Args:
            limit: What.
            most: Its bound.
            now: Returns how much is taken; None where the bound is one for each VEN.
            reached: Returns how often the bound was reached, if that is not counted in ``reached`` here.
        """
        self._gauges[limit] = (most, now, reached)

    def count_answers(self, message: AnyMessage) -> None:
        """Count the errors that a VEN answers to us."""
        response = getattr(message, "response", None)
        codes = [] if response is None else [response.code]
        if isinstance(message, CreatedEvent):
            codes += [each.code for each in message.event_responses or ()]
        for code in codes:
            if not code.startswith("2"):
                self.peer_errors[code] += 1

    def snapshot(self, commits: int) -> Stats:
        """Return the counters as they are."""
        return Stats(
            messages_in=_sorted(self.messages_in),
            messages_out=_sorted(self.messages_out),
            application_errors=_sorted(self.application_errors),
            peer_errors=_sorted(self.peer_errors),
            http_errors=_sorted(self.http_errors),
            closed=_sorted(self.closed),
            rule_violations=_sorted(self.rule_violations),
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            commits=commits,
            levels=tuple(
                Level(
                    limit=limit,
                    now=None if now is None else now(),
                    most=most,
                    reached=self.reached[limit] if reached is None else reached(),
                )
                for limit, (most, now, reached) in self._gauges.items()
            ),
        )


def _sorted(counter: Counter[str]) -> Counts:
    return tuple(sorted(counter.items()))
