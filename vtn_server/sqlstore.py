"""The store in a SQLite file: write-ahead log, full synchronisation, one writing thread, group commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, event, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import col, create_engine, select

from schemas.oadr20b.model import ResourceStatus
from schemas.oadr20b.xmltypes import Duration
from vtn_server.commits import GroupCommit
from vtn_server.decision import AddReadings, SaveEvent, SaveOpt, SaveVen, Write
from vtn_server.event import over_at
from vtn_server.jsonform import JsonForm, NotStorable
from vtn_server.records import EventDraft, EventOpt, EventRecord, EventVersion
from vtn_server.state import Reading, Ven, VenId
from vtn_server.store import Snapshot, StoreConflict, StoreFailed, UnknownSchema
from vtn_server.tables import (
    SCHEMA_VERSION,
    Base,
    EventOptRow,
    EventRow,
    EventVersionRow,
    MetaRow,
    ReadingRow,
    VenRow,
)

__all__ = ["SqlStore"]


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _pragmas(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    del entry
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()


class SqlStore:
    """Durable state in one SQLite file. One process writes it.

    Args:
        path: The file; made where it does not exist.

    Raises:
        UnknownSchema: if the file was written by a version this one does not know.
    """

    def __init__(self, path: Path) -> None:
        self._engine: Engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _pragmas)
        self._writer = ThreadPoolExecutor(1, "store-write")
        self._reader = ThreadPoolExecutor(1, "store-read")
        self._group = GroupCommit(self._write, self._writer)
        self._vens = JsonForm(Ven)
        self._drafts = JsonForm(EventDraft)
        self._versions = JsonForm(EventVersion)
        self._opts = JsonForm(EventOpt)
        self._statuses = JsonForm(ResourceStatus)
        try:
            self._check_schema()
        except BaseException:
            self._let_go()
            raise

    @property
    def commits(self) -> int:
        """The number of transactions written so far."""
        return self._group.commits

    def _check_schema(self) -> None:
        with self._engine.begin() as connection:
            Base.metadata.create_all(connection, tables=[Base.metadata.tables["meta"]])
            version = connection.execute(select(MetaRow.schema_version)).scalar_one_or_none()
            if version is None:
                connection.execute(insert(MetaRow).values(id=1, schema_version=SCHEMA_VERSION))
            elif version != SCHEMA_VERSION:
                raise UnknownSchema(f"the store has schema {version}, this program knows {SCHEMA_VERSION}")
            Base.metadata.create_all(connection)

    async def commit(self, writes: Sequence[Write]) -> None:
        """Return when the writes are durable; see :class:`vtn_server.store.Store`."""
        await self._group.commit(writes)

    async def close(self) -> None:
        """Finish what is under way and let go of the file."""
        await self._group.drain()
        self._let_go()

    def _let_go(self) -> None:
        self._writer.shutdown()
        self._reader.shutdown()
        self._engine.dispose()

    # --- writing, in the writer's thread -------------------------------------------------------------------

    def _write(self, writes: Sequence[Write]) -> None:
        try:
            with self._engine.begin() as connection:
                for write in writes:
                    match write:
                        case SaveVen(ven=ven):
                            self._save_ven(connection, ven)
                        case SaveEvent(record=record):
                            self._save_event(connection, record)
                        case SaveOpt() | AddReadings():
                            pass  # below, all at once
                opts = [self._opt_row(each) for each in writes if isinstance(each, SaveOpt)]
                if opts:
                    connection.execute(insert(EventOptRow).prefix_with("OR REPLACE"), opts)
                added = (each.readings for each in writes if isinstance(each, AddReadings))
                readings = [self._reading_row(each) for some in added for each in some]
                if readings:
                    connection.execute(insert(ReadingRow).prefix_with("OR REPLACE"), readings)
        except (SQLAlchemyError, NotStorable) as err:
            raise StoreFailed(f"commit failed: {err}") from err

    def _save_ven(self, connection: Connection, ven: Ven) -> None:
        body = self._vens.dumps(ven)
        if ven.version == 1:
            done = connection.execute(
                insert(VenRow)
                .values(ven_id=ven.ven_id, version=1, body=body)
                .on_conflict_do_nothing(index_elements=["ven_id"])
            )
        else:
            done = connection.execute(
                update(VenRow)
                .where(col(VenRow.ven_id) == ven.ven_id, col(VenRow.version) == ven.version - 1)
                .values(version=ven.version, body=body)
            )
        if done.rowcount != 1:
            raise StoreConflict(f"{ven.ven_id} is not at version {ven.version - 1}")

    def _save_event(self, connection: Connection, record: EventRecord) -> None:
        over = over_at(record)
        row = {
            "event_id": record.event_id,
            "over_at": "" if over is None else _text(over),
            "body": self._drafts.dumps(record.draft),
        }
        if record.modification_number == 0:
            connection.execute(insert(EventRow).values(row))
        version = record.versions[-1]
        connection.execute(
            insert(EventVersionRow).values(
                event_id=record.event_id,
                modification_number=version.modification_number,
                body=self._versions.dumps(version),
            )
        )

    def _opt_row(self, write: SaveOpt) -> dict[str, str]:
        return {"event_id": write.event_id, "ven_id": write.ven_id, "body": self._opts.dumps(write.opt)}

    def _reading_row(self, reading: Reading) -> dict[str, str | float | None]:
        return {
            "report_specifier_id": reading.report_specifier_id,
            "start": _text(reading.start),
            "ven_id": reading.ven_id,
            "r_id": reading.r_id,
            "report_request_id": reading.report_request_id,
            "report_name": reading.report_name,
            "duration": None if reading.duration is None else str(reading.duration),
            "value": reading.value,
            "status": None if reading.status is None else self._statuses.dumps(reading.status),
            "data_quality": reading.data_quality,
            "received_at": _text(reading.received_at),
        }

    # --- reading, in the reader's thread -------------------------------------------------------------------

    async def load(self, over_after: datetime) -> Snapshot:
        """Return the state; see :class:`vtn_server.store.Store`."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._load, over_after)

    def _load(self, over_after: datetime) -> Snapshot:
        wanted = (col(EventRow.over_at) == "") | (col(EventRow.over_at) > _text(over_after))
        with self._engine.connect() as connection:
            vens = connection.execute(select(VenRow.body).order_by(VenRow.ven_id)).scalars().all()
            drafts = connection.execute(
                select(EventRow.event_id, EventRow.body).where(wanted).order_by(EventRow.event_id)
            ).all()
            ids = select(EventRow.event_id).where(wanted)
            versions = connection.execute(
                select(EventVersionRow.event_id, EventVersionRow.body)
                .where(col(EventVersionRow.event_id).in_(ids))
                .order_by(EventVersionRow.event_id, col(EventVersionRow.modification_number))
            ).all()
            opts = connection.execute(
                select(EventOptRow.event_id, EventOptRow.ven_id, EventOptRow.body).where(
                    col(EventOptRow.event_id).in_(ids)
                )
            ).all()
        history: dict[str, list[EventVersion]] = {}
        for event_id, body in versions:
            history.setdefault(event_id, []).append(self._versions.loads(body))
        return Snapshot(
            vens=tuple(self._vens.loads(body) for body in vens),
            events=tuple(
                EventRecord(draft=self._drafts.loads(body), versions=tuple(history[event_id]))
                for event_id, body in drafts
            ),
            opts=tuple(
                SaveOpt(event_id=event_id, ven_id=VenId(ven_id), opt=self._opts.loads(body))
                for event_id, ven_id, body in opts
            ),
        )

    async def event(self, event_id: str) -> EventRecord | None:
        """Return an event with all its versions, however old."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._event, event_id)

    def _event(self, event_id: str) -> EventRecord | None:
        with self._engine.connect() as connection:
            draft = connection.execute(
                select(EventRow.body).where(EventRow.event_id == event_id)
            ).scalar_one_or_none()
            versions = connection.execute(
                select(EventVersionRow.body)
                .where(EventVersionRow.event_id == event_id)
                .order_by(col(EventVersionRow.modification_number))
            ).scalars()
            if draft is None:
                return None
            return EventRecord(
                draft=self._drafts.loads(draft),
                versions=tuple(self._versions.loads(body) for body in versions),
            )

    async def known_events(self, event_ids: Sequence[str]) -> frozenset[str]:
        """Return which of some events are stored, however old."""
        return await asyncio.get_running_loop().run_in_executor(
            self._reader, self._known_events, tuple(event_ids)
        )

    def _known_events(self, event_ids: tuple[str, ...]) -> frozenset[str]:
        query = select(EventRow.event_id).where(col(EventRow.event_id).in_(event_ids))
        with self._engine.connect() as connection:
            return frozenset(connection.execute(query).scalars())

    async def readings(
        self, *, report_specifier_id: str, start: datetime, end: datetime, ven_id: VenId | None = None
    ) -> tuple[Reading, ...]:
        """Return the readings that start in [start, end), sorted by start, VEN and rID."""
        return await asyncio.get_running_loop().run_in_executor(
            self._reader, self._readings, report_specifier_id, start, end, ven_id
        )

    def _readings(
        self, report_specifier_id: str, start: datetime, end: datetime, ven_id: VenId | None
    ) -> tuple[Reading, ...]:
        query = select(ReadingRow).where(
            ReadingRow.report_specifier_id == report_specifier_id,
            ReadingRow.start >= _text(start),
            ReadingRow.start < _text(end),
        )
        if ven_id is not None:
            query = query.where(ReadingRow.ven_id == ven_id)
        with self._engine.connect() as connection:
            rows = connection.execute(
                query.order_by(ReadingRow.start, ReadingRow.ven_id, ReadingRow.r_id)
            ).all()
        return tuple(
            Reading(
                ven_id=VenId(row.ven_id),
                report_request_id=row.report_request_id,
                report_specifier_id=row.report_specifier_id,
                report_name=row.report_name,
                r_id=row.r_id,
                start=datetime.fromisoformat(row.start),
                duration=None if row.duration is None else Duration.parse(row.duration),
                value=row.value,
                status=None if row.status is None else self._statuses.loads(row.status),
                data_quality=row.data_quality,
                received_at=datetime.fromisoformat(row.received_at),
            )
            for row in rows
        )
