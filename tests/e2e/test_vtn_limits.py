"""Bounds of the VTN on real sockets: who finds one reached is told when to come back, others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp.test_utils import TestClient, TestServer

from certs.connections import ConnectionLimits
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from tests.unit.vtn.rig import ALICE, PT10M, SETTINGS, MemoryStore, Rig, draft, metadata, wanted
from vtn_server.api import application
from vtn_server.api_desk import Desk
from vtn_server.http import HttpServer, serve
from vtn_server.limits import Level, Limit, LimitReached
from vtn_server.outbox import MOST_QUEUED
from vtn_server.peers import ClaimedNames
from vtn_server.report import MOST_POINTS, MOST_REQUESTS
from vtn_server.settings import VtnSettings

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

PATH = "/OpenADR2/Simple/2.0b/OadrPoll"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/xml\r\n"
POLL = wire.write(m.Poll(ven_id=ALICE))
TOKEN = "a token of the operator"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@asynccontextmanager
async def serving(settings: VtnSettings) -> AsyncIterator[tuple[Rig, HttpServer]]:
    rig = await Rig(MemoryStore(), settings).start()
    await rig.register("alice")
    running = await serve(rig.service, peers=ClaimedNames())
    yield rig, running
    await running.close()


def level(rig: Rig, limit: Limit) -> Level:
    return next(each for each in rig.service.stats().levels if each.limit is limit)


async def status_of(server: HttpServer, sent: bytes) -> tuple[bytes, bytes]:
    """Return the status line and the other lines of the head that answers some bytes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(sent)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    writer.close()
    first, _, rest = head.partition(b"\r\n")
    return first, rest


async def until(rig: Rig, limit: Limit, now: int) -> None:
    async with asyncio.timeout(20):
        while level(rig, limit).now != now:
            await asyncio.sleep(0)


async def test_bodies_that_dawdle_do_not_fill_memory() -> None:
    settings = replace(SETTINGS, max_bytes=10_000, max_bytes_at_once=15_000)
    async with serving(settings) as (rig, server):
        reader, slow = await asyncio.open_connection(server.host, server.port)
        slow.write(f"{HEAD}Content-Length: 9000\r\n\r\n".encode() + POLL[:10])
        await until(rig, Limit.BODIES, 9000)
        first, rest = await status_of(server, f"{HEAD}Content-Length: 9000\r\n\r\n".encode())
        assert first.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1" in rest
        # one whose body is there with its head takes no part of the room, and a small one fits
        whole = f"{HEAD}Content-Length: {len(POLL)}\r\n\r\n".encode() + POLL
        assert (await status_of(server, whole))[0].startswith(b"HTTP/1.1 200")
        found = level(rig, Limit.BODIES)
        assert (found.most, found.reached) == (15_000, 1)
        slow.close()
        await until(rig, Limit.BODIES, 0)
        del reader


@pytest.mark.parametrize(
    "head", ["Transfer-Encoding: chunked", "Content-Length: 50\r\nContent-Encoding: gzip"]
)
async def test_a_body_of_unknown_length_counts_as_the_longest(head: str) -> None:
    settings = replace(SETTINGS, max_bytes=10_000, max_bytes_at_once=15_000)
    async with serving(settings) as (rig, server):
        _, slow = await asyncio.open_connection(server.host, server.port)
        slow.write(f"{HEAD}{head}\r\n\r\n".encode())
        await until(rig, Limit.BODIES, 10_000)
        slow.close()
        await until(rig, Limit.BODIES, 0)


async def test_requests_at_once_show_among_the_levels() -> None:
    async with serving(replace(SETTINGS, max_requests=1)) as (rig, server):
        _, slow = await asyncio.open_connection(server.host, server.port)
        slow.write(f"{HEAD}Content-Length: 9000\r\n\r\n".encode())
        await until(rig, Limit.REQUESTS, 1)
        first, rest = await status_of(server, f"{HEAD}Content-Length: 0\r\n\r\n".encode())
        assert first.startswith(b"HTTP/1.1 503")
        assert b"Retry-After" in rest
        assert level(rig, Limit.REQUESTS).reached == 1
        slow.close()


async def test_connections_beyond_the_bound_end_and_are_counted() -> None:
    limits = ConnectionLimits(connections=1)
    async with serving(replace(SETTINGS, connection_limits=limits)) as (rig, server):
        _, first = await asyncio.open_connection(server.host, server.port)
        await until(rig, Limit.CONNECTIONS, 1)
        reader, second = await asyncio.open_connection(server.host, server.port)
        assert await asyncio.wait_for(reader.read(), 20) == b""
        found = level(rig, Limit.CONNECTIONS)
        assert (found.now, found.most, found.reached) == (1, 1, 1)
        first.close()
        second.close()


# --- what waits for a VEN, and what is kept of it ----------------------------------------------------------


async def announced() -> Rig:
    rig = await Rig(MemoryStore(), SETTINGS).start()
    await rig.bootstrap("alice", (metadata(),))
    return rig


async def test_a_ven_that_never_polls_does_not_fill_its_queue() -> None:
    rig = await announced()
    for _ in range(MOST_QUEUED):
        await rig.operator.request_reregistration(ALICE)
    with pytest.raises(LimitReached, match="wait for"):
        await rig.operator.request_reregistration(ALICE)
    view = rig.operator.ven(ALICE)
    assert view is not None
    assert view.pending == MOST_QUEUED
    await rig.poll(ALICE, m.RequestReregistration)  # and it goes on


async def test_report_requests_to_one_ven_are_bounded() -> None:
    rig = await announced()
    some = [wanted()] * (MOST_REQUESTS // 2)
    await rig.operator.request_reports(ALICE, some)
    await rig.operator.request_reports(ALICE, some)
    with pytest.raises(LimitReached, match="report requests"):
        await rig.operator.request_reports(ALICE, [wanted()])


async def test_what_one_ven_can_announce_is_bounded() -> None:
    rig = await Rig(MemoryStore(), SETTINGS).start()
    await rig.register("alice")
    report = metadata()
    many = replace(
        report,
        descriptions=tuple(replace(report.descriptions[0], r_id=f"r{k}") for k in range(MOST_POINTS + 1)),
    )
    asked = m.RegisterReport(request_id="1", reports=(many,), ven_id=ALICE)
    await rig.send(asked, m.RegisteredReport, code="469")
    assert level(rig, Limit.POINTS).reached == 1
    ven = rig.service.memory.ven(ALICE)
    assert ven is not None
    assert ven.metadata == ()


async def test_open_events_are_bounded_and_make_room_when_they_are_over() -> None:
    rig = await Rig(MemoryStore(), replace(SETTINGS, max_events=2)).start()
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1"), draft("e2")])
    with pytest.raises(LimitReached, match="2 events are open"):
        await rig.operator.publish_events([draft("e3")])
    rig.wait(7 * 24 * 3600)
    later = replace(draft("e4"), dtstart=rig.now.replace(microsecond=0))
    await rig.operator.publish_events([later])
    assert level(rig, Limit.EVENTS).now == 1


# --- the operator API --------------------------------------------------------------------------------------


async def test_the_operator_is_told_to_come_back_too() -> None:
    rig = await announced()
    desk = Desk(operator=rig.operator, now=lambda: rig.now, new_id=lambda: "x", vtn_id="vtn-1", version="1")
    for _ in range(MOST_QUEUED):
        await rig.operator.request_reregistration(ALICE)
    async with TestClient(TestServer(application(desk, TOKEN))) as client:
        path = f"/operator/vens/{ALICE}/registration/reregister"
        async with client.post(path, headers=BEARER, json={}) as answer:
            assert answer.status == 503, await answer.text()
            assert answer.headers["Retry-After"] == "5"
            assert (await answer.json())["code"] == "unavailable"
        async with client.get("/metrics", headers=BEARER) as answer:
            text = await answer.text()
    assert f'feederloop_vtn_limit{{limit="queueOfVen"}} {float(MOST_QUEUED)}' in text
    assert 'feederloop_vtn_limit_reached_total{limit="queueOfVen"} 1.0' in text
    assert 'feederloop_vtn_level{limit="vens"}' in text
    assert 'feederloop_vtn_level{limit="queueOfVen"}' not in text  # a bound of each VEN has no level


async def test_requests_to_the_operator_api_are_bounded() -> None:
    rig = await announced()
    desk = Desk(operator=rig.operator, now=lambda: rig.now, new_id=lambda: "x", vtn_id="vtn-1", version="1")
    async with TestClient(TestServer(application(desk, TOKEN))) as client:
        assert level(rig, Limit.OPERATOR_REQUESTS).now == 0
        bodies = [asyncio.Event() for _ in range(level(rig, Limit.OPERATOR_REQUESTS).most)]

        async def slow(gate: asyncio.Event) -> AsyncIterator[bytes]:
            yield b"{"
            await gate.wait()
            yield b"}"

        posts = [
            asyncio.ensure_future(client.post("/operator/events", headers=BEARER, data=slow(each)))
            for each in bodies
        ]
        await until(rig, Limit.OPERATOR_REQUESTS, len(bodies))
        async with client.get("/operator/stats", headers=BEARER) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "5"
        for each in bodies:
            each.set()
        for post in posts:
            answer = await post
            assert answer.status in (400, 422)
            answer.release()
        async with client.get("/operator/stats", headers=BEARER) as answer:
            assert answer.status == 200


async def test_versions_of_one_event_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtn_server.event.MOST_VERSIONS", 3)
    rig = await Rig(MemoryStore(), SETTINGS).start()
    await rig.bootstrap("alice")
    (record,) = await rig.operator.publish_events([draft("e1")])

    def other(value: float) -> tuple[m.EventSignal, ...]:
        signal = record.signals[0]
        first = signal.intervals[0]
        changed = m.Interval.of_signal(0, first.duration or PT10M, value)
        return (replace(signal, intervals=(replace(changed, uid=first.uid), *signal.intervals[1:])),)

    await rig.operator.modify_event("e1", signals=other(0.5))
    await rig.operator.modify_event("e1", signals=other(0.6))
    with pytest.raises(LimitReached, match="3 versions"):
        await rig.operator.modify_event("e1", signals=other(0.7))
    assert rig.operator.event("e1") is not None
