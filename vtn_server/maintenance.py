"""What keeps a store healthy over the years: copies of it, and an end for what is old.

A backup of a SQLite store is a SQLite file, one of a PostgreSQL store a portable dump (see
:mod:`vtn_server.dump`); a portable one can be had of both. Either kind can be restored into either database.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, func, inspect
from sqlalchemy import table as table_named
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import select

from vtn_server import dialects, dump
from vtn_server.database import Database
from vtn_server.dump import BadBackup, Counts
from vtn_server.rows import RowForms
from vtn_server.schema import found_revision, known_revisions
from vtn_server.store import Pruned, Store, StoreError, StoreUnavailable, UnknownSchema
from vtn_server.tables import EventOptRow, EventRow, NonceRow, ReadingBlockRow, VenRow

__all__ = ["BadBackup", "Counts", "NotEmpty", "Retention", "backup", "prune", "restore"]

_SQLITE_MAGIC: Final = b"SQLite format 3\0"


class NotEmpty(StoreError):
    """What a backup or a restore would write over is there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is finished is kept; None is for ever.

    Attributes:
        readings: Report data, from the start of its interval.
        events: Events, from when they were over.
    """

    readings: timedelta | None = None
    events: timedelta | None = None

    def __post_init__(self) -> None:
        for each in (self.readings, self.events):
            if each is not None and each < timedelta():
                raise ValueError("a retention is not negative, or events that are open would go")

    async def apply(self, store: Store, now: datetime) -> Pruned:
        """Delete what is older now."""
        return await prune(
            store, readings_before=_before(now, self.readings), events_before=_before(now, self.events)
        )


def _before(now: datetime, kept: timedelta | None) -> datetime | None:
    try:
        return None if kept is None else now - kept
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


async def prune(store: Store, *, readings_before: datetime | None, events_before: datetime | None) -> Pruned:
    """Delete readings that start before an instant, and events that were over by one, with their answers.

    Args:
        store: The store of a VTN, which may be running.
        readings_before: None keeps all.
        events_before: Not later than now, or events that are still open would count as over; None keeps all.

    Returns:
        How much was deleted. Registrations, and open events with their answers, are never touched.
    """
    return await store.prune(readings_before=readings_before, events_before=events_before)


# --- backup ------------------------------------------------------------------------------------------------


def backup(store_url: str, target: Path, *, portable: bool = False) -> Counts:
    """Copy a store into a new file, as it is at one instant, while its VTN may be running.

    The file appears under its name only when it is complete and on the disk.

    Args:
        store_url: As :func:`vtn_server.sqlstore.open_store` takes it.
        target: The new file.
        portable: Write a dump even of a SQLite store.

    Raises:
        NotEmpty: if the target exists.
        BadStoreUrl, StoreUnavailable, UnknownSchema: if the store cannot be read.
    """
    address = dialects.address_of(store_url)
    if target.exists():
        raise NotEmpty(f"{target} exists")
    if address.file is not None and not address.file.is_file():
        raise StoreUnavailable(f"{address.file} does not exist")
    engine = dialects.open_engine(address)
    part = target.with_name(target.name + ".part")
    try:
        if address.file is not None and not portable:
            counts = _copy_file(engine, address.file, part)
        else:
            counts = _write_dump(engine, part)
        part.replace(target)
        _sync(target.parent)
    except (SQLAlchemyError, sqlite3.Error) as err:
        raise StoreUnavailable(f"{address}: {err}") from err
    except OSError as err:
        raise StoreUnavailable(f"{target}: {err}") from err
    finally:
        engine.dispose()
        part.unlink(missing_ok=True)
    return counts


def _copy_file(engine: Engine, source: Path, part: Path) -> Counts:
    with engine.connect() as connection:
        if found_revision(connection) is None:
            raise UnknownSchema(f"{source} is empty")
    part.unlink(missing_ok=True)
    _copy_pages(source, part)
    copy = dialects.open_engine(dialects.address_of(part))
    try:
        with copy.connect() as connection:
            fault = connection.exec_driver_sql("PRAGMA quick_check").scalar_one()
            if fault != "ok":
                raise StoreUnavailable(f"{source} is damaged: {fault}")
            counts = _counts(connection)
    finally:
        copy.dispose()
    _sync(part)
    return counts


def _copy_pages(source: Path, target: Path) -> None:
    """Copy one SQLite file over another: a single step sees one state and keeps no writer waiting."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _write_dump(engine: Engine, part: Path) -> Counts:
    with dialects.consistent_reads(engine).connect() as connection:
        newest = known_revisions()[-1]
        found = found_revision(connection)
        if found != newest:
            raise UnknownSchema(f"a dump is taken of schema {newest}, this store has {found}")
        with part.open("w", encoding="utf-8") as file:
            counts = dump.write(file, dump.lines_of(connection, RowForms()))
            file.flush()
            os.fsync(file.fileno())
    return counts


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _counts(connection: Connection) -> Counts:
    there = set(inspect(connection).get_table_names())  # a store of an older version has fewer
    vens, events, opts, nonces = (
        connection.execute(select(func.count()).select_from(table)).scalar_one()
        if table.__tablename__ in there
        else 0
        for table in (VenRow, EventRow, EventOptRow, NonceRow)
    )
    readings = select(func.sum(ReadingBlockRow.count))
    if ReadingBlockRow.__tablename__ not in there:
        readings = select(func.count()).select_from(table_named("readings"))
    stored = connection.execute(readings).scalar_one() or 0
    return Counts(vens=vens, events=events, opts=opts, readings=stored, nonces=nonces)


# --- restore -----------------------------------------------------------------------------------------------


def restore(source: Path, store_url: str, *, replace: bool = False) -> Counts:
    """Put a backup into a store, all or nothing. Its VTN must not be running.

    Args:
        source: A file that :func:`backup` made, of this version or an older one.
        store_url: Where to; the tables are made if need be.
        replace: Whether what is there may be deleted.

    Raises:
        BadBackup: if the source is damaged or not a backup; the store is as it was.
        NotEmpty: if there is something in the store.
        StoreInUse: if a VTN uses the SQLite file.
        BadStoreUrl, StoreUnavailable, UnknownSchema: if the store cannot be written.
    """
    if not source.is_file():
        raise BadBackup(f"{source} does not exist")
    database = Database(store_url)
    try:
        with _items(source) as items, database.engine.begin() as connection:
            if replace:
                dump.clear(connection)
            elif _counts(connection) != Counts():
                raise NotEmpty(f"{database.address} holds data")
            return dump.store_all(connection, RowForms(), items)
    except SQLAlchemyError as err:
        raise StoreUnavailable(f"{database.address}: {err}") from err
    finally:
        database.close()


@contextmanager
def _items(source: Path) -> Iterator[Iterator[dump.Item]]:
    """Hold a backup open for reading; a SQLite file is brought up to date in a copy of it."""
    with source.open("rb") as file:
        is_sqlite = file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    if not is_sqlite:
        yield dump.read(source)
        return
    with tempfile.TemporaryDirectory(prefix="restore-") as folder:
        copy = Path(folder) / "copy"
        try:
            _copy_pages(source, copy)
            database = Database(copy)
        except (sqlite3.Error, UnknownSchema, StoreUnavailable) as err:
            raise BadBackup(f"{source} is damaged, or not a backup: {err}") from err
        try:
            with database.reading.connect() as connection:
                yield dump.lines_of(connection, RowForms())
        finally:
            database.close()
