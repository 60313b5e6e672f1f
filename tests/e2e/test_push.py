"""The push model on loopback sockets: our VTN and our VEN, in simulated time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web

from feederloop.clock import SimClock
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import OptType, ResponseRequired
from tests.e2e.push_rig import SETTINGS, Street, Vtn, kinds_of
from tests.unit.ven.ven_fakes import SLOT, T0, after
from tests.unit.vtn.rig import draft, price_signal
from ven_client.listener import listen
from ven_client.messages import service_of
from ven_client.session import State
from ven_client.transport import HttpPull
from vtn_server.limits import Limit
from vtn_server.push import PushDispatcher, PushLimits
from vtn_server.records import EventDraft
from vtn_server.sqlstore import open_store
from vtn_server.state import ReportRequestDraft, VenId

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    vtn = await Vtn(SimClock(T0)).start()
    await vtn.announce("ann", "ben", "cid")
    made = Street(vtn)
    yield made
    await made.close()


def offer(event_id: str, *names: str, required: ResponseRequired = ResponseRequired.ALWAYS) -> EventDraft:
    audience = tuple(VenId(f"ven-{name}") for name in names)
    return draft(event_id, start=after(hours=1), audience=audience, required=required)


def meter(start: datetime = T0) -> ReportRequestDraft:
    return ReportRequestDraft(
        report_specifier_id="meter", r_ids=("p",), granularity=SLOT, report_back_duration=SLOT, start=start
    )


class ScriptedVen:
    """A VEN's listener that answers with statuses from a list, then with empty 200s."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.seen: list[m.AnyMessage] = []
        self.requests: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.reply: m.AnyMessage | None = None
        self.now: Callable[[], datetime] = lambda: T0
        self.times: list[float] = []
        self.hold: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.url = ""

    async def handle(self, http: web.Request) -> web.StreamResponse:
        self.paths.append(http.path)
        self.requests.append({name.lower(): value for name, value in http.headers.items()})
        self.seen.append(wire.read(await http.read()))
        self.times.append(round((self.now() - T0).total_seconds(), 1))
        self.entered.set()
        if self.hold is not None:
            await self.hold.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        body = wire.write(self.reply) if self.reply is not None and status == 200 else b""
        return web.Response(status=status, body=body, headers=self.headers)


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedVen]:
    script = ScriptedVen()
    app = web.Application()
    app.router.add_post("/{path:.*}", script.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    script.url = f"http://127.0.0.1:{runner.addresses[0][1]}/base/"
    yield script
    if script.hold is not None:
        script.hold.set()
    await runner.cleanup()


async def enrol(street: Street, name: str, address: str) -> None:
    """Register a push VEN that is only a listener, and announce that it has no reports."""
    client = HttpPull(street.vtn.server.url, now=street.clock.now)
    registration = m.CreatePartyRegistration(
        request_id="r0", ven_name=name, http_pull_model=False, transport_address=address
    )
    reply = await client.exchange(service_of(registration), registration)
    assert isinstance(reply, m.CreatedPartyRegistration)
    assert reply.response.code == "200", reply
    metadata = m.RegisterReport(request_id="r1", ven_id=f"ven-{name}")
    await client.exchange(service_of(metadata), metadata)
    await client.close()


# --- our VEN ------------------------------------------------------------------------------------------------


async def test_bootstrap_never_polls(street: Street) -> None:
    ann = await street.open("ann")
    await street.until(minutes=10)
    assert ann.session.state is State.OPERATIONAL
    kinds = kinds_of(street.vtn.exchanges, "ven-ann")
    assert sorted(kinds) == ["RegisterReport", "RegisterReport", "RequestEvent"]
    assert street.vtn.received("Poll") == 0
    assert [each.http_status for each in ann.incoming] == [200]
    assert isinstance(wire.read(ann.incoming[0].response), m.RegisteredReport)
    view = street.vtn.view("ann")
    assert (view.registered, view.pending, view.given_up) == (True, 0, ())
    assert len(view.metadata) == 3
    assert street.vtn.service.stats().rejected == 0


async def test_an_event_arrives_at_once_and_is_answered(street: Street) -> None:
    ann = await street.open("ann")
    await street.until(minutes=1)
    await street.vtn.operator.publish_events([offer("e1", "ann")])
    await street.until(minutes=1, milliseconds=1)
    assert ann.home.holds() == ("e1",)
    assert ann.incoming[-1].response == b""  # G15
    assert street.vtn.operator.opts("e1")[ann.ven_id].opt_type is OptType.OPT_IN
    assert street.vtn.operator.fetched("e1")[ann.ven_id].modification_number == 0
    pushed = len(ann.incoming)
    await street.until(minutes=10)
    assert len(ann.incoming) == pushed  # answered: not again


async def test_modification_and_cancellation(street: Street) -> None:
    ann = await street.open("ann")
    await street.until(minutes=1)
    await street.vtn.operator.publish_events([offer("e1", "ann")])
    await street.until(minutes=2)
    await street.vtn.operator.modify_event("e1", signals=(price_signal((9, 9, 9, 9, 9, 9)),))
    await street.until(minutes=3)
    held = ann.home.told[-1][0].event
    assert held.descriptor.modification_number == 1
    assert held.signals.signals[0].intervals[0].signal_value == 9
    assert street.vtn.operator.opts("e1")[ann.ven_id].modification_number == 1
    await street.vtn.operator.cancel_event("e1")
    await street.until(minutes=4)
    assert ann.home.holds() == ()
    assert street.vtn.operator.opts("e1")[ann.ven_id].modification_number == 2


async def test_an_event_that_wants_no_answer_goes_out_once(street: Street) -> None:
    ann = await street.open("ann")
    await street.until(minutes=1)
    before = len(ann.incoming)
    await street.vtn.operator.publish_events([offer("e1", "ann", required=ResponseRequired.NEVER)])
    await street.until(minutes=5)
    await street.vtn.operator.cancel_event("e1")
    await street.until(minutes=30)
    assert len(ann.incoming) == before + 2
    assert ann.home.holds() == ()


async def test_report_request_periodic_data_and_its_end(street: Street) -> None:
    ann = await street.open("ann")
    await street.until(minutes=1)
    (request_id,) = await street.vtn.operator.request_reports(ann.ven_id, [meter()])
    await street.until(minutes=31)
    assert street.vtn.view("ann").requests[0].acknowledged
    readings = await street.vtn.operator.readings(
        report_specifier_id="meter", start=T0, end=after(hours=1), ven_id=ann.ven_id
    )
    assert [each.start for each in readings] == [after(minutes=10 * k) for k in range(3)]
    await street.vtn.operator.cancel_reports(ann.ven_id, [request_id])
    await street.until(hours=1)
    assert street.vtn.view("ann").requests == ()
    assert ann.session.pending_reports == ()
    assert street.vtn.received("UpdateReport") == 3
    assert street.vtn.service.stats().rejected == 0


async def test_once_means_the_acknowledgement_first(street: Street) -> None:
    ann = await street.open("ann")
    await street.until(minutes=1)
    once = replace(meter(), report_back_duration=replace(SLOT, minutes=0))
    await street.vtn.operator.request_reports(ann.ven_id, [once])
    await street.until(minutes=2)
    kinds = kinds_of(street.vtn.exchanges, "ven-ann")
    assert sorted(kinds[-2:]) == ["CreateReport", "UpdateReport"]
    assert street.vtn.received("UpdateReport") == 1
    assert street.vtn.service.stats().rejected == 0


async def test_reregistration_and_cancellation_by_the_vtn(street: Street) -> None:
    ann = await street.open("ann", rejoin_after=timedelta(minutes=10))
    await street.until(minutes=1)
    former = ann.session.registration_id
    await street.vtn.operator.request_reregistration(ann.ven_id)
    await street.until(minutes=2)
    assert street.vtn.received("CreatePartyRegistration") == 2
    assert ann.session.registration_id == former
    await street.vtn.operator.cancel_registration(ann.ven_id)
    await street.until(minutes=3)
    assert not street.vtn.view("ann").registered
    assert ann.session.registration_id is None
    await street.until(minutes=13)
    assert ann.session.state is State.OPERATIONAL
    assert street.vtn.view("ann").given_up == ()


async def test_pull_and_push_side_by_side(street: Street) -> None:
    ann = await street.open("ann")
    ben = await street.open("ben", push=False, idle_poll=timedelta(seconds=30), poll_jitter=0.0)
    await street.until(minutes=1)
    await street.vtn.operator.publish_events([offer("e1", "ann", "ben")])
    await street.until(minutes=1, milliseconds=1)
    assert ann.home.holds() == ("e1",)
    await street.until(minutes=2)
    assert ben.home.holds() == ("e1",)
    assert set(street.vtn.operator.opts("e1")) == {ann.ven_id, ben.ven_id}
    assert street.vtn.received("Poll") > 0
    assert "Poll" not in kinds_of(street.vtn.exchanges, "ven-ann")


async def test_a_poll_of_a_push_ven_is_refused(street: Street) -> None:
    ann = await street.open("ann")
    await street.until(minutes=1)
    client = HttpPull(street.vtn.server.url, now=street.clock.now)
    poll = m.Poll(ven_id=ann.ven_id)
    reply = await client.exchange(service_of(poll), poll)
    await client.close()
    assert isinstance(reply, m.Response)
    assert reply.response.code == "459"


# --- trouble ------------------------------------------------------------------------------------------------


async def test_a_ven_that_is_down_gets_it_when_it_is_up_again(street: Street) -> None:
    ann = await street.open("ann")
    await street.until(minutes=1)
    assert ann.listener is not None
    port = int(ann.listener.url.split(":")[2].split("/")[0])
    await ann.listener.close()
    await street.vtn.operator.publish_events([offer("e1", "ann")])
    await street.vtn.operator.request_reports(ann.ven_id, [meter()])
    await street.until(minutes=1, seconds=20)
    assert ann.home.holds() == ()
    assert street.vtn.sent("DistributeEvent") + street.vtn.sent("CreateReport") >= 4  # at 0, 1, 3, 7, 15 s

    again = await listen(port=port, prefix="/ann")
    again.attach(ann.client)
    ann.listener = again
    await street.until(minutes=2)
    assert ann.home.holds() == ("e1",)
    assert ann.ven_id in street.vtn.operator.opts("e1")
    assert street.vtn.view("ann").requests[0].acknowledged
    assert street.vtn.view("ann").given_up == ()


async def test_it_gives_up_visibly(scripted: ScriptedVen) -> None:
    vtn = await Vtn(SimClock(T0), settings=replace(SETTINGS, max_push_deliveries=3)).start()
    street = Street(vtn)
    await vtn.announce("ann")
    await enrol(street, "ann", scripted.url)
    scripted.reply = m.RegisteredReport(response=m.EiResponse(code="200", request_id="whatever"))
    await street.until(minutes=1)
    assert vtn.view("ann").pending == 0
    scripted.statuses = [500] * 100
    scripted.seen.clear()
    await vtn.operator.publish_events([offer("e1", "ann")])
    await vtn.operator.request_reregistration(VenId("ven-ann"))
    await street.until(minutes=30)
    kinds = [type(each).__name__ for each in scripted.seen]
    assert sorted(kinds) == ["DistributeEvent"] * 3 + ["RequestReregistration"] * 3
    assert {each.what for each in vtn.view("ann").given_up} == {
        "DistributeEvent",
        "oadrRequestReregistration",
    }
    assert vtn.view("ann").unanswered_events == ("e1",)
    scripted.statuses = []
    scripted.reply = None
    await vtn.operator.modify_event("e1", signals=(price_signal((9, 9, 9, 9, 9, 9)),))
    await street.until(minutes=31)
    assert isinstance(scripted.seen[-1], m.DistributeEvent)
    await street.close()


@pytest.mark.parametrize("status", [404, 406, 501])
async def test_what_is_pointless_is_not_repeated(street: Street, scripted: ScriptedVen, status: int) -> None:
    await enrol(street, "ann", scripted.url)
    scripted.statuses = [status]  # for our metadata
    await street.until(minutes=30)
    assert [type(each).__name__ for each in scripted.seen] == ["RegisterReport"]
    (given_up,) = street.vtn.view("ann").given_up
    assert (given_up.what, given_up.reason) == ("oadrRegisterReport", f"HTTP status {status}")
    scripted.statuses = [status]
    await street.vtn.operator.publish_events([offer("e1", "ann")])
    await street.until(minutes=59)
    assert [type(each).__name__ for each in scripted.seen] == ["RegisterReport", "DistributeEvent"]


async def test_requests_as_the_profile_wants_them(street: Street, scripted: ScriptedVen) -> None:
    scripted.reply = m.RegisteredReport(response=m.EiResponse(code="200", request_id=""))
    await enrol(street, "ann", scripted.url)
    await street.until(seconds=1)
    assert scripted.paths == ["/base/OpenADR2/Simple/2.0b/EiReport"]
    (headers,) = scripted.requests
    assert headers["content-type"] == "application/xml"
    assert int(headers["content-length"]) > 0
    assert not {"transfer-encoding", "content-encoding", "accept-encoding"} & set(headers)
    assert isinstance(scripted.seen[0], m.RegisterReport)
    assert scripted.seen[0].ven_id == "ven-ann"


async def test_back_off_doubles_with_jitter(street: Street, scripted: ScriptedVen) -> None:
    scripted.now = street.clock.now
    await enrol(street, "ann", scripted.url)
    scripted.statuses = [500] * 4
    await street.until(seconds=29)  # before an unanswered item would be due for its own sake
    assert [type(each).__name__ for each in scripted.seen[:2]] == ["RegisterReport"] * 2
    waits = [round(b - a, 1) for a, b in pairwise(scripted.times)]
    assert len(waits) == 4
    for wait, expected in zip(waits, (1, 2, 4, 8), strict=True):
        assert 0.85 * expected <= wait <= 1.15 * expected


async def test_a_set_that_failed_goes_out_again_though_it_wants_no_answer(
    street: Street, scripted: ScriptedVen
) -> None:
    scripted.now = street.clock.now
    scripted.reply = m.RegisteredReport(response=m.EiResponse(code="200", request_id=""))
    await enrol(street, "ann", scripted.url)
    await street.until(seconds=60)
    scripted.seen.clear()
    scripted.reply, scripted.statuses = None, [500, 500]
    await street.vtn.operator.publish_events([offer("e1", "ann", required=ResponseRequired.NEVER)])
    await street.until(seconds=80)
    assert [type(each).__name__ for each in scripted.seen] == ["DistributeEvent"] * 3
    await street.until(minutes=30)
    assert len(scripted.seen) == 3


async def test_what_was_in_flight_at_the_end_goes_out_at_the_start(
    street: Street, scripted: ScriptedVen
) -> None:
    scripted.hold = asyncio.Event()
    await enrol(street, "ann", scripted.url)
    await asyncio.wait_for(scripted.entered.wait(), 20)
    await street.vtn.stop()  # in the middle of the exchange
    scripted.hold.set()
    scripted.hold = None
    scripted.reply = m.RegisteredReport(response=m.EiResponse(code="200", request_id=""))
    await street.vtn.start()
    await street.until(seconds=1)
    assert len(scripted.seen) == 2
    assert street.vtn.view("ann").pending == 0


async def test_retry_after_is_respected(street: Street, scripted: ScriptedVen) -> None:
    await enrol(street, "ann", scripted.url)
    scripted.statuses = [503]
    scripted.headers = {"Retry-After": "120"}
    await street.until(seconds=119)
    assert len(scripted.seen) == 1
    scripted.headers = {}
    await street.until(seconds=121)
    assert len(scripted.seen) == 2


async def test_an_error_code_ends_it_and_a_response_to_events_is_tolerated(
    street: Street, scripted: ScriptedVen
) -> None:
    scripted.reply = m.RegisteredReport(response=m.EiResponse(code="452", request_id=""), ven_id="ven-ann")
    await enrol(street, "ann", scripted.url)
    await street.until(minutes=1)
    (given_up,) = street.vtn.view("ann").given_up
    assert given_up.reason == "answered with 452"
    scripted.reply = m.Response(response=m.EiResponse(code="200", request_id=""), ven_id="ven-ann")
    never = ResponseRequired.NEVER
    await street.vtn.operator.publish_events([offer("e1", "ann", required=never)])
    await street.until(minutes=2)
    assert street.vtn.operator.fetched("e1")[VenId("ven-ann")].modification_number == 0
    scripted.reply = m.Response(response=m.EiResponse(code="463", request_id=""), ven_id="ven-ann")
    await street.vtn.operator.publish_events([offer("e2", "ann", required=never)])
    await street.until(minutes=30)
    assert VenId("ven-ann") not in street.vtn.operator.fetched("e2")
    assert street.vtn.view("ann").given_up[-1].reason == "answered with 463"
    assert len(scripted.seen) == 3


async def test_a_reply_in_another_name_is_not_taken(street: Street, scripted: ScriptedVen) -> None:
    scripted.reply = m.RegisteredReport(response=m.EiResponse(code="200", request_id=""), ven_id="ven-ben")
    await enrol(street, "ann", scripted.url)
    await street.until(seconds=1)
    assert street.vtn.view("ann").pending == 1


async def test_a_dead_ven_delays_nobody(scripted: ScriptedVen) -> None:
    """A VEN that takes the request and never answers, on the wall clock of its time-out."""
    vtn = await Vtn(SimClock(T0)).start()
    street = Street(vtn)
    await vtn.announce("ann", "ben")
    await vtn.dispatcher.close()
    # an exchange that hangs must not hold simulated time here: its worker is not counted
    clock = _Frozen()
    vtn.dispatcher = PushDispatcher(vtn.service, clock, random.Random(3), limits=vtn.limits)
    vtn.dispatcher.start()
    ann = await street.open("ann")
    scripted.hold = asyncio.Event()
    await enrol(street, "ben", scripted.url)
    await asyncio.wait_for(scripted.entered.wait(), 20)
    await street.until(seconds=30)
    await vtn.operator.publish_events([offer("e1", "ann", "ben")])
    async with asyncio.timeout(20):
        while ann.home.holds() != ("e1",):
            await asyncio.sleep(0.01)
    assert not scripted.hold.is_set()
    await street.close()


async def test_many_silent_vens_delay_nobody(scripted: ScriptedVen) -> None:
    """Three that take their requests and never answer, and one exchange at a time: the fourth is served."""
    vtn = await Vtn(SimClock(T0)).start()
    street = Street(vtn)
    silent = ("ben", "cat", "dan")
    await vtn.announce("ann", *silent)
    await vtn.dispatcher.close()
    limits = PushLimits(timeout_s=60.0, exchanges=2, doubtful_exchanges=1, slow_s=0.05)
    vtn.dispatcher = PushDispatcher(vtn.service, _Frozen(), random.Random(3), limits=limits)
    vtn.dispatcher.start()
    ann = await street.open("ann")
    scripted.hold = asyncio.Event()
    for name in silent:
        await enrol(street, name, scripted.url)
    slow = Limit.PUSH_SLOW
    async with asyncio.timeout(20):
        while level(vtn, slow) < len(silent):
            await asyncio.sleep(0.01)
    await street.until(seconds=30)
    await vtn.operator.publish_events([offer("e1", "ann", *silent)])
    async with asyncio.timeout(20):
        while ann.home.holds() != ("e1",):
            await asyncio.sleep(0.01)
    assert level(vtn, slow) == len(silent)
    await street.close()


def level(vtn: Vtn, limit: Limit) -> int:
    return next(each.now or 0 for each in vtn.service.stats().levels if each.limit is limit)


async def test_doubtful_vens_do_not_take_all_exchanges(scripted: ScriptedVen) -> None:
    vtn = await Vtn(SimClock(T0)).start()
    street = Street(vtn)
    await vtn.announce("ann", "ben")
    await vtn.dispatcher.close()
    limits = PushLimits(timeout_s=60.0, exchanges=2, doubtful_exchanges=1)
    vtn.dispatcher = PushDispatcher(vtn.service, _Leaping(), random.Random(3), limits=limits)
    vtn.dispatcher.start()
    scripted.statuses = [500]
    await enrol(street, "ben", scripted.url)
    async with asyncio.timeout(20):
        while scripted.statuses:
            await asyncio.sleep(0.01)
    scripted.hold = asyncio.Event()
    scripted.entered.clear()
    await asyncio.wait_for(scripted.entered.wait(), 20)  # the second attempt hangs
    ann = await street.open("ann")
    await street.until(seconds=30)
    await vtn.operator.publish_events([offer("e1", "ann")])
    async with asyncio.timeout(20):
        while ann.home.holds() != ("e1",):
            await asyncio.sleep(0.01)
    await street.close()


class _Leaping:
    """A clock on which short sleeps are over at once, and long ones never."""

    def __init__(self) -> None:
        self._now = after(seconds=30)

    def now(self) -> datetime:
        return self._now

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        if when - self._now > timedelta(minutes=10):
            await asyncio.Event().wait()
        await asyncio.sleep(0.01)
        self._now = max(self._now, when)


class _Frozen:
    """A clock that stands still: whoever sleeps on it is only ever woken."""

    def now(self) -> datetime:
        return after(seconds=30)

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        await asyncio.Event().wait()


async def test_a_restart_delivers_what_waits(tmp_path: Path) -> None:
    clock = SimClock(T0)
    vtn = Vtn(clock, store=open_store(str(tmp_path / "vtn.sqlite")))
    await vtn.start()
    await vtn.announce("ann")
    street = Street(vtn)
    ann = await street.open("ann")
    await street.until(minutes=1)
    assert ann.listener is not None
    port = int(ann.listener.url.split(":")[2].split("/")[0])
    await ann.listener.close()
    await vtn.operator.publish_events([offer("e1", "ann")])
    await vtn.operator.request_reports(ann.ven_id, [meter()])
    await street.until(minutes=1, seconds=5)
    assert vtn.view("ann").pending == 1
    await vtn.stop()
    await vtn.store.close()

    vtn.store = open_store(str(tmp_path / "vtn.sqlite"))
    ann.listener = await listen(port=port, prefix="/ann")
    ann.listener.attach(ann.client)
    await vtn.start()
    await street.until(minutes=1, seconds=6)
    assert ann.home.holds() == ("e1",)
    assert vtn.view("ann").pending == 0
    assert vtn.view("ann").requests[0].acknowledged
    assert vtn.received("CreatePartyRegistration") == 0  # it did not have to register again
    await street.close()
    await vtn.store.close()
