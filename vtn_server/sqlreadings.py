"""Questions about readings to the database, in the transaction of whoever asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, func
from sqlmodel import select

from vtn_server.blocks import SPAN, moment_text, series_in
from vtn_server.state import Reading, VenId
from vtn_server.tables import ReadingBlockRow

__all__ = ["all_readings", "readings_between", "specifiers"]

_END: Final = datetime.max.replace(tzinfo=UTC)


def readings_between(
    connection: Connection, report_specifier_id: str, start: datetime, end: datetime, ven_id: VenId | None
) -> tuple[Reading, ...]:
    """Return the readings that start in [start, end), sorted by start, VEN and rID."""
    found = _latest(connection, report_specifier_id, start, end, ven_id)
    return tuple(sorted(found, key=lambda each: (each.start, each.ven_id, each.r_id)))


def _latest(
    connection: Connection, report_specifier_id: str, start: datetime, end: datetime, ven_id: VenId | None
) -> Iterator[Reading]:
    """Yield what was written last for each start, VEN and rID."""
    query = select(ReadingBlockRow).where(
        ReadingBlockRow.report_specifier_id == report_specifier_id,
        ReadingBlockRow.start > _earliest(start),
        ReadingBlockRow.start < moment_text(end),
        ReadingBlockRow.last >= moment_text(start),
    )
    if ven_id is not None:
        query = query.where(ReadingBlockRow.ven_id == ven_id)
    latest: dict[tuple[datetime, str, str], Reading] = {}
    rows = sorted(connection.execute(query), key=lambda each: int(each.seq))
    for row in rows:
        series = series_in(row)
        inside = slice(bisect_left(series.starts, start), bisect_left(series.starts, end))
        for each in series[inside].readings():
            latest[(each.start, each.ven_id, each.r_id)] = each
    yield from latest.values()


def _earliest(start: datetime) -> str:
    """Return what a row starts after that may reach an instant; a text before all others at the beginning."""
    try:
        return moment_text(start - SPAN)
    except OverflowError:
        return ""


def specifiers(connection: Connection) -> Iterator[str]:
    """Yield the reportSpecifierIDs of which there are readings, in order, without a look at every row."""
    name = ReadingBlockRow.report_specifier_id
    found = connection.execute(select(func.min(name))).scalar_one()
    while found is not None:
        yield found
        found = connection.execute(select(func.min(name)).where(name > found)).scalar_one()


def all_readings(connection: Connection) -> Iterator[Reading]:
    """Yield every reading, without holding all of them in memory: series by series within an hour."""
    for specifier in specifiers(connection):
        start = _next_start(connection, specifier, datetime.min.replace(tzinfo=UTC))
        while start is not None:
            end = min(start, _END - SPAN) + SPAN
            found = _latest(connection, specifier, start, end, None)
            yield from sorted(found, key=lambda each: (each.ven_id, each.r_id, each.start))
            start = _next_start(connection, specifier, end)


def _next_start(connection: Connection, report_specifier_id: str, after: datetime) -> datetime | None:
    """Return an instant from which on there are readings, and none between ``after`` and it."""
    query = (
        select(ReadingBlockRow.start)
        .where(
            ReadingBlockRow.report_specifier_id == report_specifier_id,
            ReadingBlockRow.start > _earliest(after),
            ReadingBlockRow.last >= moment_text(after),
        )
        .order_by(ReadingBlockRow.start)
        .limit(1)
    )
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else max(after, datetime.fromisoformat(found))
