"""Live TLS servers of both roles, with a PKI made on the fly, and hands that send them any bytes.

::

    vtn = await TlsVtn(folder, lambda: open_store(url)).start()   # knows alice and bob
    alice = vtn.hand("alice")                                       # a connection with alice's certificate
    status, body = await alice.post(alice.signed(message))          # or any bytes, at any service
    vtn.state()                                                     # what must not change
    await vtn.restart()                                             # on the same store and port
    ...
    ven = await TlsVen(folder, "alice").start()                     # a push VEN's listener; takes and counts
    status, body = await ven.post(ven.signed(message))              # as its VTN
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certs.envelope import Envelope, SignaturePolicy
from certs.files import read_certificates
from certs.nonces import MemoryNonces
from certs.pki import Role
from certs.tls import CertificateFiles, ClientTls, TlsFiles
from certs.xmldsig import DEFAULT_WINDOW, NonceStore, Signer, Verifier
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.codec import decode_signed_object, encode_message
from schemas.oadr20b.enums import ServiceName
from tests.e2e.tls_parties import HOST, client, files, make_parties, mark, server, wall
from tests.unit.vtn.rig import ALICE, BOB
from ven_client.listener import Listener, listen
from ven_client.mail import Mail
from ven_client.vtn_identity import VtnIdentity
from vtn_server.dispatch import TABLE
from vtn_server.exchange import Exchange
from vtn_server.http import HttpServer, serve
from vtn_server.operator import Operator
from vtn_server.peers import TlsPeers
from vtn_server.push_targets import PushTargets
from vtn_server.pushing import service_for
from vtn_server.service import VtnService
from vtn_server.settings import VtnSettings
from vtn_server.state import Provision
from vtn_server.store import Store

XML = {"Content-Type": "application/xml"}
PATH = "/OpenADR2/Simple/2.0b/"
OK = m.EiResponse(code="200", request_id="")
NONCES = (f"nonce-{number}" for number in itertools.count(1))


def parties(folder: Path) -> None:
    """Make the authority: a VTN, alice and bob, each with a P-256 certificate."""
    make_parties(folder, "alice", "bob", hosts=(HOST,))


def signer_of(own: CertificateFiles) -> Signer:
    """Return what signs with the key of a party."""
    key = load_pem_private_key(own.key.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return Signer(key, read_certificates(own.certificate)[0])


def signed_by(signer: Signer, message: m.AnyMessage, at: datetime, nonce: str | None = None) -> bytes:
    """Return a message with a signature."""
    payload = encode_message(message)
    signer.sign(payload, at, nonce or next(NONCES), wall=wall())
    return wire.serialise(payload)


def verified(folder: Path, role: Role, name: str, body: bytes) -> m.AnyMessage:
    """Return the message in a body that a party has signed; fail if it has not."""
    certificate = read_certificates(files(folder, role, name).own[0].certificate)[0]
    return decode_signed_object(Verifier().verify(wire.parse(body), certificate, wall()).element)


def _service(message: m.AnyMessage) -> ServiceName:
    row = TABLE[type(message)]
    if row.handler is not None:
        return row.services[0]
    return ServiceName.EI_EVENT if isinstance(message, m.DistributeEvent) else service_for(message)


class Hand:
    """A connection with somebody's certificate, over which any bytes can be sent."""

    def __init__(self, url: str, tls: ClientTls, own: TlsFiles) -> None:
        self.url = url
        self.signer = signer_of(own.own[0])
        context = tls.context
        context.check_hostname = False
        self._connector = aiohttp.TCPConnector(ssl=context, limit=1)
        self._http: aiohttp.ClientSession | None = None

    async def post(
        self, body: bytes, service: ServiceName = ServiceName.OADR_POLL, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send a body; return status and body of the answer."""
        if self._http is None:
            self._http = aiohttp.ClientSession(connector=self._connector)
        url = self.url + PATH + service.value
        async with self._http.post(url, data=body, headers=XML if headers is None else headers) as response:
            return response.status, await response.read()

    async def send(self, message: m.AnyMessage, *, signed: bool = True) -> tuple[int, bytes]:
        """Send a message to the service it belongs to."""
        body = self.signed(message) if signed else wire.write(message)
        return await self.post(body, _service(message))

    def signed(self, message: m.AnyMessage, *, at: datetime | None = None, nonce: str | None = None) -> bytes:
        """Return a message with the signature of whoever this is."""
        return signed_by(self.signer, message, at or wall(), nonce)

    async def close(self) -> None:
        """End the connection."""
        if self._http is not None:
            await self._http.close()
        await self._connector.close()


# --- the VTN -----------------------------------------------------------------------------------------------

SETTINGS = VtnSettings(
    vtn_id="vtn-1",
    validate_outgoing=True,
    push=True,
    push_targets=PushTargets.loopback(),
    signatures=SignaturePolicy.REQUIRED,
)


class TlsVtn:
    """A VTN with mutual TLS that knows alice and bob; its protocol clock can be put forward.

    Args:
        folder: Of the authority, see :func:`parties`.
        make_store: Opens the store, at each start.
        settings: Its settings.
    """

    def __init__(
        self, folder: Path, make_store: Callable[[], Store], settings: VtnSettings = SETTINGS
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.ahead = timedelta()
        self.on_exchange: Callable[[Exchange], None] | None = None
        self._make_store = make_store
        self._tls = server(folder, Role.VTN, "localhost")
        self._signer = signer_of(files(folder, Role.VTN, "localhost").own[0])
        self._ids = itertools.count(1)
        self._port = 0
        self._hands: list[Hand] = []
        self.store: Store
        self.service: VtnService
        self.operator: Operator
        self.server: HttpServer

    def now(self) -> datetime:
        """The protocol's clock."""
        return wall() + self.ahead

    async def start(self) -> TlsVtn:
        """Listen; after a stop on the same port."""
        self.store = self._make_store()
        self.service = await VtnService.start(
            self.settings,
            self.store,
            now=self.now,
            new_id=lambda: f"id-{next(self._ids)}",
            on_exchange=self.on_exchange,
            signer=self._signer,
        )
        self.operator = Operator(self.service)
        known = ((ALICE, "alice"), (BOB, "bob"))
        await self.operator.provision(
            [
                Provision(ven_id=ven_id, ven_name=name, fingerprint=mark(self.folder, Role.VEN, name))
                for ven_id, name in known
                if self.service.memory.ven(ven_id) is None
            ]
        )
        self.server = await serve(
            self.service, peers=TlsPeers(self._tls, wall), tls=self._tls.context, port=self._port
        )
        self._port = self.server.port
        return self

    async def stop(self) -> None:
        """Stop in good order."""
        await self.server.close()
        await self.service.close()
        await self.store.close()

    async def restart(self) -> None:
        """Stop and start on the same store; connections are new afterwards."""
        for each in self._hands:
            await each.close()
        self._hands.clear()
        await self.stop()
        await self.start()

    async def close(self) -> None:
        """End everything."""
        for each in self._hands:
            await each.close()
        await self.stop()

    def hand(self, name: str) -> Hand:
        """Return a new connection with a VEN's certificate."""
        own = files(self.folder, Role.VEN, name)
        hand = Hand(self.server.url, client(self.folder, Role.VEN, name), own)
        self._hands.append(hand)
        return hand

    def state(self) -> object:
        """Return what a refused message must leave as it is."""
        memory = self.service.memory
        vens = memory.vens()
        deliveries = tuple(memory.delivery(each.ven_id) for each in vens)
        opts = tuple(memory.opts(each.event_id) for each in memory.events())
        return vens, deliveries, memory.events(), opts

    def refused(self) -> int:
        """How many requests were answered 403."""
        return dict(self.service.stats().http_errors).get("403", 0)


# --- the VEN -----------------------------------------------------------------------------------------------


class TakingVen:
    """Stands for the session behind a listener: takes messages and counts them."""

    def __init__(self) -> None:
        self.seen: list[m.AnyMessage] = []

    async def receive(self, message: m.AnyMessage) -> m.AnyMessage | None:
        """Take one; only a report request gets an answer with a body."""
        self.seen.append(message)
        return m.CreatedReport(response=OK, ven_id=ALICE) if isinstance(message, m.CreateReport) else None

    def wake(self) -> None:
        """There is nothing to do."""


def ven_mail(
    folder: Path,
    name: str,
    policy: SignaturePolicy,
    nonces: NonceStore | None = None,
    now: Callable[[], datetime] = wall,
) -> Mail:
    """Return what signs and verifies for a VEN."""
    envelope = Envelope(
        policy,
        signer=signer_of(files(folder, Role.VEN, name).own[0]),
        verifier=Verifier(),
        new_nonce=lambda: next(NONCES),
        wall=wall,
    )
    return Mail(envelope, nonces or MemoryNonces(now=now, window=DEFAULT_WINDOW), now)


class TlsVen:
    """The listener of a push VEN with mutual TLS, and its VTN's hand.

    Args:
        folder: Of the authority.
        name: Of the VEN.
        policy: What it does about signatures.
        nonces: Where it keeps them; in memory if left out.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        policy: SignaturePolicy = SignaturePolicy.REQUIRED,
        nonces: NonceStore | None = None,
    ) -> None:
        self.folder = folder
        self.ven = TakingVen()
        self._tls = server(folder, Role.VEN, name)
        self._mail = ven_mail(folder, name, policy, nonces)
        pinned = (mark(folder, Role.VTN, "localhost"),)
        self._identity = VtnIdentity(HOST, wall, self._tls, pinned)
        self._listener: Listener
        self.vtn: Hand

    async def start(self) -> TlsVen:
        """Listen."""
        self._listener = await listen(tls=self._tls.context, vtn=self._identity, mail=self._mail)
        self._listener.attach(self.ven)
        self.vtn = self.hand(Role.VTN, "localhost")
        return self

    def hand(self, role: Role, name: str) -> Hand:
        """Return a connection to the listener with somebody's certificate."""
        return Hand(self._listener.url, client(self.folder, role, name), files(self.folder, role, name))

    async def close(self) -> None:
        """End everything."""
        await self.vtn.close()
        await self._listener.close()
