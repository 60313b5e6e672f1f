"""Pushes over mutual TLS: who listens must be the VEN, before a byte of a message goes out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web

from certs.pki import Pki, Role
from certs.tls import ClientTls
from tests.e2e.tls_parties import HOST, client, make_parties, mark, revoke, server, wall
from vtn_server.push_http import Answer, Outbound, PushHttp, PushLimits
from vtn_server.push_targets import PushTargets

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

HERE = PushTargets.loopback()
NOBODY = "00:11:22:33:44:55:66:77:88:99"


class Street:
    """An authority, the VTN's side of pushes, and a VEN that listens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki: Pki = make_parties(folder, "alice", "bob", hosts=("localhost", HOST))
        self.tls: ClientTls = client(folder, Role.VTN, "localhost")
        self.ahead = timedelta()
        self.bodies: list[bytes] = []
        self.port = 0
        self._open: list[Callable[[], Awaitable[None]]] = []

    def now(self) -> datetime:
        return wall() + self.ahead

    def http(self, targets: PushTargets = HERE, tls: bool = True) -> PushHttp:
        outbound = Outbound(targets=targets, tls=self.tls if tls else None, now=self.now)
        http = PushHttp(PushLimits(timeout_s=10.0), outbound, 100_000)
        self._open.append(http.close)
        return http

    async def listen(self, name: str | None) -> None:
        async def take(request: web.Request) -> web.Response:
            self.bodies.append(await request.read())
            return web.Response(body=b"thanks")

        app = web.Application()
        app.router.add_post("/{path:.*}", take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._open.append(runner.cleanup)
        tls = None if name is None else server(self.folder, Role.VEN, name).context
        await web.TCPSite(runner, HOST, 0, ssl_context=tls).start()
        self.port = runner.addresses[0][1]

    async def close(self) -> None:
        for each in reversed(self._open):
            await each()

    async def post(
        self, http: PushHttp, fingerprint: str | None, scheme: str = "https", host: str = HOST
    ) -> Answer:
        return await http.post(f"{scheme}://{host}:{self.port}/x", b"<secret/>", fingerprint)


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[Street]:
    found = Street(tmp_path / "pki")
    yield found
    await found.close()


async def test_the_ven_gets_its_message_and_its_certificate_comes_back(street: Street) -> None:
    await street.listen("alice")
    alice = mark(street.folder, Role.VEN, "alice")
    http = street.http()
    for _ in range(2):  # the second time on the kept-alive connection
        answer = await street.post(http, alice.lower())
        assert (answer.status, answer.body) == (200, b"thanks")
        assert answer.certificate is not None
    assert street.bodies == [b"<secret/>"] * 2


async def test_somebody_elses_certificate_gets_nothing(street: Street) -> None:
    await street.listen("bob")
    http = street.http()
    bob = mark(street.folder, Role.VEN, "bob")
    for wanted in (mark(street.folder, Role.VEN, "alice"), NOBODY, None):
        answer = await street.post(http, wanted)
        assert answer.status is None
        assert "463" in answer.reason
    assert street.bodies == []
    assert (await street.post(http, bob)).status == 200
    assert (await street.post(http, NOBODY)).status is None  # on the connection that was good for bob
    assert len(street.bodies) == 1


async def test_no_certificate_no_message(street: Street) -> None:
    await street.listen(None)
    answer = await street.post(street.http(), mark(street.folder, Role.VEN, "alice"), "http")
    assert answer.status is None
    assert "no certificate" in answer.reason
    assert street.bodies == []


async def test_a_certificate_that_is_over_or_revoked_ends_a_kept_connection(street: Street) -> None:
    await street.listen("alice")
    alice, http = mark(street.folder, Role.VEN, "alice"), street.http()
    assert (await street.post(http, alice)).status == 200
    street.ahead = timedelta(days=826)
    assert "expired" in (await street.post(http, alice)).reason
    street.ahead = timedelta()
    assert (await street.post(http, alice)).status == 200
    revoke(street.pki, street.folder, Role.VEN, "alice")
    street.tls.refresh(wall())
    assert (await street.post(http, alice)).status is None
    assert len(street.bodies) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1"])
async def test_a_vtn_does_not_post_into_its_own_network(street: Street, host: str) -> None:
    """By address and by name; the name is judged by where it leads when it is connected to."""
    await street.listen(None)
    answer = await street.post(street.http(PushTargets(), tls=False), None, "http", host)
    assert answer.status is None
    assert street.bodies == []
    here = PushTargets(networks=(ip_network("127.0.0.0/8"),))
    allowed = await street.post(street.http(here, tls=False), None, "http", "127.0.0.1")
    assert allowed.status == 200
