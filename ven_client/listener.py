"""The HTTP listener of a push VEN: paths, methods, headers; what a message means is the session's business.

How to use it::

    listener = await listen(host="0.0.0.0", port=8081, prefix="/home-7")     # answers 503 so far
    config = VenConfig(ven_name=..., push_address="http://home-7.example:8081/home-7", ...)
    client = VenClient(Session(config, ...), transport, application, clock, rng)
    listener.attach(client)                                                  # now it serves
    await client.run()                                                       # until cancelled
    await listener.close()

``listener.url`` is the address to announce where nothing stands between the VTN and the VEN.

A reply leaves before the client is woken, so the VTN has an oadrCreatedReport before the data it announces.

With TLS everybody who connects needs a certificate, and it is judged for every request before anything else
is looked at: without one, or with one that is expired, revoked or weak by now, the answer is 403 and the
connection ends (r516, r517). Who has a good certificate but is not the VTN (:mod:`ven_client.vtn_identity`)
is answered 463 in the reply that fits, and nothing comes of the message.

Source: OpenADR 2.0b sections 9.1.2 to 9.1.9 and 9.2.1.1, rules 53, 405, 511, 516 and 517; G12, G15.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from certs.connections import ConnectionLimits, Connections
from certs.door import Door
from certs.envelope import Opened
from certs.peer import PeerCertificate
from certs.unread import BadBody, read_body, sent_away
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import ApplicationError, NotRegistered, SecurityError, WireError
from schemas.oadr20b.model import AnyMessage
from schemas.oadr20b.simple_http import CONTENT_TYPE, PATH, base_path, is_xml, normal_path
from ven_client.mail import Mail
from ven_client.receiving import SERVICES, check_service, refusal
from ven_client.vtn_identity import VtnIdentity

__all__ = ["Incoming", "Limits", "Listener", "Receiver", "listen"]

_LOG: Final = logging.getLogger(__name__)
_CONNECTIONS: Final = ConnectionLimits(connections=100, per_address=50)


class Receiver(Protocol):
    """Who takes the messages: a :class:`ven_client.client.VenClient`."""

    async def receive(self, message: AnyMessage) -> AnyMessage | None:
        """Return the reply to a message; None is an empty 200."""
        ...

    def wake(self) -> None:
        """Send what follows from it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a listener.

    Attributes:
        max_bytes: The largest body that is read.
        read_timeout_s: How long a body may take to arrive.
        idle_timeout_s: How long a connection may stay without a complete request head.
        requests: How many requests are served at once; more are answered 503.
        connections: What lies below HTTP. There is one VTN, which may be behind a few addresses.
    """

    max_bytes: int = wire.MAX_BYTES
    read_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    requests: int = 32
    connections: ConnectionLimits = _CONNECTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One request and its answer as they went over the wire, for a message log."""

    service: ServiceName
    request: bytes
    response: bytes
    http_status: int


class Listener:
    """The listener of one VEN; make it with :func:`listen`.

    Args:
        prefix: What stands before the well-known path; empty for none.
        limits: Bounds.
        vtn: Tells the VTN by its certificate; None is plain HTTP, where whoever posts is taken for it.
        mail: Signs and verifies; None is a VEN without XML signatures.
        observer: Is shown every request that reached a service.
    """

    def __init__(
        self,
        prefix: str,
        limits: Limits,
        vtn: VtnIdentity | None,
        mail: Mail | None = None,
        observer: Callable[[Incoming], None] | None = None,
    ) -> None:
        self._base = base_path(prefix)
        self._services = {self._base + PATH + name: name for name in SERVICES}
        self._limits = limits
        self._vtn = vtn
        self._mail = mail
        self._observer = observer
        self._receiver: Receiver | None = None
        self._serving = 0
        self._connections = Connections(limits.connections, _ignore)
        self._runner: web.AppRunner | None = None
        self._server: Door | None = None
        self.url = ""
        """The base address, without the well-known path; set when it listens."""

    def attach(self, receiver: Receiver) -> None:
        """Hand messages to this VEN from now on."""
        self._receiver = receiver

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Start to listen; port 0 takes a free one."""
        app = web.Application(client_max_size=self._limits.max_bytes)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=self._limits.idle_timeout_s,
            shutdown_timeout=1.0,
            lingering_time=0.0,
        )
        await self._runner.setup()
        assert self._runner.server is not None
        try:
            self._server = await self._connections.listen(self._runner.server, host, port, tls)
        except OSError:
            await self.close()
            raise
        scheme = "http" if tls is None else "https"
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{scheme}://{shown}:{self._server.sockets[0].getsockname()[1]}{self._base}"

    async def close(self) -> None:
        """Stop listening and end the connections."""
        runner, self._runner = self._runner, None
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        with self._connections.serving(request.transport):
            response = await self._admitted(request)
            if not response.prepared:
                self._end_if_outdated(request, response)
            return await sent_away(request, response, most_bytes=self._limits.max_bytes)

    def _end_if_outdated(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let the connection end with this answer if it has shown a certificate that is ours no more."""
        if self._connections.is_outdated(request.transport):
            response.force_close()

    async def _admitted(self, request: web.Request) -> web.StreamResponse:
        peer = None
        if self._vtn is not None:
            try:
                peer = self._vtn.caller(request.transport)
            except SecurityError as err:
                return _unwelcome(request, err)
        service = self._services.get(normal_path(request.rel_url.raw_path))
        if service is None:
            return web.Response(status=404)
        if request.method != "POST":
            return web.Response(status=501)
        if not is_xml(request.content_type, request.charset):
            return web.Response(status=406)
        if self._receiver is None or self._serving >= self._limits.requests:
            return web.Response(status=503, headers={"Retry-After": "1"})
        self._serving += 1
        try:
            return await self._serve(request, service, self._receiver, peer)
        finally:
            self._serving -= 1

    async def _serve(
        self,
        request: web.Request,
        service: ServiceName,
        receiver: Receiver,
        peer: PeerCertificate | None,
    ) -> web.StreamResponse:
        try:
            async with asyncio.timeout(self._limits.read_timeout_s):
                body = await read_body(request, max_bytes=self._limits.max_bytes)
        except TimeoutError:
            return web.Response(status=408)
        except BadBody:
            return web.Response(status=400)
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413)
        status, reply = await self._answer(body, service, receiver, peer)
        if self._observer is not None:
            self._observer(Incoming(service=service, request=body, response=reply, http_status=status))
        if status != 200:
            return web.Response(status=status)
        response = web.Response(body=reply, content_type=CONTENT_TYPE) if reply else web.Response()
        self._end_if_outdated(request, response)
        try:
            await response.prepare(request)
            await response.write_eof()
        finally:
            receiver.wake()
        return response

    async def _answer(
        self, body: bytes, service: ServiceName, receiver: Receiver, peer: PeerCertificate | None
    ) -> tuple[int, bytes]:
        """The one place where bytes become a message and back; ``peer`` is who sent them."""
        try:
            opened = await self._opened(body, peer)
        except WireError as err:
            _LOG.info("refused a body: %s", err)
            return err.http_status, b""
        except SecurityError as err:
            _LOG.warning("refused a message: %s", err)
            return err.http_status, b""
        except Exception:  # noqa: BLE001 - the last resort: no message may end the listener
            _LOG.exception("unexpected")
            return 500, b""
        message = opened.message
        try:
            reply: AnyMessage | None
            try:
                self._check_sender(peer)
                check_service(message, service)
                reply = await receiver.receive(message)
            except ApplicationError as err:
                reply = refusal(message, err, None)
            return 200, b"" if reply is None else self._encoded(reply, signed=opened.signed)
        except Exception:  # noqa: BLE001 - the last resort: no message may end the listener
            _LOG.exception("unexpected, from %s", type(message).__name__)
            return 500, b""

    async def _opened(self, body: bytes, peer: PeerCertificate | None) -> Opened:
        if self._mail is None:
            return Opened(message=wire.read(body, max_bytes=self._limits.max_bytes))
        return await self._mail.open(body, peer, max_bytes=self._limits.max_bytes)

    def _encoded(self, reply: AnyMessage, *, signed: bool) -> bytes:
        """Return a reply as a body; it is signed if the message it answers was."""
        return wire.write(reply) if self._mail is None else self._mail.encode(reply, signed=signed)

    def _check_sender(self, peer: PeerCertificate | None) -> None:
        """Check that a message is the VTN's.

        Raises:
            NotRegistered: if somebody else has sent it.
        """
        if self._vtn is None or (peer is not None and self._vtn.is_vtn(peer)):
            return
        who = "nobody" if peer is None else f"{peer.subject}, {peer.fingerprint}"
        _LOG.warning("a message from somebody who is not the VTN: %s", who)
        raise NotRegistered("the certificate is not that of this VEN's VTN")


def _ignore(reason: str) -> None:
    """Nobody counts the connections of a VEN that are cut off; the log has them."""
    del reason


def _unwelcome(request: web.Request, err: SecurityError) -> web.Response:
    """Refuse a peer as a whole: nothing of its request is read, and its connection ends (r516, r517)."""
    _LOG.warning("refused a request from %s: %s", request.remote, err)
    response = web.Response(status=err.http_status)
    response.force_close()
    return response


async def listen(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    prefix: str = "",
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    vtn: VtnIdentity | None = None,
    mail: Mail | None = None,
    observer: Callable[[Incoming], None] | None = None,
) -> Listener:
    """Return a listener that listens; it answers 503 until a VEN is attached.

    Args:
        host: The address to listen on.
        port: The port; 0 takes a free one.
        prefix: What stands before the well-known path.
        limits: Bounds.
        tls: The context of :class:`certs.tls.ServerTls`; None is plain HTTP.
        vtn: Tells the VTN by its certificate; with TLS there must be one.
        mail: Signs and verifies; None is a VEN without XML signatures.
        observer: Is shown every request that reached a service.

    Raises:
        ValueError: if there is TLS but nothing to tell the VTN by, or the other way round, or signatures
            without both.
        OSError: if the address is taken or not ours.
    """
    if (tls is None) != (vtn is None):
        raise ValueError("TLS, and how to tell the VTN by its certificate, go together")
    if mail is not None and vtn is None:
        raise ValueError("messages are verified with the certificate of the connection: that needs TLS")
    listener = Listener(prefix, limits or Limits(), vtn, mail, observer)
    await listener.start(host, port, tls)
    return listener
