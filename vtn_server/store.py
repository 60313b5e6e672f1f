"""What the VTN asks of its memory that survives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from vtn_server.decision import SaveOpt, Write
from vtn_server.records import EventRecord
from vtn_server.state import Reading, Ven, VenId

__all__ = [
    "BadStoreUrl",
    "Pruned",
    "Snapshot",
    "Store",
    "StoreConflict",
    "StoreError",
    "StoreFailed",
    "StoreInUse",
    "StoreUnavailable",
    "UnknownSchema",
]


class StoreError(Exception):
    """Base of what a store raises on purpose."""


class StoreFailed(StoreError):
    """A commit did not happen; what is in memory may no longer agree, so the service must stop."""


class StoreConflict(StoreFailed):
    """Somebody else has stored a newer version of an aggregate."""


class UnknownSchema(StoreError):
    """The store was written by a version of the product that this one does not know."""


class StoreInUse(StoreError):
    """Another process uses the store."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or read; nothing of it has changed."""


class BadStoreUrl(StoreError):
    """A URL that names no store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How much was deleted because it was old.

    Attributes:
        opts: Answers to events that were deleted, or had been before.
    """

    readings: int = 0
    events: int = 0
    opts: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        """Return the sum."""
        return Pruned(
            readings=self.readings + other.readings,
            events=self.events + other.events,
            opts=self.opts + other.opts,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything a VTN needs to go on where it stopped.

    Attributes:
        events: Those that are not over, or were over only lately.
        opts: The answers to those events.
    """

    vens: tuple[Ven, ...]
    events: tuple[EventRecord, ...]
    opts: tuple[SaveOpt, ...]


class Store(Protocol):
    """Durable state. All methods may be called concurrently from one event loop."""

    @property
    def commits(self) -> int:
        """The number of transactions written so far."""
        ...

    async def load(self, over_after: datetime) -> Snapshot:
        """Return the state, without the events that were over by ``over_after``."""
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """Return when the writes are durable, all of them.

        Raises:
            StoreFailed: if they are not; none of them is.
        """
        ...

    async def remember(self, nonce: str, timestamp: datetime) -> bool:
        """Return whether a nonce is new, once it is durable; all processes of the store decide as one.

        Raises:
            StoreFailed: if it is not durable.
        """
        ...

    async def forget_nonces(self, signed_before: datetime) -> None:
        """Delete the nonces whose time stamps are older. Commits may go on meanwhile.

        Raises:
            StoreUnavailable: if that cannot be done now.
        """
        ...

    async def readings(
        self, *, report_specifier_id: str, start: datetime, end: datetime, ven_id: VenId | None = None
    ) -> tuple[Reading, ...]:
        """Return the readings that start in [start, end), sorted by start, VEN and rID."""
        ...

    async def event(self, event_id: str) -> EventRecord | None:
        """Return an event with all its versions, however old."""
        ...

    async def events(self, event_ids: Sequence[str]) -> tuple[EventRecord, ...]:
        """Return those of some events that are stored, with all their versions, by eventID."""
        ...

    async def opts(self, event_ids: Sequence[str]) -> tuple[SaveOpt, ...]:
        """Return the stored answers to some events, by eventID and venID."""
        ...

    async def known_events(self, event_ids: Sequence[str]) -> frozenset[str]:
        """Return which of some events are stored, however old."""
        ...

    async def prune(self, *, readings_before: datetime | None, events_before: datetime | None) -> Pruned:
        """Delete readings that start before an instant, and events that were over by one.

        Never deleted: VENs, and events that are not over with their answers. None deletes nothing.
        Commits may go on meanwhile.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of all resources."""
        ...
