"""Questions to the database, in the transaction of whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Connection
from sqlmodel import col, select

from vtn_server.decision import SaveNonce, SaveOpt
from vtn_server.records import EventRecord, EventVersion
from vtn_server.rows import RowForms, moment_text
from vtn_server.state import Reading, Ven, VenId
from vtn_server.store import Snapshot
from vtn_server.tables import EventOptRow, EventRow, EventVersionRow, NonceRow, ReadingRow, VenRow

__all__ = [
    "all_events",
    "all_nonces",
    "all_opts",
    "all_readings",
    "all_vens",
    "known_events",
    "one_event",
    "readings_between",
    "snapshot",
    "some_events",
    "some_opts",
]

_CHUNK = 1000


def all_vens(connection: Connection, forms: RowForms) -> Iterator[Ven]:
    """Yield every VEN, by venID."""
    for body in connection.execute(select(VenRow.body).order_by(VenRow.ven_id)).scalars():
        yield forms.ven(body)


def all_events(
    connection: Connection, forms: RowForms, over_after: datetime | None = None
) -> Iterator[EventRecord]:
    """Yield every event that was not over by an instant, by eventID."""
    events = select(EventRow.event_id, EventRow.body)
    versions = select(EventVersionRow.event_id, EventVersionRow.body)
    if over_after is not None:
        wanted = (col(EventRow.over_at) == "") | (col(EventRow.over_at) > moment_text(over_after))
        events = events.where(wanted)
        versions = versions.where(col(EventVersionRow.event_id).in_(select(EventRow.event_id).where(wanted)))
    history: dict[str, list[EventVersion]] = {}
    order = (EventVersionRow.event_id, col(EventVersionRow.modification_number))
    for event_id, body in connection.execute(versions.order_by(*order)):
        history.setdefault(event_id, []).append(forms.version(body))
    for event_id, body in connection.execute(events.order_by(EventRow.event_id)):
        yield forms.record(body, tuple(history.pop(event_id)))


def all_opts(
    connection: Connection, forms: RowForms, over_after: datetime | None = None
) -> Iterator[SaveOpt]:
    """Yield every answer to the events that were not over by an instant, by eventID and venID."""
    query = select(EventOptRow.event_id, EventOptRow.ven_id, EventOptRow.body)
    if over_after is not None:
        wanted = (col(EventRow.over_at) == "") | (col(EventRow.over_at) > moment_text(over_after))
        query = query.where(col(EventOptRow.event_id).in_(select(EventRow.event_id).where(wanted)))
    for row in connection.execute(query.order_by(EventOptRow.event_id, EventOptRow.ven_id)):
        yield forms.opt(*row)


def all_readings(connection: Connection, forms: RowForms) -> Iterator[Reading]:
    """Yield every reading by its key, without holding all of them in memory."""
    query = select(ReadingRow).order_by(
        ReadingRow.report_specifier_id, ReadingRow.start, ReadingRow.ven_id, ReadingRow.r_id
    )
    for row in connection.execute(query, execution_options={"yield_per": _CHUNK}):
        yield forms.reading(row)


def all_nonces(connection: Connection, forms: RowForms) -> Iterator[SaveNonce]:
    """Yield every nonce, without holding all of them in memory."""
    query = select(NonceRow.nonce, NonceRow.signed_at).order_by(NonceRow.nonce)
    for row in connection.execute(query, execution_options={"yield_per": _CHUNK}):
        yield forms.nonce(*row)


def snapshot(connection: Connection, forms: RowForms, over_after: datetime) -> Snapshot:
    """Return what a VTN starts with."""
    return Snapshot(
        vens=tuple(all_vens(connection, forms)),
        events=tuple(all_events(connection, forms, over_after)),
        opts=tuple(all_opts(connection, forms, over_after)),
    )


def one_event(connection: Connection, forms: RowForms, event_id: str) -> EventRecord | None:
    """Return an event with all its versions."""
    body = connection.execute(select(EventRow.body).where(EventRow.event_id == event_id)).scalar_one_or_none()
    versions = connection.execute(
        select(EventVersionRow.body)
        .where(EventVersionRow.event_id == event_id)
        .order_by(col(EventVersionRow.modification_number))
    ).scalars()
    history = tuple(forms.version(each) for each in versions)
    return None if body is None else forms.record(body, history)


def some_events(connection: Connection, forms: RowForms, event_ids: tuple[str, ...]) -> Iterator[EventRecord]:
    """Yield those of some events that are stored, with all their versions, by eventID."""
    for ids in _portions(event_ids):
        history: dict[str, list[EventVersion]] = {}
        versions = select(EventVersionRow.event_id, EventVersionRow.body).where(
            col(EventVersionRow.event_id).in_(ids)
        )
        for event_id, body in connection.execute(
            versions.order_by(EventVersionRow.event_id, col(EventVersionRow.modification_number))
        ):
            history.setdefault(event_id, []).append(forms.version(body))
        events = select(EventRow.event_id, EventRow.body).where(col(EventRow.event_id).in_(ids))
        for event_id, body in connection.execute(events.order_by(EventRow.event_id)):
            yield forms.record(body, tuple(history.pop(event_id)))


def some_opts(connection: Connection, forms: RowForms, event_ids: tuple[str, ...]) -> Iterator[SaveOpt]:
    """Yield the answers to some events, by eventID and venID."""
    for ids in _portions(event_ids):
        query = select(EventOptRow.event_id, EventOptRow.ven_id, EventOptRow.body)
        query = query.where(col(EventOptRow.event_id).in_(ids))
        for row in connection.execute(query.order_by(EventOptRow.event_id, EventOptRow.ven_id)):
            yield forms.opt(*row)


def _portions(event_ids: tuple[str, ...]) -> Iterator[list[str]]:
    """Yield the ids in order, few enough at a time for a statement's parameters."""
    ids = sorted(set(event_ids))
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


def known_events(connection: Connection, event_ids: tuple[str, ...]) -> frozenset[str]:
    """Return which of some events are stored."""
    query = select(EventRow.event_id).where(col(EventRow.event_id).in_(event_ids))
    return frozenset(connection.execute(query).scalars())


def readings_between(
    connection: Connection,
    forms: RowForms,
    report_specifier_id: str,
    start: datetime,
    end: datetime,
    ven_id: VenId | None,
) -> tuple[Reading, ...]:
    """Return the readings that start in [start, end), sorted by start, VEN and rID."""
    query = select(ReadingRow).where(
        ReadingRow.report_specifier_id == report_specifier_id,
        ReadingRow.start >= moment_text(start),
        ReadingRow.start < moment_text(end),
    )
    if ven_id is not None:
        query = query.where(ReadingRow.ven_id == ven_id)
    rows = connection.execute(query.order_by(ReadingRow.start, ReadingRow.ven_id, ReadingRow.r_id))
    return tuple(forms.reading(row) for row in rows)
