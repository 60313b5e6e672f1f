"""The VEN's shell over real HTTP, against a tiny VTN that answers by script."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import pytest
from aiohttp import web

from feederloop.clock import SimClock
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import TransportError
from schemas.oadr20b.xmltypes import Duration
from tests.unit.ven.ven_fakes import (
    FAST,
    NOTHING,
    T0,
    FakeHome,
    after,
    create_report,
    distribute,
    event,
    ids,
    kinds,
    only,
    request,
    usual_reply,
)
from ven_client.client import VenClient
from ven_client.session import Session, State
from ven_client.settings import VenConfig
from ven_client.transport import Exchange, HttpPull

pytestmark = pytest.mark.e2e

Trouble = web.Response | str
"""An answer to give instead of a message: a response, or ``cut`` to close the connection without one."""


class ScriptedVtn:
    """Answers polls from a list, everything else as a VTN with nothing to say would."""

    def __init__(self) -> None:
        self.items: list[m.AnyMessage] = []
        self.replies: dict[type[m.Message], m.AnyMessage] = {}
        self.trouble: list[Trouble] = []
        self.seen: list[m.AnyMessage] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.peers: set[object] = set()
        self.url = ""

    async def handle(self, http: web.Request) -> web.StreamResponse:
        self.paths.append(http.path)
        self.headers.append({name.lower(): value for name, value in http.headers.items()})
        assert http.transport is not None
        self.peers.add(http.transport.get_extra_info("peername"))
        message = wire.read(await http.read())
        if self.trouble:
            trouble = self.trouble.pop(0)
            if isinstance(trouble, web.Response):
                return trouble
            http.transport.close()
            raise asyncio.CancelledError
        self.seen.append(message)
        if isinstance(message, m.Poll) and self.items:
            reply = self.items.pop(0)
        else:
            reply = self.replies.get(type(message)) or usual_reply(message)
        return web.Response(body=wire.write(reply), content_type="application/xml")


@pytest.fixture
async def vtn() -> AsyncIterator[ScriptedVtn]:
    script = ScriptedVtn()
    app = web.Application()
    app.router.add_post("/{path:.*}", script.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    script.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield script
    await runner.cleanup()


class Rig:
    """One VEN in simulated time."""

    def __init__(self, vtn: ScriptedVtn, home: FakeHome, config: VenConfig) -> None:
        self.clock = SimClock(T0)
        self.log: list[Exchange] = []
        self.transport = HttpPull(vtn.url, now=self.clock.now, observer=self.log.append)
        self.session = Session(config, home, ids(), random.Random(1).uniform)
        self.client = VenClient(self.session, self.transport, home, self.clock, random.Random(2))

    async def run(self, until: timedelta) -> None:
        """Let time pass up to T0 + until, then stop."""
        task = self.clock.spawn(self.client.run(), "ven")
        try:
            await self.clock.run(T0 + until)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self.client.close()

    def times(self, service: ServiceName) -> list[float]:
        """When messages were sent to a service, seconds after T0."""
        return [(e.sent_at - T0).total_seconds() for e in self.log if e.service is service]


Start = Callable[..., Rig]


@pytest.fixture
def start(vtn: ScriptedVtn) -> Start:
    def make(home: FakeHome | None = None, **settings: object) -> Rig:
        values: dict[str, object] = {"ven_name": "home-1", "poll_jitter": 0.0, **settings}
        return Rig(vtn, home or FakeHome(), VenConfig(**values))  # type: ignore[arg-type]  # settings by name

    return make


async def test_bootstrap_in_order_over_http(vtn: ScriptedVtn, start: Start) -> None:
    vtn.items = [m.RegisterReport(request_id="v1", ven_id="ven-1")]
    rig = start()
    await rig.run(timedelta(seconds=1))
    assert kinds(vtn.seen) == [
        "CreatePartyRegistration",
        "RegisterReport",
        "Poll",
        "RegisteredReport",
        "RequestEvent",
        "Poll",
    ]
    assert rig.session.state is State.OPERATIONAL
    base = "/OpenADR2/Simple/2.0b"
    assert vtn.paths[:3] == [f"{base}/EiRegisterParty", f"{base}/EiReport", f"{base}/OadrPoll"]
    assert vtn.paths[4] == f"{base}/EiEvent"


async def test_r53_headers_and_one_connection(vtn: ScriptedVtn, start: Start) -> None:
    await start().run(timedelta(minutes=10))
    assert len(vtn.peers) == 1
    for headers in vtn.headers:
        assert headers["content-type"] == "application/xml"
        assert int(headers["content-length"]) > 0
        assert "transfer-encoding" not in headers
        assert "accept-encoding" not in headers


async def test_poll_opt_and_periodic_report(vtn: ScriptedVtn, start: Start) -> None:
    home = FakeHome()
    vtn.items = [create_report(request(start=T0)), distribute(event())]
    vtn.replies[m.RequestEvent] = distribute(event(), request_id="d0")
    rig = start(home)
    await rig.run(timedelta(minutes=21))
    assert home.holds() == ("e1",)
    answers = [a for c in only(vtn.seen, m.CreatedEvent) for a in c.event_responses or ()]
    assert sorted(answer.request_id for answer in answers) == ["d0", "d1"]
    updates = only(vtn.seen, m.UpdateReport)
    assert [u.reports[0].dtstart for u in updates] == [T0, after(minutes=10)]
    sent = {e.sent_at for e in rig.log if e.request == wire.write(updates[0])}
    assert sent == {after(minutes=10)}


async def test_polls_fast_while_a_real_time_price_runs(vtn: ScriptedVtn, start: Start) -> None:
    price = event(context=FAST, start=after(minutes=4), duration=Duration(minutes=1), always=False)
    vtn.replies[m.RequestEvent] = distribute(price)
    rig = start(fast_contexts=(FAST,))
    await rig.run(timedelta(minutes=7))
    polls = sorted(set(rig.times(ServiceName.OADR_POLL)))
    assert polls == [0, 60, 120, *range(150, 300, 10), 350, 410]


async def test_home_and_reports_go_on_while_the_vtn_is_away(vtn: ScriptedVtn, start: Start) -> None:
    home = FakeHome(period=timedelta(seconds=30))
    vtn.items = [create_report(request(back=Duration(minutes=1), granularity=Duration(minutes=1)))]
    rig = start(home)
    task = rig.clock.spawn(rig.client.run(), "ven")
    await rig.clock.run(after(seconds=30))
    vtn.trouble = [web.Response(status=503) for _ in range(6)]
    await rig.clock.run(after(minutes=4))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await rig.client.close()
    assert home.on_times == [after(seconds=30 * k) for k in range(9)]
    assert [window.start for _, window in home.windows] == [after(minutes=k) for k in range(4)]
    starts = [report.dtstart for update in only(vtn.seen, m.UpdateReport) for report in update.reports]
    assert starts == [after(minutes=k) for k in range(4)]  # every one, in order
    stats = rig.transport.stats()
    assert stats.http_errors == (("503", 6),)
    assert stats.failures == 6


async def test_h5_back_off_doubles_with_jitter(vtn: ScriptedVtn, start: Start) -> None:
    vtn.trouble = [web.Response(status=503) for _ in range(5)]
    rig = start(request_attempts=100)
    await rig.run(timedelta(minutes=1))
    tries = rig.times(ServiceName.EI_REGISTER_PARTY)
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    for pause, expected in zip(pauses, (1, 2, 4, 8, 16), strict=True):
        assert 0.9 * expected <= pause <= 1.1 * expected
    assert len(set(pauses)) == 5
    assert rig.session.state is State.OPERATIONAL


async def test_h5_back_off_starts_anew_after_a_success(vtn: ScriptedVtn, start: Start) -> None:
    rig = start()
    rig.clock.spawn(_busy_at(rig, vtn, 50), "busy")
    rig.clock.spawn(_busy_at(rig, vtn, 150), "busy again")
    await rig.run(timedelta(seconds=240))
    tries = rig.times(ServiceName.OADR_POLL) + rig.times(ServiceName.EI_EVENT)
    second = sorted(when for when in tries if when >= 150)[:4]
    pauses = [later - earlier for earlier, later in pairwise(second)]
    for pause, expected in zip(pauses, (1, 2, 4), strict=True):
        assert 0.9 * expected <= pause <= 1.1 * expected


async def _busy_at(rig: Rig, vtn: ScriptedVtn, second: int) -> None:
    await rig.clock.sleep_until(after(seconds=second), 0, "busy")
    vtn.trouble = [web.Response(status=503) for _ in range(3)]


async def test_closed_kept_alive_connection_is_replaced_at_once(vtn: ScriptedVtn, start: Start) -> None:
    rig = start()
    rig.clock.spawn(_cut_at(rig, vtn, 90), "cutter")
    await rig.run(timedelta(seconds=200))
    assert len(vtn.peers) == 2
    assert rig.times(ServiceName.OADR_POLL)[-2:] == [120, 180]  # no back-off
    stats = rig.transport.stats()
    assert (stats.reconnects, stats.failures) == (1, 0)
    assert "RequestEvent" not in kinds(vtn.seen)[4:]


async def _cut_at(rig: Rig, vtn: ScriptedVtn, second: int) -> None:
    await rig.clock.sleep_until(after(seconds=second), 0, "cutter")
    vtn.trouble = ["cut"]


async def test_lost_reply_leads_to_request_event(vtn: ScriptedVtn, start: Start) -> None:
    rig = start()
    rig.clock.spawn(_cut_twice_at(rig, vtn, 90), "cutter")
    await rig.run(timedelta(seconds=130))
    tail = kinds(vtn.seen)[-2:]
    assert tail == ["RequestEvent", "Poll"]
    assert rig.transport.stats().failures == 1


async def _cut_twice_at(rig: Rig, vtn: ScriptedVtn, second: int) -> None:
    await rig.clock.sleep_until(after(seconds=second), 0, "cutter")
    vtn.trouble = ["cut", "cut"]


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=404),
        web.Response(body=b"<html>hello", content_type="text/html"),
        web.Response(body=b""),
        web.Response(body=b"<!DOCTYPE a><a/>"),
        web.Response(status=302, headers={"Location": "/elsewhere"}),
    ],
    ids=["404", "html", "empty", "doctype", "redirect"],
)
async def test_anything_but_a_message_is_a_transport_error(vtn: ScriptedVtn, answer: web.Response) -> None:
    pull = HttpPull(vtn.url, now=lambda: T0)
    vtn.trouble = [web.Response(body=answer.body, status=answer.status, headers=answer.headers)]
    with pytest.raises(TransportError):
        await pull.exchange(ServiceName.OADR_POLL, m.Poll(ven_id="ven-1"))
    assert await pull.exchange(ServiceName.OADR_POLL, m.Poll(ven_id="ven-1")) == NOTHING
    await pull.close()
    assert pull.stats().failures == 1


async def test_unreachable_and_slow_peers_are_transport_errors(vtn: ScriptedVtn) -> None:
    poll = m.Poll(ven_id="ven-1")
    nobody = HttpPull("http://127.0.0.1:1", now=lambda: T0)
    with pytest.raises(TransportError) as unreachable:
        await nobody.exchange(ServiceName.OADR_POLL, poll)
    assert unreachable.value.http_status is None
    await nobody.close()
    hurried = HttpPull(vtn.url, now=lambda: T0, timeout_s=1e-6)
    with pytest.raises(TransportError):
        await hurried.exchange(ServiceName.OADR_POLL, poll)
    await hurried.close()


async def test_message_that_cannot_be_written_is_a_transport_error(vtn: ScriptedVtn) -> None:
    pull = HttpPull(vtn.url, now=lambda: T0)
    with pytest.raises(TransportError) as unwritable:
        await pull.exchange(ServiceName.OADR_POLL, m.Poll(ven_id="\0"))
    assert unwritable.value.http_status == 406
    assert vtn.seen == []
    await pull.close()


async def test_equal_poll_replies_are_read_once_and_changed_ones_again(vtn: ScriptedVtn) -> None:
    pull = HttpPull(vtn.url, now=lambda: T0)
    poll = m.Poll(ven_id="ven-1")
    first = await pull.exchange(ServiceName.OADR_POLL, poll)
    assert await pull.exchange(ServiceName.OADR_POLL, poll) is first
    unknown = m.Response(response=m.EiResponse(code="463", request_id=""))  # of the same length
    vtn.items = [unknown, distribute(event())]
    assert await pull.exchange(ServiceName.OADR_POLL, poll) == unknown
    assert await pull.exchange(ServiceName.OADR_POLL, poll) == distribute(event())
    assert await pull.exchange(ServiceName.OADR_POLL, poll) == NOTHING
    await pull.close()


async def test_statistics_and_log(vtn: ScriptedVtn) -> None:
    log: list[Exchange] = []
    pull = HttpPull(vtn.url, now=lambda: T0, observer=log.append)
    poll = m.Poll(ven_id="ven-1")
    vtn.replies[m.Poll] = m.Response(response=m.EiResponse(code="463", request_id=""))
    await pull.exchange(ServiceName.OADR_POLL, poll)
    await pull.close()
    body = wire.write(vtn.replies[m.Poll])
    assert log == [
        Exchange(
            sent_at=T0,
            service=ServiceName.OADR_POLL,
            request=wire.write(poll),
            response=body,
            http_status=200,
        )
    ]
    stats = pull.stats()
    assert (stats.sent, stats.received) == ((("Poll", 1),), (("Response", 1),))
    assert stats.application_errors == (("463", 1),)
    assert (stats.bytes_sent, stats.bytes_received) == (len(wire.write(poll)), len(body))


async def test_unanswered_message_of_a_cancelled_client_is_not_forgotten(vtn: ScriptedVtn) -> None:
    """Cancelled in the middle of its registration, the client registers when it runs again."""
    entered = asyncio.Event()

    class Hanging:
        async def exchange(self, service: ServiceName, message: m.AnyMessage) -> m.AnyMessage:
            del service, message
            entered.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        async def close(self) -> None: ...

    clock = SimClock(T0)
    home = FakeHome()
    session = Session(VenConfig(ven_name="home-1"), home, ids(), random.Random(1).uniform)
    task = clock.spawn(VenClient(session, Hanging(), home, clock, random.Random(2)).run(), "ven")
    await entered.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert str(session.state) == "unregistered"
    pull = HttpPull(vtn.url, now=clock.now)
    again = clock.spawn(VenClient(session, pull, home, clock, random.Random(2)).run(), "ven")
    await clock.run(after(seconds=1))
    again.cancel()
    with suppress(asyncio.CancelledError):
        await again
    await pull.close()
    assert session.state is State.OPERATIONAL


async def test_lockstep_gives_the_same_traffic_twice(vtn: ScriptedVtn) -> None:
    async def hour(seed: int) -> list[list[tuple[float, bytes]]]:
        clock = SimClock(T0)
        logs: list[list[Exchange]] = []
        tasks, pulls = [], []
        for number in range(4):
            home = FakeHome(period=timedelta(minutes=10))
            logs.append([])
            pull = HttpPull(vtn.url, now=clock.now, observer=logs[-1].append)
            rng = random.Random(f"{seed}-{number}")
            session = Session(VenConfig(ven_name=f"home-{number}"), home, ids(), rng.uniform)
            tasks.append(clock.spawn(VenClient(session, pull, home, clock, rng).run(), f"ven-{number}"))
            pulls.append(pull)
        await clock.run(after(hours=1))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pull in pulls:
            await pull.close()
        return [[((e.sent_at - T0).total_seconds(), e.request) for e in log] for log in logs]

    first = await hour(1)
    assert first == await hour(1)
    assert first != await hour(2)
    assert all(len(log) > 55 for log in first)
