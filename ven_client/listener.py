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

Source: OpenADR 2.0b sections 9.1.2 to 9.1.9, rules 53, 405 and 511; G12, G15.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import ApplicationError, WireError
from schemas.oadr20b.model import AnyMessage
from ven_client.receiving import SERVICES, check_service, refusal

__all__ = ["Incoming", "Limits", "Listener", "Receiver", "listen", "normal_path"]

_LOG: Final = logging.getLogger(__name__)
_PATH: Final = "/OpenADR2/Simple/2.0b/"
_CONTENT_TYPE: Final = "application/xml"
_SLASHES: Final = re.compile("/+")
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


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
    """

    max_bytes: int = wire.MAX_BYTES
    read_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    requests: int = 32


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
        observer: Is shown every request that reached a service.
    """

    def __init__(
        self, prefix: str, limits: Limits, observer: Callable[[Incoming], None] | None = None
    ) -> None:
        self._base = "/" + prefix.strip("/") if prefix.strip("/") else ""
        self._services = {self._base + _PATH + name: name for name in SERVICES}
        self._limits = limits
        self._observer = observer
        self._receiver: Receiver | None = None
        self._serving = 0
        self._runner: web.AppRunner | None = None
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
            app, access_log=None, keepalive_timeout=self._limits.idle_timeout_s, shutdown_timeout=1.0
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=tls).start()
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://{host}:{self._runner.addresses[0][1]}{self._base}"

    async def close(self) -> None:
        """Stop listening and end the connections."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        service = self._services.get(normal_path(request.rel_url.raw_path))
        if service is None:
            return web.Response(status=404)
        if request.method != "POST":
            return web.Response(status=501)
        if request.content_type != _CONTENT_TYPE or (request.charset or "utf-8").lower() not in (
            "utf-8",
            "utf8",
        ):
            return web.Response(status=406)
        if self._receiver is None or self._serving >= self._limits.requests:
            return web.Response(status=503, headers={"Retry-After": "1"})
        self._serving += 1
        try:
            return await self._serve(request, service, self._receiver)
        finally:
            self._serving -= 1

    async def _serve(
        self, request: web.Request, service: ServiceName, receiver: Receiver
    ) -> web.StreamResponse:
        try:
            async with asyncio.timeout(self._limits.read_timeout_s):
                body = await request.read()
        except TimeoutError:
            return web.Response(status=408)
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413)
        status, reply = await self._answer(body, service, receiver)
        if self._observer is not None:
            self._observer(Incoming(service=service, request=body, response=reply, http_status=status))
        if status != 200:
            return web.Response(status=status)
        response = web.Response(body=reply, content_type=_CONTENT_TYPE) if reply else web.Response()
        try:
            await response.prepare(request)
            await response.write_eof()
        finally:
            receiver.wake()
        return response

    async def _answer(self, body: bytes, service: ServiceName, receiver: Receiver) -> tuple[int, bytes]:
        try:
            message = wire.read(body, max_bytes=self._limits.max_bytes)
        except WireError as err:
            _LOG.info("refused a body: %s", err)
            return err.http_status, b""
        try:
            reply: AnyMessage | None
            try:
                check_service(message, service)
                reply = await receiver.receive(message)
            except ApplicationError as err:
                reply = refusal(message, err, None)
            return 200, b"" if reply is None else wire.write(reply)
        except Exception:  # noqa: BLE001 - the last resort: no message may end the listener
            _LOG.exception("unexpected, from %s", type(message).__name__)
            return 500, b""


def normal_path(raw: str) -> str:
    """Return a path in the form that is compared (r511, RFC 3986 section 6.2.2).

    Percent-encoded unreserved characters are decoded, dot segments resolved; doubled slashes and one at the
    end, which RFC 3986 keeps apart, are tolerated.
    """
    if "%" in raw:
        raw = _ESCAPE.sub(_unescaped, raw)
    if "/." not in raw and "//" not in raw and not raw.endswith("/"):
        return raw
    kept: list[str] = []
    for segment in _SLASHES.sub("/", raw).strip("/").split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match.group(1), 16))
    return character if character in _UNRESERVED else match.group(0)


async def listen(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    prefix: str = "",
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    observer: Callable[[Incoming], None] | None = None,
) -> Listener:
    """Return a listener that listens; it answers 503 until a VEN is attached."""
    listener = Listener(prefix, limits or Limits(), observer)
    await listener.start(host, port, tls)
    return listener
