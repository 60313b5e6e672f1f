"""The store in a database: SQLite or PostgreSQL, one writing thread, group commit.

SQLite runs with a write-ahead log and full synchronisation, PostgreSQL with its durable commits. What
differs between them is in :mod:`vtn_server.dialects`, the version of the tables in :mod:`vtn_server.schema`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from vtn_server import dialects, sqlprune, sqlread
from vtn_server.commits import Batch, GroupCommit
from vtn_server.database import Database
from vtn_server.decision import SaveNonce, SaveOpt, SharedWrite
from vtn_server.jsonform import NotStorable
from vtn_server.records import EventRecord
from vtn_server.rows import RowForms
from vtn_server.sqlreadings import readings_between
from vtn_server.sqlsharing import SqlSharing
from vtn_server.sqlwrite import write_all
from vtn_server.state import Reading, VenId
from vtn_server.store import Pruned, Sharing, Snapshot, Store, StoreConflict, StoreFailed, StoreUnavailable

__all__ = ["SqlStore", "open_store"]

T = TypeVar("T")


def open_store(url: str) -> Store:
    """Return the store of a URL: ``sqlite:///path``, a plain path, or ``postgresql://...``.

    An empty database gets its tables, one of an older version is brought up to date.

    Raises:
        BadStoreUrl: if the URL names neither.
        StoreInUse: if another process uses the SQLite file.
        StoreUnavailable: if the database cannot be reached.
        UnknownSchema: if it was written by a version this program does not know; it is left as it was.
    """
    return SqlStore(url)


class SqlStore:
    """Durable state in one database; see :func:`open_store`.

    Args:
        url: A URL or the path of a SQLite file; made where it does not exist.
    """

    def __init__(self, url: str | Path) -> None:
        self._database = Database(url)
        self._writer = ThreadPoolExecutor(1, "store-write")
        self._reader = ThreadPoolExecutor(1, "store-read")
        self._group = GroupCommit(self._write, self._writer)
        self._forms = RowForms()
        self._remembering: set[str] = set()
        self._follower = ThreadPoolExecutor(1, "store-follow")  # no long question keeps it from the others
        self._sharing = (
            SqlSharing(self._database, self._forms, self._ask_apart) if self._database.is_shared else None
        )

    @property
    def commits(self) -> int:
        """The number of transactions written so far."""
        return self._group.commits

    @property
    def sharing(self) -> Sharing | None:
        """What it takes to share the store with other processes: on PostgreSQL."""
        return self._sharing

    async def commit(self, writes: Sequence[SharedWrite]) -> None:
        """Return when the writes are durable; see :class:`vtn_server.store.Store`."""
        await self._group.commit(writes)

    async def remember(self, nonce: str, timestamp: datetime) -> bool:
        """Return whether a nonce is new; see :class:`vtn_server.store.Store`."""
        if nonce in self._remembering:
            return False  # the table decides between transactions, not within one
        self._remembering.add(nonce)
        try:
            known = await self._group.commit((SaveNonce(nonce=nonce, signed_at=timestamp),))
        finally:
            self._remembering.discard(nonce)
        return nonce not in known

    async def forget_nonces(self, signed_before: datetime) -> None:
        """Delete old nonces; see :class:`vtn_server.store.Store`."""
        more = True
        while more:  # in portions, so that commits get their turn in between
            more = await self._delete(partial(sqlprune.forget_nonces, signed_before), False)

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""
        await self._group.drain()
        if self._sharing is not None:
            await self._sharing.close()
        self._let_go()

    def _let_go(self) -> None:
        self._writer.shutdown()
        self._reader.shutdown()
        self._follower.shutdown()
        self._database.close()

    # --- writing, in the writer's thread -------------------------------------------------------------------

    def _write(self, batches: Sequence[Batch]) -> Sequence[frozenset[str] | StoreConflict]:
        try:
            if self._sharing is not None:
                return self._sharing.write(batches)
            with self._database.engine.begin() as connection:
                known = write_all(connection, self._forms, [each for some in batches for each in some])
        except (SQLAlchemyError, NotStorable) as err:
            raise StoreFailed(f"commit failed: {err}") from err
        return [known] * len(batches)

    async def prune(self, *, readings_before: datetime | None, events_before: datetime | None) -> Pruned:
        """Delete what is old; see :class:`vtn_server.store.Store`."""
        gone = Pruned()
        for step in sqlprune.STEPS:
            more = True
            while more:  # in portions, so that commits get their turn in between
                some = await self._delete(partial(_pruned, step, readings_before, events_before), Pruned())
                gone, more = gone + some, some != Pruned()
        return gone

    async def _delete(self, step: Callable[[Connection], T], nothing: T) -> T:
        """Return what a step has deleted; nothing, where another process is about it."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._deleted, step, nothing)

    def _deleted(self, step: Callable[[Connection], T], nothing: T) -> T:
        try:
            with self._database.engine.begin() as connection:
                return step(connection) if dialects.is_alone(connection) else nothing
        except SQLAlchemyError as err:
            raise StoreUnavailable(f"not pruned: {err}") from err

    # --- reading, in a thread for that ---------------------------------------------------------------------

    async def _ask(self, question: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._answer, question)

    async def _ask_apart(self, question: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._follower, self._answer, question)

    def _answer(self, question: Callable[[Connection], T]) -> T:
        try:
            with self._database.reading.connect() as connection:
                return question(connection)
        except SQLAlchemyError as err:
            raise StoreUnavailable(f"not readable: {err}") from err

    async def load(self, over_after: datetime) -> Snapshot:
        """Return the state; see :class:`vtn_server.store.Store`."""
        return await self._ask(lambda connection: sqlread.snapshot(connection, self._forms, over_after))

    async def event(self, event_id: str) -> EventRecord | None:
        """Return an event with all its versions, however old."""
        return await self._ask(lambda connection: sqlread.one_event(connection, self._forms, event_id))

    async def events(self, event_ids: Sequence[str]) -> tuple[EventRecord, ...]:
        """Return those of some events that are stored, with all their versions, by eventID."""
        ids = tuple(event_ids)
        return await self._ask(lambda connection: tuple(sqlread.some_events(connection, self._forms, ids)))

    async def opts(self, event_ids: Sequence[str]) -> tuple[SaveOpt, ...]:
        """Return the stored answers to some events, by eventID and venID."""
        ids = tuple(event_ids)
        return await self._ask(lambda connection: tuple(sqlread.some_opts(connection, self._forms, ids)))

    async def known_events(self, event_ids: Sequence[str]) -> frozenset[str]:
        """Return which of some events are stored, however old."""
        return await self._ask(lambda connection: sqlread.known_events(connection, tuple(event_ids)))

    async def readings(
        self, *, report_specifier_id: str, start: datetime, end: datetime, ven_id: VenId | None = None
    ) -> tuple[Reading, ...]:
        """Return the readings that start in [start, end), sorted by start, VEN and rID."""
        return await self._ask(
            lambda connection: readings_between(connection, report_specifier_id, start, end, ven_id)
        )


def _pruned(
    step: sqlprune.Step,
    readings_before: datetime | None,
    events_before: datetime | None,
    connection: Connection,
) -> Pruned:
    return step(connection, readings_before, events_before)
