"""What is bounded, where reaching the bound refuses somebody something; docs/operating.md lists all of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.oadr20b.errors import DeploymentError

__all__ = ["Level", "Limit", "LimitReached"]


class Limit(StrEnum):
    """The bounds that are counted."""

    CONNECTIONS = "connections"
    REQUESTS = "requests"
    BODIES = "bodies"
    OPERATOR_REQUESTS = "operatorRequests"
    VENS = "vens"
    QUEUE = "queueOfVen"
    REPORT_REQUESTS = "reportRequestsOfVen"
    POINTS = "pointsOfVen"
    SCHEDULES = "schedulesOfVen"
    EVENTS = "openEvents"
    EVENTS_OVER = "eventsOverInMemory"
    VERSIONS = "versionsOfEvent"
    PUSH_EXCHANGES = "pushExchanges"
    PUSH_SLOW = "pushSlowExchanges"
    PUSH_KEPT = "pushKeptConnections"


class LimitReached(DeploymentError):
    """There is no more room for what is asked.

    Args:
        limit: Which bound is reached.
        description: What is asked, in words.
    """

    def __init__(self, limit: Limit, description: str) -> None:
        super().__init__(description)
        self.limit = limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How full something bounded is.

    Attributes:
        now: How much of it is taken; None where the bound is one for each VEN.
        most: The bound.
        reached: How often it was reached since the start.
    """

    limit: Limit
    now: int | None
    most: int
    reached: int
