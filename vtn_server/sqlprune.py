"""Deletion of what is old, in portions that are short enough for commits to get their turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeAlias

from sqlalchemy import Connection, delete
from sqlmodel import col, select

from vtn_server.blocks import hour_of, moment_text
from vtn_server.sqlreadings import specifiers
from vtn_server.store import Pruned
from vtn_server.tables import EventOptRow, EventRow, EventVersionRow, NonceRow, ReadingBlockRow

__all__ = ["STEPS", "Step", "forget_nonces"]

Step: TypeAlias = Callable[[Connection, datetime | None, datetime | None], Pruned]

_BLOCKS: Final = 1000
_EVENTS: Final = 200
_NONCES: Final = 2000


def _readings(
    connection: Connection, readings_before: datetime | None, events_before: datetime | None
) -> Pruned:
    """Delete a portion of the readings of the hours before an instant's.

    An hour goes as a whole: were a correction deleted before what it corrects, the wrong value would be back.
    """
    del events_before
    if readings_before is None:
        return Pruned()
    limit = moment_text(hour_of(readings_before))
    for specifier in specifiers(connection):  # so that the key's index finds them
        old = select(ReadingBlockRow.seq, ReadingBlockRow.count).where(
            ReadingBlockRow.report_specifier_id == specifier,
            ReadingBlockRow.start < limit,
            ReadingBlockRow.last < limit,
        )
        found = connection.execute(old.limit(_BLOCKS)).all()
        if found:
            gone = [seq for seq, _ in found]
            connection.execute(delete(ReadingBlockRow).where(col(ReadingBlockRow.seq).in_(gone)))
            return Pruned(readings=sum(count for _, count in found))
    return Pruned()


def _events(
    connection: Connection, readings_before: datetime | None, events_before: datetime | None
) -> Pruned:
    """Delete a portion of the events that were over by an instant, with their versions and answers."""
    del readings_before
    if events_before is None:
        return Pruned()
    old = select(EventRow.event_id).where(
        EventRow.over_at != "", EventRow.over_at <= moment_text(events_before)
    )
    ids = connection.execute(old.limit(_EVENTS)).scalars().all()
    if not ids:
        return Pruned()
    connection.execute(delete(EventVersionRow).where(col(EventVersionRow.event_id).in_(ids)))
    opts = connection.execute(delete(EventOptRow).where(col(EventOptRow.event_id).in_(ids))).rowcount
    connection.execute(delete(EventRow).where(col(EventRow.event_id).in_(ids)))
    return Pruned(events=len(ids), opts=opts)


def _opts(connection: Connection, readings_before: datetime | None, events_before: datetime | None) -> Pruned:
    """Delete answers that came in after their event was deleted: the VTN remembers it for a while."""
    del readings_before
    if events_before is None:
        return Pruned()
    # PostgreSQL looks through all events for each answer if this is said as NOT IN, and they are many
    kept = select(EventRow.event_id).where(EventRow.event_id == EventOptRow.event_id)
    done = connection.execute(delete(EventOptRow).where(~kept.exists()))
    return Pruned(opts=done.rowcount)


def forget_nonces(signed_before: datetime, connection: Connection) -> bool:
    """Delete a portion of the nonces that were signed before an instant; return whether there may be more."""
    old = select(NonceRow.nonce).where(NonceRow.signed_at < moment_text(signed_before)).limit(_NONCES)
    done = connection.execute(delete(NonceRow).where(col(NonceRow.nonce).in_(old)))
    return done.rowcount == _NONCES


STEPS: Final[tuple[Step, ...]] = (_readings, _events, _opts)
"""To be repeated each until it deletes nothing more."""
