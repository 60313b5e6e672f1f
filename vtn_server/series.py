"""Readings as they come: many of one VEN and rID in one report, kept in columns. Pure."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TypeVar

from schemas.oadr20b.model import ResourceStatus
from schemas.oadr20b.xmltypes import Duration
from vtn_server.state import Reading, VenId

__all__ = ["Points", "Series", "Source", "series_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What readings of one report have in common; see :class:`vtn_server.state.Reading`."""

    ven_id: VenId
    report_request_id: str
    report_specifier_id: str
    report_name: str
    r_id: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Readings of one source. All columns are as long as ``starts``, which ascend and are all different.

    Attributes:
        durations: None for point data.
        values: None where the payload is a status, or not a number.
    """

    source: Source
    starts: tuple[datetime, ...]
    durations: tuple[Duration | None, ...]
    values: tuple[float | None, ...]
    statuses: tuple[ResourceStatus | None, ...]
    qualities: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, part: slice) -> Series:
        """Return some of the readings, in their order."""
        return Series(
            source=self.source,
            starts=self.starts[part],
            durations=self.durations[part],
            values=self.values[part],
            statuses=self.statuses[part],
            qualities=self.qualities[part],
        )

    def readings(self) -> Iterator[Reading]:
        """Yield the readings one by one."""
        source = self.source
        columns = (self.starts, self.durations, self.values, self.statuses, self.qualities)
        for start, duration, value, status, quality in zip(*columns, strict=True):
            yield Reading(
                ven_id=source.ven_id,
                report_request_id=source.report_request_id,
                report_specifier_id=source.report_specifier_id,
                report_name=source.report_name,
                r_id=source.r_id,
                start=start,
                duration=duration,
                value=value,
                status=status,
                data_quality=quality,
                received_at=source.received_at,
            )


@dataclass(slots=True)
class Points:
    """A series that is being gathered."""

    starts: list[datetime] = field(default_factory=list)
    durations: list[Duration | None] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    statuses: list[ResourceStatus | None] = field(default_factory=list)
    qualities: list[str | None] = field(default_factory=list)

    def add(
        self,
        start: datetime,
        duration: Duration | None,
        value: float | None,
        status: ResourceStatus | None,
        quality: str | None,
    ) -> None:
        """Add a reading; of two with one start the later one counts."""
        self.starts.append(start)
        self.durations.append(duration)
        self.values.append(value)
        self.statuses.append(status)
        self.qualities.append(quality)

    def series(self, source: Source) -> Series:
        """Return what was gathered, in order of time."""
        starts = self.starts
        if not all(map(operator.lt, starts, islice(starts, 1, None))):
            last = {start: number for number, start in enumerate(starts)}
            order = [last[start] for start in sorted(last)]
        else:
            order = None
        return Series(
            source=source,
            starts=_ordered(starts, order),
            durations=_ordered(self.durations, order),
            values=_ordered(self.values, order),
            statuses=_ordered(self.statuses, order),
            qualities=_ordered(self.qualities, order),
        )


def _ordered(column: list[T], order: list[int] | None) -> tuple[T, ...]:
    return tuple(column) if order is None else tuple(column[number] for number in order)


def series_of(readings: Iterable[Reading]) -> tuple[Series, ...]:
    """Return readings by their source, in the order in which the sources first come."""
    gathered: dict[Source, Points] = {}
    for each in readings:
        source = Source(
            ven_id=each.ven_id,
            report_request_id=each.report_request_id,
            report_specifier_id=each.report_specifier_id,
            report_name=each.report_name,
            r_id=each.r_id,
            received_at=each.received_at,
        )
        points = gathered.setdefault(source, Points())
        points.add(each.start, each.duration, each.value, each.status, each.data_quality)
    return tuple(points.series(source) for source, points in gathered.items())
