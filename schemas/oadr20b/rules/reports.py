"""Checks of report data and of the lists of reports that are due.

Source: OpenADR 2.0b rules 300, 313 to 317, 328, 329, 331, 334, 342; G14.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from schemas.oadr20b import model as m
from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.rules.base import Finding, Rule, Subject
from schemas.oadr20b.rules.events import misnumbered
from schemas.oadr20b.rules.metadata import is_metadata_name
from schemas.oadr20b.rules.walk import data_of, name_of, numbered

__all__ = ["RULES"]


def _complete(s: Subject) -> Iterator[Finding]:
    requests = {each.report_request_id: each for each in s.exchange.requests or ()}
    for path, report in data_of(s.message):
        request = requests.get(report.report_request_id)
        if request is None:
            continue
        wanted = {each.r_id for each in request.specifier.payloads}
        for where, interval in numbered(report.intervals or (), f"{path}/intervals/interval"):
            r_ids = {each.r_id for each in interval.payloads if isinstance(each, m.ReportPayload)}
            if r_ids - wanted:
                yield where, f"has rIDs nobody asked for: {sorted(r_ids - wanted)}"
        given = {
            each.r_id
            for interval in report.intervals or ()
            for each in interval.payloads
            if isinstance(each, m.ReportPayload)
        }
        if wanted - given:
            yield path, f"lacks the rIDs {sorted(wanted - given)}"


def _shape(s: Subject) -> Iterator[Finding]:
    for path, report in data_of(s.message):
        if report.dtstart is None:
            yield f"{path}/dtstart", "is missing"
        if not report.intervals:
            yield f"{path}/intervals", "are missing"
        if report.descriptions:
            yield f"{path}/oadrReportDescription", "has no place in report data"
        if not report.report_name or is_metadata_name(report.report_name):
            yield f"{path}/reportName", f"{report.report_name!r} does not name report data"


def _starts(s: Subject) -> Iterator[Finding]:
    for path, report in data_of(s.message):
        intervals = report.intervals or ()
        starts = [each.dtstart for each in intervals if each.dtstart is not None]
        if not starts:
            continue
        if len(starts) != len(intervals):
            yield f"{path}/intervals", "some intervals have a dtstart and some have none"
        if intervals[0].dtstart is not None and report.dtstart not in (None, intervals[0].dtstart):
            yield f"{path}/dtstart", "is not that of the first interval"
        if starts != sorted(starts):
            yield f"{path}/intervals", "are not in order, oldest first"


def _end(report: m.Report, start: datetime) -> datetime | None:
    moment = end = start
    try:
        for interval in report.intervals or ():
            begin = interval.dtstart or moment
            moment = begin if interval.duration is None else interval.duration.after(begin)
            end = max(end, moment)
    except InvalidValue:
        return None
    return end


def _lengths(s: Subject) -> Iterator[Finding]:
    for path, report in data_of(s.message):
        intervals = report.intervals or ()
        lengths = [each.duration for each in intervals if each.duration is not None]
        if lengths and len(lengths) != len(intervals):
            yield f"{path}/intervals", "some intervals have a duration and some have none"
            continue
        timeless = any(each.dtstart is None for each in intervals)
        if len(intervals) > 1 and timeless and not lengths:
            yield f"{path}/intervals", "have neither dtstart nor duration"
        if not lengths or report.duration is None or report.dtstart is None:
            continue
        try:
            stated = report.duration.after(report.dtstart)
        except InvalidValue:
            stated = None
        if stated is None or stated != _end(report, report.dtstart):
            yield f"{path}/duration", f"{report.duration} is not the span of the intervals"


def _uids(s: Subject) -> Iterator[Finding]:
    for path, report in data_of(s.message):
        intervals = report.intervals or ()
        if len(intervals) > 1 and any(each.dtstart is None for each in intervals):
            yield from misnumbered(intervals, path)


def _counts(s: Subject) -> Iterator[Finding]:
    """One interval per granularity, one more at most; a window that is cut or on change has fewer."""
    requests = {each.report_request_id: each for each in s.exchange.requests or ()}
    for path, report in data_of(s.message):
        request = requests.get(report.report_request_id)
        if request is None or not report.intervals:
            continue
        specifier = request.specifier
        if specifier.report_back_duration.is_zero or specifier.granularity.is_zero:
            continue
        try:
            most = specifier.report_back_duration.timedelta() / specifier.granularity.timedelta() + 1
        except InvalidValue:
            continue
        times = {each.dtstart or each.uid for each in report.intervals}
        if len(times) > most:
            yield f"{path}/intervals", f"{len(times)} where at most {most:g} were asked for"


def _status_payloads(s: Subject) -> Iterator[Finding]:
    for path, report in data_of(s.message):
        status = report.report_name == "TELEMETRY_STATUS"
        if not status and report.report_name not in ("TELEMETRY_USAGE", "HISTORY_USAGE"):
            continue
        kind: type = m.ResourceStatus if status else m.PayloadFloat
        for where, interval in numbered(report.intervals or (), f"{path}/intervals/interval"):
            for payload in interval.payloads:
                if not isinstance(payload.payload, kind):
                    yield f"{where}/oadrReportPayload", f"does not fit {report.report_name}"


def _present(value: m.ResourceStatus) -> tuple[bool, ...]:
    state = value.load_control_state
    if state is None:
        return ()
    return tuple(
        each is not None
        for each in (state.capacity, state.level_offset, state.percent_offset, state.set_point)
    )


def _same_children(s: Subject) -> Iterator[Finding]:
    for path, report in data_of(s.message):
        shapes: dict[str, set[tuple[bool, ...]]] = {}
        for interval in report.intervals or ():
            for payload in interval.payloads:
                if isinstance(payload, m.ReportPayload) and isinstance(payload.payload, m.ResourceStatus):
                    shapes.setdefault(payload.r_id, set()).add(_present(payload.payload))
        for r_id, found in shapes.items():
            if len(found) > 1:
                yield f"{path}/intervals", f"the load control state of {r_id!r} changes its children"


def _mixes(s: Subject) -> Iterator[Finding]:
    """Point data has a start alone, interval data a length; a report of both carries both (G14)."""
    for path, report in data_of(s.message):
        for where, interval in numbered(report.intervals or (), f"{path}/intervals/interval"):
            if interval.duration is not None and (interval.duration.is_zero or interval.duration.negative):
                yield f"{where}/duration", "point data has no duration, interval data a positive one"


def _piggy_back(s: Subject) -> Iterator[Finding]:
    message, request = s.message, s.exchange.request
    if not isinstance(message, m.UpdatedReport) or message.cancel is None:
        return
    if isinstance(request, m.UpdateReport):
        answered = {report.report_request_id for report in request.reports}
        for key in message.cancel.report_request_ids:
            if key not in answered:
                yield "oadrUpdatedReport/oadrCancelReport/reportRequestID", f"{key!r} is not being answered"


def _pending(s: Subject) -> Iterator[Finding]:
    message, request = s.message, s.exchange.request
    if isinstance(message, m.CreatedReport) and isinstance(request, m.CreateReport):
        if message.response.code.startswith("2"):
            for each in request.requests:
                periodic = not each.specifier.report_back_duration.is_zero
                if periodic and each.report_request_id not in message.pending:
                    yield "oadrCreatedReport/oadrPendingReports", f"{each.report_request_id!r} is missing"
    elif isinstance(message, m.CanceledReport) and isinstance(request, m.CancelReport):
        over = message.response.code.startswith("2") and not request.report_to_follow
        for key in request.report_request_ids:
            if over and key in message.pending:
                yield f"{name_of(message)}/oadrPendingReports", f"{key!r} was cancelled"


_DATA: Final = (m.UpdateReport,)

RULES: Final = (
    Rule(number="300", check=_complete, messages=_DATA),
    Rule(number="313", check=_shape, messages=_DATA),
    Rule(number="314", check=_starts, messages=_DATA),
    Rule(number="315", check=_lengths, messages=_DATA),
    Rule(number="316", check=_uids, messages=_DATA),
    Rule(number="317", check=_counts, messages=_DATA),
    Rule(number="328", check=_piggy_back, messages=(m.UpdatedReport,)),
    Rule(number="329", check=_pending, messages=(m.CreatedReport, m.CanceledReport)),
    Rule(number="331", check=_status_payloads, messages=_DATA),
    Rule(number="334", check=_same_children, messages=_DATA),
    Rule(number="342", check=_mixes, messages=_DATA),
)
"""The checks of this file, by number."""
