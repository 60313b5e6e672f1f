"""What goes over the operator API, as JSON: requests, replies and errors.

Times are ISO 8601 with an offset, in replies always UTC with ``Z``; durations are ISO 8601 text; names are
the standard's in snake case.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.oadr20b.enums import EventStatus, OptType, ResponseRequired
from vtn_server.api_parts import (
    BaselineModel,
    ErrorOut,
    Fault,
    Fingerprint,
    IntervalModel,
    IsoText,
    Model,
    Moment,
    Name,
    Number,
    Remark,
    SignalModel,
    SignedIsoText,
    TargetModel,
    UnitModel,
)

__all__ = [
    "BaselineModel",
    "CancelReply",
    "DeliveryOut",
    "ErrorOut",
    "EventCreate",
    "EventDetail",
    "EventList",
    "EventModify",
    "EventOptOut",
    "EventOut",
    "Fault",
    "FingerprintIn",
    "GivenUpOut",
    "IntervalModel",
    "IsoText",
    "MetadataOut",
    "Model",
    "Moment",
    "OptList",
    "PointOut",
    "ReadingList",
    "ReadingOut",
    "RegistrationOut",
    "ReportCreate",
    "ReportList",
    "ReportOut",
    "ScheduleOut",
    "ScheduleSpan",
    "SignalModel",
    "SignalValues",
    "TargetModel",
    "UnitModel",
    "VenDetail",
    "VenIn",
    "VenList",
    "VenOut",
    "VersionOut",
]


# --- events ------------------------------------------------------------------------------------------------


class EventCreate(Model):
    """A new event, and who gets it: the VENs named, those of the groups, or all."""

    event_id: Annotated[Name | None, Field(description="Made if left out.")] = None
    market_context: Name
    start: Annotated[Moment | None, Field(description="Now if left out; whole seconds.")] = None
    duration: Annotated[IsoText, Field(description="PT0S is open-ended.")]
    signals: Annotated[tuple[SignalModel, ...], Field(min_length=1, max_length=100)]
    ven_ids: tuple[Name, ...] = ()
    groups: tuple[Name, ...] = ()
    all_vens: bool = False
    response_required: ResponseRequired = ResponseRequired.ALWAYS
    priority: Annotated[int, Field(ge=0, le=2**31 - 1, description="1 is highest, 0 is lowest.")] = 0
    target: TargetModel = TargetModel()
    notification: IsoText = "PT0S"
    startafter: IsoText | None = None
    ramp_up: Annotated[SignedIsoText | None, Field(description="Negative: inside the event.")] = None
    recovery: SignedIsoText | None = None
    test_event: Remark | None = None
    comment: Remark | None = None
    baseline: BaselineModel | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.ven_ids or self.groups or self.all_vens):
            raise ValueError("who gets it? ven_ids, groups or all_vens")
        return self


class SignalValues(Model):
    """New values of a signal, one per interval; the elapsed ones as they were."""

    signal_id: Name
    values: Annotated[tuple[Number, ...], Field(min_length=1, max_length=10_000)]


class EventModify(Model):
    """A change of an event: all its signals, or only the values of some."""

    signals: tuple[SignalModel, ...] = ()
    values: tuple[SignalValues, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.signals) == bool(self.values):
            raise ValueError("either signals or values")
        return self


class EventOut(Model):
    """An event as it is now."""

    event_id: str
    market_context: str
    status: EventStatus
    start: Moment
    end: Annotated[Moment | None, Field(description="None is open-ended.")]
    duration: str
    modification_number: int
    created_at: Moment
    modified_at: Moment
    priority: int
    response_required: ResponseRequired
    audience: tuple[str, ...]
    signals: tuple[SignalModel, ...]
    target: TargetModel
    notification: str
    startafter: str | None
    ramp_up: str | None
    recovery: str | None
    test_event: str | None
    comment: str | None
    baseline: BaselineModel | None


class VersionOut(Model):
    """One version an event had."""

    modification_number: int
    at: Moment
    cancelled: bool
    signals: tuple[SignalModel, ...]


class DeliveryOut(Model):
    """The newest version a VEN was sent, and when."""

    ven_id: str
    modification_number: int
    at: Moment


class EventOptOut(Model):
    """A VEN's answer to an event."""

    event_id: str
    ven_id: str
    opt_type: OptType
    code: str
    modification_number: int
    at: Moment
    qualified: Annotated[bool, Field(description="Sent as oadrCreateOpt, which later answers leave alone.")]


class EventDetail(EventOut):
    """An event with its history."""

    deliveries: tuple[DeliveryOut, ...]
    opts: tuple[EventOptOut, ...]
    versions: tuple[VersionOut, ...]


class EventList(Model):
    """Events by start; those long over are left out."""

    events: tuple[EventOut, ...]
    total: int


# --- VENs --------------------------------------------------------------------------------------------------


class VenIn(Model):
    """A VEN to be known."""

    ven_id: Annotated[Name | None, Field(description="Made if left out.")] = None
    ven_name: Name
    fingerprint: Annotated[Fingerprint | None, Field(description="The one it has, if left out.")] = None
    resources: tuple[Name, ...] = ()
    groups: tuple[Name, ...] = ()
    market_contexts: tuple[Name, ...] = ()
    replace: Annotated[
        bool, Field(description="Whether a VEN that is known may get another name or another certificate.")
    ] = False


class FingerprintIn(Model):
    """The certificate of a VEN."""

    fingerprint: Annotated[Fingerprint | None, Field(description="Null: the VEN has none any more.")]


class VenOut(Model):
    """A VEN in short."""

    ven_id: str
    ven_name: str
    registered: bool
    push: bool
    fingerprint: str | None
    resources: tuple[str, ...]
    groups: tuple[str, ...]
    market_contexts: tuple[str, ...]
    pending: int
    given_up: int


class RegistrationOut(Model):
    """A registration in force."""

    registration_id: str
    at: Moment
    profile: str
    transport: str
    push: bool
    transport_address: str | None
    report_only: bool


class PointOut(Model):
    """A data point a VEN offers."""

    r_id: str
    report_type: str
    reading_type: str
    units: str | None


class MetadataOut(Model):
    """A report a VEN offers."""

    report_specifier_id: str
    report_name: str
    points: tuple[PointOut, ...]


class GivenUpOut(Model):
    """A message that a VEN never answered, or answered with an error."""

    what: str
    reason: str
    at: Moment


class VenDetail(VenOut):
    """A VEN with what it offers and what is asked of it."""

    registration: RegistrationOut | None
    metadata: tuple[MetadataOut, ...]
    given_up_items: tuple[GivenUpOut, ...]
    unanswered_events: tuple[str, ...]


class VenList(Model):
    """VENs by venID."""

    vens: tuple[VenOut, ...]
    total: int


# --- reports -----------------------------------------------------------------------------------------------


class ReportCreate(Model):
    """A report to ask a VEN for."""

    report_specifier_id: Name
    r_ids: Annotated[tuple[Name, ...], Field(description="Empty is everything the VEN offers.")] = ()
    granularity: IsoText = "PT10M"
    report_back: Annotated[IsoText, Field(description="How often; PT0S is once, at once.")] = "PT10M"
    start: Annotated[Moment | None, Field(description="Now if left out; whole seconds.")] = None
    duration: Annotated[IsoText, Field(description="PT0S is for ever; once: all history.")] = "PT0S"


class ReportOut(Model):
    """A report request to a VEN."""

    ven_id: str
    report_request_id: str
    report_specifier_id: str
    r_ids: tuple[str, ...]
    granularity: str
    report_back: str
    start: Moment | None
    duration: str | None
    acknowledged: bool
    cancelled: bool
    refused: Annotated[str | None, Field(description="The response code with which the VEN refused.")] = None


class ReportList(Model):
    """Report requests, by VEN."""

    reports: tuple[ReportOut, ...]
    total: int


class ReadingOut(Model):
    """One value a VEN reported."""

    ven_id: str
    report_request_id: str
    report_specifier_id: str
    r_id: str
    start: Moment
    duration: str | None
    value: float | None
    online: Annotated[bool | None, Field(description="Of a status.")]
    manual_override: Annotated[bool | None, Field(description="Of a status.")]
    set_point: Annotated[float | None, Field(description="Of a status.")]
    data_quality: str | None
    received_at: Moment


class ReadingList(Model):
    """Readings by start, VEN and rID."""

    readings: tuple[ReadingOut, ...]
    total: int


# --- opts and the rest -------------------------------------------------------------------------------------


class ScheduleSpan(Model):
    """A stretch of an availability schedule; PT0S has no end."""

    start: Moment
    duration: str


class ScheduleOut(Model):
    """An availability schedule of a VEN."""

    ven_id: str
    opt_id: str
    opt_type: OptType
    reason: str
    market_context: str | None
    availability: tuple[ScheduleSpan, ...]
    created_at: Moment


class OptList(Model):
    """Answers to events, newest first, and schedules, by VEN."""

    events: tuple[EventOptOut, ...]
    schedules: tuple[ScheduleOut, ...]
    total: Annotated[int, Field(description="Of both.")]


class CancelReply(Model):
    """What was asked of a VEN; it hears of it at its next poll, a push VEN at once."""

    ven_id: str
    asked: Annotated[str, Field(description="The message that waits for the VEN.")]
