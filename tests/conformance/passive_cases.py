"""A good and at least one bad message for every passive check.

A good case must break no rule at all; a bad one must break its own rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from lxml import etree

from schemas.oadr20b import model as m
from schemas.oadr20b.codec import encode_message
from schemas.oadr20b.enums import OptType, ProfileName, TransportName
from schemas.oadr20b.rules import Exchange, PushOrPull
from schemas.oadr20b.units import EUR_PER_KWH, WATT
from schemas.oadr20b.xmltypes import Duration
from tests.conformance import passive_events
from tests.conformance.passive_case import CASES, DOWN, MINUTE, OK, SLOT, UP, Case, add_case
from tests.conformance.passive_events import priced
from tests.unit.ven.ven_fakes import T0, FakeHome, after, create_report, distribute, request

__all__ = ["CASES", "Case"]

# --- opts --------------------------------------------------------------------------------------------------


def opt(**changes: object) -> m.CreateOpt:
    made = m.CreateOpt(
        opt_id="o",
        opt_type=OptType.OPT_OUT,
        opt_reason="economic",
        ven_id="v",
        availability=(m.Period(dtstart=T0, duration=SLOT),),
        created_date_time=T0,
        request_id="q",
        target=m.Target(ven_ids=("v",)),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def _opts() -> None:
    add_case("200", True, opt())
    period = m.Period(dtstart=T0, duration=SLOT)
    for extra in ("startafter", "notification", "ramp_up", "recovery"):
        extended = replace(period, **{extra: MINUTE})  # type: ignore[arg-type]  # durations all
        add_case("200", False, opt(availability=(extended,)))
    add_case("204", True, opt())
    add_case("204", False, opt(opt_id=""))
    of_event = m.QualifiedEventId(event_id="e1", modification_number=0)
    add_case("206", True, opt(availability=None, qualified_event_id=of_event))
    add_case("206", False, opt(qualified_event_id=of_event))
    add_case("206", False, opt(availability=None, qualified_event_id=of_event, market_context="http://x"))
    add_case("206", False, opt(availability=None))
    add_case("207", True, m.CreatedOpt(response=OK, opt_id="o"), Exchange(request=opt()))
    wrong = m.EiResponse(code="200", request_id="z")
    add_case("207", False, m.CreatedOpt(response=wrong, opt_id="o"), Exchange(request=opt()))
    cancel = m.CancelOpt(request_id="q", opt_id="o", ven_id="v")
    add_case("207", False, m.CanceledOpt(response=wrong), Exchange(request=cancel))
    add_case("208", True, cancel)
    add_case("208", False, replace(cancel, opt_id=""))
    add_case("208", False, opt(ven_id=""))
    add_case("209", True, opt(device_class=m.Target(end_device_assets=("EVSE",))))
    add_case("209", False, opt(device_class=m.Target()))
    add_case("209", False, opt(device_class=m.Target(group_ids=("g",))))


# --- reports -----------------------------------------------------------------------------------------------

OFFERS: Final = FakeHome().metadata(T0)
METER: Final = OFFERS[0]


def announced(*reports: m.Report, outer: str | None = None) -> m.RegisterReport:
    return m.RegisterReport(request_id="q", reports=reports, ven_id="v", report_request_id=outer)


def described(**changes: object) -> m.RegisterReport:
    line = replace(METER.descriptions[0], **changes)  # type: ignore[arg-type]  # fields by name
    return announced(replace(METER, descriptions=(line,)))


def asking(**changes: object) -> m.CreateReport:
    made = request()
    return create_report(replace(made, specifier=replace(made.specifier, **changes)))  # type: ignore[arg-type]  # fields by name


def data(*intervals: m.Interval, **changes: object) -> m.UpdateReport:
    made = m.Report(
        dtstart=T0,
        intervals=intervals,
        report_request_id="r1",
        report_specifier_id="meter",
        report_name="TELEMETRY_USAGE",
        created_date_time=T0,
    )
    return m.UpdateReport(request_id="q", reports=(replace(made, **changes),), ven_id="v")  # type: ignore[arg-type]  # fields by name


def value(
    minute: float | None = None, length: Duration | None = None, uid: str | None = None, r_id: str = "p"
) -> m.Interval:
    start = None if minute is None else after(minutes=minute)
    return m.Interval(dtstart=start, duration=length, uid=uid, payloads=(m.ReportPayload.of(r_id, 1.0),))


def _metadata() -> None:
    good = announced(*OFFERS)
    add_case("305", True, good)
    add_case("305", True, announced())
    for changes in (
        {"dtstart": T0},
        {"intervals": (value(0),)},
        {"report_id": "i"},
        {"descriptions": ()},
    ):
        add_case("305", False, announced(replace(METER, **changes)))
    add_case("305", False, described(item_base=None))
    add_case("307", True, described(report_subject=m.Target(end_device_assets=("EVSE",))))
    add_case("307", False, described(report_subject=m.Target(resource_ids=("r",))))
    add_case("308", True, good)
    add_case("308", False, announced(METER, METER))
    add_case("308", False, announced(replace(METER, descriptions=METER.descriptions * 2)))
    wanted = create_report(request("m1", "METADATA", back=Duration(), r_id="0"))
    add_case("308", True, wanted)
    add_case("308", False, create_report(request("m1", "METADATA", back=Duration(), r_id="p")))
    add_case("311", True, good)
    add_case("311", True, announced(METER, outer="m1"), Exchange(request=wanted))
    add_case("311", False, announced(METER), Exchange(request=wanted))
    add_case("311", False, announced(METER, outer=""))
    add_case("311", False, announced(replace(METER, report_request_id="m1")))
    add_case("312", True, good)
    add_case("312", False, announced(replace(METER, duration=None)))
    add_case("312", False, announced(replace(METER, duration=MINUTE)))
    add_case("327", True, good)
    add_case("327", False, announced(replace(METER, report_name="TELEMETRY_USAGE")))
    add_case("331", True, good)
    for change in ({"report_type": "reading"}, {"item_base": EUR_PER_KWH}, {"reading_type": "Net"}):
        add_case("331", False, described(**change))
    add_case("333", True, good)
    add_case("333", False, described(sampling_rate=None))


def _requests() -> None:
    good, offers = create_report(request()), Exchange(metadata=OFFERS)
    add_case("300", True, good, offers)
    add_case("300", False, create_report(request(specifier="other")), offers)
    add_case("300", False, create_report(request(r_id="other")), offers)
    add_case("317", True, good, offers)
    add_case("317", False, create_report(request(granularity=Duration(minutes=20))), offers)
    add_case("317", False, create_report(request(granularity=Duration(seconds=1))), offers)
    add_case("321", True, good)
    for extra in ("startafter", "notification", "ramp_up", "recovery"):
        period = m.Period(dtstart=T0, duration=SLOT, **{extra: MINUTE})
        add_case("321", False, asking(report_interval=period))
    payload = request().specifier.payloads[0]
    add_case("321", False, asking(payloads=(replace(payload, item_base=WATT),)))
    add_case("322", True, create_report(request("r1"), request("r2")))
    add_case("322", False, create_report(request("r1"), request("r1")))
    add_case("322", False, create_report(request("r1", "past")), Exchange(requests=(request("r1"),)))
    add_case("324", True, create_report(request(back=Duration(), start=None)))
    add_case("324", False, create_report(request(start=None)))
    add_case("338", True, good)
    add_case("338", False, asking(payloads=(replace(payload, reading_type="Direct Read"),)))


def _data() -> None:
    good = data(value(0, SLOT))
    around = Exchange(requests=(request(),))
    add_case("300", True, good, around)
    add_case("300", False, data(value(0, SLOT, r_id="other")), around)
    more = replace(value(0, SLOT), payloads=(*value(0).payloads, *value(0, r_id="other").payloads))
    add_case("300", False, data(more), around)
    add_case("313", True, good)
    named: tuple[dict[str, object], ...] = (
        {"dtstart": None},
        {"intervals": None},
        {"report_name": None},
        {"report_name": "METADATA_TELEMETRY_USAGE"},
        {"report_name": "x-METADATA_MINE"},
        {"descriptions": METER.descriptions},
    )
    for changes in named:
        add_case("313", False, data(**{"intervals": (value(0, SLOT),), **changes}))
    add_case("314", True, data(value(0), value(1), value(3)))
    add_case("314", False, data(value(0, MINUTE), value(None, MINUTE)))
    add_case("314", False, data(value(2), value(1), dtstart=after(minutes=2)))
    add_case("314", False, data(value(1)))
    add_case("315", True, data(value(0, MINUTE), value(1, MINUTE), duration=Duration(minutes=2)))
    add_case("315", False, data(value(0, MINUTE), value(1, MINUTE), duration=SLOT))
    add_case("315", False, data(value(0, MINUTE), value(1)))
    add_case("315", False, data(value(None, None, "0"), value(None, None, "1")))
    add_case("316", True, data(value(None, MINUTE, "0"), value(None, MINUTE, "1")))
    numbered = (value(None, MINUTE, "0"), value(None, MINUTE, "1"))
    add_case("315", True, data(*numbered, duration=Duration(minutes=2)))
    add_case("315", False, data(*numbered, duration=MINUTE))
    add_case("316", False, data(value(None, MINUTE), value(None, MINUTE)))
    add_case("317", True, data(value(0, MINUTE), value(1, MINUTE)), around)
    add_case("317", False, data(*(value(k, MINUTE) for k in range(3))), around)
    status = m.ResourceStatus(online=True, manual_override=False)
    _states(status)
    add_case("342", True, data(value(0), value(1)))
    add_case("342", False, data(value(0, Duration())))
    add_case("328", True, m.UpdatedReport(response=OK), Exchange(request=good))
    cancel = m.CancelReport(request_id="c", report_request_ids=("r1",), report_to_follow=False)
    add_case("328", True, m.UpdatedReport(response=OK, cancel=cancel), Exchange(request=good))
    other = replace(cancel, report_request_ids=("r2",))
    add_case("328", False, m.UpdatedReport(response=OK, cancel=other), Exchange(request=good))
    asked = replace(create_report(request()), request_id="q")
    answer = m.CreatedReport(response=OK, pending=("r1",), ven_id="v")
    add_case("329", True, answer, Exchange(request=asked))
    add_case("329", False, replace(answer, pending=()), Exchange(request=asked))
    ended = m.CanceledReport(response=OK, pending=("r1",), ven_id="v")
    add_case("329", False, ended, Exchange(request=replace(cancel, request_id="q")))
    last = replace(cancel, request_id="q", report_to_follow=True)
    add_case("329", True, ended, Exchange(request=last))
    refused = replace(ended, response=m.EiResponse(code="452", request_id="q"))
    add_case("329", True, refused, Exchange(request=replace(cancel, request_id="q")))
    add_case("303", True, answer, Exchange(request=asked))
    add_case("303", False, answer, Exchange(request=replace(asked, request_id="z")))


def _states(status: m.ResourceStatus) -> None:
    def state(minute: int, content: m.ResourceStatus | m.PayloadFloat) -> m.Interval:
        payload = m.ReportPayload(r_id="p", payload=content)
        return m.Interval(dtstart=after(minutes=minute), payloads=(payload,))

    point = m.LoadControlState(set_point=m.LoadControlValue(current=1.0))
    level = m.LoadControlState(level_offset=m.LoadControlValue(current=1.0))
    with_point, with_level = (
        replace(status, load_control_state=point),
        replace(status, load_control_state=level),
    )
    name = {"report_name": "TELEMETRY_STATUS"}
    add_case("334", True, data(state(0, with_point), state(1, with_point), **name))
    add_case("334", False, data(state(0, with_point), state(1, with_level), **name))
    add_case("334", False, data(state(0, with_point), state(1, status), **name))
    add_case("331", True, data(state(0, status), **name))
    add_case("331", False, data(state(0, m.PayloadFloat(value=1.0)), **name))
    add_case("331", False, data(state(0, status)))


# --- registration and everything else ----------------------------------------------------------------------


def _registration() -> None:
    first = m.CreatePartyRegistration(request_id="q", ven_name="home", http_pull_model=True)
    add_case("402", True, first)
    add_case("402", True, replace(first, http_pull_model=False, transport_address="http://home.example"))
    add_case("402", False, replace(first, http_pull_model=None))
    add_case("402", False, replace(first, http_pull_model=False))
    add_case("402", False, replace(first, transport_name=TransportName.XMPP, http_pull_model=None))
    add_case("402", False, replace(first, registration_id="g"))
    reply = m.CreatedPartyRegistration(
        response=OK,
        registration_id="g",
        ven_id="v",
        vtn_id="vtn",
        profiles=(m.Profile(name=ProfileName.B, transports=(TransportName.SIMPLE_HTTP,)),),
        poll_frequency=SLOT,
    )
    around = Exchange(request=first)
    add_case("403", True, reply, around)
    add_case("403", False, replace(reply, registration_id=None), around)
    add_case("403", False, replace(reply, ven_id=None), around)
    add_case("403", False, replace(reply, poll_frequency=None), around)
    again = Exchange(request=replace(first, registration_id="other", ven_id="v"))
    add_case("403", False, reply, again)
    query = Exchange(request=m.QueryRegistration(request_id="q"))
    add_case("404", True, replace(reply, registration_id=None, ven_id=None), query)
    add_case("404", False, reply, query)


def _everything() -> None:
    poll = m.Poll(ven_id="v")
    add_case("23", True, m.RequestEvent(request_id="q", ven_id="v"))
    add_case("23", False, m.RequestEvent(request_id="q", ven_id="v"), direction=DOWN)
    add_case("51", True, poll, Exchange(model=PushOrPull.PULL))
    add_case("51", False, poll, Exchange(model=PushOrPull.PUSH))
    add_case("51", False, poll, direction=DOWN)
    query = m.QueryRegistration(request_id="q")
    add_case("401", True, query)
    add_case("401", False, query, direction=DOWN)
    add_case("401", True, m.RequestReregistration(ven_id="v"))
    add_case("401", False, m.RequestReregistration(ven_id="v"), direction=UP)
    add_case("500", True, m.Response(response=OK), Exchange(request=poll), direction=DOWN)
    add_case("500", False, m.CreatedOpt(response=OK, opt_id="o"), Exchange(request=poll))
    add_case("508", True, m.Response(response=OK, ven_id="v"))
    add_case("508", False, m.Response(response=OK))
    add_case("508", False, m.RegisterReport(request_id="q"))
    add_case("509", True, poll)
    add_case("509", False, replace(poll, schema_version=None))
    add_case("509", False, replace(poll, schema_version="2.0a"))
    refusal = m.EiResponse(code="463", request_id="q")
    unasked = Exchange(request=m.RegisterReport(request_id="q", ven_id="v"))
    add_case("517", True, m.RegisteredReport(response=refusal, ven_id="v"), unasked)
    add_case("517", False, m.Response(response=refusal, ven_id="v"), unasked, direction=DOWN)


# --- on the bytes ------------------------------------------------------------------------------------------


def _raw(message: m.AnyMessage, change: Callable[[bytes], bytes]) -> etree._Element:
    return etree.fromstring(change(etree.tostring(encode_message(message))))


def _swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(text: bytes) -> bytes:
        assert old in text
        return text.replace(old, new, 1)

    return change


def _bytes() -> None:
    message = distribute(priced())
    period, start = b">PT10M<", b">2026-06-01T11:00:00Z<"

    def both(rule: str, good: bool, old: bytes, new: bytes) -> None:
        add_case(rule, good, message, element=_raw(message, _swap(old, new)))

    both("1", True, start, b">2026-06-01T11:00:00.250Z<")
    for time in (b"2026-06-01T11:00:00+00:00", b"2026-06-01T13:00:00+02:00", b"2026-06-01T11:00:00"):
        both("1", False, start, b">" + time + b"<")
    for length in (b"PT10.5M", b"10M", b"P", b"PT", b"PT0.5S"):
        both("1", False, period, b">" + length + b"<")
    both("45", True, period, period)
    schema = b' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:%s="a b"'
    both("45", False, b"<oadr:oadrSignedObject", b"<oadr:oadrSignedObject" + schema % b"schemaLocation")
    both("45", False, b"<ei:vtnID", b"<ei:vtnID" + schema % b"noNamespaceSchemaLocation")
    poll = m.Poll(ven_id="v")
    add_case("X2", True, poll, element=encode_message(poll))
    add_case("X2", False, poll, element=encode_message(poll)[0][0])
    root = encode_message(poll)
    root.append(encode_message(poll)[0])
    add_case("X2", False, poll, element=root)
    for position, good in ((0, True), (1, False)):
        signed = encode_message(poll)
        signed.insert(position, etree.Element("{http://www.w3.org/2000/09/xmldsig#}Signature"))
        add_case("X3", good, poll, element=signed)
    add_case("X4", True, poll, element=encode_message(poll))
    noted = encode_message(poll)
    noted.append(etree.ProcessingInstruction("php", "x"))
    add_case("X4", False, poll, element=noted)


for _fill in (
    passive_events.fill,
    _opts,
    _metadata,
    _requests,
    _data,
    _registration,
    _everything,
    _bytes,
):
    _fill()
