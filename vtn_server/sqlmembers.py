"""Transactions of a store that several processes write: each member is conditional on its own.

Rules:

1. All rows a transaction is conditional on are locked first, always in the same order: aggregates by venID,
   then events by eventID. So two processes never wait for each other crosswise.
2. A member whose versions do not follow those in the database is left out; that is its conflict, and nobody
   else's. What cannot be seen by looking (a row that appears meanwhile) undoes the transaction, and it is
   begun anew.
3. What was changed is told to all processes by a note that leaves with the commit (:mod:`.pgline`).
4. A transaction of deliveries only does not wait for the disk.
5. A process may stop in the middle of a transaction, with its machine or for a while. Its locks hold up
   nobody for long: the database ends a transaction that says nothing for ``_SILENT_MS``, and until then
   whoever has waited for ``_WAIT_MS`` leaves out the members that need what is locked: their conflict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Executable, bindparam, func, text, update
from sqlmodel import col, select

from vtn_server.decision import (
    AddReadings,
    RaiseVersion,
    SaveDelivery,
    SaveEvent,
    SaveIdentity,
    SaveNonce,
    SaveOpt,
    SaveVen,
    SharedWrite,
    Unchanged,
    Write,
)
from vtn_server.dialects import insert_unless_there, upsert
from vtn_server.pgline import note_texts
from vtn_server.rows import RowForms
from vtn_server.sqlwrite import write_all
from vtn_server.store import Note, StoreConflict
from vtn_server.tables import DeliveryRow, EventRow, IdentityRow, VenRow

__all__ = ["Member", "Outcome", "write_members"]

Member = Sequence[SharedWrite | SaveNonce]
Outcome = frozenset[str] | StoreConflict
"""The nonces that were there already, or why nothing of a member was written."""

_RAISE: Final = (
    update(VenRow).where(col(VenRow.ven_id) == bindparam("key")).values(version=bindparam("to_version"))
)
_NEWEST: Final = select(func.max(IdentityRow.number))
_TELL: Final = text("SELECT pg_notify(:channel, :note)")
_SILENT_MS: Final = 10_000
_WAIT_MS: Final = 500
_BOUND: Final = text(
    "SELECT set_config('lock_timeout', :wait, true),"
    " set_config('idle_in_transaction_session_timeout', :silent, true)"
)
_NO_WAIT: Final = text("SET LOCAL synchronous_commit = off")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The versions in the database; nothing of what was asked for is not there."""

    vens: Mapping[str, int]
    events: Mapping[str, int]
    answered: Mapping[str, int]
    deliveries: Mapping[str, int]
    identities: int


def write_members(
    connection: Connection,
    forms: RowForms,
    members: Sequence[Member],
    *,
    channel: str,
    origin: str,
    patient: bool = True,
) -> tuple[Outcome, ...]:
    """Write all members that do not conflict, and return what became of each.

    Args:
        connection: In the transaction that is begun.
        forms: The converters of the tables.
        members: What is to be written.
        channel: Where to tell of it.
        origin: Who tells.
        patient: Whether to wait for rows that others have locked; else their members conflict.

    Raises:
        StoreConflict: if a row has appeared meanwhile; roll back then, and call again.
    """
    connection.execute(_BOUND, {"wait": str(_WAIT_MS), "silent": str(_SILENT_MS)})
    found = _lock(connection, [write for member in members for write in member], patient=patient)
    conflicts = [_conflict(member, found) for member in members]
    good = [member for member, conflict in zip(members, conflicts, strict=True) if conflict is None]
    writes = [write for member in good for write in member]
    if writes and all(isinstance(each, SaveDelivery | Unchanged) for each in writes):
        connection.execute(_NO_WAIT)
    _claim(connection, writes)
    plain = [each for each in writes if isinstance(each, Write | SaveNonce)]
    known = write_all(connection, forms, plain) if plain else frozenset()
    raised = [each for each in writes if isinstance(each, RaiseVersion)]
    if raised:
        rows = [{"key": each.ven_id, "to_version": each.version} for each in raised]
        connection.execute(_RAISE, rows)
    deliveries = [dict(forms.delivery_row(each)) for each in writes if isinstance(each, SaveDelivery)]
    if deliveries:
        connection.execute(upsert(connection, DeliveryRow), deliveries)
    for note in note_texts(_note(writes, origin)):
        connection.execute(_TELL, {"channel": channel, "note": note})
    return tuple(known if conflict is None else conflict for conflict in conflicts)


# --- conflicts ---------------------------------------------------------------------------------------------


def _lock(connection: Connection, writes: Sequence[SharedWrite | SaveNonce], *, patient: bool) -> _Found:
    """Return the versions of all that the writes are conditional on, held until the transaction ends.

    What others hold is missing, as if it were not there, if it is not waited for.
    """
    vens = {
        each.ven.ven_id if isinstance(each, SaveVen) else each.ven_id
        for each in writes
        if isinstance(each, SaveVen | RaiseVersion | Unchanged)
    }
    events = {each.record.event_id for each in writes if isinstance(each, SaveEvent)}
    answered = {each.event_id for each in writes if isinstance(each, SaveOpt)}
    deliveries = {each.ven_id for each in writes if isinstance(each, SaveDelivery)}
    found_vens: dict[str, int] = {}
    found_events: dict[str, int] = {}
    found_answered: dict[str, int] = {}
    found_deliveries: dict[str, int] = {}
    if vens:
        ven_rows = select(VenRow.ven_id, VenRow.version).where(col(VenRow.ven_id).in_(vens))
        locked = ven_rows.order_by(VenRow.ven_id).with_for_update(key_share=True, skip_locked=not patient)
        found_vens = _pairs(connection, locked)
    if events:
        event_rows = select(EventRow.event_id, EventRow.version).where(col(EventRow.event_id).in_(events))
        locked = event_rows.order_by(EventRow.event_id).with_for_update(
            key_share=True, skip_locked=not patient
        )
        found_events = _pairs(connection, locked)
    if answered:
        event_rows = select(EventRow.event_id, EventRow.version).where(col(EventRow.event_id).in_(answered))
        found_answered = _pairs(connection, event_rows)
    if deliveries:  # their aggregates are locked
        rows = select(DeliveryRow.ven_id, DeliveryRow.version).where(col(DeliveryRow.ven_id).in_(deliveries))
        found_deliveries = _pairs(connection, rows)
    numbered = any(isinstance(each, SaveIdentity) for each in writes)
    newest = connection.execute(_NEWEST).scalar_one() or 0 if numbered else 0
    return _Found(
        vens=found_vens,
        events=found_events,
        answered=found_answered,
        deliveries=found_deliveries,
        identities=newest,
    )


def _pairs(connection: Connection, query: Executable) -> dict[str, int]:
    return {str(key): int(version) for key, version in connection.execute(query)}


def _conflict(member: Member, found: _Found) -> StoreConflict | None:
    """Return what keeps a member from being written."""
    numbers = [each.number for each in member if isinstance(each, SaveIdentity)]
    if numbers and min(numbers) != found.identities + 1:
        return StoreConflict(f"identities are at {found.identities}, not at {min(numbers) - 1}")
    for write in member:
        what, expected, version = _expected(write, found)
        if expected != version:
            return StoreConflict(f"{what} is at version {version}, not at {expected}")
    return None


def _expected(write: SharedWrite | SaveNonce, found: _Found) -> tuple[str, int, int]:
    """Return what a write depends on, the version it was decided upon, and the one there is.

    There are 0 versions of an aggregate that is new; the first version of an event has the number 0.
    """
    match write:
        case SaveVen(ven=ven):
            return ven.ven_id, ven.version - 1, found.vens.get(ven.ven_id, 0)
        case RaiseVersion():
            return write.ven_id, write.version - 1, found.vens.get(write.ven_id, 0)
        case Unchanged():
            return write.ven_id, write.version, found.vens.get(write.ven_id, 0)
        case SaveDelivery():
            name = f"the delivery of {write.ven_id}"
            return name, write.version - 1, found.deliveries.get(write.ven_id, 0)
        case SaveEvent(record=record):
            return record.event_id, record.modification_number - 1, found.events.get(record.event_id, -1)
        case SaveOpt():
            number = write.opt.modification_number
            return write.event_id, number, found.answered.get(write.event_id, number)  # it may be pruned
        case _:
            return "", 0, 0


def _claim(connection: Connection, writes: Sequence[SharedWrite | SaveNonce]) -> None:
    """Write the changes of identities.

    Raises:
        StoreConflict: if somebody else was faster.
    """
    rows = [
        {"number": each.number, "ven_id": each.ven_id} for each in writes if isinstance(each, SaveIdentity)
    ]
    if not rows:
        return
    statement = insert_unless_there(connection, IdentityRow).returning(col(IdentityRow.number))
    if len(connection.execute(statement, rows).scalars().all()) != len(rows):
        raise StoreConflict(f"identities have changed since {rows[0]['number']}")


# --- what to tell ------------------------------------------------------------------------------------------


def _note(writes: Iterable[SharedWrite | SaveNonce], origin: str) -> Note:
    vens: set[str] = set()
    events: set[str] = set()
    opts: set[tuple[str, str]] = set()
    deliveries: set[str] = set()
    identities = 0
    for write in writes:
        match write:
            case SaveVen(ven=ven):
                vens.add(ven.ven_id)
            case RaiseVersion():
                vens.add(write.ven_id)
            case SaveEvent(record=record):
                events.add(record.event_id)
            case SaveOpt():
                opts.add((write.event_id, write.ven_id))
            case SaveDelivery():
                deliveries.add(write.ven_id)
            case SaveIdentity():
                identities = max(identities, write.number)
            case AddReadings() | Unchanged() | SaveNonce():
                pass  # nobody remembers them
    return Note(
        origin=origin,
        vens=frozenset(vens),
        events=frozenset(events),
        opts=frozenset(opts),
        deliveries=frozenset(deliveries),
        identities=identities,
    )
