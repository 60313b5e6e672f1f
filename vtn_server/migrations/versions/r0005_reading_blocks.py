"""Readings are stored by the hour of a series: one row where there were sixty.

What is written here is what :mod:`vtn_server.blocks` wrote when this revision was made; it stays as it is.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "vtn_0005"
down_revision: Final = "vtn_0004"

_KEY: Final = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_SPAN: Final = timedelta(hours=1)
_END: Final = datetime.max.replace(tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_COMMON: Final = ("ven_id", "r_id", "report_request_id", "report_name", "received_at")
_COLUMNS: Final = ("start", *_COMMON, "duration", "value", "status", "data_quality")


def upgrade() -> None:
    """Make the table, fill it, and drop the one it replaces."""
    blocks = op.create_table(
        "reading_blocks",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("report_specifier_id", _KEY, nullable=False),
        sa.Column("start", _KEY, nullable=False),
        sa.Column("last", _KEY, nullable=False),
        sa.Column("ven_id", _KEY, nullable=False),
        sa.Column("r_id", _KEY, nullable=False),
        sa.Column("layout", _KEY, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("report_request_id", sa.String(), nullable=False),
        sa.Column("report_name", sa.String(), nullable=False),
        sa.Column("received_at", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.UniqueConstraint(
            "report_specifier_id", "start", "last", "ven_id", "r_id", "layout", name="uq_reading_blocks"
        ),
    )
    connection = op.get_bind()
    specifiers = connection.execute(sa.text("SELECT DISTINCT report_specifier_id FROM readings")).scalars()
    for specifier in sorted(specifiers):
        for rows in _hours(connection, specifier):
            found = [_block(specifier, some) for some in _groups(rows)]
            connection.execute(sa.insert(blocks), found)
    op.drop_table("readings")


def _hours(connection: sa.Connection, specifier: str) -> Iterator[Sequence[sa.Row[tuple[object, ...]]]]:
    """Yield the readings of an hour of the clock, series by series, then those of the next that has any."""
    first = sa.text(
        "SELECT MIN(start) FROM readings WHERE report_specifier_id = :specifier AND start >= :start"
    )
    within = sa.text(
        f"SELECT {', '.join(_COLUMNS)} FROM readings"
        " WHERE report_specifier_id = :specifier AND start >= :start AND start < :end"
        f" ORDER BY {', '.join(_COMMON)}, start"
    )
    start = connection.execute(first, {"specifier": specifier, "start": ""}).scalar_one()
    while start is not None:
        hour = datetime.fromisoformat(start).replace(minute=0, second=0, microsecond=0)
        end = (min(hour, _END - _SPAN) + _SPAN).isoformat()
        yield connection.execute(within, {"specifier": specifier, "start": start, "end": end}).all()
        start = connection.execute(first, {"specifier": specifier, "start": end}).scalar_one()


def _groups(rows: Sequence[sa.Row[tuple[object, ...]]]) -> Iterator[list[sa.Row[tuple[object, ...]]]]:
    for _, some in itertools.groupby(rows, key=lambda row: tuple(getattr(row, name) for name in _COMMON)):
        yield list(some)


def _block(specifier: str, rows: list[sa.Row[tuple[object, ...]]]) -> dict[str, object]:
    starts = [datetime.fromisoformat(row.start) for row in rows]
    at = _offsets(starts)
    body = {
        "at": at,
        "for": _once([row.duration for row in rows]),
        "value": [row.value for row in rows],
        "quality": _once([row.data_quality for row in rows]),
    }
    statuses = _once([row.status for row in rows])
    if statuses != [None]:
        body["status"] = statuses
    regular = f"{len(rows)}x{at[0]}"
    return {
        "report_specifier_id": specifier,
        "start": rows[0].start,
        "last": rows[-1].start,
        "layout": regular if len(at) == 1 else hashlib.sha256(repr(at).encode()).hexdigest()[:32],
        "count": len(rows),
        **{name: getattr(rows[0], name) for name in _COMMON},
        "body": json.dumps(body, separators=(",", ":"), ensure_ascii=False),
    }


def _once(column: list[object]) -> list[object]:
    return column[:1] if column.count(column[0]) == len(column) else column


def _offsets(starts: list[datetime]) -> list[float]:
    step = starts[1] - starts[0] if len(starts) > 1 else timedelta()
    if all(start - starts[0] == number * step for number, start in enumerate(starts)):
        return [_seconds(step)]
    return [_seconds(start - starts[0]) for start in starts]


def _seconds(length: timedelta) -> float:
    whole, rest = divmod(length, _SECOND)
    return length / _SECOND if rest else whole
