"""Checks of what is announced and what is asked for: metadata reports and report requests.

Source: OpenADR 2.0b rules 300, 305, 307, 308, 311, 312, 321, 322, 324, 327, 331, 333, 338, 340; G5, G11, G21.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ReadingType, ReportType
from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.rules.base import Finding, Rule, Subject
from schemas.oadr20b.rules.opts import bare_period_faults
from schemas.oadr20b.rules.signals import device_class_faults
from schemas.oadr20b.rules.walk import METADATA, metadata_of, name_of, numbered, requests_of
from schemas.oadr20b.units import ItemKind
from schemas.oadr20b.xmltypes import Duration

__all__ = ["RULES", "bare_name", "is_longer", "is_metadata_name"]

_KEYWORDS: Final = ("METADATA_", "x-METADATA_")
_INSTANT: Final = datetime(2000, 1, 1, tzinfo=UTC)
_STATUS: Final = "TELEMETRY_STATUS"


@dataclass(frozen=True, slots=True)
class _WellKnown:
    """What rule 331 fixes for the descriptions of a report; no units means none at all."""

    report_type: str
    units: tuple[ItemKind, ...]
    reading_type: str


_USAGE: Final = _WellKnown(
    ReportType.USAGE,
    (ItemKind.POWER_REAL, ItemKind.ENERGY_REAL, ItemKind.PULSE_COUNT),
    ReadingType.DIRECT_READ,
)
_WELL_KNOWN: Final = {
    "TELEMETRY_USAGE": _USAGE,
    "HISTORY_USAGE": _USAGE,
    _STATUS: _WellKnown(ReportType.RESOURCE_STATUS, (), ReadingType.NOT_APPLICABLE),
}


def is_metadata_name(name: str | None) -> bool:
    """Return whether a reportName carries the keyword of metadata (G21)."""
    return name is not None and name.startswith(_KEYWORDS)


def bare_name(name: str | None) -> str:
    """Return a reportName without the keyword of metadata (G21)."""
    return (name or "").replace("METADATA_", "", 1)


def is_longer(first: Duration, second: Duration) -> bool:
    """Return whether one duration is longer than another, counted from the start of a year."""
    try:
        return first.after(_INSTANT) > second.after(_INSTANT)
    except InvalidValue:
        return False


def _descriptions(s: Subject) -> Iterator[tuple[str, m.Report, m.ReportDescription]]:
    for path, report in metadata_of(s.message):
        for where, description in numbered(report.descriptions, f"{path}/oadrReportDescription"):
            yield where, report, description


def _only_metadata(s: Subject) -> Iterator[Finding]:
    for path, report in metadata_of(s.message):
        for name, value in (
            ("dtstart", report.dtstart),
            ("intervals", report.intervals),
            ("eiReportID", report.report_id),
        ):
            if value is not None:
                yield f"{path}/{name}", "has no place in metadata"
        if not report.descriptions:
            yield f"{path}/oadrReportDescription", "is missing"
    for path, report, description in _descriptions(s):
        if description.item_base is None and bare_name(report.report_name) != _STATUS:
            yield f"{path}/itemBase", "is missing"


def _subjects(s: Subject) -> Iterator[Finding]:
    for path, _, description in _descriptions(s):
        yield from device_class_faults(description.report_subject, f"{path}/reportSubject")


def _unique(s: Subject) -> Iterator[Finding]:
    specifiers = [report.report_specifier_id for _, report in metadata_of(s.message)]
    if len(set(specifiers)) != len(specifiers):
        yield "oadrRegisterReport", "a reportSpecifierID comes twice"
    for path, report in metadata_of(s.message):
        r_ids = [each.r_id for each in report.descriptions]
        if len(set(r_ids)) != len(r_ids):
            yield path, "an rID comes twice"
    for path, request in requests_of(s.message):
        if request.specifier.report_specifier_id == METADATA:
            for where, payload in numbered(request.specifier.payloads, f"{path}/specifierPayload"):
                if payload.r_id != "0":
                    yield f"{where}/rID", f"{payload.r_id!r} instead of '0' in a request for metadata"


def _request_ids(s: Subject) -> Iterator[Finding]:
    message = s.message
    if not isinstance(message, m.RegisterReport):
        return
    for path, report in metadata_of(message):
        if report.report_request_id != "0":
            yield f"{path}/reportRequestID", f"{report.report_request_id!r} instead of '0'"
    request, outer = s.exchange.request, message.report_request_id
    if isinstance(request, m.CreateReport):
        ids = [
            each.report_request_id
            for each in request.requests
            if each.specifier.report_specifier_id == METADATA
        ]
        if outer not in ids:
            yield "oadrRegisterReport/reportRequestID", f"{outer!r} instead of one of {ids}"
    elif outer == "":
        yield "oadrRegisterReport/reportRequestID", "is left out where nobody asked"


def _lengths(s: Subject) -> Iterator[Finding]:
    for path, report in metadata_of(s.message):
        if report.duration is None:
            yield f"{path}/duration", "is missing"
    for path, report, description in _descriptions(s):
        rate = description.sampling_rate
        if rate is not None and report.duration is not None and is_longer(rate.max_period, report.duration):
            yield f"{path}/oadrSamplingRate/oadrMaxPeriod", f"is longer than the report, {report.duration}"


def _keyword(s: Subject) -> Iterator[Finding]:
    for path, report in metadata_of(s.message):
        if not is_metadata_name(report.report_name):
            yield f"{path}/reportName", f"{report.report_name!r} does not announce metadata"


def _well_known(s: Subject) -> Iterator[Finding]:
    for path, report, description in _descriptions(s):
        form = _WELL_KNOWN.get(bare_name(report.report_name))
        if form is None:
            continue
        kind = None if description.item_base is None else description.item_base.kind
        if description.report_type != form.report_type:
            yield f"{path}/reportType", f"{description.report_type!r} instead of {form.report_type!r}"
        if kind not in (form.units or (None,)):
            yield f"{path}/itemBase", f"{kind} is no unit of {report.report_name}"
        if description.reading_type != form.reading_type:
            yield f"{path}/readingType", f"{description.reading_type!r} instead of {form.reading_type!r}"


def _sampling(s: Subject) -> Iterator[Finding]:
    for path, report, description in _descriptions(s):
        if "TELEMETRY_" in (report.report_name or "") and description.sampling_rate is None:
            yield f"{path}/oadrSamplingRate", "is missing in a telemetry report"


# --- requests ----------------------------------------------------------------------------------------------


def _offered(s: Subject) -> Iterator[Finding]:
    if s.exchange.metadata is None:
        return
    offers = {
        report.report_specifier_id: {each.r_id for each in report.descriptions}
        for report in s.exchange.metadata
    }
    for path, request in requests_of(s.message):
        specifier = request.specifier
        if specifier.report_specifier_id == METADATA:
            continue
        r_ids = offers.get(specifier.report_specifier_id)
        if r_ids is None:
            yield f"{path}/reportSpecifierID", f"{specifier.report_specifier_id!r} was not announced"
            continue
        for where, payload in numbered(specifier.payloads, f"{path}/specifierPayload"):
            if payload.r_id not in r_ids:
                yield f"{where}/rID", f"{payload.r_id!r} was not announced"


def _bare_requests(s: Subject) -> Iterator[Finding]:
    for path, request in requests_of(s.message):
        if request.specifier.report_interval is not None:
            yield from bare_period_faults(request.specifier.report_interval, f"{path}/reportInterval")
        for where, payload in numbered(request.specifier.payloads, f"{path}/specifierPayload"):
            if payload.item_base is not None:
                yield f"{where}/itemBase", "has no place in a request"


def _unique_requests(s: Subject) -> Iterator[Finding]:
    ids = [request.report_request_id for _, request in requests_of(s.message)]
    if len(set(ids)) != len(ids):
        yield name_of(s.message), "a reportRequestID comes twice"
    former = {each.report_request_id: each for each in s.exchange.requests or ()}
    for path, request in requests_of(s.message):
        if former.get(request.report_request_id, request) != request:
            yield f"{path}/reportRequestID", f"{request.report_request_id!r} is another request's"


def _periodic(s: Subject) -> Iterator[Finding]:
    for path, request in requests_of(s.message):
        specifier = request.specifier
        if not specifier.report_back_duration.is_zero and specifier.report_interval is None:
            yield f"{path}/reportInterval", "is missing in a request for periodic reports"


def _reading_types(s: Subject) -> Iterator[Finding]:
    for path, request in requests_of(s.message):
        for where, payload in numbered(request.specifier.payloads, f"{path}/specifierPayload"):
            if payload.reading_type != ReadingType.NOT_APPLICABLE:
                yield f"{where}/readingType", f"{payload.reading_type!r} instead of 'x-notApplicable'"


def _granularities(s: Subject) -> Iterator[Finding]:
    rates = {
        (report.report_specifier_id, each.r_id): each.sampling_rate
        for report in s.exchange.metadata or ()
        for each in report.descriptions
    }
    for path, request in requests_of(s.message):
        specifier = request.specifier
        back, granularity = specifier.report_back_duration, specifier.granularity
        if back.is_zero or granularity.is_zero or specifier.report_specifier_id == METADATA:
            continue
        if is_longer(granularity, back):
            yield f"{path}/granularity", f"{granularity} is longer than reportBackDuration, {back}"
        for payload in specifier.payloads:
            rate = rates.get((specifier.report_specifier_id, payload.r_id))
            if rate is not None and is_longer(rate.min_period, granularity):
                yield f"{path}/granularity", f"{granularity} is shorter than the offer, {rate.min_period}"


_META: Final = (m.RegisterReport,)
_ASK: Final = (m.CreateReport, m.RegisteredReport)

RULES: Final = (
    Rule(number="300", check=_offered, messages=_ASK),
    Rule(number="305", check=_only_metadata, messages=_META),
    Rule(number="307", check=_subjects, messages=_META),
    Rule(number="308", check=_unique, messages=(*_META, *_ASK)),
    Rule(number="311", check=_request_ids, messages=_META),
    Rule(number="312", check=_lengths, messages=_META),
    Rule(number="317", check=_granularities, messages=_ASK),
    Rule(number="321", check=_bare_requests, messages=_ASK),
    Rule(number="322", check=_unique_requests, messages=_ASK),
    Rule(number="324", check=_periodic, messages=_ASK),
    Rule(number="327", check=_keyword, messages=_META),
    Rule(number="331", check=_well_known, messages=_META),
    Rule(number="333", check=_sampling, messages=_META),
    Rule(number="338", check=_reading_types, messages=_ASK),
)
"""The checks of this file, by number."""
