"""The messages of signals.md, built with the model: the official schema accepts each, and each comes back."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from schemas.oadr20b import wire
from schemas.oadr20b.enums import (
    EventStatus,
    ReadingType,
    ReportType,
    ResponseRequired,
    SignalName,
    SignalType,
)
from schemas.oadr20b.errors import SchemaViolation
from schemas.oadr20b.model import (
    ActivePeriod,
    AnyMessage,
    CreateReport,
    DistributeEvent,
    EiEvent,
    EiResponse,
    Event,
    EventDescriptor,
    EventSignal,
    EventSignals,
    Interval,
    LoadControlState,
    LoadControlValue,
    Period,
    RegisterReport,
    Report,
    ReportDescription,
    ReportPayload,
    ReportRequest,
    ReportSpecifier,
    ResourceStatus,
    SamplingRate,
    SpecifierPayload,
    Target,
    UpdateReport,
)
from schemas.oadr20b.units import EUR_PER_KWH, WATT, WATT_HOUR, ItemBase
from schemas.oadr20b.xmltypes import Duration, parse_datetime

HOUR = parse_datetime("2018-05-16T11:00:00Z")
SLOT = Duration(minutes=10)
BASE = "http://feederloop.example"


def signal(signal_id: str, name: str, kind: SignalType, item: ItemBase | None, *values: float) -> EventSignal:
    return EventSignal(
        intervals=tuple(Interval.of_signal(uid, SLOT, value) for uid, value in enumerate(values)),
        signal_name=name,
        signal_type=kind,
        signal_id=signal_id,
        item_base=item,
    )


def distribute(
    event_id: str, context: str, target: Target, required: ResponseRequired, *signals: EventSignal
) -> DistributeEvent:
    priced = context == "real-time-price"
    descriptor = EventDescriptor(
        event_id=event_id,
        modification_number=3 if priced else 0,
        modification_date_time=HOUR if priced else None,
        priority=1 if priced else 0,
        market_context=f"{BASE}/{context}",
        created_date_time=HOUR - timedelta(minutes=70),
        event_status=EventStatus.FAR,
    )
    period = ActivePeriod(
        dtstart=HOUR, duration=SLOT if priced else Duration(hours=1), notification=Duration()
    )
    event = EiEvent(
        descriptor=descriptor, active_period=period, signals=EventSignals(signals=signals), target=target
    )
    return DistributeEvent(
        response=EiResponse(code="200", request_id=""),
        request_id="req-1",
        vtn_id="vtn-1",
        events=(Event(event=event, response_required=required),),
    )


def data_report(specifier: str, name: str, *intervals: Interval) -> UpdateReport:
    report = Report(
        dtstart=HOUR,
        intervals=intervals,
        report_request_id="rr-1",
        report_specifier_id=specifier,
        report_name=name,
        created_date_time=HOUR,
    )
    return UpdateReport(request_id="req-2", reports=(report,), ven_id="ven-1")


def point(index: int, duration: Duration, *payloads: ReportPayload) -> Interval:
    length = duration.timedelta()
    return Interval(dtstart=HOUR + index * length, duration=duration, payloads=payloads)


def phase_status(phase: int) -> ReportPayload:
    state = LoadControlState(set_point=LoadControlValue(current=float(phase)))
    status = ResourceStatus(online=True, manual_override=False, load_control_state=state)
    return ReportPayload(r_id="phase", payload=status)


def described(r_id: str, kind: str, item: ItemBase | None, reading: str, rate: Duration) -> ReportDescription:
    on_change = r_id == "phase"
    return ReportDescription(
        r_id=r_id,
        report_data_source=Target(resource_ids=("switch-1",) if on_change else ("home-1",)),
        report_type=kind,
        item_base=item,
        reading_type=reading,
        sampling_rate=SamplingRate(min_period=rate, max_period=rate, on_change=on_change),
    )


def metadata(specifier: str, name: str, *descriptions: ReportDescription) -> RegisterReport:
    report = Report(
        duration=Duration(days=1),
        descriptions=descriptions,
        report_request_id="0",
        report_specifier_id=specifier,
        report_name=name,
        created_date_time=HOUR,
    )
    return RegisterReport(request_id="req-3", reports=(report,), ven_id="ven-1")


def request(specifier: str, back: Duration, start: datetime, *payloads: SpecifierPayload) -> CreateReport:
    wanted = ReportSpecifier(
        report_specifier_id=specifier,
        granularity=SLOT,
        report_back_duration=back,
        report_interval=Period(dtstart=start, duration=Duration()),
        payloads=payloads,
    )
    return CreateReport(
        request_id="req-4",
        requests=(ReportRequest(report_request_id="rr-1", specifier=wanted),),
        ven_id="ven-1",
    )


DIRECT, PROJECTED, NONE = ReadingType.DIRECT_READ, ReadingType.PROJECTED, ReadingType.NOT_APPLICABLE
MINUTE = Duration(minutes=1)
NOBODY = Target()

MESSAGES: dict[str, AnyMessage] = {
    "offer": data_report(
        "local-market",
        "x-LOCAL_MARKET_OFFER",
        *(
            point(
                i, SLOT, ReportPayload.of("volume", 120.0 - 90 * i), ReportPayload.of("limit-price", 0.12345)
            )
            for i in range(6)
        ),
    ),
    "offer request": request(
        "local-market",
        Duration(hours=1),
        HOUR - timedelta(minutes=80),
        SpecifierPayload(r_id="volume", item_base=WATT_HOUR, reading_type=PROJECTED),
        SpecifierPayload(r_id="limit-price", item_base=EUR_PER_KWH, reading_type=PROJECTED),
    ),
    "result": distribute(
        "mkt-2018051611-ven-1",
        "local-market",
        Target(ven_ids=("ven-1",)),
        ResponseRequired.ALWAYS,
        signal(
            "price", SignalName.ELECTRICITY_PRICE, SignalType.PRICE, EUR_PER_KWH, *[0.2, 0.12345, 0, 1, 2, 3]
        ),
        signal("energy", "x-COMMITTED_ENERGY", SignalType.SETPOINT, WATT_HOUR, *[120, 0, -90, 1, 2, 3]),
    ),
    "commitment": data_report(
        "commitment",
        "x-COMMITMENT",
        *(
            point(
                i,
                SLOT,
                ReportPayload.of("grid-energy", 10.0 * i - 20),
                ReportPayload.of("flexibility-up", 3000.0),
                ReportPayload.of("flexibility-down", 0.0),
            )
            for i in range(6)
        ),
    ),
    "phase command": distribute(
        "phase-2018051611-ven-1",
        "phase-switching",
        Target(resource_ids=("switch-1",)),
        ResponseRequired.ALWAYS,
        signal("phase", "x-PHASE_ALLOCATION", SignalType.SETPOINT, None, 1, 1, 2, 3, 3, 1),
    ),
    "real-time price": distribute(
        "rtc-pcc3-201805161100",
        "real-time-price",
        NOBODY,
        ResponseRequired.NEVER,
        signal("u", SignalName.ELECTRICITY_PRICE, SignalType.PRICE_RELATIVE, EUR_PER_KWH, -0.0375),
    ),
    "last resort": distribute(
        "curtail-pcc3-201805161100",
        "real-time-price",
        NOBODY,
        ResponseRequired.NEVER,
        signal("bound", SignalName.LOAD_DISPATCH, SignalType.SETPOINT, WATT, -2500),
    ),
    "metadata of the offer": metadata(
        "local-market",
        "x-METADATA_LOCAL_MARKET_OFFER",
        described("volume", ReportType.SET_POINT, WATT_HOUR, PROJECTED, SLOT),
        described("limit-price", ReportType.PRICE, EUR_PER_KWH, PROJECTED, SLOT),
    ),
    "metadata of the commitment": metadata(
        "commitment",
        "x-METADATA_COMMITMENT",
        described("grid-energy", ReportType.SET_POINT, WATT_HOUR, PROJECTED, SLOT),
        described("flexibility-up", ReportType.DELTA_SET_POINT, WATT, PROJECTED, SLOT),
        described("flexibility-down", ReportType.DELTA_SET_POINT, WATT, PROJECTED, SLOT),
    ),
    "metadata of meter-energy": metadata(
        "meter-energy",
        "METADATA_TELEMETRY_USAGE",
        described("energy", ReportType.USAGE, WATT_HOUR, DIRECT, SLOT),
    ),
    "metadata of meter-power": metadata(
        "meter-power",
        "METADATA_TELEMETRY_USAGE",
        described("power", ReportType.USAGE, WATT, DIRECT, MINUTE),
    ),
    "metadata of storage": metadata(
        "storage",
        "x-METADATA_STORAGE_STATUS",
        described("stored-energy", ReportType.STORED_ENERGY, WATT_HOUR, DIRECT, SLOT),
        described("battery-power", ReportType.SET_POINT, WATT, DIRECT, SLOT),
    ),
    "metadata of status": metadata(
        "status",
        "METADATA_TELEMETRY_STATUS",
        described("status", ReportType.RESOURCE_STATUS, None, NONE, SLOT),
    ),
    "metadata of switch": metadata(
        "switch",
        "METADATA_TELEMETRY_STATUS",
        described("phase", ReportType.RESOURCE_STATUS, None, NONE, MINUTE),
    ),
    "meter-energy": data_report(
        "meter-energy", "TELEMETRY_USAGE", point(0, SLOT, ReportPayload.of("energy", 41))
    ),
    "meter-power": data_report(
        "meter-power",
        "TELEMETRY_USAGE",
        *(point(i, MINUTE, ReportPayload.of("power", 250.5 * i)) for i in range(10)),
    ),
    "storage": data_report(
        "storage",
        "x-STORAGE_STATUS",
        point(0, SLOT, ReportPayload.of("stored-energy", 5200), ReportPayload.of("battery-power", -1500)),
    ),
    "switch": data_report("switch", "TELEMETRY_STATUS", point(0, MINUTE, phase_status(2))),
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_the_schema_accepts_the_message(message: AnyMessage) -> None:
    body = wire.write(message)
    assert wire.read(body) == message
    assert b'schemaVersion="2.0b"' in body
    assert b"schemaLocation" not in body  # r45


def test_the_bytes_of_the_real_time_price_name_no_receiver() -> None:
    body = wire.write(MESSAGES["real-time price"])
    assert b"<ei:eiTarget/>" in body
    assert b"ven-1" not in body


def test_a_report_name_with_the_prefix_of_the_rules_is_refused_by_the_schema() -> None:
    with pytest.raises(SchemaViolation):  # G21: an extension's name starts with x-
        wire.read(wire.write(metadata("s", "METADATA_x-LOCAL_MARKET_OFFER")))
