"""The messages a VEN of the benchmark sends, valid for any VTN of profile 2.0b. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.oadr20b.enums import OptType, ReadingType, ReportType, ResponseRequired
from schemas.oadr20b.model import (
    CreatedEvent,
    CreatedReport,
    CreatePartyRegistration,
    CreateReport,
    DistributeEvent,
    EiResponse,
    EventResponse,
    Interval,
    QualifiedEventId,
    RegisterReport,
    Report,
    ReportDescription,
    ReportPayload,
    SamplingRate,
    UpdateReport,
)
from schemas.oadr20b.units import WATT
from schemas.oadr20b.xmltypes import Duration

__all__ = ["R_ID", "SPECIFIER", "answer_to", "created_report", "metadata", "registration", "report", "said"]

SPECIFIER: Final = "meter"
R_ID: Final = "power"
_MINUTE: Final = timedelta(minutes=1)
_FIRST: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""Where the reports begin. Long past, so that every run sends what was never sent before."""


def said(request_id: str) -> EiResponse:
    """Return that all is well."""
    return EiResponse(code="200", request_id=request_id)


def registration(ven_name: str, *, signed: bool) -> CreatePartyRegistration:
    """Return what a VEN registers with, as if it had never been there (r406)."""
    return CreatePartyRegistration(
        request_id="registration", ven_name=ven_name, xml_signature=signed, http_pull_model=True
    )


def metadata(ven_id: str) -> RegisterReport:
    """Return the announcement of one meter that can be read every minute."""
    description = ReportDescription(
        r_id=R_ID,
        report_type=ReportType.USAGE,
        item_base=WATT,
        reading_type=ReadingType.DIRECT_READ,
        sampling_rate=SamplingRate(
            min_period=Duration(minutes=1), max_period=Duration(hours=1), on_change=False
        ),
    )
    announced = Report(
        duration=Duration(hours=1),
        descriptions=(description,),
        report_request_id="0",
        report_specifier_id=SPECIFIER,
        report_name="METADATA_TELEMETRY_USAGE",
        created_date_time=_FIRST,
    )
    return RegisterReport(request_id="metadata", reports=(announced,), ven_id=ven_id)


def created_report(asked: CreateReport, ven_id: str, pending: Sequence[str]) -> CreatedReport:
    """Return the answer to a request for reports."""
    return CreatedReport(response=said(asked.request_id), pending=tuple(pending), ven_id=ven_id)


def answer_to(sent: DistributeEvent, ven_id: str) -> CreatedEvent | None:
    """Return an optIn to every event of a set that wants an answer; None if none does."""
    answers = tuple(
        EventResponse(
            code="200",
            request_id=sent.request_id,
            qualified_event_id=QualifiedEventId(
                event_id=each.event.descriptor.event_id,
                modification_number=each.event.descriptor.modification_number,
            ),
            opt_type=OptType.OPT_IN,
        )
        for each in sent.events
        if each.response_required is ResponseRequired.ALWAYS
    )
    return CreatedEvent(response=said(""), event_responses=answers, ven_id=ven_id) if answers else None


def report(ven_id: str, report_request_id: str, minute: int, intervals: int) -> UpdateReport:
    """Return a report of so many one-minute readings.

    Args:
        ven_id: Who sends it.
        report_request_id: What it answers.
        minute: Where it begins; no two reports of a VEN share one.
        intervals: How many readings.
    """
    start = _FIRST + minute * _MINUTE
    readings = tuple(
        Interval(
            dtstart=start + k * _MINUTE,
            duration=Duration(minutes=1),
            payloads=(ReportPayload.of(R_ID, 740.0 + 0.5 * k),),
        )
        for k in range(intervals)
    )
    data = Report(
        dtstart=start,
        duration=Duration(minutes=intervals),
        intervals=readings,
        report_request_id=report_request_id,
        report_specifier_id=SPECIFIER,
        report_name="TELEMETRY_USAGE",
        created_date_time=start + intervals * _MINUTE,
    )
    return UpdateReport(request_id=f"report-{minute}", reports=(data,), ven_id=ven_id)
