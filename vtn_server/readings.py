"""Report data: from an oadrUpdateReport to series of readings, and the gate of an auction. Pure.

Source: OpenADR 2.0b rules 304, 313 to 316, 346; signals.md, Offer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from schemas.oadr20b.errors import ComplianceError, InvalidData, InvalidId, InvalidValue
from schemas.oadr20b.model import (
    Interval,
    PayloadFloat,
    Report,
    ReportPayload,
    UpdatedReport,
    UpdateReport,
)
from schemas.oadr20b.xmltypes import Duration
from vtn_server.decision import AddReadings, Context, Decision, World, ok
from vtn_server.series import Points, Series, Source
from vtn_server.state import RequestedReport, Taken, Ven

__all__ = ["update_report"]

_KEEP_TAKEN: Final = 12
"""First intervals remembered per gated request: half a day of hourly offers, a quarter of a kilobyte each."""
_KEEP_DIGESTS: Final = 20
"""Contents remembered for each of them."""


def update_report(message: UpdateReport, ven: Ven, world: World, ctx: Context) -> Decision:
    """Store the readings of a message: all of it, or nothing where any report of it is refused.

    Raises:
        InvalidId: for a request, specifier or rID that is not one of ours (r304).
        ComplianceError: for a report without data or without times (r313, r315).
        InvalidData: for new content after the gate.
    """
    del world
    after = ven
    added: list[Series] = []
    for report in message.reports:
        requested = after.request(report.report_request_id)
        if requested is None:
            raise InvalidId(f"no report request {report.report_request_id}")
        found = _series_in(report, requested, ven, ctx)
        if requested.gate is None:
            added.extend(found)
            continue
        passed = _through_gate(requested, found, ctx.now)
        if passed is None:
            continue  # taken before, and the gate is closed: nothing new
        added.extend(found)
        if passed is not requested:
            requests = tuple(passed if each is requested else each for each in after.requests)
            after = replace(after, requests=requests)
    reply = UpdatedReport(response=ok(message.request_id), ven_id=ven.ven_id)
    return Decision(
        reply=reply,
        ven=None if after is ven else after,
        writes=(AddReadings(series=tuple(added)),) if added else (),
    )


def _series_in(report: Report, requested: RequestedReport, ven: Ven, ctx: Context) -> tuple[Series, ...]:
    specifier = requested.request.specifier
    if report.report_specifier_id != specifier.report_specifier_id:
        raise InvalidId(f"request {report.report_request_id} is for {specifier.report_specifier_id}")
    known = {each.r_id for each in specifier.payloads}
    gathered: dict[str, Points] = {}
    for start, duration, interval in _timed(report):
        for payload in interval.payloads:
            if not isinstance(payload, ReportPayload):
                raise ComplianceError("a report holds report payloads only (r33)")
            points = gathered.get(payload.r_id)
            if points is None:
                if payload.r_id not in known:
                    raise InvalidId(f"rID {payload.r_id} was not asked for")
                points = gathered[payload.r_id] = Points()
            content, value, status = payload.payload, None, None
            if isinstance(content, PayloadFloat):
                value = None if math.isnan(content.value) else content.value
            else:
                status = content
            points.add(start, duration, value, status, payload.data_quality)
    return tuple(points.series(_source(report, r_id, ven, ctx)) for r_id, points in gathered.items())


def _source(report: Report, r_id: str, ven: Ven, ctx: Context) -> Source:
    return Source(
        ven_id=ven.ven_id,
        report_request_id=report.report_request_id,
        report_specifier_id=report.report_specifier_id,
        report_name=report.report_name or "",
        r_id=r_id,
        received_at=ctx.now,
    )


def _timed(report: Report) -> Iterator[tuple[datetime, Duration | None, Interval]]:
    """Yield each interval with its start and duration (r314 to r316).

    An interval without a start follows the one before it. One without a duration has none (point data),
    except that the only interval of a report lasts as long as the report.
    """
    if report.dtstart is None or report.intervals is None:
        raise ComplianceError("report data needs dtstart and intervals (r313)")
    alone = report.duration if len(report.intervals) == 1 else None
    moment: datetime | None = report.dtstart
    for interval in report.intervals:
        start = interval.dtstart or moment
        if start is None:
            raise ComplianceError("intervals need a start or a duration (r315)")
        duration = interval.duration or alone
        yield start, duration, interval
        try:
            moment = None if duration is None else duration.after(start)
        except InvalidValue as err:
            raise InvalidData(str(err)) from err


# --- the gate ----------------------------------------------------------------------------------------------


def _digest(found: tuple[Series, ...]) -> str:
    """Return a digest of what was said, whenever and however it came."""
    content = sorted(
        f"{each.r_id}|{each.start.isoformat()}|{each.duration}|{each.value!r}|{each.status!r}|{each.data_quality}"
        for series in found
        for each in series.readings()
    )
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:32]


def _gated_from(requested: RequestedReport, first: datetime) -> datetime:
    """Return the instant the gate counts back from, given the start of the first interval."""
    period = requested.request.specifier.report_back_duration
    if requested.gate_from is None or period.is_zero:
        return first
    return first - (first - requested.gate_from) % period.timedelta()


def _through_gate(
    requested: RequestedReport, found: tuple[Series, ...], now: datetime
) -> RequestedReport | None:
    """Return the request with the content noted; None for a repeat after the gate.

    Raises:
        InvalidData: for new content after the gate (454).
    """
    if not found or requested.gate is None:
        return requested
    start = _gated_from(requested, min(each.starts[0] for each in found))
    digest = _digest(found)
    former = next((each for each in requested.taken if each.start == start), None)
    is_repeat = former is not None and digest in former.digests
    try:
        closed = now >= start - requested.gate
    except OverflowError as err:
        raise InvalidData(f"no gate for {start.isoformat()}") from err
    if closed:
        if is_repeat:
            return None
        raise InvalidData(f"the gate for {start.isoformat()} is closed")
    if is_repeat:
        return requested
    digests = (*(former.digests if former is not None else ()), digest)[-_KEEP_DIGESTS:]
    others = tuple(each for each in requested.taken if each.start != start)
    return replace(requested, taken=(*others, Taken(start=start, digests=digests))[-_KEEP_TAKEN:])
