"""Writes of decisions as SQL, in the transaction of whoever calls."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Executable, bindparam, insert, update
from sqlmodel import col

from vtn_server.blocks import block_rows
from vtn_server.decision import AddReadings, SaveEvent, SaveNonce, SaveOpt, SaveVen, SharedWrite
from vtn_server.dialects import insert_and_tell, insert_unless_there, replace_by, upsert
from vtn_server.rows import RowForms, RowValues
from vtn_server.store import StoreConflict
from vtn_server.tables import EventOptRow, EventRow, EventVersionRow, NonceRow, ReadingBlockRow, VenRow

__all__ = ["write_all"]

_NEXT_VEN = (
    update(VenRow)
    .where(col(VenRow.ven_id) == bindparam("key"), col(VenRow.version) == bindparam("former"))
    .values(version=bindparam("to_version"), body=bindparam("to_body"))
)
_NEXT_EVENT = (
    update(EventRow)
    .where(col(EventRow.event_id) == bindparam("key"), col(EventRow.version) == bindparam("former"))
    .values(version=bindparam("to_version"), over_at=bindparam("to_over_at"), body=bindparam("to_body"))
)


def write_all(
    connection: Connection, forms: RowForms, writes: Sequence[SharedWrite | SaveNonce]
) -> frozenset[str]:
    """Write everything, each kind of row at once; return the nonces that were there already.

    An aggregate is written only over the version before it; of a new one there must be none. No nonce may
    be among the writes twice.

    Raises:
        StoreConflict: if somebody else has written an aggregate meanwhile; roll back then.
    """
    nonces = [each for each in writes if isinstance(each, SaveNonce)]
    known = _nonces(connection, forms, nonces) if nonces else frozenset()
    if len(nonces) == len(writes):
        return known
    vens = [(each.ven.version, forms.ven_row(each.ven)) for each in writes if isinstance(each, SaveVen)]
    new_vens = [row for version, row in vens if version == 1]
    _exactly(connection, insert_unless_there(connection, VenRow), new_vens, "ven_id")
    _exactly(connection, _NEXT_VEN, [_next(row, "ven_id") for version, row in vens if version != 1], "key")

    records = [each.record for each in writes if isinstance(each, SaveEvent)]
    events = [(each.modification_number, forms.event_row(each)) for each in records]
    new_events = [row for number, row in events if number == 0]
    _exactly(connection, insert_unless_there(connection, EventRow), new_events, "event_id")
    _exactly(connection, _NEXT_EVENT, [_next(row, "event_id") for number, row in events if number], "key")
    versions = [forms.version_row(each, each.versions[-1]) for each in records]
    _execute(connection, insert(EventVersionRow), versions)

    opts = [forms.opt_row(each) for each in writes if isinstance(each, SaveOpt)]
    _execute(connection, upsert(connection, EventOptRow), opts)
    added = [series for each in writes if isinstance(each, AddReadings) for series in each.series]
    blocks = [row for each in added for row in block_rows(each)]
    _execute(connection, replace_by(connection, ReadingBlockRow, ReadingBlockRow.KEY), blocks)
    return known


def _nonces(connection: Connection, forms: RowForms, nonces: Sequence[SaveNonce]) -> frozenset[str]:
    """Write nonces; return those that were there. Sorted, so that two processes do not wait crosswise."""
    rows = [forms.nonce_row(each) for each in sorted(nonces, key=lambda each: each.nonce)]
    new = insert_and_tell(connection, NonceRow, rows)
    return frozenset(each.nonce for each in nonces) - new


def _next(row: RowValues, key: str) -> RowValues:
    """Return the parameters of the update that makes a row follow its former version."""
    version = row["version"]
    assert isinstance(version, int)
    changed = {f"to_{name}": value for name, value in row.items() if name != key}
    return {"key": row[key], "former": version - 1, **changed}


def _exactly(connection: Connection, statement: Executable, rows: Sequence[RowValues], key: str) -> None:
    """Run a statement that must touch one row for each of its parameters.

    Raises:
        StoreConflict: if it touched fewer.
    """
    if rows and _execute(connection, statement, rows) != len(rows):
        names = ", ".join(str(row[key]) for row in rows)
        raise StoreConflict(f"somebody else has written one of {names}")


def _execute(connection: Connection, statement: Executable, rows: Sequence[RowValues]) -> int:
    """Run a statement for each of some rows; return how many rows it touched."""
    if not rows:
        return 0
    done = connection.execute(
        statement, [dict(row) for row in rows], execution_options={"preserve_rowcount": True}
    )
    return done.rowcount
