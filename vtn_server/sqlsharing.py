"""What it takes to share a PostgreSQL store with other processes; see :mod:`vtn_server.catchup`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import Enum, auto
from time import monotonic
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from vtn_server import dialects, sqlread
from vtn_server.commits import Batch
from vtn_server.database import Database
from vtn_server.pgline import PgLine, channel_of
from vtn_server.rows import RowForms
from vtn_server.sqlmembers import Outcome, write_members
from vtn_server.store import Line, Note, Snapshot, StoreClosed, StoreConflict, Versions

__all__ = ["SqlSharing"]

T = TypeVar("T")
_TRIES: Final = 5
"""How often a transaction is begun anew that others were in the way of."""
_IMPATIENT_S: Final = 2.0
"""How long nothing that is locked is waited for, once something was for too long."""


class _Stage(Enum):
    """How far a transaction has come."""

    CONNECTING = auto()
    WRITING = auto()
    COMMITTING = auto()


class _Ask(Protocol):
    def __call__(self, question: Callable[[Connection], T]) -> Awaitable[T]: ...


class SqlSharing:
    """One process's share in a PostgreSQL store.

    Args:
        database: The store's database.
        forms: The converters of its tables.
        ask: Answers a question to the database, in one transaction that sees one state.
    """

    def __init__(self, database: Database, forms: RowForms, ask: _Ask) -> None:
        self._database = database
        self._forms = forms
        self._ask = ask
        self._origin = secrets.token_hex(8)
        self._channel = channel_of(dialects.schema_of(database.engine))
        self._lines: list[PgLine] = []
        self._closed = False
        self._patient_from = 0.0

    @property
    def origin(self) -> str:
        """A name of this process that no other has."""
        return self._origin

    async def open_line(self) -> Line:
        """Return a line on which every commit is told of that ends from now on."""
        if self._closed:
            raise StoreClosed("the store is closed")
        line = await PgLine.open(self._database.engine, self._channel, self._origin)
        self._lines = [*(each for each in self._lines if not each.is_closed), line]
        return line

    async def changed(self, note: Note) -> Snapshot:
        """Return what a note names; see :class:`vtn_server.store.Sharing`."""
        return await self._ask(lambda connection: sqlread.changed(connection, self._forms, note))

    async def versions(self, over_after: datetime) -> Versions:
        """Return the versions of what there is; see :class:`vtn_server.store.Sharing`."""
        return await self._ask(lambda connection: sqlread.versions(connection, over_after))

    def write(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """Write batches in one transaction, each of them conditional on its own; in the writer's thread.

        What is locked for long is waited for once, and then left out for a while. A connection that is lost
        before the end of the transaction is told of has written nothing, which is a conflict like others; one
        that is lost later may have.

        Raises:
            SQLAlchemyError, NotStorable: if nothing was written and nothing will be, or that is not known.
        """
        conflict = StoreConflict("others are in the way again and again")
        for _ in range(_TRIES):
            stage = _Stage.CONNECTING
            try:
                with self._database.engine.begin() as connection:
                    stage = _Stage.WRITING
                    outcomes = self._write(connection, batches)
                    stage = _Stage.COMMITTING
                return outcomes
            except StoreConflict as err:
                conflict = err
            except DBAPIError as err:
                if stage is _Stage.CONNECTING or (stage is _Stage.WRITING and err.connection_invalidated):
                    conflict = StoreConflict(f"the database was lost, and nothing was written: {err.orig}")
                    break
                if not dialects.is_passing(err):
                    raise
                conflict = StoreConflict(f"others are in the way: {err.orig}")
                if dialects.is_locked(err):
                    self._patient_from = monotonic() + _IMPATIENT_S
        return [conflict] * len(batches)

    def _write(self, connection: Connection, batches: Sequence[Batch]) -> Sequence[Outcome]:
        return write_members(
            connection,
            self._forms,
            batches,
            channel=self._channel,
            origin=self._origin,
            patient=monotonic() >= self._patient_from,
        )

    async def close(self) -> None:
        """Let go of all lines."""
        self._closed = True
        lines, self._lines = self._lines, []
        await asyncio.gather(*(each.close() for each in lines))
