"""Questions to the database, in the transaction of whoever asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, func, tuple_
from sqlmodel import col, select

from vtn_server.decision import SaveDelivery, SaveNonce, SaveOpt
from vtn_server.records import EventRecord, EventVersion
from vtn_server.rows import RowForms, moment_text
from vtn_server.state import Ven
from vtn_server.store import Note, Snapshot, Versions
from vtn_server.tables import (
    DeliveryRow,
    EventOptRow,
    EventRow,
    EventVersionRow,
    IdentityRow,
    NonceRow,
    VenRow,
)

__all__ = [
    "all_deliveries",
    "all_events",
    "all_nonces",
    "all_opts",
    "all_vens",
    "changed",
    "known_events",
    "one_event",
    "snapshot",
    "some_deliveries",
    "some_events",
    "some_opts",
    "some_vens",
    "versions",
]

_CHUNK = 1000
K = TypeVar("K", str, tuple[str, str])


def all_vens(connection: Connection, forms: RowForms) -> Iterator[Ven]:
    """Yield every VEN, by venID."""
    for version, body in connection.execute(select(VenRow.version, VenRow.body).order_by(VenRow.ven_id)):
        yield _ven(forms, version, body)


def _ven(forms: RowForms, version: int, body: str) -> Ven:
    """Return an aggregate; its version may have been raised since the body was written."""
    ven = forms.ven(body)
    return ven if ven.version == version else replace(ven, version=version)


def some_vens(connection: Connection, forms: RowForms, ven_ids: Iterable[str]) -> Iterator[Ven]:
    """Yield those of some VENs that are stored."""
    for ids in _portions(ven_ids):
        query = select(VenRow.version, VenRow.body).where(col(VenRow.ven_id).in_(ids))
        for version, body in connection.execute(query):
            yield _ven(forms, version, body)


def some_deliveries(
    connection: Connection, forms: RowForms, ven_ids: Iterable[str]
) -> Iterator[SaveDelivery]:
    """Yield the deliveries of some VENs, as far as there are any."""
    for ids in _portions(ven_ids):
        query = select(DeliveryRow.ven_id, DeliveryRow.version, DeliveryRow.body)
        for row in connection.execute(query.where(col(DeliveryRow.ven_id).in_(ids))):
            yield forms.delivery(*row)


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
        deliveries=tuple(all_deliveries(connection, forms)),
        identities=_identities(connection),
    )


def all_deliveries(connection: Connection, forms: RowForms) -> Iterator[SaveDelivery]:
    """Yield how far each VEN is with its events."""
    for row in connection.execute(select(DeliveryRow.ven_id, DeliveryRow.version, DeliveryRow.body)):
        yield forms.delivery(*row)


def _identities(connection: Connection) -> int:
    return connection.execute(select(func.max(IdentityRow.number))).scalar_one() or 0


def changed(connection: Connection, forms: RowForms, note: Note) -> Snapshot:
    """Return what a note names."""
    return Snapshot(
        vens=tuple(some_vens(connection, forms, note.vens | {ven_id for _, ven_id in note.opts})),
        events=tuple(some_events(connection, forms, tuple(note.events))),
        opts=tuple(_pairs_of_opts(connection, forms, note.opts)),
        deliveries=tuple(some_deliveries(connection, forms, note.deliveries)),
        identities=note.identities,
    )


def _pairs_of_opts(
    connection: Connection, forms: RowForms, pairs: frozenset[tuple[str, str]]
) -> Iterator[SaveOpt]:
    key = tuple_(col(EventOptRow.event_id), col(EventOptRow.ven_id))
    query = select(EventOptRow.event_id, EventOptRow.ven_id, EventOptRow.body)
    for some in _portions(pairs):
        for row in connection.execute(query.where(key.in_(some))):
            yield forms.opt(*row)


def versions(connection: Connection, over_after: datetime) -> Versions:
    """Return the versions of what there is, without the events that were over by an instant."""
    wanted = (col(EventRow.over_at) == "") | (col(EventRow.over_at) > moment_text(over_after))
    vens = connection.execute(select(VenRow.ven_id, VenRow.version))
    events = connection.execute(select(EventRow.event_id, EventRow.version).where(wanted))
    deliveries = connection.execute(select(DeliveryRow.ven_id, DeliveryRow.version))
    return Versions(
        vens=tuple((key, version) for key, version in vens),
        events=tuple((key, version) for key, version in events),
        deliveries=tuple((key, version) for key, version in deliveries),
        identities=_identities(connection),
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


def _portions(keys: Iterable[K]) -> Iterator[list[K]]:
    """Yield the keys in order, few enough at a time for a statement's parameters."""
    ids = sorted(set(keys))
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


def known_events(connection: Connection, event_ids: tuple[str, ...]) -> frozenset[str]:
    """Return which of some events are stored."""
    query = select(EventRow.event_id).where(col(EventRow.event_id).in_(event_ids))
    return frozenset(connection.execute(query).scalars())
