"""What the VTN asks of its memory that survives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from vtn_server.decision import SaveDelivery, SaveOpt, SharedWrite
from vtn_server.records import EventRecord
from vtn_server.state import Reading, Ven, VenId

__all__ = [
    "BadStoreUrl",
    "Line",
    "LineLost",
    "Note",
    "Pruned",
    "Sharing",
    "Snapshot",
    "Store",
    "StoreBusy",
    "StoreClosed",
    "StoreConflict",
    "StoreError",
    "StoreFailed",
    "StoreInUse",
    "StoreUnavailable",
    "UnknownSchema",
    "Versions",
]


class StoreError(Exception):
    """Base of what a store raises on purpose."""


class StoreFailed(StoreError):
    """A commit did not happen; what is in memory may no longer agree, so the service must stop."""


class StoreConflict(StoreFailed):
    """Somebody else has stored a newer version of an aggregate; nothing of the commit was written.

    In a store that is shared this is no failure: catch up with the others and decide again.
    """


class StoreBusy(StoreError):
    """Others were faster again and again, or could not be caught up with in time; nothing was written."""


class LineLost(StoreError):
    """What other processes write is not heard of any more; whatever is in memory may be outdated."""


class StoreClosed(StoreError):
    """The store was closed, by this process."""


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
        deliveries: How far VENs are with their events; of a store that is shared.
        identities: The number of the newest :class:`~vtn_server.decision.SaveIdentity`; likewise.
    """

    vens: tuple[Ven, ...]
    events: tuple[EventRecord, ...]
    opts: tuple[SaveOpt, ...]
    deliveries: tuple[SaveDelivery, ...] = ()
    identities: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The versions of all that is stored, by id.

    Attributes:
        events: Of those that are not long over, the newest modificationNumber.
        identities: As in :class:`Snapshot`.
    """

    vens: tuple[tuple[str, int], ...]
    events: tuple[tuple[str, int], ...]
    deliveries: tuple[tuple[str, int], ...]
    identities: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a process says to all of them with a commit: what it has changed.

    Attributes:
        origin: The process.
        vens: Aggregates by venID.
        events: By eventID.
        opts: Pairs of eventID and venID; the aggregate of each of these VENs is among ``vens``.
        deliveries: By venID.
        identities: The number of the newest change; 0 if there is none.
        ping: Not 0 where somebody only wants to hear itself.
    """

    origin: str
    vens: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    opts: frozenset[tuple[str, str]] = frozenset()
    deliveries: frozenset[str] = frozenset()
    identities: int = 0
    ping: int = 0


class Line(Protocol):
    """One process's connection to the others. What raises LineLost has to be closed."""

    def notes(self) -> AsyncIterator[Note]:
        """Yield the notes of all commits since the line was opened, in the order of the commits.

        Raises:
            LineLost: when it is.
        """
        ...

    async def ping(self, number: int) -> None:
        """Send a note that comes back behind the notes of all commits before.

        Raises:
            LineLost: if the line is.
        """
        ...

    async def lead(self) -> bool:
        """Return whether this process leads: one of all at a time, for as long as its line lives.

        Raises:
            LineLost: if the line is.
        """
        ...

    async def close(self) -> None:
        """Let it go."""
        ...


class Sharing(Protocol):
    """What a store offers whose data several processes change at the same time.

    A commit there may hold any :data:`~vtn_server.decision.SharedWrite`, raises StoreConflict on its own,
    whatever shares its transaction, and tells all processes what it has changed.
    """

    @property
    def origin(self) -> str:
        """A name of this process that no other has."""
        ...

    async def open_line(self) -> Line:
        """Return a line on which every commit is told of that ends from now on.

        Raises:
            LineLost: if there is none to be had.
            StoreClosed: if there never will be.
        """
        ...

    async def changed(self, note: Note) -> Snapshot:
        """Return what a note names, all of one instant that is not before the note.

        Raises:
            StoreUnavailable: if it cannot be read.
        """
        ...

    async def versions(self, over_after: datetime) -> Versions:
        """Return the versions of what there is.

        Raises:
            StoreUnavailable: if they cannot be read.
        """
        ...


class Store(Protocol):
    """Durable state. All methods may be called concurrently from one event loop."""

    @property
    def commits(self) -> int:
        """The number of transactions written so far."""
        ...

    @property
    def sharing(self) -> Sharing | None:
        """What it takes to share the store with other processes; None where there are none."""
        ...

    async def load(self, over_after: datetime) -> Snapshot:
        """Return the state, without the events that were over by ``over_after``."""
        ...

    async def commit(self, writes: Sequence[SharedWrite]) -> None:
        """Return when the writes are durable, all of them.

        Raises:
            StoreFailed: if they are not; none of them is.
            StoreConflict: if that is because somebody else was faster.
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

        Readings of an hour may go together, when all of the hour is old.
        Never deleted: VENs, and events that are not over with their answers. None deletes nothing.
        Commits may go on meanwhile.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of all resources."""
        ...
