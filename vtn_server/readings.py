"""Report data: from an oadrUpdateReport to readings, and the gate of an auction. Pure.

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
    ResourceStatus,
    UpdatedReport,
    UpdateReport,
)
from schemas.oadr20b.xmltypes import Duration
from vtn_server.decision import AddReadings, Context, Decision, World, ok
from vtn_server.state import Reading, RequestedReport, Taken, Ven

__all__ = ["update_report"]

_KEEP_TAKEN: Final = 60
"""First intervals remembered per gated request; more than two days of hourly offers."""
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
    readings: list[Reading] = []
    for report in message.reports:
        requested = after.request(report.report_request_id)
        if requested is None:
            raise InvalidId(f"no report request {report.report_request_id}")
        found = _readings_of(report, requested, ven, ctx)
        if requested.gate is None:
            readings.extend(found)
            continue
        passed = _through_gate(requested, found, ctx.now)
        if passed is None:
            continue  # taken before, and the gate is closed: nothing new
        readings.extend(found)
        if passed is not requested:
            requests = tuple(passed if each is requested else each for each in after.requests)
            after = replace(after, requests=requests)
    reply = UpdatedReport(response=ok(message.request_id), ven_id=ven.ven_id)
    return Decision(
        reply=reply,
        ven=None if after is ven else after,
        writes=(AddReadings(readings=tuple(readings)),) if readings else (),
    )


def _readings_of(report: Report, requested: RequestedReport, ven: Ven, ctx: Context) -> tuple[Reading, ...]:
    specifier = requested.request.specifier
    if report.report_specifier_id != specifier.report_specifier_id:
        raise InvalidId(f"request {report.report_request_id} is for {specifier.report_specifier_id}")
    known = {each.r_id for each in specifier.payloads}
    found: list[Reading] = []
    for start, duration, interval in _timed(report):
        for payload in interval.payloads:
            if not isinstance(payload, ReportPayload):
                raise ComplianceError("a report holds report payloads only (r33)")
            if payload.r_id not in known:
                raise InvalidId(f"rID {payload.r_id} was not asked for")
            found.append(_reading(report, payload, start, duration, ven, ctx))
    return tuple(found)


def _reading(
    report: Report,
    payload: ReportPayload,
    start: datetime,
    duration: Duration | None,
    ven: Ven,
    ctx: Context,
) -> Reading:
    content = payload.payload
    value = content.value if isinstance(content, PayloadFloat) else None
    return Reading(
        ven_id=ven.ven_id,
        report_request_id=report.report_request_id,
        report_specifier_id=report.report_specifier_id,
        report_name=report.report_name or "",
        r_id=payload.r_id,
        start=start,
        duration=duration,
        value=None if value is None or math.isnan(value) else value,
        status=content if isinstance(content, ResourceStatus) else None,
        data_quality=payload.data_quality,
        received_at=ctx.now,
    )


def _timed(report: Report) -> Iterator[tuple[datetime, Duration | None, Interval]]:
    """Yield each interval with its start and duration (r314 to r316).

    An interval without a start follows the one before it. One without a duration has none (point data),
    except that the only interval of a report lasts as long as the report.
    """
    if report.dtstart is None or report.intervals is None:
        raise ComplianceError("report data needs dtstart and intervals (r313)")
    moment: datetime | None = report.dtstart
    for interval in report.intervals:
        start = interval.dtstart or moment
        if start is None:
            raise ComplianceError("intervals need a start or a duration (r315)")
        duration = interval.duration
        if duration is None and len(report.intervals) == 1:
            duration = report.duration
        yield start, duration, interval
        try:
            moment = None if duration is None else duration.after(start)
        except InvalidValue as err:
            raise InvalidData(str(err)) from err


# --- the gate ----------------------------------------------------------------------------------------------


def _digest(readings: tuple[Reading, ...]) -> str:
    """Return a digest of what was said, whenever and however it came."""
    content = sorted(
        f"{each.r_id}|{each.start.isoformat()}|{each.duration}|{each.value!r}|{each.status!r}|{each.data_quality}"
        for each in readings
    )
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:32]


def _through_gate(
    requested: RequestedReport, readings: tuple[Reading, ...], now: datetime
) -> RequestedReport | None:
    """Return the request with the content noted; None for a repeat after the gate.

    Raises:
        InvalidData: for new content after the gate (454).
    """
    if not readings or requested.gate is None:
        return requested
    start = min(each.start for each in readings)
    digest = _digest(readings)
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
