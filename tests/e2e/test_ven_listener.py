"""The listener of a push VEN on a real loopback socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from certs.connections import ConnectionLimits
from schemas.oadr20b import model as m
from schemas.oadr20b import simple_http, wire
from tests.unit.ven.ven_fakes import OK, create_report, distribute, request
from ven_client.listener import Incoming, Limits, Listener, listen

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

XML = {"Content-Type": "application/xml"}
PATH = "/ven/OpenADR2/Simple/2.0b/"
EVENTS = wire.write(distribute())
CREATE = wire.write(create_report(request()))


class FakeVen:
    """Takes messages, replies by script, and counts its wakes."""

    def __init__(self) -> None:
        self.seen: list[m.AnyMessage] = []
        self.reply: m.AnyMessage | None = None
        self.error: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.woken = 0

    async def receive(self, message: m.AnyMessage) -> m.AnyMessage | None:
        self.seen.append(message)
        self.entered.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        return self.reply

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
def ven() -> FakeVen:
    return FakeVen()


@pytest.fixture
def log() -> list[Incoming]:
    return []


@pytest.fixture
async def listener(ven: FakeVen, log: list[Incoming]) -> AsyncIterator[Listener]:
    limits = Limits(max_bytes=20_000, read_timeout_s=0.05, requests=1)
    running = await listen(prefix="ven/", limits=limits, observer=log.append)
    running.attach(ven)
    yield running
    await running.close()


@pytest.fixture
async def client(listener: Listener) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(listener.url.removesuffix("/ven")) as session:
        yield session


async def test_events_get_an_empty_200(client: aiohttp.ClientSession, ven: FakeVen) -> None:
    async with client.post(PATH + "EiEvent", data=EVENTS, headers=XML) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.headers["Content-Length"] == "0"
    assert isinstance(ven.seen[0], m.DistributeEvent)
    assert ven.woken == 1


async def test_a_reply_in_the_same_exchange(
    client: aiohttp.ClientSession, ven: FakeVen, log: list[Incoming]
) -> None:
    ven.reply = m.CreatedReport(response=OK, ven_id="ven-1")
    async with client.post(PATH + "EiReport", data=CREATE, headers=XML) as answer:
        body = await answer.read()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/xml"
        assert int(answer.headers["Content-Length"]) == len(body)
        assert "Transfer-Encoding" not in answer.headers
    assert wire.read(body) == ven.reply
    assert [(each.http_status, each.response) for each in log] == [(200, body)]


@pytest.mark.parametrize(
    ("method", "path", "content_type", "status"),
    [
        ("GET", PATH + "EiEvent", "application/xml", 501),
        ("PUT", PATH + "EiEvent", "application/xml", 501),
        ("POST", PATH + "OadrPoll", "application/xml", 404),
        ("POST", PATH + "EiOpt", "application/xml", 404),
        ("POST", PATH + "eievent", "application/xml", 404),
        ("POST", "/OpenADR2/Simple/2.0b/EiEvent", "application/xml", 404),
        ("POST", PATH + "EiEvent", "text/xml", 406),
        ("POST", PATH + "EiEvent", "application/xml; charset=latin-1", 406),
        ("POST", PATH + "EiEvent", "application/xml; charset=utf-8", 200),
        ("POST", PATH + "EiEvent/", "application/xml", 200),
    ],
)
async def test_paths_methods_and_types(
    client: aiohttp.ClientSession, method: str, path: str, content_type: str, status: int
) -> None:
    async with client.request(method, path, data=EVENTS, headers={"Content-Type": content_type}) as answer:
        assert answer.status == status


@pytest.mark.parametrize(
    ("body", "status"), [(b"<oops", 406), (b"x" * 20_001, 413), (EVENTS.replace(b"vtnID", b"vtID"), 406)]
)
async def test_bad_bodies(client: aiohttp.ClientSession, ven: FakeVen, body: bytes, status: int) -> None:
    async with client.post(PATH + "EiEvent", data=body, headers=XML) as answer:
        assert answer.status == status
    assert ven.seen == []


async def test_the_wrong_service_is_453(client: aiohttp.ClientSession, ven: FakeVen) -> None:
    async with client.post(PATH + "EiEvent", data=CREATE, headers=XML) as answer:
        reply = wire.read(await answer.read())
    assert isinstance(reply, m.CreatedReport)
    assert reply.response.code == "453"
    assert ven.seen == []


async def test_a_body_that_does_not_come(listener: Listener) -> None:
    host, port = listener.url.removeprefix("http://").removesuffix("/ven").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {PATH}EiEvent HTTP/1.1\r\nHost: x\r\nContent-Type: application/xml\r\n"
    writer.write(f"{head}Content-Length: 9\r\n\r\n".encode())
    assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_too_many_at_once(client: aiohttp.ClientSession, ven: FakeVen) -> None:
    ven.hold = asyncio.Event()
    first = asyncio.ensure_future(client.post(PATH + "EiEvent", data=EVENTS, headers=XML))
    await asyncio.wait_for(ven.entered.wait(), 20)
    async with client.post(PATH + "EiEvent", data=EVENTS, headers=XML) as answer:
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
    ven.hold.set()
    assert (await first).status == 200


async def test_a_fault_of_ours_is_500_and_the_listener_goes_on(
    client: aiohttp.ClientSession, ven: FakeVen
) -> None:
    ven.error = RuntimeError("boom")
    async with client.post(PATH + "EiEvent", data=EVENTS, headers=XML) as answer:
        assert answer.status == 500
    ven.error = None
    async with client.post(PATH + "EiEvent", data=EVENTS, headers=XML) as answer:
        assert answer.status == 200


async def test_nobody_attached() -> None:
    running = await listen()
    async with (
        aiohttp.ClientSession() as client,
        client.post(running.url + "/OpenADR2/Simple/2.0b/EiEvent", data=EVENTS, headers=XML) as answer,
    ):
        assert answer.status == 503
    await running.close()


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("//a///b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/x/../b", "/a/b"),
        ("/../a/b", "/a/b"),
        ("/%61/b", "/a/b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a/%2e/b", "/a/b"),
        ("/a/b%zz", "/a/b%zz"),
        ("/A/b", "/A/b"),
        ("/", "/"),
    ],
)
def test_r511_paths_are_normalised_alike_on_both_sides(raw: str, normal: str) -> None:
    assert simple_http.normal_path(raw) == normal


@contextlib.asynccontextmanager
async def bounded(bounds: ConnectionLimits) -> AsyncIterator[int]:
    running = await listen(limits=Limits(connections=bounds))
    running.attach(FakeVen())
    yield int(running.url.rpartition(":")[2])
    await running.close()


async def test_a_slow_head_is_cut_off() -> None:
    async with bounded(ConnectionLimits(head_s=0.05)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /OpenADR2/Simple/2.0b/EiEvent HTTP/1.1\r\n")
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_too_many_connections_of_an_address() -> None:
    async with bounded(ConnectionLimits(connections=10, per_address=2, head_s=300)) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
        assert not any(each.at_eof() for each, _ in held)
        for each in (writer, *(writer for _, writer in held)):
            each.close()
