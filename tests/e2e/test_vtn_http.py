"""The VTN on a real loopback socket."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ResponseRequired
from tests.unit.vtn.rig import ALICE, Rig, draft, price_signal
from vtn_server.http import HttpServer, serve
from vtn_server.peers import ClaimedNames
from vtn_server.settings import Identity, VtnSettings
from vtn_server.sqlstore import SqlStore

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

POLL = wire.write(m.Poll(ven_id=ALICE))
XML = {"Content-Type": "application/xml"}
PLAIN = {**XML, "Accept-Encoding": "identity"}
PATH = "/dso/OpenADR2/Simple/2.0b/"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    store = SqlStore(tmp_path / "vtn.sqlite")
    settings = VtnSettings(
        vtn_id="vtn-1",
        identity=Identity.CLAIMED,
        max_bytes=20_000,
        read_timeout_s=0.05,
        validate_outgoing=True,
    )
    yield await Rig(store, settings).start()
    await store.close()


@pytest.fixture
async def server(rig: Rig) -> AsyncIterator[HttpServer]:
    running = await serve(rig.service, peers=ClaimedNames(), prefix="/dso/")
    yield running
    await running.close()


@pytest.fixture
async def client(server: HttpServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{server.host}:{server.port}", auto_decompress=False) as session:
        yield session


async def test_a_registration_and_a_poll(client: aiohttp.ClientSession) -> None:
    body = wire.write(m.CreatePartyRegistration(request_id="1", ven_name="alice", http_pull_model=True))
    async with client.post(PATH + "EiRegisterParty", data=body, headers=PLAIN) as answer:
        assert answer.status == 200
        text = await answer.read()
        assert answer.headers["Content-Type"] == "application/xml"
        assert int(answer.headers["Content-Length"]) == len(text)
        assert "Transfer-Encoding" not in answer.headers
    created = wire.read(text)
    assert isinstance(created, m.CreatedPartyRegistration)
    assert created.ven_id == ALICE
    async with client.post(PATH + "OadrPoll", data=POLL, headers=PLAIN) as answer:
        assert isinstance(wire.read(await answer.read()), m.RegisterReport)


async def test_one_spelling_that_is_taken_lets_no_other_in(client: aiohttp.ClientSession) -> None:
    """A VTN remembers how its peers spell a media type that it takes."""
    taken = ("application/xml", "application/xml; charset=UTF-8", "Application/XML")
    for spelling in (*taken, *taken):
        async with client.post(PATH + "OadrPoll", data=POLL, headers={"Content-Type": spelling}) as answer:
            assert answer.status == 200
    for spelling in ("text/xml", "application/xml; charset=UTF-16", "application/xml+x", ""):
        async with client.post(PATH + "OadrPoll", data=POLL, headers={"Content-Type": spelling}) as answer:
            assert answer.status == 406
    async with client.post(PATH + "OadrPoll", data=POLL, skip_auto_headers=["Content-Type"]) as answer:
        assert answer.status == 406


@pytest.mark.parametrize(
    ("method", "path", "content_type", "status"),
    [
        ("GET", PATH + "OadrPoll", "application/xml", 501),
        ("PUT", PATH + "OadrPoll", "application/xml", 501),
        ("POST", PATH + "EiNothing", "application/xml", 404),
        ("POST", PATH + "oadrpoll", "application/xml", 404),
        ("POST", "/OpenADR2/Simple/2.0b/OadrPoll", "application/xml", 404),
        ("POST", PATH + "OadrPoll", "text/xml", 406),
        ("POST", PATH + "OadrPoll", "application/xml; charset=latin-1", 406),
        ("POST", PATH + "OadrPoll", "application/xml; charset=utf-8", 200),
        ("POST", PATH + "OadrPoll/", "application/xml", 200),
        ("POST", PATH.replace("/OpenADR2", "//OpenADR2") + "OadrPoll", "application/xml", 200),
    ],
)
async def test_paths_methods_and_types(
    client: aiohttp.ClientSession, method: str, path: str, content_type: str, status: int
) -> None:
    async with client.request(method, path, data=POLL, headers={"Content-Type": content_type}) as answer:
        assert answer.status == status


@pytest.mark.parametrize(
    ("body", "status"), [(b"<oops", 406), (b"x" * 20_001, 413), (POLL.replace(b"venID", b"vanID"), 406)]
)
async def test_bad_bodies(client: aiohttp.ClientSession, rig: Rig, body: bytes, status: int) -> None:
    async with client.post(PATH + "OadrPoll", data=body, headers=XML) as answer:
        assert answer.status == status
    assert dict(rig.operator.stats().http_errors) == {str(status): 1}


async def test_a_body_that_never_arrives_times_out(server: HttpServer, rig: Rig) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    head = ("Host: x", "Content-Type: application/xml", "Content-Length: 9", "", "")
    writer.write("\r\n".join((f"POST {PATH}OadrPoll HTTP/1.1", *head)).encode())
    assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_compression_when_asked(client: aiohttp.ClientSession) -> None:
    for accepted, encoding in (
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0, deflate;q=0.5", "deflate"),
        ("br", None),
    ):
        headers = {**XML, "Accept-Encoding": accepted}
        async with client.post(PATH + "OadrPoll", data=POLL, headers=headers) as answer:
            body = await answer.read()
            assert answer.headers.get("Content-Encoding") == encoding
            assert int(answer.headers["Content-Length"]) == len(body)
        if encoding is not None:
            body = gzip.decompress(body) if encoding == "gzip" else zlib.decompress(body)
        assert isinstance(wire.read(body), m.Response)


async def test_a_set_without_answers_follows_the_connection(
    server: HttpServer, client: aiohttp.ClientSession, rig: Rig
) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1", required=ResponseRequired.NEVER)])

    async def poll(session: aiohttp.ClientSession) -> m.AnyMessage:
        async with session.post(PATH + "OadrPoll", data=POLL, headers=PLAIN) as answer:
            return wire.read(await answer.read())

    assert isinstance(await poll(client), m.DistributeEvent)
    assert isinstance(await poll(client), m.Response)
    await rig.operator.modify_event("e1", signals=(price_signal([9.0] * 6),))
    assert isinstance(await poll(client), m.DistributeEvent)
    async with aiohttp.ClientSession(f"http://{server.host}:{server.port}") as other:
        assert isinstance(await poll(other), m.DistributeEvent)
        assert isinstance(await poll(other), m.Response)


async def test_health(client: aiohttp.ClientSession) -> None:
    async with client.get("/health") as answer:
        assert (answer.status, await answer.read()) == (200, b"ok")
