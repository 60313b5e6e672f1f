"""What the shell of a VEN needs from outside: a clock, and a way to exchange messages with its VTN."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.model import AnyMessage

__all__ = ["Clock", "Transport"]


class Clock(Protocol):
    """Time, of the wall or simulated."""

    def now(self) -> datetime:
        """Return the present instant, aware, UTC."""
        ...

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        """Return when the instant has come; rank and key order those who wake together."""
        ...


class Transport(Protocol):
    """One request and its reply."""

    async def exchange(self, service: ServiceName, message: AnyMessage) -> AnyMessage:
        """Send a message to a service of the VTN and return the reply.

        Raises:
            TransportError: if no valid message came back.
        """
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...
