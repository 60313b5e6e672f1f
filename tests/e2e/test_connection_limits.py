"""How many connections a VTN takes, how slow they may be, and that it goes on serving everybody else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from certs.connections import Admission, Closed, ConnectionLimits
from certs.pki import Role
from feederloop.process import run_loop
from tests.e2e.tls_parties import HOST, make_parties, server, wall
from tests.unit.vtn.rig import SETTINGS, MemoryStore, Rig
from vtn_server.http import HttpServer, serve
from vtn_server.peers import ClaimedNames, TlsPeers

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

POST = b"POST /OpenADR2/Simple/2.0b/OadrPoll HTTP/1.1\r\nHost: x\r\nContent-Type: application/xml\r\n"


class Vtn:
    """A VTN with plain HTTP and tight limits."""

    def __init__(self, rig: Rig, running: HttpServer) -> None:
        self.rig = rig
        self.port = running.port
        self.url = running.url

    def closed(self, why: Closed) -> int:
        return dict(self.rig.service.stats().closed).get(why, 0)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(HOST, self.port)

    async def serves(self) -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/health") as response:
            return response.status == 200


@asynccontextmanager
async def running(
    limits: ConnectionLimits, exempt: Callable[[str], bool] = lambda address: False
) -> AsyncIterator[Vtn]:
    rig = await Rig(MemoryStore(), replace(SETTINGS, connection_limits=limits)).start()
    http = await serve(rig.service, peers=ClaimedNames(), exempt=exempt)
    yield Vtn(rig, http)
    await http.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Wait for the end of a connection."""
    async with asyncio.timeout(20):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


async def hang_up(*writers: asyncio.StreamWriter) -> None:
    for each in writers:
        each.close()
        with suppress(OSError):
            await each.wait_closed()


async def until(true: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0)


async def test_connections_beyond_the_limit_are_closed_and_come_again_later() -> None:
    async with running(ConnectionLimits(connections=2)) as vtn:
        first, second = await vtn.connect(), await vtn.connect()
        reader, writer = await vtn.connect()
        assert await ended(reader)
        assert vtn.closed(Closed.TOO_MANY) == 1
        await hang_up(writer, first[1], second[1])
        await until(lambda: _quietly(vtn.serves()))
        assert vtn.closed(Closed.TOO_MANY) >= 1


async def _quietly(answer: Awaitable[bool]) -> bool:
    try:
        return await answer
    except aiohttp.ClientError:
        return False


async def test_one_address_cannot_take_all_connections() -> None:
    async with running(ConnectionLimits(connections=9, per_address=1)) as vtn:
        _, writer = await vtn.connect()
        reader, refused = await vtn.connect()
        assert await ended(reader)
        assert vtn.closed(Closed.TOO_MANY_OF_ADDRESS) == 1
        neighbour = await asyncio.open_connection(HOST, vtn.port, local_addr=("127.0.0.2", 0))
        neighbour[1].write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await neighbour[0].read()).startswith(b"HTTP/1.1 200")
        await hang_up(writer, refused, neighbour[1])


async def test_a_trusted_proxy_has_as_many_as_it_likes() -> None:
    async with running(ConnectionLimits(per_address=1), lambda address: address == HOST) as vtn:
        _, writer = await vtn.connect()
        assert await vtn.serves()
        await hang_up(writer)


@pytest.mark.parametrize("sent", [b"", b"POST /OpenADR2", POST], ids=["nothing", "a line", "no end"])
async def test_a_head_that_does_not_come(sent: bytes) -> None:
    async with running(ConnectionLimits(head_s=0.2)) as vtn:
        reader, writer = await vtn.connect()
        writer.write(sent)
        assert await vtn.serves()  # nobody else waits
        assert await ended(reader)
        assert vtn.closed(Closed.SLOW_HEAD) == 1
        await hang_up(writer)


async def test_a_head_that_trickles_on_a_connection_that_was_used() -> None:
    async with running(ConnectionLimits(head_s=0.3)) as vtn:
        reader, writer = await vtn.connect()
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        while (await reader.readline()).strip():
            pass
        assert await reader.readexactly(2) == b"ok"
        await asyncio.sleep(0.4)  # idle is no offence
        assert not reader.at_eof()
        writer.write(POST)
        assert await ended(reader)
        assert vtn.closed(Closed.SLOW_HEAD) == 1
        await hang_up(writer)


async def test_a_request_with_a_slow_body_is_not_cut_off_by_the_time_for_its_head() -> None:
    async with running(ConnectionLimits(head_s=0.2)) as vtn:
        reader, writer = await vtn.connect()
        writer.write(POST + b"Content-Length: 4\r\n\r\n<a")
        await asyncio.sleep(0.4)  # read_timeout_s is 10 s
        writer.write(b"/>")
        assert (await reader.readline()).startswith(b"HTTP/1.1 406")
        await hang_up(writer)


async def test_a_reader_that_does_not_read() -> None:
    """Many requests, no reading: the replies fill the buffers of both ends."""
    async with running(ConnectionLimits(write_s=0.3, head_s=30)) as vtn:
        loop = asyncio.get_running_loop()
        greedy = socket.socket()
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.setblocking(False)
        await loop.sock_connect(greedy, (HOST, vtn.port))
        request = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 2000

        async def pour() -> None:
            while True:
                await loop.sock_sendall(greedy, request)

        task = asyncio.create_task(pour())
        await until(lambda: vtn.closed(Closed.SLOW_READER) == 1)
        assert await vtn.serves()
        await asyncio.gather(task, return_exceptions=True)  # the connection was reset
        greedy.close()


async def test_headers_have_a_size() -> None:
    async with running(ConnectionLimits()) as vtn:
        for head in (b"X-Long: " + b"x" * 9000 + b"\r\n", b"".join(b"X-%d: 1\r\n" % i for i in range(80))):
            reader, writer = await vtn.connect()
            writer.write(POST + head + b"\r\n")
            assert b" 400 " in await reader.readline()
            await hang_up(writer)


async def test_a_handshake_that_does_not_come(tmp_path: Path) -> None:
    make_parties(tmp_path)
    tls = server(tmp_path, Role.VTN, "localhost")
    limits = ConnectionLimits(handshake_s=0.2, connections=1)
    rig = await Rig(MemoryStore(), replace(SETTINGS, connection_limits=limits)).start()
    http = await serve(rig.service, peers=TlsPeers(tls, wall), tls=tls.context)
    reader, writer = await asyncio.open_connection(HOST, http.port)  # says nothing
    other, refused = await asyncio.open_connection(HOST, http.port)
    assert await ended(other)  # it counts, although TLS has not begun
    assert await ended(reader)
    await until(lambda: dict(rig.service.stats().closed).get(Closed.HANDSHAKE) == 1)
    await hang_up(writer, refused)
    await http.close()


def test_addresses_are_told_apart_as_networks_are_given_out() -> None:
    admission = Admission(ConnectionLimits(per_address=1))
    assert admission.enter("2001:db8::1") is None
    assert admission.enter("2001:db8::2") is Closed.TOO_MANY_OF_ADDRESS  # one subscriber, one /64
    assert admission.enter("2001:db8:0:1::1%eth0") is None
    assert admission.enter("::ffff:192.0.2.1") is None
    assert admission.enter("192.0.2.1") is Closed.TOO_MANY_OF_ADDRESS
    assert admission.enter("no address") is None
    assert admission.open == 4
    admission.leave("2001:db8::1")
    assert admission.enter("2001:db8::2") is None


@pytest.mark.parametrize(
    "body",
    [
        test_connections_beyond_the_limit_are_closed_and_come_again_later,
        test_one_address_cannot_take_all_connections,
        test_a_trusted_proxy_has_as_many_as_it_likes,
        test_a_head_that_trickles_on_a_connection_that_was_used,
        test_a_reader_that_does_not_read,
    ],
)
def test_on_the_loop_of_the_program(body: Callable[[], Coroutine[None, None, None]]) -> None:
    """The program runs on uvloop, whose own servers accept connections behind our back."""
    run_loop(body())


def test_a_handshake_on_the_loop_of_the_program(tmp_path: Path) -> None:
    run_loop(test_a_handshake_that_does_not_come(tmp_path))
