"""XML signatures at a live VEN with mutual TLS: as a client of its VTN, and as the listener of a push VEN."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from certs.envelope import SignaturePolicy
from certs.pki import Role
from certs.xmldsig import DEFAULT_WINDOW, NonceStore, is_signed
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import CertificateTrouble, TransportError
from tests.e2e.tls_parties import HOST, client, files, server, wall
from tests.security_rig import (
    PATH,
    XML,
    TlsVen,
    parties,
    signed_by,
    signer_of,
    ven_mail,
    verified,
)
from tests.unit.ven.ven_fakes import create_report, distribute, request
from ven_client.listener import listen
from ven_client.statefile import CommitFailed, StateFile
from ven_client.transport import HttpPull
from ven_client.vtn_identity import VtnIdentity

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

POLL = m.Poll(ven_id="ven-1")
NOTHING = m.Response(response=m.EiResponse(code="200", request_id=""))
EVENTS = distribute()
CREATE = create_report(request())
OPTIONAL, REQUIRED = SignaturePolicy.OPTIONAL, SignaturePolicy.REQUIRED


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority that tests only read."""
    found = tmp_path_factory.mktemp("signed") / "pki"
    parties(found)
    return found


# --- the VEN connects --------------------------------------------------------------------------------------


class ScriptedVtn:
    """Answers every request with what the test wants, and keeps the requests."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[bytes] = []
        self.callers: list[object] = []
        """The address of each request: another one is another connection."""
        self.answer: Callable[[], bytes] = lambda: wire.write(NOTHING)
        self.cut = 0
        self.url = ""
        app = web.Application()
        app.router.add_post(PATH + "OadrPoll", self._poll)
        self._tls = server(folder, Role.VTN, "localhost")
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def _poll(self, request: web.Request) -> web.Response:
        self.requests.append(await request.read())
        self.callers.append(request.transport and request.transport.get_extra_info("peername"))
        if self.cut:
            self.cut -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.Response(body=self.answer(), headers=XML)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0, ssl_context=self._tls.context).start()
        self.url = f"https://{HOST}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        await self._runner.cleanup()


@pytest.fixture
async def vtn(folder: Path) -> AsyncIterator[ScriptedVtn]:
    running = ScriptedVtn(folder)
    await running.start()
    yield running
    await running.close()


class Alice:
    """The transport of a pull VEN."""

    def __init__(
        self, folder: Path, url: str, policy: SignaturePolicy, nonces: NonceStore | None = None
    ) -> None:
        tls = client(folder, Role.VEN, "alice")
        mail = ven_mail(folder, "alice", policy, nonces)
        self.transport = HttpPull(url, now=wall, tls=tls, vtn=VtnIdentity(HOST, wall, tls), mail=mail)

    async def poll(self) -> m.AnyMessage:
        return await self.transport.exchange(ServiceName.OADR_POLL, POLL)

    async def refuses(self, match: str) -> None:
        with pytest.raises(CertificateTrouble, match=match):
            await self.poll()


@pytest.fixture
async def alice(folder: Path, vtn: ScriptedVtn) -> AsyncIterator[Callable[..., Alice]]:
    """Makes alice's transport."""
    made: list[Alice] = []

    def make(policy: SignaturePolicy = REQUIRED, nonces: NonceStore | None = None) -> Alice:
        made.append(Alice(folder, vtn.url, policy, nonces))
        return made[-1]

    yield make
    for each in made:
        await each.transport.close()


def by_vtn(
    folder: Path, message: m.AnyMessage, at: datetime | None = None, nonce: str | None = None
) -> bytes:
    signer = signer_of(files(folder, Role.VTN, "localhost").own[0])
    return signed_by(signer, message, at or wall(), nonce)


def by_bob(folder: Path, message: m.AnyMessage) -> bytes:
    return signed_by(signer_of(files(folder, Role.VEN, "bob").own[0]), message, wall())


Make = Callable[..., Alice]


async def test_a_ven_signs_and_takes_signed_replies(alice: Make, vtn: ScriptedVtn, folder: Path) -> None:
    vtn.answer = lambda: by_vtn(folder, NOTHING)
    ven = alice()
    for _ in range(3):
        assert await ven.poll() == NOTHING
    assert [verified(folder, Role.VEN, "alice", each) for each in vtn.requests] == [POLL] * 3
    assert len(set(vtn.requests)) == 3


async def test_after_a_reply_that_is_not_to_be_believed_the_connection_is_another(
    alice: Make, vtn: ScriptedVtn, folder: Path
) -> None:
    """A new one may show the certificate that the VTN signs with by now."""
    ven = alice()
    vtn.answer = lambda: by_bob(folder, NOTHING)
    await ven.refuses("not to be believed")
    vtn.answer = lambda: by_vtn(folder, NOTHING)
    for _ in range(2):
        assert await ven.poll() == NOTHING
    refused, believed, next_one = vtn.callers
    assert refused != believed
    assert believed == next_one


async def test_what_is_not_signed(alice: Make, vtn: ScriptedVtn) -> None:
    await alice(REQUIRED).refuses("none")
    assert await alice(OPTIONAL).poll() == NOTHING
    assert is_signed(wire.parse(vtn.requests[-1]))  # it signs whatever the VTN does


@pytest.mark.parametrize("policy", [OPTIONAL, REQUIRED])
async def test_replies_that_are_not_to_be_believed(
    alice: Make, vtn: ScriptedVtn, folder: Path, policy: SignaturePolicy
) -> None:
    ven = alice(policy)
    body = by_vtn(folder, NOTHING)
    assert b">OK<" not in body
    for bad, why in (
        (body.replace(b">200<", b">452<"), "changed after signing"),
        (by_bob(folder, NOTHING), "not made with the key of this peer"),
        (by_vtn(folder, NOTHING, wall() - timedelta(seconds=305)), "ago"),
        (by_vtn(folder, NOTHING, wall() + timedelta(seconds=305)), "future"),
    ):
        vtn.answer = lambda bad=bad: bad  # type: ignore[misc]  # a default that binds the value
        await ven.refuses(why)
    vtn.answer = lambda: body
    assert await ven.poll() == NOTHING
    await ven.refuses("used before")


async def test_a_reply_that_is_no_message_is_no_trouble_with_certificates(
    alice: Make, vtn: ScriptedVtn
) -> None:
    vtn.answer = lambda: b"<html/>"
    with pytest.raises(TransportError) as failed:
        await alice().poll()
    assert not isinstance(failed.value, CertificateTrouble)


async def test_a_request_that_is_sent_again_is_signed_again(
    alice: Make, vtn: ScriptedVtn, folder: Path
) -> None:
    vtn.answer = lambda: by_vtn(folder, NOTHING)
    ven = alice()
    await ven.poll()
    vtn.cut = 1
    assert await ven.poll() == NOTHING
    assert len(vtn.requests) == len(set(vtn.requests)) == 3


async def test_a_reply_is_not_taken_again_after_a_restart(
    alice: Make, vtn: ScriptedVtn, folder: Path, tmp_path: Path
) -> None:
    body = by_vtn(folder, NOTHING)
    vtn.answer = lambda: body
    path = tmp_path / "alice.state"
    for start in range(2):
        file = StateFile(path, "alice")
        ven = alice(REQUIRED, file.nonces(now=wall, window=DEFAULT_WINDOW))
        if start == 0:
            assert await ven.poll() == NOTHING
        await ven.refuses("used before")
        await ven.transport.close()
        file.close()


def test_signatures_need_tls(folder: Path) -> None:
    with pytest.raises(ValueError, match="TLS"):
        HttpPull("http://127.0.0.1", now=wall, mail=ven_mail(folder, "alice", REQUIRED))


async def test_a_listener_with_signatures_needs_tls(folder: Path) -> None:
    with pytest.raises(ValueError, match="TLS"):
        await listen(mail=ven_mail(folder, "alice", REQUIRED))


# --- nonces in the state file ------------------------------------------------------------------------------


async def test_nonces_of_the_state_file(tmp_path: Path) -> None:
    now = [wall()]
    file = StateFile(tmp_path / "state", "alice")
    nonces = file.nonces(now=lambda: now[0], window=DEFAULT_WINDOW)
    first = now[0]
    assert await nonces.remember("a", first)
    assert not await nonces.remember("a", first)
    assert await nonces.remember("b", first + DEFAULT_WINDOW)
    now[0] += DEFAULT_WINDOW + timedelta(seconds=60)
    assert await nonces.remember("a", first)  # over: its age is what refuses it
    assert not await nonces.remember("b", first)
    file.close()
    with pytest.raises(CommitFailed):
        await nonces.remember("c", first)


# --- the VEN listens ---------------------------------------------------------------------------------------


@pytest.fixture
async def listening(folder: Path) -> AsyncIterator[Callable[..., TlsVen]]:
    """Makes listeners, which a test starts."""
    made: list[TlsVen] = []

    def make(policy: SignaturePolicy = REQUIRED, nonces: NonceStore | None = None) -> TlsVen:
        made.append(TlsVen(folder, "alice", policy, nonces))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def test_a_listener_takes_what_its_vtn_signed_and_signs_the_answer(
    listening: Callable[..., TlsVen], folder: Path
) -> None:
    ven = await listening().start()
    assert await ven.vtn.send(EVENTS) == (200, b"")
    status, body = await ven.vtn.send(CREATE)
    assert status == 200
    assert isinstance(verified(folder, Role.VEN, "alice", body), m.CreatedReport)
    assert ven.ven.seen == [EVENTS, CREATE]


async def test_a_listener_answers_as_it_was_asked(listening: Callable[..., TlsVen]) -> None:
    ven = await listening(OPTIONAL).start()
    for signed in (False, True):
        _, body = await ven.vtn.send(CREATE, signed=signed)
        assert is_signed(wire.parse(body)) is signed


@pytest.mark.parametrize("policy", [OPTIONAL, REQUIRED])
async def test_what_a_listener_refuses(listening: Callable[..., TlsVen], policy: SignaturePolicy) -> None:
    ven = await listening(policy).start()
    vtn, event = ven.vtn, ServiceName.EI_EVENT
    bob = ven.hand(Role.VEN, "bob")
    bad = [
        vtn.signed(EVENTS).replace(b">d1<", b">d2<"),
        bob.signed(EVENTS),
        vtn.signed(EVENTS, at=wall() - timedelta(seconds=305)),
        vtn.signed(EVENTS, at=wall() + timedelta(seconds=305)),
    ]
    if policy is REQUIRED:
        bad.append(wire.write(EVENTS))
    for body in bad:
        assert body != wire.write(EVENTS) or policy is REQUIRED
        assert await vtn.post(body, event) == (403, b"")
    assert ven.ven.seen == []
    good = vtn.signed(EVENTS)
    assert (await vtn.post(good, event))[0] == 200
    assert await vtn.post(good, event) == (403, b"")
    assert ven.ven.seen == [EVENTS]
    await bob.close()


async def test_a_neighbour_who_signs_is_still_not_the_vtn(listening: Callable[..., TlsVen]) -> None:
    ven = await listening().start()
    bob = ven.hand(Role.VEN, "bob")
    status, body = await bob.send(EVENTS)
    reply = wire.read(body)
    assert isinstance(reply, m.Response)
    assert (status, reply.response.code) == (200, "463")
    assert ven.ven.seen == []
    await bob.close()


async def test_a_listener_refuses_after_a_restart_what_it_took_before(
    listening: Callable[..., TlsVen], tmp_path: Path
) -> None:
    body = b""
    for start in range(2):
        file = StateFile(tmp_path / "state", "alice")
        ven = await listening(REQUIRED, file.nonces(now=wall, window=DEFAULT_WINDOW)).start()
        if start == 0:
            body = ven.vtn.signed(EVENTS)
            assert (await ven.vtn.post(body, ServiceName.EI_EVENT))[0] == 200
        assert await ven.vtn.post(body, ServiceName.EI_EVENT) == (403, b"")
        await ven.close()
        file.close()


async def test_a_listener_without_signatures_takes_the_vtns_word(folder: Path) -> None:
    ven = await TlsVen(folder, "alice", SignaturePolicy.OFF).start()
    assert (await ven.vtn.send(EVENTS))[0] == 200
    assert (await ven.vtn.send(EVENTS, signed=False))[0] == 200
    assert len(ven.ven.seen) == 2
    await ven.close()
