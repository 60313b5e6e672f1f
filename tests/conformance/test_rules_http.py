"""Rules about the transport (r38, r53, r511; H1 to H4, H7), on a loopback socket."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime

import aiohttp
import pytest
from aiohttp import web

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import TransportError
from tests.unit.vtn.rig import ALICE, SETTINGS, START, MemoryStore, Rig
from ven_client.transport import HttpPull
from vtn_server.http import HttpServer, serve
from vtn_server.peers import ClaimedNames
from vtn_server.pushing import url_of

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

PATH = "/grid/OpenADR2/Simple/2.0b/"
XML = {"Content-Type": "application/xml", "Accept-Encoding": "identity"}
POLL = wire.write(m.Poll(ven_id=ALICE))


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    rig = await Rig(MemoryStore()).start()
    await rig.bootstrap("alice")
    running = await serve(rig.service, peers=ClaimedNames(), prefix="/grid/")
    yield running
    await running.close()


@pytest.fixture
async def http(server: HttpServer) -> AsyncIterator[aiohttp.ClientSession]:
    base = f"http://{server.host}:{server.port}"
    async with aiohttp.ClientSession(base, auto_decompress=False) as session:
        yield session


async def test_rule_038_a_pull_ven_is_served(server: HttpServer) -> None:
    transport = HttpPull(server.url, now=lambda: START)
    reply = await transport.exchange(ServiceName.OADR_POLL, m.Poll(ven_id=ALICE))
    assert isinstance(reply, m.Response)
    assert reply.response.code == "200"
    await transport.close()


def test_rule_038_a_push_ven_is_called_at_its_address() -> None:
    for base in ("http://home.example:81/x", "http://home.example:81/x/"):
        assert str(url_of(base, ServiceName.EI_EVENT)) == (
            "http://home.example:81/x/OpenADR2/Simple/2.0b/EiEvent"
        )


async def test_rule_053_headers_of_a_reply(http: aiohttp.ClientSession) -> None:
    async with http.post(PATH + "OadrPoll", data=POLL, headers=XML) as answer:
        body = await answer.read()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/xml"
        assert int(answer.headers["Content-Length"]) == len(body)
        assert "Transfer-Encoding" not in answer.headers


async def test_rule_053_headers_of_a_request() -> None:
    seen: list[tuple[str, str, dict[str, str]]] = []

    async def look(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, {k.lower(): v for k, v in request.headers.items()}))
        return web.Response(status=503)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", look)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    transport = HttpPull(f"http://127.0.0.1:{port}", now=_now)
    with pytest.raises(TransportError):
        await transport.exchange(ServiceName.OADR_POLL, m.Poll(ven_id=ALICE))
    await transport.close()
    await runner.cleanup()
    (method, path, headers) = seen[0]
    assert (method, path) == ("POST", "/OpenADR2/Simple/2.0b/OadrPoll")
    assert headers["host"] == f"127.0.0.1:{port}"
    assert headers["content-type"] == "application/xml"
    assert int(headers["content-length"]) == len(POLL)
    assert "transfer-encoding" not in headers


def _now() -> datetime:
    return START


@pytest.mark.parametrize("service", list(ServiceName))
async def test_rule_511_the_well_known_path(http: aiohttp.ClientSession, service: ServiceName) -> None:
    async with http.post(PATH + service, data=POLL, headers=XML) as answer:
        assert answer.status == 200
    async with http.post(PATH.lower() + service, data=POLL, headers=XML) as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    ("method", "service", "headers", "body", "status"),
    [
        ("GET", "OadrPoll", XML, b"", 501),
        ("PUT", "OadrPoll", XML, POLL, 501),
        ("POST", "EiNothing", XML, POLL, 404),
        ("POST", "OadrPoll", {"Content-Type": "text/xml"}, POLL, 406),
        ("POST", "OadrPoll", XML, b"<a/>", 406),
        ("POST", "OadrPoll", XML, b"no xml", 406),
        ("POST", "OadrPoll", XML, wire.write(m.Poll(ven_id="nobody")), 200),
    ],
    ids=[
        "rule_H1-get",
        "rule_H1-put",
        "rule_H2-404",
        "rule_H2-type",
        "rule_H2-xsd",
        "rule_H2-xml",
        "rule_H7",
    ],
)
async def test_status(
    http: aiohttp.ClientSession, method: str, service: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    async with http.request(method, PATH + service, data=body, headers=headers) as answer:
        assert answer.status == status


async def test_g12_the_status_of_a_wrong_method_may_be_set() -> None:
    rig = await Rig(MemoryStore(), replace(SETTINGS, wrong_method_status=405)).start()
    running = await serve(rig.service, peers=ClaimedNames())
    async with aiohttp.ClientSession() as session, session.get(f"{running.url}{PATH[5:]}OadrPoll") as answer:
        assert answer.status == 405
    await running.close()


async def test_rule_H4_gzip_where_it_is_asked_for(http: aiohttp.ClientSession) -> None:  # noqa: N802 - its number
    headers = {**XML, "Accept-Encoding": "gzip"}
    async with http.post(PATH + "OadrPoll", data=POLL, headers=headers) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert isinstance(wire.read(gzip.decompress(await answer.read())), m.Response)
