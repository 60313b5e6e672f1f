"""Between series of readings and the rows of their table: one row for the part of a series in one hour.

A report of sixty readings is one row, and as much to write as a report of one. No row reaches from one hour
of the clock into the next, so that an hour can be deleted as a whole, with all its corrections. The row says
from when to when its readings start; what they are is JSON in columns, where one item stands for a whole
column of the same. Its starts are part of its key: readings of the same starts replace each other, such as
those of a report that is sent again; where rows overlap otherwise, the one that was written later counts.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeAlias, TypeVar

from schemas.oadr20b.model import ResourceStatus
from schemas.oadr20b.xmltypes import Duration
from vtn_server.jsonform import JsonForm
from vtn_server.series import Series, Source
from vtn_server.state import VenId

__all__ = ["SPAN", "BlockColumns", "BlockValues", "block_rows", "hour_of", "moment_text", "series_in"]

T = TypeVar("T")

SPAN: Final = timedelta(hours=1)
"""The readings of a row start within less than this, so that whoever looks for an instant need not look
further back."""
_SECOND: Final = timedelta(seconds=1)
_STATUS: Final = JsonForm(ResourceStatus)

BlockValues: TypeAlias = dict[str, str | int | float | None]


def hour_of(moment: datetime) -> datetime:
    """Return the instant at which an instant's hour of the clock begins, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def moment_text(moment: datetime) -> str:
    """Return an instant as the tables hold it; the texts sort as the instants do."""
    return moment.astimezone(UTC).isoformat()


class BlockColumns(Protocol):
    """A row as it comes from the database."""

    report_specifier_id: str
    start: str
    ven_id: str
    r_id: str
    report_request_id: str
    report_name: str
    received_at: str
    body: str


# --- writing -----------------------------------------------------------------------------------------------


def block_rows(series: Series) -> Iterator[BlockValues]:
    """Yield the rows of a series."""
    starts = series.starts
    begin = 0
    while begin < len(starts):
        end = bisect_right(starts, hour_of(starts[begin]), begin, key=hour_of)
        yield _row(series if end - begin == len(starts) else series[begin:end])
        begin = end


def _row(series: Series) -> BlockValues:
    source, starts = series.source, series.starts
    durations = [None if each is None else str(each) for each in _once(series.durations)]
    statuses = _once([None if each is None else _STATUS.dumps(each) for each in series.statuses])
    at = _offsets(starts)
    body = {"at": at, "for": durations, "value": series.values, "quality": _once(series.qualities)}
    if statuses[0] is not None or len(statuses) > 1:
        body["status"] = statuses
    return {
        "report_specifier_id": source.report_specifier_id,
        "start": moment_text(starts[0]),
        "last": moment_text(starts[-1]),
        "ven_id": source.ven_id,
        "r_id": source.r_id,
        "layout": _layout(at, len(starts)),
        "count": len(starts),
        "report_request_id": source.report_request_id,
        "report_name": source.report_name,
        "received_at": moment_text(source.received_at),
        "body": json.dumps(body, separators=(",", ":"), ensure_ascii=False),
    }


def _once(column: Sequence[T]) -> Sequence[T]:
    """Return a column, or its one item if all are the same."""
    return column[:1] if column.count(column[0]) == len(column) else column


def _offsets(starts: Sequence[datetime]) -> list[float]:
    """Return the starts in seconds after the first, or the one step from each to the next."""
    first = starts[0]
    if len(starts) > 1:
        step = starts[1] - first
        # differences only: a whole number of steps after the first may be an instant that no calendar has
        if all(start - first == number * step for number, start in enumerate(starts)):
            return [_seconds(step)]
    return [_seconds(each - first) for each in starts]


def _seconds(length: timedelta) -> float:
    whole, rest = divmod(length, _SECOND)
    return length / _SECOND if rest else whole


def _layout(at: Sequence[float], count: int) -> str:
    """Return a text that is the same for the same starts after the first."""
    if len(at) == 1:
        return f"{count}x{at[0]}"
    return hashlib.sha256(repr(at).encode()).hexdigest()[:32]


# --- reading -----------------------------------------------------------------------------------------------


def series_in(row: BlockColumns) -> Series:
    """Return what a row holds."""
    body = json.loads(row.body)
    values = tuple(None if each is None else float(each) for each in body["value"])
    count = len(values)
    first = datetime.fromisoformat(row.start)
    statuses = body.get("status", [None])
    return Series(
        source=Source(
            ven_id=VenId(row.ven_id),
            report_request_id=row.report_request_id,
            report_specifier_id=row.report_specifier_id,
            report_name=row.report_name,
            r_id=row.r_id,
            received_at=datetime.fromisoformat(row.received_at),
        ),
        starts=_starts(first, body["at"], count),
        durations=_all([None if each is None else Duration.parse(each) for each in body["for"]], count),
        values=values,
        statuses=_all([None if each is None else _STATUS.loads(each) for each in statuses], count),
        qualities=_all(body["quality"], count),
    )


def _starts(first: datetime, at: Sequence[float], count: int) -> tuple[datetime, ...]:
    if len(at) == count:
        return tuple(first + timedelta(seconds=each) for each in at)
    step = timedelta(seconds=at[0])
    return tuple(first + number * step for number in range(count))


def _all(column: Sequence[T], count: int) -> tuple[T, ...]:
    return tuple(column) * count if len(column) == 1 else tuple(column)
