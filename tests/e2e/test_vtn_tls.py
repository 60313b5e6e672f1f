"""Mutual TLS of a VTN on loopback sockets: who gets in, and who is put out before anything is read."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from certs.pki import KeyKind, Pki, Role
from certs.tls import ClientTls, ServerTls, TlsFiles
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from tests.e2e.tls_parties import HOST, client, files, make_parties, mark, revoke, wall
from tests.unit.vtn.rig import ALICE, BOB, MemoryStore, Rig
from vtn_server.http import HttpServer, serve
from vtn_server.peers import TlsPeers
from vtn_server.settings import VtnSettings
from vtn_server.state import Provision

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

STRICT = VtnSettings(vtn_id="vtn-1", validate_outgoing=True)
XML = {"Content-Type": "application/xml"}


class Vtn:
    """A VTN with mutual TLS whose wall clock a test holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = make_parties(folder, "alice", "bob")
        self.ahead = timedelta()
        self.rig: Rig
        self.server: HttpServer
        self.tls = ServerTls(self._files(), wall())

    def _files(self) -> TlsFiles:
        return files(self.folder, Role.VTN, "localhost")

    def now(self) -> datetime:
        return wall() + self.ahead

    async def start(self) -> Vtn:
        self.rig = await Rig(MemoryStore(), STRICT).start(
            tuple(
                Provision(ven_id=ven_id, ven_name=name, fingerprint=mark(self.folder, Role.VEN, name))
                for ven_id, name in ((ALICE, "alice"), (BOB, "bob"))
            )
        )
        self.server = await serve(
            self.rig.service, peers=TlsPeers(self.tls, self.now), tls=self.tls.context, port=0
        )
        return self

    def url(self, service: str = "EiRegisterParty") -> str:
        return f"{self.server.url}/OpenADR2/Simple/2.0b/{service}"

    def session(self, tls: ssl.SSLContext) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls))

    def as_ven(self, name: str) -> aiohttp.ClientSession:
        return self.session(client(self.folder, Role.VEN, name).context)

    def counted(self) -> dict[str, int]:
        return dict(self.rig.service.stats().http_errors)


@pytest.fixture
async def vtn(tmp_path: Path) -> AsyncIterator[Vtn]:
    running = await Vtn(tmp_path / "pki").start()
    yield running
    await running.server.close()


def registers(name: str, ven_id: str | None = None) -> bytes:
    return wire.write(
        m.CreatePartyRegistration(request_id="r", ven_name=name, ven_id=ven_id, http_pull_model=True)
    )


async def code(session: aiohttp.ClientSession, url: str, body: bytes) -> str:
    async with session.post(url, data=body, headers=XML) as response:
        assert response.status == 200
        reply = wire.read(await response.read())
    assert isinstance(reply, m.CreatedPartyRegistration | m.Response | m.DistributeEvent)
    assert reply.response is not None
    return reply.response.code


async def test_a_ven_speaks_for_itself_only(vtn: Vtn) -> None:
    async with vtn.as_ven("alice") as alice, vtn.as_ven("bob") as bob:
        assert await code(alice, vtn.url(), registers("alice")) == "200"
        assert await code(bob, vtn.url(), registers("alice")) == "463"
        assert await code(bob, vtn.url("OadrPoll"), wire.write(m.Poll(ven_id=ALICE))) == "463"
        assert await code(alice, vtn.url(), registers("bob", BOB)) == "463"
    ven = vtn.rig.service.memory.ven(BOB)
    assert ven is not None
    assert ven.registration is None


async def test_nobody_without_a_certificate_of_ours(vtn: Vtn, tmp_path: Path) -> None:
    make_parties(tmp_path / "other", "alice")
    trust = vtn.folder / "trust.pem"
    bare = ssl.create_default_context(cafile=str(trust))
    stranger = ClientTls(
        replace(files(tmp_path / "other", Role.VEN, "alice"), trust=trust, crl=None), wall()
    ).context
    for context in (bare, stranger):
        async with vtn.session(context) as session:
            with pytest.raises(aiohttp.ClientError):
                await code(session, vtn.url(), registers("alice"))
    assert dict(vtn.rig.service.stats().messages_in) == {}
    async with asyncio.timeout(10):
        while dict(vtn.rig.service.stats().closed).get("handshake") != 2:  # the client may know first
            await asyncio.sleep(0)


async def test_a_certificate_that_expires_ends_its_connection(vtn: Vtn) -> None:
    async with vtn.as_ven("alice") as alice:
        assert await code(alice, vtn.url(), registers("alice")) == "200"
        vtn.ahead = timedelta(days=826)
        async with alice.post(vtn.url("OadrPoll"), data=b"<not even xml", headers=XML) as response:
            assert response.status == 403
            assert response.headers["Connection"] == "close"
    assert vtn.counted() == {"403": 1}


async def test_a_certificate_that_is_revoked_ends_its_connection(vtn: Vtn) -> None:
    async with vtn.as_ven("alice") as alice, vtn.as_ven("bob") as bob:
        assert await code(alice, vtn.url(), registers("alice")) == "200"
        assert await code(bob, vtn.url(), registers("bob")) == "200"
        revoke(vtn.pki, vtn.folder, Role.VEN, "alice")
        vtn.tls.refresh(wall())
        async with alice.get(vtn.url("OadrPoll")) as response:  # whatever it asks
            assert response.status == 403
        with pytest.raises(aiohttp.ClientError):  # and it does not get in again
            await code(alice, vtn.url(), registers("alice"))
        assert await code(bob, vtn.url(), registers("bob")) == "200"
    assert vtn.counted() == {"403": 1}


async def test_a_rotated_certificate(vtn: Vtn) -> None:
    """The operator enrols the new one; the open connection of the old one is refused from then on."""
    async with vtn.as_ven("alice") as old:
        assert await code(old, vtn.url(), registers("alice")) == "200"
        vtn.pki.rotate(Role.VEN, "alice", wall())
        await vtn.rig.operator.set_fingerprint(ALICE, mark(vtn.folder, Role.VEN, "alice"))
        assert await code(old, vtn.url(), registers("alice")) == "463"
        async with vtn.as_ven("alice") as new:
            assert await code(new, vtn.url(), registers("alice")) == "200"


async def test_a_request_during_which_the_vtn_is_renewed_ends_its_connection(vtn: Vtn) -> None:
    """What the connection has shown is the old certificate; XML signatures are by the new one from now on."""
    body = registers("alice")

    async def parts() -> AsyncIterator[bytes]:
        yield body[:20]
        vtn.pki.rotate(Role.VTN, "localhost", wall())
        vtn.tls.refresh(wall())
        yield body[20:]

    async with vtn.as_ven("alice") as session:
        for data, ends in ((parts(), True), (body, False)):
            async with session.post(vtn.url(), data=data, headers=XML) as response:
                assert response.status == 200
                assert (response.headers.get("Connection") == "close") is ends


async def test_the_vtn_shows_the_kind_of_certificate_that_is_wanted(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    pki = Pki(folder)
    pki.init(wall())
    pki.issue(Role.VTN, "localhost", wall(), hosts=[HOST])
    pki.issue(Role.VEN, "alice", wall(), kinds=[KeyKind.EC])
    both = TlsFiles(
        own=tuple(files(folder, Role.VTN, "localhost", kind=kind).own[0] for kind in ("rsa", "ec")),
        trust=folder / "trust.pem",
    )
    tls = ServerTls(both, wall())
    rig = await Rig(MemoryStore(), STRICT).start(())
    server = await serve(rig.service, peers=TlsPeers(tls, wall), tls=tls.context)
    seen = set()
    for cipher in ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"):
        context = client(folder, Role.VEN, "alice").context
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(cipher)
        _, writer = await asyncio.open_connection(HOST, server.port, ssl=context, server_hostname="localhost")
        seen.add(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.close()
        await writer.wait_closed()
    await server.close()
    assert len(seen) == 2
