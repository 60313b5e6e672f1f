"""The HTTP transport of the VTN: paths, methods, headers, compression; nothing of the protocol.

Source: OpenADR 2.0b sections 9.1.2 to 9.1.9, rules 53 and 511; G12.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import ssl
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from aiohttp import web

from certs.connections import Connections
from certs.unread import BadBody, read_body, sent_away
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import SecurityError
from schemas.oadr20b.simple_http import CONTENT_TYPE, PATH, base_path, is_xml, normal_path
from vtn_server.peers import Peers, address_of
from vtn_server.service import VtnService

__all__ = ["VERSION", "HttpServer", "application", "serve", "serve_health"]

_LOG: Final = logging.getLogger(__name__)

VERSION: Final = metadata.version("feederloop")
"""The version of the product."""

_SHUTDOWN_S: Final = 10.0
"""How long requests under way may take to end; no handler waits for anything but the store."""
_COMPRESSION_LEVEL: Final = 1
_BUSY_FOR_S: Final = "1"
_HEADERS: Final = {"Content-Type": CONTENT_TYPE}
_HEADER_BYTES: Final = 8190
"""The longest request line and the longest header; a certificate in a header of a proxy has 2 to 4 kB."""
_HEADERS_AT_MOST: Final = 64
Alarms = Callable[[], tuple[str, ...]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_STOPPING: Final = web.AppKey("stopping", asyncio.Event)


def _no_alarms() -> tuple[str, ...]:
    return ()


def application(
    service: VtnService,
    peers: Peers,
    *,
    prefix: str = "",
    connections: Connections | None = None,
    alarms: Alarms = _no_alarms,
) -> web.Application:
    """Return the aiohttp application of a VTN.

    Args:
        service: The VTN.
        peers: Tells who asks.
        connections: Those it is served on; they are told when a request begins and ends.
        alarms: What an operator has to look after; ``/ready`` tells it.
        prefix: What stands before the well-known path, such as ``/dso``; empty for none.
    """
    app = web.Application(client_max_size=service.settings.max_bytes)
    app[_STOPPING] = asyncio.Event()
    handlers = {"/health": _health(service), "/ready": _ready(service, alarms)}
    openadr = _openadr(service, peers, base_path(prefix) + PATH)
    if connections is not None:
        most = service.settings.max_bytes
        handlers = {path: _marked(each, connections, most) for path, each in handlers.items()}
        openadr = _marked(openadr, connections, most)
    for path, each in handlers.items():
        app.router.add_get(path, each)
    app.router.add_route("*", "/{path:.*}", openadr)
    return app


def _marked(handler: Handler, connections: Connections, max_bytes: int) -> Handler:
    """Return a handler that says of each request that its head has come, and reads no refused body.

    Not an aiohttp middleware, which would be the dearest part of an empty poll.
    """

    async def marked(request: web.Request) -> web.StreamResponse:
        with connections.serving(request.transport):
            response = await handler(request)
            if connections.is_outdated(request.transport):
                response.force_close()
            return await sent_away(request, response, most_bytes=max_bytes)

    return marked


def _health(service: VtnService) -> Handler:
    async def health(request: web.Request) -> web.StreamResponse:
        del request
        if service.is_broken:
            return web.Response(status=503, text="broken")
        return web.Response(text="ok")

    return health


def _ready(service: VtnService, alarms: Alarms) -> Handler:
    """Whether to send requests here: not once the store has failed, nor while the VTN stops.

    An alarm is no reason to stay away: certificates that are not renewed still work, for now.
    """

    async def ready(request: web.Request) -> web.StreamResponse:
        takes = not (service.is_broken or request.app[_STOPPING].is_set())
        told = {"ready": takes, "version": VERSION, "vtn_id": service.settings.vtn_id}
        if raised := alarms():
            return web.json_response(told | {"alarms": list(raised)}, status=200 if takes else 503)
        return web.json_response(told, status=200 if takes else 503)

    return ready


def _openadr(service: VtnService, peers: Peers, base: str) -> Handler:
    services = {base + name: name for name in ServiceName}

    async def handle(request: web.Request) -> web.Response:
        try:
            peer = peers.identify(request)
        except SecurityError as err:
            return _unwelcome(service, request, err)
        name = services.get(normal_path(request.rel_url.raw_path))
        if name is None:
            return _failed(service, 404)
        if request.method != "POST":
            return _failed(service, service.settings.wrong_method_status)
        if not is_xml(request.content_type, request.charset):
            return _failed(service, 406)
        try:
            body = await _body(request, service)
        except TimeoutError:
            return _failed(service, 408)
        except BadBody:
            return _failed(service, 400)
        except web.HTTPRequestEntityTooLarge:
            return _failed(service, 413)
        status, reply = await service.handle(body, peer, name)
        return _reply(request, status, reply)

    serving = 0

    async def bounded(request: web.Request) -> web.StreamResponse:
        nonlocal serving
        if serving >= service.settings.max_requests:
            response = _failed(service, 503)
            response.headers["Retry-After"] = _BUSY_FOR_S
            return response
        serving += 1
        try:
            return await handle(request)
        finally:
            serving -= 1

    return bounded


async def _body(request: web.Request, service: VtnService) -> bytes:
    """Return the body; one that has come with its head needs no clock.

    Raises:
        TimeoutError: if it takes too long.
        HTTPRequestEntityTooLarge, BadBody: see :func:`certs.unread.read_body`.
    """
    most = service.settings.max_bytes
    if request.content.is_eof():
        return await read_body(request, max_bytes=most)
    async with asyncio.timeout(service.settings.read_timeout_s):
        return await read_body(request, max_bytes=most)


def _failed(service: VtnService, status: int) -> web.Response:
    service.count_http_error(status)
    return web.Response(status=status)


def _unwelcome(service: VtnService, request: web.Request, err: SecurityError) -> web.Response:
    """Refuse a peer as a whole: nothing of its request is read, and its connection ends (r516, r517)."""
    _LOG.warning("refused a request from %s: %s", address_of(request), err)
    response = _failed(service, err.http_status)
    response.force_close()
    return response


def _reply(request: web.Request, status: int, body: bytes) -> web.Response:
    """Return the response, compressed if the peer asks for it (section 9.1.9.2); never chunked."""
    if status != 200:
        return web.Response(status=status, body=body, content_type="text/plain")
    accepted = request.headers.get("Accept-Encoding")
    if accepted is None:
        return web.Response(body=body, headers=_HEADERS)
    encoding = _encoding(accepted)
    if encoding == "gzip":
        body = gzip.compress(body, _COMPRESSION_LEVEL, mtime=0)
    elif encoding == "deflate":
        body = zlib.compress(body, _COMPRESSION_LEVEL)
    else:
        return web.Response(body=body, headers=_HEADERS)
    return web.Response(body=body, headers={**_HEADERS, "Content-Encoding": encoding})


def _encoding(accepted: str) -> str:
    """Return the encoding to use for an Accept-Encoding header; empty for none."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        weight = parameter.strip().removeprefix("q=")
        try:
            weights[name.strip()] = float(weight) if weight else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    return next((name for name in ("gzip", "deflate") if weights.get(name, 0.0) > 0.0), "")


class _Site(web.BaseSite):
    """A listening address whose connections are bounded."""

    def __init__(
        self,
        runner: web.AppRunner,
        connections: Connections,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._connections = connections
        self._host = host
        self._port = port
        self._tls = tls

    @property
    def name(self) -> str:
        """The address, for people."""
        return f"{self._host} port {self._port}"

    async def start(self) -> None:
        """Listen."""
        await super().start()
        protocol = self._runner.server
        assert protocol is not None  # the runner is set up
        self._server = await self._connections.listen(protocol, self._host, self._port, self._tls)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServer:
    """A server that listens.

    Attributes:
        url: The base address, without the well-known path.
    """

    runner: web.AppRunner
    host: str
    port: int
    url: str

    async def close(self) -> None:
        """Stop listening, finish the requests under way, end the connections."""
        if isinstance(app := self.runner.app, web.Application):
            app[_STOPPING].set()
        await self.runner.cleanup()


def _nobody(address: str) -> bool:
    del address
    return False


async def serve(
    service: VtnService,
    *,
    peers: Peers,
    host: str = "127.0.0.1",
    port: int = 0,
    prefix: str = "",
    tls: ssl.SSLContext | None = None,
    exempt: Callable[[str], bool] = _nobody,
    alarms: Alarms = _no_alarms,
) -> HttpServer:
    """Start to listen; port 0 takes a free one.

    Args:
        service: The VTN.
        peers: Tells who asks: :class:`~vtn_server.peers.TlsPeers` with ``tls``, else one of the others.
        host: The address to listen on.
        port: The port.
        prefix: What stands before the well-known path.
        tls: The context of the server, such as :attr:`certs.tls.ServerTls.context`; None is plain HTTP.
        exempt: Whether an address may have as many connections as it likes, as a trusted proxy may.
        alarms: What an operator has to look after; ``/ready`` tells it.

    Raises:
        OSError: if the address is taken or not ours.
    """
    limits = service.settings.connection_limits
    connections = Connections(limits, service.count_closed, exempt)
    runner = web.AppRunner(
        application(service, peers, prefix=prefix, connections=connections, alarms=alarms),
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
        keepalive_timeout=service.settings.idle_timeout_s,
        max_line_size=_HEADER_BYTES,
        max_field_size=_HEADER_BYTES,
        max_headers=_HEADERS_AT_MOST,
        lingering_time=0.0,
    )
    await runner.setup()
    try:
        await _Site(runner, connections, host, port, tls).start()
    except OSError:
        await runner.cleanup()
        raise
    bound = runner.addresses[0][1]
    scheme = "http" if tls is None else "https"
    shown = f"[{host}]" if ":" in host else host
    return HttpServer(
        runner=runner, host=host, port=bound, url=f"{scheme}://{shown}:{bound}{base_path(prefix)}"
    )


async def serve_health(
    service: VtnService, alarms: Alarms = _no_alarms, *, host: str = "127.0.0.1", port: int = 0
) -> HttpServer:
    """Serve ``/health`` and ``/ready`` by themselves, in plain HTTP, for whoever has no certificate.

    Raises:
        OSError: if the address is taken or not ours.
    """
    app = web.Application()
    app[_STOPPING] = asyncio.Event()
    app.router.add_get("/health", _health(service))
    app.router.add_get("/ready", _ready(service, alarms))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    bound = runner.addresses[0][1]
    return HttpServer(runner=runner, host=host, port=bound, url=f"http://{host}:{bound}")
