"""HTTP of the pull model on both sides: compression, back-off by Retry-After, bounds."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import TransportError
from tests.e2e.test_ven_http import Rig as VenRig
from tests.e2e.test_ven_http import ScriptedVtn, vtn
from tests.unit.ven.ven_fakes import NOTHING, T0, FakeHome, after
from tests.unit.vtn.rig import ALICE, MemoryStore, Rig
from ven_client.settings import VenConfig
from ven_client.transport import HttpPull, retry_after_s
from vtn_server.http import HttpServer, serve
from vtn_server.peers import ClaimedNames
from vtn_server.settings import Identity, VtnSettings

__all__ = ["vtn"]

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

POLL = m.Poll(ven_id=ALICE)
XML = {"Content-Type": "application/xml"}


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    rig = await Rig(
        MemoryStore(),
        VtnSettings(vtn_id="vtn-1", identity=Identity.CLAIMED, idle_timeout_s=0.2, max_requests=1),
    ).start()
    await rig.register("alice")
    running = await serve(rig.service, peers=ClaimedNames())
    yield running
    await running.close()


@pytest.mark.parametrize("path", ["/OpenADR2/./Simple/2.0b/OadrPoll", "/OpenADR2/Simple/2.0b/%4fadrPoll"])
async def test_r511_normalised_variants(server: HttpServer, path: str) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    body = wire.write(POLL)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/xml\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_request_head_that_does_not_come(server: HttpServer) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(b"POST /OpenADR2/Simple/2.0b/OadrPoll HTTP/1.1\r\nHost: x\r\n")
    assert await asyncio.wait_for(reader.read(), 20) == b""  # the connection was ended
    writer.close()


async def test_a_busy_vtn_says_when_to_come_again(server: HttpServer) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    head = "POST /OpenADR2/Simple/2.0b/OadrPoll HTTP/1.1\r\nHost: x\r\nContent-Type: application/xml\r\n"
    writer.write(f"{head}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n".encode())
    assert b"100" in await asyncio.wait_for(reader.readline(), 20)  # it waits for the body now
    async with aiohttp.ClientSession(server.url) as client:
        address = "/OpenADR2/Simple/2.0b/OadrPoll"
        async with client.post(address, data=wire.write(POLL), headers=XML) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
    writer.close()


# --- the VEN's side -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compressed_replies_are_understood(encoding: str) -> None:
    seen: list[str | None] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Accept-Encoding"))
        body = wire.write(NOTHING)
        packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
        return web.Response(
            body=packed, headers={"Content-Encoding": encoding, "Content-Type": "application/xml"}
        )

    runner, url = await _serving(handle)
    for asks in (True, False):
        pull = HttpPull(url, now=lambda: T0, compressed=asks)
        assert await pull.exchange(ServiceName.OADR_POLL, POLL) == NOTHING
        await pull.close()
    assert seen == ["gzip, deflate", None]
    await runner.cleanup()


async def test_a_reply_that_grows_when_unpacked() -> None:
    async def handle(request: web.Request) -> web.Response:
        del request
        packed = gzip.compress(b"<" * (wire.MAX_BYTES + 1))
        return web.Response(
            body=packed, headers={"Content-Encoding": "gzip", "Content-Type": "application/xml"}
        )

    runner, url = await _serving(handle)
    pull = HttpPull(url, now=lambda: T0, compressed=True)
    with pytest.raises(TransportError, match="too large"):
        await pull.exchange(ServiceName.OADR_POLL, POLL)
    await pull.close()
    await runner.cleanup()


async def _serving(handle: object) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_post("/{path:.*}", handle)  # type: ignore[arg-type]  # a handler of aiohttp
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def test_retry_after_holds_the_ven_back(vtn: ScriptedVtn) -> None:
    vtn.trouble = [web.Response(status=503, headers={"Retry-After": "40"})]
    rig = VenRig(vtn, FakeHome(), VenConfig(ven_name="home-1", poll_jitter=0.0))
    await rig.run(after(seconds=39) - T0)
    assert vtn.seen == []
    await rig.client.close()
    again = VenRig(vtn, FakeHome(), VenConfig(ven_name="home-1", poll_jitter=0.0))
    vtn.trouble = [web.Response(status=503, headers={"Retry-After": "40"})]
    await again.run(after(seconds=41) - T0)
    assert isinstance(vtn.seen[0], m.CreatePartyRegistration)
    await again.client.close()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("soon", None), ("-1", None), ("3", 3.0), ("9" * 30, 3600.0)],
)
def test_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds
