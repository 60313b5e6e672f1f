"""From what goes over the operator API to what the VTN works with, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from schemas.oadr20b.errors import InvalidData
from schemas.oadr20b.model import EventSignal, Interval, Report, Target
from schemas.oadr20b.xmltypes import Duration
from vtn_server import api_models as api
from vtn_server import event as rules
from vtn_server.api_signal_forms import baseline_of, baseline_out, signal_of, signal_out
from vtn_server.operator import VenView
from vtn_server.records import EventDraft, EventOpt, EventRecord
from vtn_server.state import Reading, ReportRequestDraft, RequestedReport, Schedule, VenId

__all__ = [
    "draft_of",
    "event_out",
    "metadata_out",
    "opt_out",
    "reading_out",
    "report_draft_of",
    "report_out",
    "schedule_out",
    "ven_detail",
    "ven_out",
    "with_values",
]


# --- in ----------------------------------------------------------------------------------------------------


def draft_of(
    wanted: api.EventCreate, event_id: str, start: datetime, audience: tuple[VenId, ...]
) -> EventDraft:
    """Return the event that is asked for.

    Raises:
        InvalidData: if a unit does not fit.
    """
    return EventDraft(
        event_id=event_id,
        market_context=wanted.market_context,
        dtstart=start,
        duration=Duration.parse(wanted.duration),
        signals=tuple(signal_of(each) for each in wanted.signals),
        audience=audience,
        response_required=wanted.response_required,
        priority=wanted.priority,
        target=Target(**{name: getattr(wanted.target, name) for name in api.TargetModel.model_fields}),
        notification=Duration.parse(wanted.notification),
        startafter=_duration(wanted.startafter),
        ramp_up=_duration(wanted.ramp_up),
        recovery=_duration(wanted.recovery),
        test_event=wanted.test_event,
        comment=wanted.comment,
        baseline=None if wanted.baseline is None else baseline_of(wanted.baseline, start),
    )


def with_values(record: EventRecord, changes: Sequence[api.SignalValues]) -> tuple[EventSignal, ...]:
    """Return the signals of an event with other values.

    Raises:
        InvalidData: if a signal is not the event's, comes twice, or has another number of intervals.
    """
    values = {each.signal_id: each.values for each in changes}
    known = {each.signal_id for each in record.signals}
    if len(values) != len(changes) or not values.keys() <= known:
        raise InvalidData(f"the signals of event {record.event_id} are {sorted(known)}, once each")
    signals = []
    for signal in record.signals:
        new = values.get(signal.signal_id)
        if new is not None:
            if len(new) != len(signal.intervals):
                raise InvalidData(f"signal {signal.signal_id} has {len(signal.intervals)} intervals")
            pairs = zip(signal.intervals, new, strict=True)
            signal = replace(
                signal,
                intervals=tuple(
                    Interval.of_signal(k, old.duration or Duration(), value)
                    for k, (old, value) in enumerate(pairs)
                ),
            )
        signals.append(signal)
    return tuple(signals)


def report_draft_of(
    wanted: api.ReportCreate, metadata: Iterable[Report], start: datetime
) -> ReportRequestDraft:
    """Return the report request that is asked for; without rIDs one for all the VEN offers."""
    offered = tuple(
        each.r_id
        for report in metadata
        if report.report_specifier_id == wanted.report_specifier_id
        for each in report.descriptions
    )
    return ReportRequestDraft(
        report_specifier_id=wanted.report_specifier_id,
        r_ids=wanted.r_ids or offered,
        granularity=Duration.parse(wanted.granularity),
        report_back_duration=Duration.parse(wanted.report_back),
        start=start,
        duration=Duration.parse(wanted.duration),
    )


def _duration(text: str | None) -> Duration | None:
    return None if text is None else Duration.parse(text)


# --- out ---------------------------------------------------------------------------------------------------


def event_out(record: EventRecord, now: datetime) -> api.EventOut:
    """Return an event as it is now."""
    draft = record.draft
    return api.EventOut(
        event_id=record.event_id,
        market_context=draft.market_context,
        status=rules.status(record, now),
        start=record.dtstart,
        end=record.end,
        duration=str(record.duration),
        modification_number=record.modification_number,
        created_at=record.created_at,
        modified_at=record.modified_at,
        priority=draft.priority,
        response_required=draft.response_required,
        audience=record.audience,
        signals=tuple(signal_out(each) for each in record.signals),
        target=api.TargetModel(
            **{name: getattr(draft.target, name) for name in api.TargetModel.model_fields}
        ),
        notification=str(draft.notification),
        startafter=_text(draft.startafter),
        ramp_up=_text(draft.ramp_up),
        recovery=_text(draft.recovery),
        test_event=draft.test_event,
        comment=draft.comment,
        baseline=None if draft.baseline is None else baseline_out(draft.baseline),
    )


def _target_out(target: Target) -> api.TargetModel:
    return api.TargetModel(**{name: getattr(target, name) for name in api.TargetModel.model_fields})


def opt_out(event_id: str, ven_id: str, opt: EventOpt) -> api.EventOptOut:
    """Return a VEN's answer to an event."""
    return api.EventOptOut(
        event_id=event_id,
        ven_id=ven_id,
        opt_type=opt.opt_type,
        code=opt.code,
        modification_number=opt.modification_number,
        at=opt.at,
        qualified=opt.qualified,
    )


def schedule_out(ven_id: str, schedule: Schedule) -> api.ScheduleOut:
    """Return an availability schedule."""
    return api.ScheduleOut(
        ven_id=ven_id,
        opt_id=schedule.opt_id,
        opt_type=schedule.opt_type,
        reason=schedule.opt_reason,
        market_context=schedule.market_context,
        availability=tuple(
            api.ScheduleSpan(start=each.dtstart, duration=str(each.duration))
            for each in schedule.availability
        ),
        created_at=schedule.created_at,
    )


def ven_out(view: VenView) -> api.VenOut:
    """Return a VEN in short."""
    known, registration = view.provision, view.registration
    return api.VenOut(
        ven_id=view.ven_id,
        ven_name=view.ven_name,
        registered=view.registered,
        push=registration is not None and not registration.http_pull_model,
        fingerprint=known.fingerprint,
        resources=known.resources,
        groups=known.groups,
        market_contexts=known.market_contexts,
        pending=view.pending,
        given_up=len(view.given_up),
    )


def ven_detail(view: VenView) -> api.VenDetail:
    """Return a VEN with what it offers."""
    known = view.registration
    registration = None
    if known is not None:
        registration = api.RegistrationOut(
            registration_id=known.registration_id,
            at=known.at,
            profile=known.profile_name,
            transport=known.transport_name,
            push=not known.http_pull_model,
            transport_address=known.transport_address,
            report_only=known.report_only,
        )
    return api.VenDetail(
        **ven_out(view).model_dump(),
        registration=registration,
        metadata=tuple(metadata_out(each) for each in view.metadata),
        given_up_items=tuple(
            api.GivenUpOut(what=each.what, reason=each.reason, at=each.at) for each in view.given_up
        ),
        unanswered_events=view.unanswered_events,
    )


def metadata_out(report: Report) -> api.MetadataOut:
    """Return what a VEN offers to report."""
    return api.MetadataOut(
        report_specifier_id=report.report_specifier_id,
        report_name=report.report_name or "",
        points=tuple(
            api.PointOut(
                r_id=each.r_id,
                report_type=each.report_type,
                reading_type=each.reading_type,
                units=None if each.item_base is None else each.item_base.units,
            )
            for each in report.descriptions
        ),
    )


def report_out(ven_id: str, requested: RequestedReport) -> api.ReportOut:
    """Return a report request and what became of it."""
    specifier = requested.request.specifier
    interval = specifier.report_interval
    return api.ReportOut(
        ven_id=ven_id,
        report_request_id=requested.report_request_id,
        report_specifier_id=specifier.report_specifier_id,
        r_ids=tuple(each.r_id for each in specifier.payloads),
        granularity=str(specifier.granularity),
        report_back=str(specifier.report_back_duration),
        start=None if interval is None else interval.dtstart,
        duration=None if interval is None else str(interval.duration),
        acknowledged=requested.acknowledged,
        cancelled=requested.cancelled,
        refused=requested.refused,
    )


def reading_out(reading: Reading) -> api.ReadingOut:
    """Return one value that was reported."""
    status = reading.status
    control = None if status is None else status.load_control_state
    set_point = None if control is None else control.set_point
    return api.ReadingOut(
        ven_id=reading.ven_id,
        report_request_id=reading.report_request_id,
        report_specifier_id=reading.report_specifier_id,
        r_id=reading.r_id,
        start=reading.start,
        duration=_text(reading.duration),
        value=reading.value,
        online=None if status is None else status.online,
        manual_override=None if status is None else status.manual_override,
        set_point=None if set_point is None else set_point.current,
        data_quality=reading.data_quality,
        received_at=reading.received_at,
    )


def _text(duration: Duration | None) -> str | None:
    return None if duration is None else str(duration)
