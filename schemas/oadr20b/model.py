"""Every message of OpenADR 2.0b and its parts, as frozen dataclasses that declare their XML.

Field order is the order of the schema. Cardinality, order and enumerations come from the official XSD; what
the profile's rules add is checked elsewhere, so that a message which breaks a rule can still be read and
answered.

Source: oadr_20b.xsd, oadr_ei_20b.xsd, oadr_pyld_20b.xsd, oadr_xcal_20b.xsd, oadr_strm_20b.xsd.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeAlias

from schemas.oadr20b.declare import A, Choice, E, element
from schemas.oadr20b.enums import (
    EventStatus,
    OptType,
    ProfileName,
    ResponseRequired,
    ServiceName,
    SignalType,
    TransportName,
)
from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.units import ItemBase
from schemas.oadr20b.xmltypes import Duration

# --- parts that several messages share ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EiResponse:
    """XSD EiResponseType: the outcome of a request. ``request_id`` echoes the request's, and may be empty."""

    code: Annotated[str, E("ei:responseCode")]
    description: Annotated[str | None, E("ei:responseDescription")] = None
    request_id: Annotated[str, E("pyld:requestID")]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualifiedEventId:
    """XSD QualifiedEventIDType."""

    event_id: Annotated[str, E("ei:eventID")]
    modification_number: Annotated[int, E("ei:modificationNumber")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Polygon:
    """The polygon of a gml:FeatureCollection, as far as the profile's cut of GML goes."""

    id: Annotated[str | None, A("gml:id")] = None
    pos_list: Annotated[str, E("gml:exterior/gml:LinearRing/gml:posList", collapse=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCollection:
    """An area in GML."""

    id: Annotated[str | None, A("gml:id")] = None
    polygon: Annotated[Polygon, E("gml:location/gml:Polygon")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportInterface:
    """XSD power TransportInterfaceType."""

    point_of_receipt: Annotated[str, E("power:pointOfReceipt")]
    point_of_delivery: Annotated[str, E("power:pointOfDelivery")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """XSD EiTargetType: whom or what something addresses; several entries mean any of them (r22)."""

    aggregated_pnodes: Annotated[tuple[str, ...], E("power:aggregatedPnode*/power:node")] = ()
    end_device_assets: Annotated[tuple[str, ...], E("power:endDeviceAsset*/power:mrid")] = ()
    meter_assets: Annotated[tuple[str, ...], E("power:meterAsset*/power:mrid")] = ()
    pnodes: Annotated[tuple[str, ...], E("power:pnode*/power:node")] = ()
    service_areas: Annotated[tuple[FeatureCollection, ...], E("emix:serviceArea*/gml:FeatureCollection")] = ()
    service_delivery_points: Annotated[tuple[str, ...], E("power:serviceDeliveryPoint*/power:node")] = ()
    service_locations: Annotated[
        tuple[FeatureCollection, ...], E("power:serviceLocation*/gml:FeatureCollection")
    ] = ()
    transport_interfaces: Annotated[tuple[TransportInterface, ...], E("power:transportInterface")] = ()
    group_ids: Annotated[tuple[str, ...], E("ei:groupID")] = ()
    group_names: Annotated[tuple[str, ...], E("ei:groupName")] = ()
    resource_ids: Annotated[tuple[str, ...], E("ei:resourceID")] = ()
    ven_ids: Annotated[tuple[str, ...], E("ei:venID")] = ()
    party_ids: Annotated[tuple[str, ...], E("ei:partyID")] = ()


@element(inside="xcal:properties")
@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A stretch of time: xcal:properties of an interval, an availability or an active period."""

    dtstart: Annotated[datetime, E("xcal:dtstart/xcal:date-time")]
    duration: Annotated[Duration, E("xcal:duration/xcal:duration")]
    startafter: Annotated[Duration | None, E("xcal:tolerance/xcal:tolerate/xcal:startafter")] = None
    notification: Annotated[Duration | None, E("ei:x-eiNotification/xcal:duration")] = None
    ramp_up: Annotated[Duration | None, E("ei:x-eiRampUp/xcal:duration")] = None
    recovery: Annotated[Duration | None, E("ei:x-eiRecovery/xcal:duration")] = None


@element(inside="xcal:properties", then="xcal:components")
@dataclass(frozen=True, slots=True, kw_only=True)
class ActivePeriod(Period):
    """XSD eiActivePeriodType."""


# --- values ------------------------------------------------------------------------------------------------


@element("ei:payloadFloat")
@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadFloat:
    """XSD PayloadFloatType."""

    value: Annotated[float, E("ei:value")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadControlValue:
    """XSD oadrLoadControlStateTypeType."""

    minimum: Annotated[float | None, E("oadr:oadrMin")] = None
    maximum: Annotated[float | None, E("oadr:oadrMax")] = None
    current: Annotated[float, E("oadr:oadrCurrent")]
    normal: Annotated[float | None, E("oadr:oadrNormal")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadControlState:
    """XSD oadrLoadControlStateType."""

    capacity: Annotated[LoadControlValue | None, E("oadr:oadrCapacity")] = None
    level_offset: Annotated[LoadControlValue | None, E("oadr:oadrLevelOffset")] = None
    percent_offset: Annotated[LoadControlValue | None, E("oadr:oadrPercentOffset")] = None
    set_point: Annotated[LoadControlValue | None, E("oadr:oadrSetPoint")] = None


@element("oadr:oadrPayloadResourceStatus")
@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStatus:
    """XSD oadrPayloadResourceStatusType."""

    online: Annotated[bool, E("oadr:oadrOnline")]
    manual_override: Annotated[bool, E("oadr:oadrManualOverride")]
    load_control_state: Annotated[LoadControlState | None, E("oadr:oadrLoadControlState")] = None


Payload: TypeAlias = PayloadFloat | ResourceStatus


@element("ei:signalPayload")
@dataclass(frozen=True, slots=True, kw_only=True)
class SignalPayload:
    """XSD signalPayloadType."""

    payload: Annotated[Payload, Choice()]


@element("oadr:oadrReportPayload")
@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPayload:
    """XSD oadrReportPayloadType."""

    r_id: Annotated[str, E("ei:rID")]
    confidence: Annotated[int | None, E("ei:confidence")] = None
    accuracy: Annotated[float | None, E("ei:accuracy")] = None
    payload: Annotated[Payload, Choice()]
    data_quality: Annotated[str | None, E("oadr:oadrDataQuality", collapse=True)] = None

    @classmethod
    def of(cls, r_id: str, value: float, data_quality: str | None = None) -> ReportPayload:
        """Return the payload of one number."""
        return cls(r_id=r_id, payload=PayloadFloat(value=value), data_quality=data_quality)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """XSD IntervalType: one step of a signal, a baseline or a report."""

    dtstart: Annotated[datetime | None, E("xcal:dtstart/xcal:date-time")] = None
    duration: Annotated[Duration | None, E("xcal:duration/xcal:duration")] = None
    uid: Annotated[str | None, E("xcal:uid/xcal:text")] = None
    payloads: Annotated[tuple[SignalPayload | ReportPayload, ...], Choice()]

    @classmethod
    def of_signal(cls, uid: int, duration: Duration, value: float) -> Interval:
        """Return an interval of a signal: one number, with uid and duration (r2, r100, r102)."""
        payload = SignalPayload(payload=PayloadFloat(value=value))
        return cls(duration=duration, uid=str(uid), payloads=(payload,))

    @property
    def signal_value(self) -> float:
        """The one number of a signal's interval (r100).

        Raises:
            InvalidValue: if the interval holds anything else.
        """
        match self.payloads:
            case (SignalPayload(payload=PayloadFloat(value=value)),):
                return value
        raise InvalidValue("an interval of a signal holds exactly one payloadFloat (r100)")


# --- events ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDescriptor:
    """XSD eventDescriptorType."""

    event_id: Annotated[str, E("ei:eventID")]
    modification_number: Annotated[int, E("ei:modificationNumber")]
    modification_date_time: Annotated[datetime | None, E("ei:modificationDateTime")] = None
    modification_reason: Annotated[str | None, E("ei:modificationReason")] = None
    priority: Annotated[int | None, E("ei:priority")] = None
    market_context: Annotated[str, E("ei:eiMarketContext/emix:marketContext", collapse=True)]
    created_date_time: Annotated[datetime, E("ei:createdDateTime")]
    event_status: Annotated[EventStatus, E("ei:eventStatus")]
    test_event: Annotated[str | None, E("ei:testEvent")] = None
    vtn_comment: Annotated[str | None, E("ei:vtnComment")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSignal:
    """XSD eiEventSignalType."""

    intervals: Annotated[tuple[Interval, ...], E("strm:intervals/ei:interval")]
    target: Annotated[Target | None, E("ei:eiTarget")] = None
    signal_name: Annotated[str, E("ei:signalName", collapse=True)]
    signal_type: Annotated[SignalType, E("ei:signalType")]
    signal_id: Annotated[str, E("ei:signalID")]
    item_base: Annotated[ItemBase | None, Choice()] = None
    current_value: Annotated[float | None, E("ei:currentValue/ei:payloadFloat/ei:value")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBaseline:
    """XSD eiEventBaselineType."""

    dtstart: Annotated[datetime, E("xcal:dtstart/xcal:date-time")]
    duration: Annotated[Duration, E("xcal:duration/xcal:duration")]
    intervals: Annotated[tuple[Interval, ...], E("strm:intervals/ei:interval")]
    baseline_id: Annotated[str, E("ei:baselineID")]
    resource_ids: Annotated[tuple[str, ...], E("ei:resourceID")] = ()
    baseline_name: Annotated[str, E("ei:baselineName")]
    item_base: Annotated[ItemBase | None, Choice()] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSignals:
    """XSD eiEventSignalsType."""

    signals: Annotated[tuple[EventSignal, ...], E("ei:eiEventSignal")]
    baseline: Annotated[EventBaseline | None, E("ei:eiEventBaseline")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EiEvent:
    """XSD eiEventType."""

    descriptor: Annotated[EventDescriptor, E("ei:eventDescriptor")]
    active_period: Annotated[ActivePeriod, E("ei:eiActivePeriod")]
    signals: Annotated[EventSignals, E("ei:eiEventSignals")]
    target: Annotated[Target, E("ei:eiTarget")] = Target()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The oadrEvent of a distribution: the event and whether it wants an answer."""

    event: Annotated[EiEvent, E("ei:eiEvent")]
    response_required: Annotated[ResponseRequired, E("oadr:oadrResponseRequired")]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventResponse:
    """One eventResponse: what a VEN makes of one event (r42, r48)."""

    code: Annotated[str, E("ei:responseCode")]
    description: Annotated[str | None, E("ei:responseDescription")] = None
    request_id: Annotated[str, E("pyld:requestID")]
    qualified_event_id: Annotated[QualifiedEventId, E("ei:qualifiedEventID")]
    opt_type: Annotated[OptType, E("ei:optType")]


# --- reports -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRate:
    """XSD oadrSamplingRateType."""

    min_period: Annotated[Duration, E("oadr:oadrMinPeriod")]
    max_period: Annotated[Duration, E("oadr:oadrMaxPeriod")]
    on_change: Annotated[bool, E("oadr:oadrOnChange")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDescription:
    """XSD oadrReportDescriptionType: one data point a source can report."""

    r_id: Annotated[str, E("ei:rID")]
    report_subject: Annotated[Target | None, E("ei:reportSubject")] = None
    report_data_source: Annotated[Target | None, E("ei:reportDataSource")] = None
    report_type: Annotated[str, E("ei:reportType", collapse=True)]
    item_base: Annotated[ItemBase | None, Choice()] = None
    reading_type: Annotated[str, E("ei:readingType", collapse=True)]
    market_context: Annotated[str | None, E("emix:marketContext", collapse=True)] = None
    sampling_rate: Annotated[SamplingRate | None, E("oadr:oadrSamplingRate")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """XSD oadrReportType: metadata (descriptions) or data (intervals)."""

    dtstart: Annotated[datetime | None, E("xcal:dtstart/xcal:date-time")] = None
    duration: Annotated[Duration | None, E("xcal:duration/xcal:duration")] = None
    intervals: Annotated[tuple[Interval, ...] | None, E("strm:intervals/ei:interval")] = None
    report_id: Annotated[str | None, E("ei:eiReportID")] = None
    descriptions: Annotated[tuple[ReportDescription, ...], E("oadr:oadrReportDescription")] = ()
    report_request_id: Annotated[str, E("ei:reportRequestID")]
    report_specifier_id: Annotated[str, E("ei:reportSpecifierID")]
    report_name: Annotated[str | None, E("ei:reportName", collapse=True)] = None
    created_date_time: Annotated[datetime, E("ei:createdDateTime")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecifierPayload:
    """XSD SpecifierPayloadType."""

    r_id: Annotated[str, E("ei:rID")]
    item_base: Annotated[ItemBase | None, Choice()] = None
    reading_type: Annotated[str, E("ei:readingType", collapse=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSpecifier:
    """XSD ReportSpecifierType."""

    report_specifier_id: Annotated[str, E("ei:reportSpecifierID")]
    granularity: Annotated[Duration, E("xcal:granularity/xcal:duration")]
    report_back_duration: Annotated[Duration, E("ei:reportBackDuration/xcal:duration")]
    report_interval: Annotated[Period | None, E("ei:reportInterval")] = None
    payloads: Annotated[tuple[SpecifierPayload, ...], E("ei:specifierPayload")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """XSD oadrReportRequestType."""

    report_request_id: Annotated[str, E("ei:reportRequestID")]
    specifier: Annotated[ReportSpecifier, E("ei:reportSpecifier")]


# --- registration ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One oadrProfile with its transports."""

    name: Annotated[ProfileName, E("oadr:oadrProfileName")]
    transports: Annotated[
        tuple[TransportName, ...], E("oadr:oadrTransports/oadr:oadrTransport*/oadr:oadrTransportName")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """XSD oadrInfo: a key and a value."""

    key: Annotated[str, E("oadr:oadrKey")]
    value: Annotated[str, E("oadr:oadrValue")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInfo:
    """One oadrService of oadrServiceSpecificInfo."""

    name: Annotated[ServiceName, E("oadr:oadrServiceName")]
    infos: Annotated[tuple[Info, ...], E("oadr:oadrInfo")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """One oadrExtension."""

    name: Annotated[str, E("oadr:oadrExtensionName")]
    infos: Annotated[tuple[Info, ...], E("oadr:oadrInfo")] = ()


# --- messages ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What every message has: the version of the schema it follows (r509)."""

    schema_version: Annotated[str | None, A("ei:schemaVersion")] = "2.0b"


@element("oadr:oadrDistributeEvent")
@dataclass(frozen=True, slots=True, kw_only=True)
class DistributeEvent(Message):
    """oadrDistributeEvent: the complete set of a VEN's events (r50)."""

    response: Annotated[EiResponse | None, E("ei:eiResponse")] = None
    request_id: Annotated[str, E("pyld:requestID")]
    vtn_id: Annotated[str, E("ei:vtnID")]
    events: Annotated[tuple[Event, ...], E("oadr:oadrEvent")] = ()


@element("oadr:oadrCreatedEvent", inside="pyld:eiCreatedEvent")
@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedEvent(Message):
    """oadrCreatedEvent: a VEN's answers to events (r35, r42)."""

    response: Annotated[EiResponse, E("ei:eiResponse")]
    event_responses: Annotated[tuple[EventResponse, ...] | None, E("ei:eventResponses/ei:eventResponse")] = (
        None
    )
    ven_id: Annotated[str, E("ei:venID")]


@element("oadr:oadrRequestEvent", inside="pyld:eiRequestEvent")
@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEvent(Message):
    """oadrRequestEvent."""

    request_id: Annotated[str, E("pyld:requestID")]
    ven_id: Annotated[str, E("ei:venID")]
    reply_limit: Annotated[int | None, E("pyld:replyLimit")] = None


@element("oadr:oadrResponse")
@dataclass(frozen=True, slots=True, kw_only=True)
class Response(Message):
    """oadrResponse."""

    response: Annotated[EiResponse, E("ei:eiResponse")]
    ven_id: Annotated[str | None, E("ei:venID")] = None


@element("oadr:oadrCancelOpt")
@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOpt(Message):
    """oadrCancelOpt."""

    request_id: Annotated[str, E("pyld:requestID")]
    opt_id: Annotated[str, E("ei:optID")]
    ven_id: Annotated[str, E("ei:venID")]


@element("oadr:oadrCanceledOpt")
@dataclass(frozen=True, slots=True, kw_only=True)
class CanceledOpt(Message):
    """oadrCanceledOpt."""

    response: Annotated[EiResponse, E("ei:eiResponse")]
    opt_id: Annotated[str | None, E("ei:optID")] = None


@element("oadr:oadrCreateOpt")
@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOpt(Message):
    """oadrCreateOpt: an availability schedule or the opt of one event (r206)."""

    opt_id: Annotated[str, E("ei:optID")]
    opt_type: Annotated[OptType, E("ei:optType")]
    opt_reason: Annotated[str, E("ei:optReason", collapse=True)]
    market_context: Annotated[str | None, E("emix:marketContext", collapse=True)] = None
    ven_id: Annotated[str, E("ei:venID")]
    availability: Annotated[
        tuple[Period, ...] | None, E("xcal:vavailability/xcal:components/xcal:available")
    ] = None
    created_date_time: Annotated[datetime, E("ei:createdDateTime")]
    request_id: Annotated[str, E("pyld:requestID")]
    qualified_event_id: Annotated[QualifiedEventId | None, E("ei:qualifiedEventID")] = None
    target: Annotated[Target, E("ei:eiTarget")] = Target()
    device_class: Annotated[Target | None, E("oadr:oadrDeviceClass")] = None


@element("oadr:oadrCreatedOpt")
@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedOpt(Message):
    """oadrCreatedOpt."""

    response: Annotated[EiResponse, E("ei:eiResponse")]
    opt_id: Annotated[str, E("ei:optID")]


@element("oadr:oadrCancelReport")
@dataclass(frozen=True, slots=True, kw_only=True)
class CancelReport(Message):
    """oadrCancelReport."""

    request_id: Annotated[str, E("pyld:requestID")]
    report_request_ids: Annotated[tuple[str, ...], E("ei:reportRequestID")]
    report_to_follow: Annotated[bool, E("pyld:reportToFollow")]
    ven_id: Annotated[str | None, E("ei:venID")] = None


@element("oadr:oadrCanceledReport")
@dataclass(frozen=True, slots=True, kw_only=True)
class CanceledReport(Message):
    """oadrCanceledReport: what is still due after the cancellation (r329)."""

    response: Annotated[EiResponse, E("ei:eiResponse")]
    pending: Annotated[tuple[str, ...], E("oadr:oadrPendingReports/ei:reportRequestID")] = ()
    ven_id: Annotated[str | None, E("ei:venID")] = None


@element("oadr:oadrCreateReport")
@dataclass(frozen=True, slots=True, kw_only=True)
class CreateReport(Message):
    """oadrCreateReport."""

    request_id: Annotated[str, E("pyld:requestID")]
    requests: Annotated[tuple[ReportRequest, ...], E("oadr:oadrReportRequest")]
    ven_id: Annotated[str | None, E("ei:venID")] = None


@element("oadr:oadrCreatedReport")
@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedReport(Message):
    """oadrCreatedReport: all reports that are due (r329)."""

    response: Annotated[EiResponse, E("ei:eiResponse")]
    pending: Annotated[tuple[str, ...], E("oadr:oadrPendingReports/ei:reportRequestID")] = ()
    ven_id: Annotated[str | None, E("ei:venID")] = None


@element("oadr:oadrRegisterReport")
@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterReport(Message):
    """oadrRegisterReport: the metadata of everything the sender can report (r305, r306)."""

    request_id: Annotated[str, E("pyld:requestID")]
    reports: Annotated[tuple[Report, ...], E("oadr:oadrReport")] = ()
    ven_id: Annotated[str | None, E("ei:venID")] = None
    report_request_id: Annotated[str | None, E("ei:reportRequestID")] = None


@element("oadr:oadrRegisteredReport")
@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredReport(Message):
    """oadrRegisteredReport, with requests on its back where the receiver wants some (r344)."""

    response: Annotated[EiResponse, E("ei:eiResponse")]
    requests: Annotated[tuple[ReportRequest, ...], E("oadr:oadrReportRequest")] = ()
    ven_id: Annotated[str | None, E("ei:venID")] = None


@element("oadr:oadrUpdateReport")
@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport(Message):
    """oadrUpdateReport: report data (r313)."""

    request_id: Annotated[str, E("pyld:requestID")]
    reports: Annotated[tuple[Report, ...], E("oadr:oadrReport")] = ()
    ven_id: Annotated[str | None, E("ei:venID")] = None


@element("oadr:oadrUpdatedReport")
@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatedReport(Message):
    """oadrUpdatedReport, with a cancellation on its back where the receiver wants one (r328)."""

    response: Annotated[EiResponse, E("ei:eiResponse")]
    cancel: Annotated[CancelReport | None, E("oadr:oadrCancelReport")] = None
    ven_id: Annotated[str | None, E("ei:venID")] = None


@element("oadr:oadrCancelPartyRegistration")
@dataclass(frozen=True, slots=True, kw_only=True)
class CancelPartyRegistration(Message):
    """oadrCancelPartyRegistration."""

    request_id: Annotated[str, E("pyld:requestID")]
    registration_id: Annotated[str, E("ei:registrationID")]
    ven_id: Annotated[str | None, E("ei:venID")] = None


@element("oadr:oadrCanceledPartyRegistration")
@dataclass(frozen=True, slots=True, kw_only=True)
class CanceledPartyRegistration(Message):
    """oadrCanceledPartyRegistration."""

    response: Annotated[EiResponse, E("ei:eiResponse")]
    registration_id: Annotated[str | None, E("ei:registrationID")] = None
    ven_id: Annotated[str | None, E("ei:venID")] = None


@element("oadr:oadrCreatePartyRegistration")
@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePartyRegistration(Message):
    """oadrCreatePartyRegistration (r402)."""

    request_id: Annotated[str, E("pyld:requestID")]
    registration_id: Annotated[str | None, E("ei:registrationID")] = None
    ven_id: Annotated[str | None, E("ei:venID")] = None
    profile_name: Annotated[ProfileName, E("oadr:oadrProfileName")] = ProfileName.B
    transport_name: Annotated[TransportName, E("oadr:oadrTransportName")] = TransportName.SIMPLE_HTTP
    transport_address: Annotated[str | None, E("oadr:oadrTransportAddress")] = None
    report_only: Annotated[bool, E("oadr:oadrReportOnly")] = False
    xml_signature: Annotated[bool, E("oadr:oadrXmlSignature")] = False
    ven_name: Annotated[str | None, E("oadr:oadrVenName")] = None
    http_pull_model: Annotated[bool | None, E("oadr:oadrHttpPullModel")] = None


@element("oadr:oadrCreatedPartyRegistration")
@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedPartyRegistration(Message):
    """oadrCreatedPartyRegistration (r403, r404)."""

    response: Annotated[EiResponse, E("ei:eiResponse")]
    registration_id: Annotated[str | None, E("ei:registrationID")] = None
    ven_id: Annotated[str | None, E("ei:venID")] = None
    vtn_id: Annotated[str, E("ei:vtnID")]
    profiles: Annotated[tuple[Profile, ...], E("oadr:oadrProfiles/oadr:oadrProfile")]
    poll_frequency: Annotated[Duration | None, E("oadr:oadrRequestedOadrPollFreq/xcal:duration")] = None
    service_infos: Annotated[
        tuple[ServiceInfo, ...] | None, E("oadr:oadrServiceSpecificInfo/oadr:oadrService")
    ] = None
    extensions: Annotated[tuple[Extension, ...] | None, E("oadr:oadrExtensions/oadr:oadrExtension")] = None


@element("oadr:oadrRequestReregistration")
@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReregistration(Message):
    """oadrRequestReregistration."""

    ven_id: Annotated[str, E("ei:venID")]


@element("oadr:oadrQueryRegistration")
@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRegistration(Message):
    """oadrQueryRegistration."""

    request_id: Annotated[str, E("pyld:requestID")]


@element("oadr:oadrPoll")
@dataclass(frozen=True, slots=True, kw_only=True)
class Poll(Message):
    """oadrPoll."""

    ven_id: Annotated[str, E("ei:venID")]


AnyMessage: TypeAlias = (
    DistributeEvent
    | CreatedEvent
    | RequestEvent
    | Response
    | CancelOpt
    | CanceledOpt
    | CreateOpt
    | CreatedOpt
    | CancelReport
    | CanceledReport
    | CreateReport
    | CreatedReport
    | RegisterReport
    | RegisteredReport
    | UpdateReport
    | UpdatedReport
    | CancelPartyRegistration
    | CanceledPartyRegistration
    | CreatePartyRegistration
    | CreatedPartyRegistration
    | RequestReregistration
    | QueryRegistration
    | Poll
)
