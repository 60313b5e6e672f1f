"""Both roles with mutual TLS and XML signatures: a VEN that polls and a VEN that is pushed to."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from certs.envelope import SignaturePolicy
from certs.pki import Role
from certs.xmldsig import is_signed
from feederloop.clock import WallClock
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.xmltypes import Duration
from tests.e2e.tls_parties import HOST, client, files, mark, server, wall
from tests.security_rig import SETTINGS, XML, TlsVtn, parties, signed_by, signer_of, ven_mail, verified
from tests.unit.ven.ven_fakes import FakeHome
from tests.unit.vtn.rig import ALICE, MemoryStore, draft
from ven_client.client import VenClient
from ven_client.listener import Listener, listen
from ven_client.session import Session, State
from ven_client.settings import VenConfig
from ven_client.transport import HttpPull
from ven_client.vtn_identity import VtnIdentity
from vtn_server.exchange import Exchange
from vtn_server.push import PushDispatcher, PushLimits

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

OPTIONAL, REQUIRED = SignaturePolicy.OPTIONAL, SignaturePolicy.REQUIRED


class Street:
    """A VTN that pushes, and alice."""

    def __init__(self, folder: Path, policy: SignaturePolicy) -> None:
        self.folder = folder
        self.policy = policy
        self.exchanges: list[Exchange] = []
        self.callers: list[object] = []
        """The address of each push to :meth:`answer_pushes_with`: another one is another connection."""
        settings = replace(SETTINGS, signatures=policy, poll_period=Duration())  # the VEN says how often
        self.vtn = TlsVtn(folder, MemoryStore, settings)
        self.home = FakeHome()
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._task: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self._dispatcher: PushDispatcher
        self._transport: HttpPull | None = None
        self.session: Session

    def _note(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self._changed.set()

    async def start(self) -> None:
        self.vtn.on_exchange = self._note
        await self.vtn.start()
        self._dispatcher = PushDispatcher(
            self.vtn.service,
            WallClock(),
            random.Random(1),
            limits=PushLimits(timeout_s=20.0),
            tls=client(self.folder, Role.VTN, "localhost"),
        )
        self._dispatcher.start()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds after an exchange."""
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def open(self, *, push: bool, policy: SignaturePolicy) -> None:
        """Let alice live."""
        mail = ven_mail(self.folder, "alice", policy)
        if push:
            tls = server(self.folder, Role.VEN, "alice")
            pinned = (mark(self.folder, Role.VTN, "localhost"),)
            who = VtnIdentity(HOST, wall, tls, pinned)
            self._listener = await listen(tls=tls.context, vtn=who, mail=mail)
        config = VenConfig(
            ven_name="alice",
            push_address=None if self._listener is None else self._listener.url,
            xml_signature=mail.signs,
            idle_poll=timedelta(milliseconds=100),
        )
        ids, rng = itertools.count(1), random.Random(1)
        self.session = Session(config, self.home, lambda: f"a-{next(ids)}", rng.uniform)
        own = client(self.folder, Role.VEN, "alice")
        self._transport = HttpPull(
            self.vtn.server.url, now=wall, tls=own, vtn=VtnIdentity(HOST, wall, own), mail=mail
        )
        ven = VenClient(self.session, self._transport, self.home, WallClock(), rng)
        if self._listener is not None:
            self._listener.attach(ven)
        self._task = asyncio.create_task(ven.run())

    async def answer_pushes_with(self, reply: Callable[[bytes], bytes]) -> str:
        """Listen as alice, and answer pushes with any bytes; return the address."""

        async def take(request: web.Request) -> web.Response:
            self.callers.append(request.transport and request.transport.get_extra_info("peername"))
            return web.Response(body=reply(await request.read()), headers=XML)

        app = web.Application()
        app.router.add_post("/{path:.*}", take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        tls = server(self.folder, Role.VEN, "alice")
        await web.TCPSite(self._runner, HOST, 0, ssl_context=tls.context).start()
        return f"https://{HOST}:{self._runner.addresses[0][1]}"

    async def publish(self) -> None:
        start = wall().replace(microsecond=0) + timedelta(hours=1)
        await self.vtn.operator.publish_events([replace(draft("e"), dtstart=start)])

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._dispatcher.close()
        if self._transport is not None:
            await self._transport.close()
        if self._listener is not None:
            await self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self.vtn.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority that tests only read."""
    found = tmp_path_factory.mktemp("signed") / "pki"
    parties(found)
    return found


@pytest.fixture
async def street(folder: Path) -> AsyncIterator[Callable[[SignaturePolicy], Street]]:
    """Makes streets, which a test starts."""
    made: list[Street] = []

    def make(policy: SignaturePolicy) -> Street:
        made.append(Street(folder, policy))
        return made[-1]

    yield make
    for each in made:
        await each.close()


Make = Callable[[SignaturePolicy], Street]


@pytest.mark.parametrize("push", [False, True])
@pytest.mark.parametrize(
    ("vtn", "ven", "signed"),
    [
        (REQUIRED, REQUIRED, True),
        (OPTIONAL, REQUIRED, True),
        (REQUIRED, OPTIONAL, True),
        (OPTIONAL, SignaturePolicy.OFF, False),
        (SignaturePolicy.OFF, OPTIONAL, None),
    ],
)
async def test_a_ven_lives(
    street: Make, push: bool, vtn: SignaturePolicy, ven: SignaturePolicy, signed: bool | None
) -> None:
    """It registers, gets an event, and its answer arrives; what is agreed on is signed in both directions."""
    here = street(vtn)
    await here.start()
    await here.open(push=push, policy=ven)
    await here.until(lambda: here.session.state is State.OPERATIONAL)
    await here.publish()
    await here.until(lambda: here.vtn.service.memory.opt("e", ALICE) is not None)
    assert {each.status for each in here.exchanges} == {200}
    assert any(each.pushed for each in here.exchanges) is push
    requests = [each.request for each in here.exchanges]
    replies = [each.reply for each in here.exchanges if each.reply]
    found = {is_signed(wire.parse(each)) for each in (*requests, *replies)}
    assert found == ({False, True} if signed is None else {signed})


async def test_a_reply_to_a_push_that_is_not_to_be_believed_is_none(street: Make, folder: Path) -> None:
    """The message goes out again, signed anew, until the VEN itself answers; nothing comes of the others."""
    here = street(OPTIONAL)
    await here.start()
    alice = signer_of(files(folder, Role.VEN, "alice").own[0])
    bob = signer_of(files(folder, Role.VEN, "bob").own[0])
    pushed: list[bytes] = []

    def reply(body: bytes) -> bytes:
        pushed.append(body)
        message = verified(folder, Role.VTN, "localhost", body)
        assert isinstance(message, m.RegisterReport)
        registered = m.RegisteredReport(
            response=m.EiResponse(code="200", request_id=message.request_id), ven_id=ALICE
        )
        if len(pushed) == 1:
            return wire.write(registered)
        return signed_by(bob if len(pushed) == 2 else alice, registered, wall())

    address = await here.answer_pushes_with(reply)
    hand = here.vtn.hand("alice")
    create = m.CreatePartyRegistration(
        request_id="r",
        ven_name="alice",
        transport_address=address,
        http_pull_model=False,
        xml_signature=True,
    )
    assert (await hand.send(create))[0] == 200
    await hand.send(m.RegisterReport(request_id="m", ven_id=ALICE))

    def outbox() -> int:
        ven = here.vtn.service.memory.ven(ALICE)
        assert ven is not None
        return len(ven.outbox)

    await here.until(lambda: len(pushed) >= 2)
    assert outbox() == 1
    await here.until(lambda: len(pushed) == 3)
    async with asyncio.timeout(10):
        while outbox():
            await asyncio.sleep(0)
    assert len(set(pushed)) == 3
    assert len(set(here.callers)) == 3  # a new connection may show the certificate that the VEN signs with
