"""Mutual TLS of a VEN on loopback sockets: as a client of its VTN, and as the server of a push VEN."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from certs.peer import peer_of
from certs.pki import KeyKind, Pki, Role
from certs.tls import ClientTls, ServerTls, TlsError, TlsProfile
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import CertificateTrouble, TransportError
from tests.e2e.tls_parties import HOST, client, files, make_parties, mark, revoke, server, wall
from tests.unit.ven.ven_fakes import OK, T0, create_report, distribute, request
from ven_client.link import LinkState, Trouble
from ven_client.listener import Listener, listen
from ven_client.transport import HttpPull
from ven_client.vtn_identity import VtnIdentity

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

XML = {"Content-Type": "application/xml"}
POLL = m.Poll(ven_id="ven-1")
NOTHING = m.Response(response=m.EiResponse(code="200", request_id=""))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority that tests only read."""
    folder = tmp_path_factory.mktemp("parties") / "pki"
    pki = make_parties(folder, "ven-1", "ven-2", hosts=("ven.example",))
    pki.issue(Role.VTN, "elsewhere.example", wall(), kinds=[KeyKind.EC])
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another authority, with the same names."""
    folder = tmp_path_factory.mktemp("foreign") / "pki"
    make_parties(folder, "ven-1")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the authority that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "pki"))


# --- the VEN connects --------------------------------------------------------------------------------------


class ScriptedVtn:
    """Answers polls over TLS, and keeps who asked, on which connection."""

    def __init__(self, tls: ServerTls | None) -> None:
        self.tls = tls
        self.seen: list[tuple[str, object]] = []
        self.status = 200
        self.cut = 0
        self.url = ""
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.1)

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/OpenADR2/Simple/2.0b/OadrPoll", self._poll)
        return app

    async def _poll(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        peer = peer_of(request.transport)
        name = request.transport.get_extra_info("peername")
        self.seen.append(("" if peer is None else peer.fingerprint, name))
        if self.cut:
            self.cut -= 1
            request.transport.abort()
        return web.Response(status=self.status, body=wire.write(NOTHING), headers=XML)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(
            self._runner, HOST, 0, ssl_context=None if self.tls is None else self.tls.context
        ).start()
        self.url = f"https://{HOST}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        await self._runner.cleanup()


@pytest.fixture
async def vtn(folder: Path) -> AsyncIterator[ScriptedVtn]:
    running = ScriptedVtn(server(folder, Role.VTN, "localhost"))
    await running.start()
    yield running
    await running.close()


def pull(url: str, tls: ClientTls, *, pinned: tuple[str, ...] = ()) -> HttpPull:
    """The transport of a VEN."""
    return HttpPull(url, now=lambda: T0, tls=tls, vtn=VtnIdentity(HOST, wall, tls, pinned))


async def poll(transport: HttpPull) -> m.AnyMessage:
    return await transport.exchange(ServiceName.OADR_POLL, POLL)


async def test_a_poll_and_renewal_without_restart(vtn: ScriptedVtn, folder: Path) -> None:
    old = mark(folder, Role.VEN, "ven-1")
    tls = client(folder, Role.VEN, "ven-1")
    transport = pull(vtn.url, tls, pinned=("00:" * 9 + "00", mark(folder, Role.VTN, "localhost").lower()))
    assert await poll(transport) == NOTHING
    tls.refresh(wall())  # nothing has changed: the connection stays
    await poll(transport)
    Pki(folder).rotate(Role.VEN, "ven-1", wall())
    tls.refresh(wall())
    await poll(transport)
    new = mark(folder, Role.VEN, "ven-1")
    assert new != old
    assert [who for who, _ in vtn.seen] == [old, old, new]
    assert vtn.seen[0][1] == vtn.seen[1][1] != vtn.seen[2][1]
    await transport.close()


async def test_files_that_break_do_not_end_the_connection(vtn: ScriptedVtn, folder: Path) -> None:
    tls = client(folder, Role.VEN, "ven-1")
    transport = pull(vtn.url, tls)
    await poll(transport)
    (folder / "issued/ven/ven-1/ec.key").write_text("half a key")
    with pytest.raises(TlsError):
        tls.refresh(wall())
    assert await poll(transport) == NOTHING
    await transport.close()


async def test_a_vtn_of_another_authority(made: Path, foreign: Path) -> None:
    stranger = ScriptedVtn(server(foreign, Role.VTN, "localhost"))
    await stranger.start()
    transport = pull(stranger.url, client(made, Role.VEN, "ven-1"))
    with pytest.raises(CertificateTrouble, match="the VTN's certificate is refused"):
        await poll(transport)
    assert stranger.seen == []
    await transport.close()
    await stranger.close()


async def test_a_vtn_with_a_certificate_for_another_host(made: Path) -> None:
    elsewhere = ScriptedVtn(server(made, Role.VTN, "elsewhere.example"))
    await elsewhere.start()
    transport = pull(elsewhere.url, client(made, Role.VEN, "ven-1"))
    with pytest.raises(CertificateTrouble, match="mismatch"):
        await poll(transport)
    assert elsewhere.seen == []
    await transport.close()
    await elsewhere.close()


async def test_a_vtn_that_is_not_the_pinned_one_is_told_nothing(vtn: ScriptedVtn, folder: Path) -> None:
    pinned = mark(folder, Role.VTN, "elsewhere.example")
    transport = pull(vtn.url, client(folder, Role.VEN, "ven-1"), pinned=(pinned,))
    with pytest.raises(CertificateTrouble, match="pinned"):
        await poll(transport)
    assert vtn.seen == []
    await transport.close()


async def test_a_vtn_revoked_while_the_connection_is_open(vtn: ScriptedVtn, folder: Path) -> None:
    tls = client(folder, Role.VEN, "ven-1")
    transport = pull(vtn.url, tls)
    await poll(transport)
    revoke(Pki(folder), folder, Role.VTN, "localhost")
    tls.refresh(wall())
    for _ in range(2):
        with pytest.raises(CertificateTrouble, match="revoked"):
            await poll(transport)
    assert len(vtn.seen) == 1
    await transport.close()


async def test_a_vtn_expired_while_the_connection_is_open(vtn: ScriptedVtn, folder: Path) -> None:
    """The handshake knows the real clock only, so it is our own check that refuses here."""
    tls = client(folder, Role.VEN, "ven-1")
    now = [wall()]
    transport = HttpPull(vtn.url, now=lambda: T0, tls=tls, vtn=VtnIdentity(HOST, lambda: now[0], tls))
    await poll(transport)
    now[0] += timedelta(days=826)
    with pytest.raises(CertificateTrouble, match="expired"):
        await poll(transport)
    assert len(vtn.seen) == 1
    now[0] -= timedelta(days=826)  # as good as a renewed one
    assert await poll(transport) == NOTHING
    assert vtn.seen[0][1] != vtn.seen[1][1]  # the connection had been ended
    await transport.close()


@pytest.mark.parametrize("profile", TlsProfile)
async def test_a_vtn_that_refuses_our_certificate(folder: Path, foreign: Path, profile: TlsProfile) -> None:
    """TLS 1.2 says so in the handshake, TLS 1.3 after it, if at all."""
    vtn = ScriptedVtn(ServerTls(files(folder, Role.VTN, "localhost"), wall(), profile=profile))
    await vtn.start()
    ours = files(foreign, Role.VEN, "ven-1", trust=folder / "trust.pem")
    transport = pull(vtn.url, ClientTls(ours, wall(), profile=profile))
    with pytest.raises(CertificateTrouble, match="refuse"):
        await poll(transport)
    assert vtn.seen == []
    await transport.close()
    await vtn.close()


async def test_a_kept_connection_that_ends_is_not_trouble_with_certificates(
    vtn: ScriptedVtn, folder: Path
) -> None:
    transport = pull(vtn.url, client(folder, Role.VEN, "ven-1"))
    vtn.status = 503
    with pytest.raises(TransportError):
        await poll(transport)
    vtn.status = 200
    vtn.cut = 1
    with pytest.raises(TransportError) as cut:
        await poll(transport)
    assert LinkState.after(cut.value).trouble is Trouble.UNREACHABLE
    assert vtn.seen[0][1] == vtn.seen[1][1]
    assert await poll(transport) == NOTHING
    await transport.close()


async def test_a_vtn_that_answers_403(vtn: ScriptedVtn, folder: Path) -> None:
    vtn.status = 403
    transport = pull(vtn.url, client(folder, Role.VEN, "ven-1"))
    with pytest.raises(CertificateTrouble) as refused:
        await poll(transport)
    assert refused.value.http_status == 403
    assert LinkState.after(refused.value).trouble is Trouble.CERTIFICATE
    vtn.status = 503
    with pytest.raises(TransportError) as busy:
        await poll(transport)
    assert LinkState.after(busy.value).trouble is Trouble.ANSWER
    await transport.close()


async def test_nobody_there_and_no_tls_there_are_not_trouble_with_certificates(made: Path) -> None:
    plain = ScriptedVtn(None)
    await plain.start()
    for url in ("https://127.0.0.1:1", plain.url):
        transport = pull(url, client(made, Role.VEN, "ven-1"))
        with pytest.raises(TransportError) as failed:
            await poll(transport)
        assert LinkState.after(failed.value).trouble is Trouble.UNREACHABLE
        await transport.close()
    await plain.close()


# --- the VEN listens ---------------------------------------------------------------------------------------

EVENTS = wire.write(distribute())
CREATE = wire.write(create_report(request()))
PATH = "/OpenADR2/Simple/2.0b/"


class FakeVen:
    """Takes messages and counts them."""

    def __init__(self) -> None:
        self.seen: list[m.AnyMessage] = []

    async def receive(self, message: m.AnyMessage) -> m.AnyMessage | None:
        self.seen.append(message)
        return m.CreatedReport(response=OK, ven_id="ven-1") if isinstance(message, m.CreateReport) else None

    def wake(self) -> None:
        pass


class PushVen:
    """A listener with TLS, whose clock can be put forward."""

    def __init__(self, folder: Path, vtn_host: str, pinned: tuple[str, ...]) -> None:
        self.tls = server(folder, Role.VEN, "ven-1")
        self.now = wall()
        self.ven = FakeVen()
        self.identity = VtnIdentity(vtn_host, lambda: self.now, self.tls, pinned)
        self.listener: Listener | None = None

    async def start(self) -> str:
        self.listener = await listen(tls=self.tls.context, vtn=self.identity)
        self.listener.attach(self.ven)
        assert self.listener.url.startswith("https://")
        return self.listener.url + PATH

    async def close(self) -> None:
        if self.listener is not None:
            await self.listener.close()


@pytest.fixture
async def push(folder: Path) -> AsyncIterator[PushVen]:
    ven = PushVen(folder, HOST, ())
    yield ven
    await ven.close()


def session(tls: ClientTls) -> aiohttp.ClientSession:
    """A client that takes the listener's word for its name: it listens at an address here."""
    context = tls.context
    context.check_hostname = False
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=1))


async def test_the_vtn_posts_and_is_known_by_its_host(push: PushVen, folder: Path) -> None:
    url = await push.start()
    async with session(client(folder, Role.VTN, "localhost")) as http:
        async with http.post(url + "EiEvent", data=EVENTS, headers=XML) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        async with http.post(url + "EiReport", data=CREATE, headers=XML) as answer:
            assert isinstance(wire.read(await answer.read()), m.CreatedReport)
    assert [type(each) for each in push.ven.seen] == [m.DistributeEvent, m.CreateReport]


@pytest.mark.parametrize(("role", "name"), [(Role.VEN, "ven-2"), (Role.VTN, "elsewhere.example")])
async def test_whoever_is_not_the_vtn_gets_463(push: PushVen, folder: Path, role: Role, name: str) -> None:
    url = await push.start()
    async with session(client(folder, role, name)) as http:
        async with http.post(url + "EiEvent", data=EVENTS, headers=XML) as answer:
            refused = wire.read(await answer.read())
            assert isinstance(refused, m.Response)
            assert refused.response.code == "463"
        async with http.post(url + "EiReport", data=CREATE, headers=XML) as answer:
            created = wire.read(await answer.read())
            assert isinstance(created, m.CreatedReport)
            assert created.response.code == "463"
    assert push.ven.seen == []


async def test_a_pinned_vtn(folder: Path) -> None:
    """With a fingerprint the host does not count, nor does anything else."""
    ven = PushVen(folder, HOST, (mark(folder, Role.VTN, "elsewhere.example"),))
    url = await ven.start()
    codes = []
    for name in ("localhost", "elsewhere.example"):
        async with (
            session(client(folder, Role.VTN, name)) as http,
            http.post(url + "EiReport", data=CREATE, headers=XML) as answer,
        ):
            reply = wire.read(await answer.read())
            assert isinstance(reply, m.CreatedReport)
            codes.append(reply.response.code)
    assert codes == ["463", "200"]
    assert len(ven.ven.seen) == 1
    await ven.close()


async def test_without_a_certificate_or_with_a_foreign_one_there_is_no_connection(
    push: PushVen, folder: Path, foreign: Path
) -> None:
    url = await push.start()
    bare = ssl.create_default_context(cafile=folder / "trust.pem")
    bare.check_hostname = False
    stranger = client(foreign, Role.VTN, "localhost", trust=folder / "trust.pem").context
    stranger.check_hostname = False
    for context in (bare, stranger):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
            with pytest.raises(aiohttp.ClientError):
                await http.post(url + "EiEvent", data=EVENTS, headers=XML)
    assert push.ven.seen == []


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_vtn_that_lost_its_certificate_on_an_open_connection(
    push: PushVen, folder: Path, how: str
) -> None:
    url = await push.start()
    async with session(client(folder, Role.VTN, "localhost")) as http:
        async with http.post(url + "EiEvent", data=EVENTS, headers=XML) as answer:
            assert answer.status == 200
        if how == "revoked":
            revoke(Pki(folder), folder, Role.VTN, "localhost")
            push.tls.refresh(wall())
        else:
            push.now += timedelta(days=826)
        async with http.post(url + "EiEvent", data=EVENTS, headers=XML) as answer:
            assert answer.status == 403
            assert answer.headers["Connection"] == "close"
    assert len(push.ven.seen) == 1


async def test_tls_and_the_identity_of_the_vtn_go_together(folder: Path) -> None:
    with pytest.raises(ValueError, match="go together"):
        await listen(tls=server(folder, Role.VEN, "ven-1").context)
