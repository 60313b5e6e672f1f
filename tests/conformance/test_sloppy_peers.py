"""What real and hostile VENs send, over HTTP to a running VTN: nothing is a 500, and nothing is lost by it.

Items of the list of tolerances that have their tests elsewhere:

* mutated and random bytes: tests/property/test_mutants.py, tests/unit/vtn/test_vtn_service.py;
* ids of digits in the mouth of a real peer: tests/interop/test_openleadr_ven.py;
* the VEN's side: tests/conformance/test_sloppy_vtns.py.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import OptType, ResponseRequired, ServiceName
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import (
    ALICE,
    START,
    Rig,
    draft,
    ids_of,
    metadata,
    opted,
    price_signal,
    said,
    update,
    wanted,
)
from vtn_server.dispatch import TABLE
from vtn_server.http import HttpServer, serve
from vtn_server.operator import Provision, Reading, VenId
from vtn_server.peers import ClaimedNames
from vtn_server.settings import Identity, VtnSettings
from vtn_server.sqlstore import SqlStore

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

T = TypeVar("T", bound=m.AnyMessage)
ZEROS = VenId("007")
HOUR = timedelta(hours=1)


class Line:
    """A peer's connection to a running VTN."""

    def __init__(self, rig: Rig, server: HttpServer, http: aiohttp.ClientSession) -> None:
        self.rig = rig
        self._url = f"http://{server.host}:{server.port}/OpenADR2/Simple/2.0b/"
        self._http = http
        self.replies: list[bytes] = []

    async def raw(self, body: bytes, service: ServiceName) -> tuple[int, bytes]:
        """Send bytes; return status and body. A status of 500 and above is never right."""
        headers = {"Content-Type": "application/xml"}
        async with self._http.post(self._url + service, data=body, headers=headers) as answer:
            text = await answer.read()
        assert answer.status < 500
        self.replies.append(text)
        return answer.status, text

    async def send(self, message: m.AnyMessage | bytes, expect: type[T], code: str = "200") -> T:
        """Send a message, or its body as a sloppy peer writes it; return the answer."""
        body = message if isinstance(message, bytes) else wire.write(message)
        kind = type(wire.read(body))
        status, text = await self.raw(body, TABLE[kind].services[0])
        assert status == 200
        reply = wire.read(text)
        assert isinstance(reply, expect), reply
        response = getattr(reply, "response", None)
        assert response is None or response.code == code, response
        return reply

    async def bootstrap(self, name: str, ven_id: str) -> None:
        """Register, announce a meter, be asked for it, and agree."""
        create = m.CreatePartyRegistration(request_id="0", ven_name=name, http_pull_model=True)
        assert (await self.send(create, m.CreatedPartyRegistration)).ven_id == ven_id
        announce = m.RegisterReport(request_id="0", reports=(metadata(),), ven_id=ven_id)
        await self.send(announce, m.RegisteredReport)
        ours = await self.send(m.Poll(ven_id=ven_id), m.RegisterReport)
        await self.send(m.RegisteredReport(response=said(ours.request_id), ven_id=ven_id), m.Response)
        await self.send(m.RequestEvent(request_id="0", ven_id=ven_id), m.DistributeEvent)

    async def report_request(self, ven_id: VenId) -> str:
        """Ask for the meter's readings, and let the VEN agree; return the reportRequestID."""
        (request_id,) = await self.rig.operator.request_reports(ven_id, [wanted()])
        asked = await self.send(m.Poll(ven_id=ven_id), m.CreateReport)
        agreed = m.CreatedReport(response=said(asked.request_id), pending=(request_id,), ven_id=ven_id)
        await self.send(agreed, m.Response)
        return request_id

    async def readings(self, ven_id: VenId = ALICE) -> tuple[Reading, ...]:
        """Return all that arrived."""
        return await self.rig.operator.readings(
            report_specifier_id="meter-energy", start=START, end=START + 24 * HOUR, ven_id=ven_id
        )

    def stored(self) -> object:
        """Return everything the VTN holds about its VENs."""
        memory = self.rig.service.memory
        return [replace(each, version=0) for each in memory.vens()], memory.events()


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    """A VTN with alice registered, and a VEN whose venID is 007."""
    store = SqlStore(tmp_path / "vtn.sqlite")
    settings = VtnSettings(vtn_id="vtn-1", identity=Identity.CLAIMED, validate_outgoing=True)
    rig = await Rig(store, settings).start()
    await rig.operator.provision([Provision(ven_id=ZEROS, ven_name="seven")])
    server = await serve(rig.service, peers=ClaimedNames())
    async with aiohttp.ClientSession() as http:
        made = Line(rig, server, http)
        await made.bootstrap("alice", ALICE)
        yield made
    await server.close()
    await store.close()


def schedule(opt_id: str = "opt-1", ven_id: str = ALICE) -> m.CreateOpt:
    return m.CreateOpt(
        opt_id=opt_id,
        opt_type=OptType.OPT_OUT,
        opt_reason="economic",
        ven_id=ven_id,
        availability=(m.Period(dtstart=START + HOUR, duration=Duration(hours=2)),),
        created_date_time=START,
        request_id="q",
        target=m.Target(ven_ids=(ven_id,)),
    )


POLL = wire.write(m.Poll(ven_id=ALICE))
OPT = wire.write(schedule())
SERVICES = {b"oadrPoll": ServiceName.OADR_POLL, b"oadrCreateOpt": ServiceName.EI_OPT}

# --- bodies ------------------------------------------------------------------------------------------------

REFUSED = {
    "no XML": b"hello",
    "nothing": b"",
    "unknown element": POLL.replace(b"ei:venID", b"ei:vanID"),
    "unknown child": POLL.replace(b"<ei:venID>", b"<ei:more/><ei:venID>"),
    "element missing": re.sub(rb"<ei:optReason>.*?</ei:optReason>", b"", OPT),
    "wrong order": re.sub(rb"(<ei:optID>.*?</ei:optID>)(<ei:optType>.*?</ei:optType>)", rb"\2\1", OPT),
    "wrong enumeration": OPT.replace(b"optOut", b"optMaybe"),
    "wrong namespace": POLL.replace(b"oadr-2.0b/2012/07", b"oadr-2.0a/2012/07"),
    "undeclared prefix": POLL.replace(b"<ei:venID>", b"<zz:x/><ei:venID>"),
    "two messages": POLL.replace(b"</oadr:oadrPayload>", b"</oadr:oadrPayload><a/>"),
    "no time": OPT.replace(b"2018-05-16T11:00:00Z", b"soon"),
    "no such day": OPT.replace(b"2018-05-16T11:00:00Z", b"2018-02-30T11:00:00Z"),
    "offset": OPT.replace(b"2018-05-16T11:00:00Z", b"2018-05-16T13:00:00+02:00"),
    "offset of nothing": OPT.replace(b"2018-05-16T11:00:00Z", b"2018-05-16T11:00:00+00:00"),
    "not UTF-8": POLL.decode().encode("utf-16"),
    "doctype": POLL.replace(b"<oadr:oadrPayload", b"<!DOCTYPE x><oadr:oadrPayload", 1),
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
async def test_a_body_that_is_no_message_is_406_and_changes_nothing(line: Line, body: bytes) -> None:
    assert body not in (POLL, OPT)
    before = line.stored()
    for service in ServiceName:
        assert await line.raw(body, service) == (406, b"")
    assert line.stored() == before
    await line.send(m.Poll(ven_id=ALICE), m.Response)


async def test_an_offset_is_refused_with_the_reason_in_the_log(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="vtn_server.service"):
        await line.raw(REFUSED["offset"], ServiceName.EI_OPT)
    assert "13:00:00+02:00" in caplog.text
    assert "rule 1: times are UTC and end with Z" in caplog.text


def redeclared(body: bytes) -> bytes:
    """Return a body in which the prefix of each message part means something else than outside of it."""
    return body.replace(
        b"<ei:venID>", b'<oadr:venID xmlns:oadr="http://docs.oasis-open.org/ns/energyinterop/201110">'
    ).replace(b"</ei:venID>", b"</oadr:venID>")


STRANGE = {
    "unknown prefixes": POLL.replace(b"oadr:", b"ns1:").replace(b"xmlns:oadr", b"xmlns:ns1"),
    "prefixes swapped": re.sub(
        rb"\b(oadr|ei)\b(?=[:=])", lambda hit: b"ei" if hit[1] == b"oadr" else b"oadr", POLL
    ),
    "prefix declared again": redeclared(POLL),
    "default namespace": POLL.replace(b"oadr:", b"").replace(b"xmlns:oadr", b"xmlns"),
    "unused declarations": POLL.replace(b"<oadr:oadrPoll", b'<oadr:oadrPoll xmlns:x="urn:x" xmlns:y="y"'),
    "comments": POLL.replace(b"<ei:venID>", b"<!-- a --><ei:venID><!-- b -->"),
    "character data": POLL.replace(ALICE.encode(), b"<![CDATA[" + ALICE.encode() + b"]]>"),
    "white space": POLL.replace(b"><", b">\r\n\t  <"),
    "byte order mark": b"\xef\xbb\xbf" + POLL,
    "no declaration": POLL.split(b"?>", 1)[1],
    "schema location": POLL.replace(
        b"<oadr:oadrPoll",
        b'<oadr:oadrPoll xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b"',
    ),
}


@pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
async def test_unusual_xml_is_understood(line: Line, body: bytes) -> None:
    assert body != POLL
    assert wire.read(body) == m.Poll(ven_id=ALICE)
    await line.rig.operator.publish_events([draft("e1")])
    await line.send(body, m.DistributeEvent)


@pytest.mark.parametrize("text", ["11:00:00.000Z", "11:00:00.999999999Z", "11:00:00", "11:00:00.5"])
async def test_fractions_of_seconds_are_dropped_and_a_missing_z_is_read_as_utc(line: Line, text: str) -> None:
    body = OPT.replace(b"2018-05-16T11:00:00Z", f"2018-05-16T{text}".encode())
    await line.send(body, m.CreatedOpt)
    ven = line.rig.service.memory.ven(ALICE)
    assert ven is not None
    assert [each.availability[0].dtstart for each in ven.schedules] == [START + HOUR]


# --- empty and superfluous parts ---------------------------------------------------------------------------


async def test_empty_event_responses(line: Line) -> None:
    await line.rig.operator.publish_events([draft("e1")])
    await line.send(m.Poll(ven_id=ALICE), m.DistributeEvent)
    empty = m.CreatedEvent(response=said("x"), event_responses=(), ven_id=ALICE)
    assert b"eventResponses/>" in wire.write(empty)
    await line.send(empty, m.Response)
    await line.send(m.CreatedEvent(response=said("x"), ven_id=ALICE), m.Response)
    assert line.rig.operator.opts("e1") == {}


async def test_an_empty_market_context_is_none_at_all(line: Line) -> None:
    with_context = wire.write(replace(schedule(), market_context="http://m.example"))
    for opt_id, context in ((b"a", b""), (b"b", b" \n ")):
        body = with_context.replace(b"http://m.example", context).replace(b"opt-1", opt_id)
        await line.send(body, m.CreatedOpt)
    ven = line.rig.service.memory.ven(ALICE)
    assert ven is not None
    assert [(each.opt_id, each.market_context) for each in ven.schedules] == [("b", None)]


async def test_empty_reports(line: Line) -> None:
    await line.report_request(ALICE)
    await line.send(m.UpdateReport(request_id="1", reports=(), ven_id=ALICE), m.UpdatedReport)
    ven = line.rig.service.memory.ven(ALICE)
    assert ven is not None
    assert len(ven.requests) == 1
    await line.send(m.RegisterReport(request_id="1", reports=(), ven_id=ALICE), m.RegisteredReport)
    ven = line.rig.service.memory.ven(ALICE)
    assert ven is not None
    assert (ven.metadata, ven.requests) == ((), ())  # the VEN offers nothing any more (r301, r306)


def without_intervals(data: m.UpdateReport) -> bytes:
    return re.sub(rb"(intervals>).*(</\w+:intervals>)", rb"\1\2", wire.write(data), flags=re.DOTALL)


async def test_report_data_without_values(line: Line) -> None:
    request_id = await line.report_request(ALICE)
    data = update(ALICE, request_id, [1.0])
    hollow = replace(data, reports=(replace(data.reports[0], intervals=None),))
    await line.send(hollow, m.UpdatedReport, "459")
    assert await line.raw(without_intervals(data), ServiceName.EI_REPORT) == (406, b"")  # the schema says so
    assert await line.readings() == ()
    await line.send(data, m.UpdatedReport)
    assert [each.value for each in await line.readings()] == [1.0]


async def test_answers_to_events_that_want_none(line: Line) -> None:
    await line.rig.operator.publish_events([draft("price", required=ResponseRequired.NEVER), draft("e1")])
    sent = await line.send(m.Poll(ven_id=ALICE), m.DistributeEvent)
    assert set(ids_of(sent)) == {"price", "e1"}
    all_of_them = tuple(
        m.EventResponse(
            code="200",
            request_id=sent.request_id,
            qualified_event_id=m.QualifiedEventId(event_id=each, modification_number=0),
            opt_type=OptType.OPT_OUT,
        )
        for each in ids_of(sent)
    )
    await line.send(m.CreatedEvent(response=said(""), event_responses=all_of_them, ven_id=ALICE), m.Response)
    assert line.rig.operator.opts("price") == {}
    assert set(line.rig.operator.opts("e1")) == {ALICE}


# --- ids ---------------------------------------------------------------------------------------------------


async def test_ids_of_digits_keep_their_zeros(line: Line) -> None:
    await line.bootstrap("seven", ZEROS)
    await line.send(m.Poll(ven_id="7"), m.Response, "452")
    request_id = await line.report_request(ZEROS)
    await line.send(update(ZEROS, request_id, [5.0]), m.UpdatedReport)
    assert [each.value for each in await line.readings(ZEROS)] == [5.0]
    await line.rig.operator.publish_events([draft("0010", audience=(ZEROS,))])
    sent = await line.send(m.Poll(ven_id=ZEROS), m.DistributeEvent)
    assert ids_of(sent) == ["0010"]
    number = opted(sent, ZEROS)
    await line.send(wire.write(number).replace(b">0010<", b">10<"), m.Response, "452")
    assert line.rig.operator.opts("0010") == {}
    await line.send(number, m.Response)
    assert set(line.rig.operator.opts("0010")) == {ZEROS}
    await line.send(schedule("00", ZEROS), m.CreatedOpt)
    await line.send(m.CancelOpt(request_id="q", opt_id="0", ven_id=ZEROS), m.CanceledOpt, "452")
    assert (
        await line.send(m.CancelOpt(request_id="q", opt_id="00", ven_id=ZEROS), m.CanceledOpt)
    ).opt_id == "00"


async def test_a_request_id_that_repeats_means_nothing(line: Line) -> None:
    request_id = await line.report_request(ALICE)
    for hour in range(3):
        data = update(ALICE, request_id, [float(hour)], start=START + hour * HOUR, request_id="same")
        assert (await line.send(data, m.UpdatedReport)).response.request_id == "same"
    assert [each.value for each in await line.readings()] == [0.0, 1.0, 2.0]
    for opt_id in ("a", "b"):
        context = f"http://{opt_id}.example"
        await line.send(replace(schedule(opt_id), request_id="same", market_context=context), m.CreatedOpt)
    ven = line.rig.service.memory.ven(ALICE)
    assert ven is not None
    assert [each.opt_id for each in ven.schedules] == ["a", "b"]


# --- late, twice, in the wrong order -----------------------------------------------------------------------


async def test_a_late_answer_to_a_former_version_changes_nothing(line: Line) -> None:
    await line.rig.operator.publish_events([draft("e1")])
    first = await line.send(m.Poll(ven_id=ALICE), m.DistributeEvent)
    await line.rig.operator.modify_event("e1", signals=(price_signal([9.0] * 6),))
    await line.send(opted(first, ALICE), m.Response, "450")
    assert line.rig.operator.opts("e1") == {}
    second = await line.send(m.Poll(ven_id=ALICE), m.DistributeEvent)
    await line.send(opted(second, ALICE, OptType.OPT_OUT), m.Response)
    await line.send(opted(first, ALICE), m.Response, "450")  # and once more, out of order
    opt = line.rig.operator.opts("e1")[ALICE]
    assert (opt.opt_type, opt.modification_number) == (OptType.OPT_OUT, 1)


async def test_answers_nobody_waits_for(line: Line) -> None:
    before = line.stored()
    answers: tuple[m.AnyMessage, ...] = (
        m.Response(response=said("never"), ven_id=ALICE),
        m.RegisteredReport(response=said("never"), ven_id=ALICE),
        m.CreatedReport(response=said("never"), pending=("x",), ven_id=ALICE),
        m.CanceledReport(response=said("never"), pending=("x",), ven_id=ALICE),
        m.UpdatedReport(response=said("never"), ven_id=ALICE),
        m.CanceledPartyRegistration(response=said("never"), registration_id="x", ven_id=ALICE),
    )
    for each in (*answers, *answers):
        await line.send(each, m.Response)
    assert line.stored() == before


async def test_data_before_the_answer_that_promises_it(line: Line) -> None:
    (request_id,) = await line.rig.operator.request_reports(ALICE, [wanted()])
    asked = await line.send(m.Poll(ven_id=ALICE), m.CreateReport)
    await line.send(update(ALICE, request_id, [3.0]), m.UpdatedReport)
    agreed = m.CreatedReport(response=said(asked.request_id), pending=(request_id,), ven_id=ALICE)
    await line.send(agreed, m.Response)
    assert [each.value for each in await line.readings()] == [3.0]


async def test_before_its_registration_a_ven_gets_463_and_leaves_no_trace(line: Line) -> None:
    before = line.stored()
    await line.send(m.Poll(ven_id=ZEROS), m.Response, "463")
    await line.send(m.RequestEvent(request_id="q", ven_id=ZEROS), m.DistributeEvent, "463")
    await line.send(m.RegisterReport(request_id="q", reports=(), ven_id=ZEROS), m.RegisteredReport, "463")
    await line.send(update(ZEROS, "x", [1.0]), m.UpdatedReport, "463")
    await line.send(schedule("o", ZEROS), m.CreatedOpt, "463")
    assert line.stored() == before


# --- a retry of what was taken -----------------------------------------------------------------------------


async def test_a_repeated_message_is_answered_200_and_has_no_second_effect(line: Line) -> None:
    request_id = await line.report_request(ALICE)
    await line.rig.operator.publish_events([draft("e1")])
    sent = await line.send(m.Poll(ven_id=ALICE), m.DistributeEvent)
    registration = line.rig.service.memory.ven(ALICE)
    assert registration is not None
    assert registration.registration is not None
    again = m.CreatePartyRegistration(
        request_id="q",
        ven_id=ALICE,
        registration_id=registration.registration.registration_id,
        http_pull_model=True,
    )
    messages: tuple[tuple[m.AnyMessage, type[m.AnyMessage]], ...] = (
        (opted(sent, ALICE), m.Response),
        (update(ALICE, request_id, [1.0, 2.0]), m.UpdatedReport),
        (schedule(), m.CreatedOpt),
        (m.CancelOpt(request_id="q", opt_id="opt-1", ven_id=ALICE), m.CanceledOpt),
        (again, m.CreatedPartyRegistration),
        (m.CreatedReport(response=said("q"), pending=(request_id,), ven_id=ALICE), m.Response),
    )
    for message, reply in messages:
        first = await line.send(message, reply)
        state, opts = line.stored(), line.rig.operator.opts("e1")
        readings = await line.readings()
        assert await line.send(message, reply) == first
        assert await line.send(message, reply) == first
        assert line.stored() == state
        assert line.rig.operator.opts("e1") == opts
        assert await line.readings() == readings
    assert len(await line.readings()) == 2


async def test_metadata_that_comes_again_is_asked_for_once(line: Line) -> None:
    line.rig.service._report_plan = lambda ven_id, offered, now: (wanted(),)  # type: ignore[misc]  # as a start would
    announce = m.RegisterReport(request_id="q", reports=(metadata(),), ven_id=ALICE)
    for _ in range(3):
        await line.send(announce, m.RegisteredReport)
    ven = line.rig.service.memory.ven(ALICE)
    assert ven is not None
    assert len(ven.requests) == 1
    assert len([each for each in ven.outbox if isinstance(each.message, m.CreateReport)]) == 1


async def test_a_cancellation_that_comes_again_is_confirmed_again(line: Line) -> None:
    ven = line.rig.service.memory.ven(ALICE)
    assert ven is not None
    assert ven.registration is not None
    bye = m.CancelPartyRegistration(
        request_id="q", registration_id=ven.registration.registration_id, ven_id=ALICE
    )
    for _ in range(2):
        await line.send(bye, m.CanceledPartyRegistration)
    await line.send(replace(bye, registration_id="other"), m.CanceledPartyRegistration, "463")
    await line.bootstrap("alice", ALICE)
    await line.send(bye, m.CanceledPartyRegistration, "452")  # the new registration is another one


# --- what real VENs crash without --------------------------------------------------------------------------

_TIME = re.compile(rb"<[a-z]*:?(?:date-time|\w+DateTime)>([^<]*)<")
_INTERVAL = re.compile(rb"<(?:ei:)?interval>.*?</(?:ei:)?interval>", re.DOTALL)


async def test_what_a_vtn_always_sends(line: Line) -> None:
    rig = line.rig
    query = m.QueryRegistration(request_id="q")
    create = m.CreatePartyRegistration(request_id="q", ven_name="alice", http_pull_model=True)
    for each in (query, create):
        assert (await line.send(each, m.CreatedPartyRegistration)).poll_frequency == Duration(seconds=10)
    ask = m.RequestEvent(request_id="q", ven_id=ALICE)
    await line.send(ask, m.DistributeEvent)
    await rig.operator.publish_events(
        [
            draft("e1"),
            draft("e2", required=ResponseRequired.NEVER, ramp_up=Duration(minutes=5)),
            draft("open", values=(1.0,), length=Duration()),
        ]
    )
    await line.send(ask, m.DistributeEvent)
    await rig.operator.cancel_event("e1")
    await line.send(ask, m.DistributeEvent)
    await line.send(replace(ask, ven_id="nobody"), m.DistributeEvent, "452")
    times = [text for reply in line.replies for text in _TIME.findall(reply)]
    assert len(times) > 15
    assert all(re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", each) for each in times)
    intervals = [text for reply in line.replies for text in _INTERVAL.findall(reply)]
    assert len(intervals) == 13 + 13
    assert all(b"uid>" in each and b"duration>" in each for each in intervals)
