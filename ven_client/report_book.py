"""What the VTN asked this VEN to report, and when each report is due. Pure: time is an argument.

1. A request is *once* (reportBackDuration zero), *periodic*, or for METADATA, once or periodic.
2. A periodic report is due at start + k * reportBackDuration, k = 1, 2, ...; its window is the stretch
   [due - back, due), cut at the end of the reportInterval; a duration of zero is for ever (r324, r325).
   Windows that were over before the request came are not reported; one that ends at that instant is.
3. Once is due as soon as the request is answered (r324, r337). Its window is the interval asked for in a
   HISTORY report. Telemetry has no past: its interval is ignored, and the window is the latest granularity,
   or where that is zero the latest sampling period.
4. Granularity zero is on change: the application is asked every reportBackDuration and may have nothing.
5. An oadrCreateReport is taken as a whole or not at all, for its answer has one code. Repeating a request
   with the same reportRequestID and content changes nothing; with other content it replaces.
6. Announcing metadata cancels everything but periodic METADATA requests, and the data on its way (r306).
7. Cancelling with reportToFollow makes exactly one more report, of the time since the last one (r345).

Several reports that are due together wait together in the spool and leave in one oadrUpdateReport.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from schemas.oadr20b.enums import DataQuality, ReportType
from schemas.oadr20b.errors import InvalidData, InvalidId, InvalidValue
from schemas.oadr20b.model import (
    AnyMessage,
    Interval,
    PayloadFloat,
    Period,
    Report,
    ReportPayload,
    ReportRequest,
    ReportSpecifier,
    ResourceStatus,
    UpdatedReport,
    UpdateReport,
)
from schemas.oadr20b.xmltypes import Duration
from ven_client.application import Application, ReportWindow
from ven_client.messages import code_of, is_success
from ven_client.spool import Spool

__all__ = ["METADATA", "JobKind", "ReportBook", "ReportJob", "data_report"]

METADATA: Final = "METADATA"
_CATCH_UP: Final = 200
"""Windows of one request that are still reported after time has jumped, the latest ones."""


class JobKind(StrEnum):
    """How often a request wants to be answered, and with what."""

    ONCE = "once"
    PERIODIC = "periodic"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportJob:
    """One request and its next window."""

    request: ReportRequest
    kind: JobKind
    start: datetime
    back: timedelta
    end: datetime | None
    due: datetime

    def next(self) -> ReportJob | None:
        """Return the job after this window, None if this was the last."""
        if not self.back or (self.end is not None and self.due >= self.end):
            return None
        try:
            return replace(self, start=self.due, due=self.due + self.back)
        except OverflowError:
            return None

    def window(self) -> ReportWindow:
        """Return the window that is due next."""
        end = max(self.start, self.due if self.kind is JobKind.PERIODIC or self.end is None else self.end)
        if self.kind is JobKind.PERIODIC and self.end is not None:
            end = min(end, self.end)
        return ReportWindow(start=self.start, end=end, due=self.due)


class ReportBook:
    """Report requests, their schedule, and the spool their data waits in.

    Args:
        application: Announces and makes the reports.
        spool: Where finished reports wait.
    """

    def __init__(self, application: Application, spool: Spool) -> None:
        self._application = application
        self._spool = spool
        self._offers: dict[str, Report] = {}
        self._jobs: dict[str, ReportJob] = {}

    @property
    def pending(self) -> tuple[str, ...]:
        """The ids of all requests that still have a report due (r329)."""
        return tuple(self._jobs)

    @property
    def next_due(self) -> datetime | None:
        """The next instant at which a report is due."""
        return min((job.due for job in self._jobs.values()), default=None)

    def announce(self, now: datetime) -> tuple[Report, ...]:
        """Return the metadata of everything the VEN can report; former requests end (r306)."""
        reports = self._application.metadata(now)
        self._offers = {report.report_specifier_id: report for report in reports}
        self._jobs = {
            key: job for key, job in self._jobs.items() if job.kind is JobKind.METADATA and job.back
        }
        self._spool.clear()
        return reports

    @property
    def offers(self) -> tuple[Report, ...]:
        """The metadata that was announced last."""
        return tuple(self._offers.values())

    def snapshot(self) -> tuple[ReportJob, ...]:
        """Return every request with its next window, to be kept on disk with :attr:`offers`."""
        return tuple(self._jobs.values())

    def restore(self, offers: tuple[Report, ...], jobs: tuple[ReportJob, ...], now: datetime) -> bool:
        """Take back what was announced and asked for.

        Returns:
            Whether the application still offers the same. If not, the metadata is to be announced anew.
        """
        self._offers = {report.report_specifier_id: report for report in offers}
        self._jobs = {job.request.report_request_id: job for job in jobs}
        undated = {
            report.report_specifier_id: replace(report, created_date_time=now)
            for report in self._application.metadata(now)
        }
        return undated == {
            key: replace(report, created_date_time=now) for key, report in self._offers.items()
        }

    def clear(self) -> None:
        """Forget everything (r407)."""
        self._jobs = {}
        self._spool.clear()

    def request(self, requests: Sequence[ReportRequest], now: datetime) -> None:
        """Take the requests of one message.

        Raises:
            InvalidId: if a reportSpecifierID or rID was not announced (r304).
            InvalidData: if more is asked than is offered, or the times make no sense (r340).
        """
        jobs = [self._job(request, now) for request in requests]
        for job in jobs:
            known = self._jobs.get(job.request.report_request_id)
            if known is None or known.request != job.request:
                self._jobs[job.request.report_request_id] = job

    def cancel(self, ids: Sequence[str], to_follow: bool, now: datetime) -> None:
        """End requests, with one last report if it is to follow.

        Raises:
            InvalidId: if an id is unknown (r336); the known ones are cancelled nevertheless.
        """
        unknown = [key for key in ids if key not in self._jobs]
        for key in dict.fromkeys(ids):
            job = self._jobs.pop(key, None)
            if job is None:
                continue
            if to_follow and job.kind is not JobKind.METADATA:
                last = replace(job, kind=JobKind.ONCE, start=min(job.start, now), due=now, end=None)
                self._make(last, now)
            elif not to_follow:
                self._spool.drop(key)
        if unknown:
            raise InvalidId(f"no such report request: {', '.join(unknown)}")

    def run(self, now: datetime) -> tuple[str, ...]:
        """Make every report that is due.

        Returns:
            The ids of METADATA requests that are due now; their answer is another message.
        """
        metadata = []
        for key, job in tuple(self._jobs.items()):
            current: ReportJob | None = job if job.due <= now else None
            if current is None:
                continue
            if current.back and now - current.due > _CATCH_UP * current.back:
                skipped = (now - current.due) // current.back - _CATCH_UP
                if current.end is not None:
                    skipped = min(skipped, max(0, (current.end - current.due) // current.back))
                current = replace(
                    current,
                    start=current.start + skipped * current.back,
                    due=current.due + skipped * current.back,
                )
            if current.kind is JobKind.METADATA:
                metadata.append(key)
            while current is not None and current.due <= now:
                if current.kind is not JobKind.METADATA:
                    self._make(current, now)
                current = current.next()
            if current is None:
                del self._jobs[key]
            else:
                self._jobs[key] = current
        return tuple(metadata)

    def answered(self, update: UpdateReport, code: str | None) -> None:
        """Take the VTN's answer to a report: done, or refused and not to be repeated.

        A refused message with several reports is repeated report by report, for one may have spoiled it.
        """
        if not is_success(code) and len(update.reports) > 1:
            self._spool.split(update.reports)
            return
        self._spool.remove(update.reports)
        if code == InvalidId.code:
            for report in update.reports:  # the VTN does not know the request (any more)
                self._jobs.pop(report.report_request_id, None)

    def updated(self, update: UpdateReport, reply: AnyMessage, now: datetime) -> None:
        """Take the reply to a report, and the cancellation on its back, which nobody acknowledges (r328)."""
        self.answered(update, code_of(reply))
        if isinstance(reply, UpdatedReport) and reply.cancel is not None:
            answered = {report.report_request_id for report in update.reports}
            ids = tuple(key for key in reply.cancel.report_request_ids if key in answered)
            with suppress(InvalidId):
                self.cancel(ids, reply.cancel.report_to_follow, now)

    def _job(self, request: ReportRequest, now: datetime) -> ReportJob:
        specifier = request.specifier
        try:
            back = specifier.report_back_duration.timedelta()
            granularity = specifier.granularity.timedelta()
            if min(back, granularity) < timedelta(0):
                raise InvalidValue("negative durations")
            metadata = specifier.report_specifier_id == METADATA
            if not metadata:
                self._check(request, granularity, back)
            interval = specifier.report_interval
            if not back:
                kind = JobKind.METADATA if metadata else JobKind.ONCE
                start, end = now - (granularity or self._sampling(specifier)), now
                if not metadata and interval is not None and self._is_history(specifier.report_specifier_id):
                    start, end = interval.dtstart, interval.duration.after(interval.dtstart)
                    end = now if interval.duration.is_zero else min(end, now)
                return ReportJob(request=request, kind=kind, start=start, back=back, end=end, due=now)
            if interval is None:  # r324 asks for one; a VTN that leaves it out means from now on, for ever
                interval = Period(dtstart=now.replace(microsecond=0), duration=Duration())
            kind = JobKind.METADATA if metadata else JobKind.PERIODIC
            start = interval.dtstart
            end_at = None if interval.duration.is_zero else interval.duration.after(start)
            elapsed = max(0, -((start + back - now) // back))  # windows that were over before the request
            start += elapsed * back
            if end_at is not None and start >= end_at:
                raise InvalidData("the reportInterval is over")
            return ReportJob(request=request, kind=kind, start=start, back=back, end=end_at, due=start + back)
        except (InvalidValue, OverflowError) as err:
            raise InvalidData(str(err)) from err

    def _check(self, request: ReportRequest, granularity: timedelta, back: timedelta) -> None:
        specifier = request.specifier
        offer = self._offers.get(specifier.report_specifier_id)
        if offer is None:
            raise InvalidId(f"no report {specifier.report_specifier_id} was announced")
        descriptions = {description.r_id: description for description in offer.descriptions}
        for payload in specifier.payloads:
            description = descriptions.get(payload.r_id)
            if description is None:
                raise InvalidId(f"{specifier.report_specifier_id} has no rID {payload.r_id}")
            rate = description.sampling_rate
            if rate is not None and granularity and granularity < rate.min_period.timedelta():
                raise InvalidData(f"{payload.r_id} is sampled every {rate.min_period} at most")
        if back and granularity > back:
            raise InvalidData("granularity is longer than reportBackDuration")

    def _sampling(self, specifier: ReportSpecifier) -> timedelta:
        """Return the longest of the shortest sampling periods of what is asked for."""
        offer = self._offers.get(specifier.report_specifier_id)
        asked = {payload.r_id for payload in specifier.payloads}
        periods = (
            each.sampling_rate.min_period.timedelta()
            for each in (offer.descriptions if offer is not None else ())
            if each.r_id in asked and each.sampling_rate is not None
        )
        return max(periods, default=timedelta(0))

    def _is_history(self, report_specifier_id: str) -> bool:
        return "HISTORY" in (self._offers[report_specifier_id].report_name or "")

    def _make(self, job: ReportJob, now: datetime) -> None:
        window = job.window()
        intervals = self._application.report(job.request, window, now)
        offer = self._offers.get(job.request.specifier.report_specifier_id)
        if not intervals and job.kind is JobKind.ONCE and offer is not None:
            intervals = (_placeholder(job.request, offer, window),)
        if intervals and offer is not None:
            name = (offer.report_name or "").replace("METADATA_", "", 1)
            self._spool.add(data_report(job.request, name, window, intervals, now))


def data_report(
    request: ReportRequest, name: str, window: ReportWindow, intervals: tuple[Interval, ...], now: datetime
) -> Report:
    """Return intervals as a report that keeps the rules on its times.

    Intervals are put in order; without dtstart they get uids 0, 1, ... and the report starts with its window.

    Raises:
        InvalidValue: if only some intervals have a dtstart, or only some have a duration.

    Source: r313 to r316, r342.
    """
    starts = [interval.dtstart for interval in intervals if interval.dtstart is not None]
    lengths = [interval.duration for interval in intervals if interval.duration is not None]
    if len(starts) not in (0, len(intervals)) or len(lengths) not in (0, len(intervals)):
        raise InvalidValue("dtstart and duration are given for all intervals of a report or for none")
    if starts:
        intervals = tuple(sorted(intervals, key=lambda interval: interval.dtstart or now))
    else:
        intervals = tuple(replace(interval, uid=str(uid)) for uid, interval in enumerate(intervals))
    first = min(starts, default=window.start)
    end = first
    for interval in intervals:
        begin = interval.dtstart if interval.dtstart is not None else end
        if interval.duration is not None:
            end = max(end, interval.duration.after(begin))
    return Report(
        dtstart=first,
        duration=Duration.of(end - first) if lengths else None,
        intervals=intervals,
        report_request_id=request.report_request_id,
        report_specifier_id=request.specifier.report_specifier_id,
        report_name=name,
        created_date_time=now,
    )


def _placeholder(request: ReportRequest, offer: Report, window: ReportWindow) -> Interval:
    """Return the interval that says there is no valid value (r318)."""
    kinds = {description.r_id: description.report_type for description in offer.descriptions}
    payloads = tuple(
        ReportPayload(
            r_id=payload.r_id,
            payload=ResourceStatus(online=False, manual_override=False)
            if kinds.get(payload.r_id) == ReportType.RESOURCE_STATUS
            else PayloadFloat(value=0.0),
            data_quality=DataQuality.BAD_NON_SPECIFIC,
        )
        for payload in request.specifier.payloads
    )
    return Interval(dtstart=window.start, payloads=payloads)
