"""The HTTP transport of the VTN: paths, methods, headers, compression; nothing of the protocol.

Source: OpenADR 2.0b sections 9.1.2 to 9.1.9, rules 53 and 511; G12.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Final

from aiohttp import HttpVersion11, web

from certs.connections import Connections
from certs.unread import BadBody, read_body, sent_away
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import SecurityError
from schemas.oadr20b.simple_http import PATH, base_path, is_xml, normal_path
from vtn_server.busy import Busy, NoRoom
from vtn_server.http_reply import BUSY_FOR_S
from vtn_server.http_reply import reply as reply_of
from vtn_server.limits import Limit
from vtn_server.peers import Peers, address_of
from vtn_server.service import VtnService

__all__ = ["VERSION", "HttpServer", "front", "serve", "serve_health"]

_LOG: Final = logging.getLogger(__name__)

VERSION: Final = metadata.version("feederloop")
"""The version of the product."""

_SHUTDOWN_S: Final = 10.0
"""How long requests under way may take to end; no handler waits for anything but the store."""
_HEADER_BYTES: Final = 8190
"""The longest request line and the longest header; a certificate in a header of a proxy has 2 to 4 kB."""
_HEADERS_AT_MOST: Final = 64
_CONTENT_TYPES: Final = 100
"""How many spellings of a header are remembered."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
Alarms = Callable[[], tuple[str, ...]]
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _no_alarms() -> tuple[str, ...]:
    return ()


def front(
    service: VtnService,
    peers: Peers,
    *,
    prefix: str = "",
    connections: Connections | None = None,
    alarms: Alarms = _no_alarms,
    stopping: asyncio.Event | None = None,
) -> Handler:
    """Return what answers the requests to a VTN.

    There is no aiohttp application around it, whose router and middlewares would be the dearest part of an
    empty poll.

    Args:
        service: The VTN.
        peers: Tells who asks.
        connections: Those it is served on; they are told when a request begins and ends.
        alarms: What an operator has to look after; ``/ready`` tells it.
        prefix: What stands before the well-known path, such as ``/dso``; empty for none.
        stopping: Set once the VTN stops; ``/ready`` tells it.
    """
    openadr = _openadr(service, peers, base_path(prefix) + PATH)
    others = {"/health": _health(service), "/ready": _ready(service, alarms, stopping or asyncio.Event())}
    most = service.settings.max_bytes

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if "Expect" in request.headers:
            await _expected(request)
        other = others.get(request.rel_url.raw_path) if request.method in ("GET", "HEAD") else None
        return await (openadr if other is None else other)(request)

    if connections is None:
        return answer
    known = connections

    async def marked(request: web.BaseRequest) -> web.StreamResponse:
        """Say that the head of the request has come, and read no refused body."""
        transport = request.transport
        with known.serving(transport):
            response = await answer(request)
            if known.is_outdated(transport):
                response.force_close()
            return await sent_away(request, response, most_bytes=most)

    return marked


async def _expected(request: web.BaseRequest) -> None:
    """Do what a peer expects before it sends its body (RFC 9110 section 10.1.1).

    Raises:
        HTTPExpectationFailed: if it is not to be told to go on.
    """
    if request.version < HttpVersion11:
        return
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed()
    writer = request.writer
    await writer.write(_CONTINUE)
    writer.output_size = 0  # the response proper has not begun
    await writer.drain()


def _health(service: VtnService) -> Handler:
    async def health(request: web.BaseRequest) -> web.StreamResponse:
        del request
        if service.is_broken:
            return web.Response(status=503, text="broken")
        return web.Response(text="ok")

    return health


def _ready(service: VtnService, alarms: Alarms, stopping: asyncio.Event) -> Handler:
    """Whether to send requests here: not once the store has failed, nor while the VTN stops.

    An alarm is no reason to stay away: certificates that are not renewed still work, for now.
    """

    async def ready(request: web.BaseRequest) -> web.StreamResponse:
        del request
        takes = service.is_current and not (service.is_broken or stopping.is_set())
        told = {"ready": takes, "version": VERSION, "vtn_id": service.settings.vtn_id}
        if raised := alarms():
            return web.json_response(told | {"alarms": list(raised)}, status=200 if takes else 503)
        return web.json_response(told, status=200 if takes else 503)

    return ready


def _openadr(service: VtnService, peers: Peers, base: str) -> Handler:
    services = {base + name: name for name in ServiceName}
    accepted: set[str | None] = set()
    busy = Busy(service)

    def takes(request: web.BaseRequest) -> bool:
        """Whether the body is of a kind that is taken; peers spell that the same way every time."""
        spelling = request.headers.get("Content-Type")
        if spelling in accepted:
            return True
        taken = is_xml(request.content_type, request.charset)
        if taken and len(accepted) < _CONTENT_TYPES:
            accepted.add(spelling)
        return taken

    async def handle(request: web.BaseRequest) -> web.Response:
        try:
            peer = peers.identify(request)
        except SecurityError as err:
            return _unwelcome(service, request, err)
        name = services.get(normal_path(request.rel_url.raw_path))
        if name is None:
            return _failed(service, 404)
        if request.method != "POST":
            return _failed(service, service.settings.wrong_method_status)
        if not takes(request):
            return _failed(service, 406)
        try:
            body = await _body(request, service, busy)
        except NoRoom:
            return _busy(service)
        except TimeoutError:
            return _failed(service, 408)
        except BadBody:
            return _failed(service, 400)
        except web.HTTPRequestEntityTooLarge:
            return _failed(service, 413)
        status, reply = await service.handle(body, peer, name)
        return reply_of(request, status, reply)

    async def bounded(request: web.BaseRequest) -> web.StreamResponse:
        if not busy.enter():
            return _busy(service)
        try:
            return await handle(request)
        finally:
            busy.leave()

    return bounded


async def _body(request: web.BaseRequest, service: VtnService, busy: Busy) -> bytes:
    """Return the body; one that has come with its head needs no clock.

    Raises:
        TimeoutError: if it takes too long.
        NoRoom: if too many are coming already.
        HTTPRequestEntityTooLarge, BadBody: see :func:`certs.unread.read_body`.
    """
    most = service.settings.max_bytes
    if request.content.is_eof():
        return await read_body(request, max_bytes=most)
    packed = "Content-Encoding" in request.headers  # a byte of such a body may become a thousand
    with busy.body(None if packed else request.content_length):
        async with asyncio.timeout(service.settings.read_timeout_s):
            return await read_body(request, max_bytes=most)


def _busy(service: VtnService) -> web.Response:
    response = _failed(service, 503)
    response.headers["Retry-After"] = BUSY_FOR_S
    return response


def _failed(service: VtnService, status: int) -> web.Response:
    service.count_http_error(status)
    return web.Response(status=status)


def _unwelcome(service: VtnService, request: web.BaseRequest, err: SecurityError) -> web.Response:
    """Refuse a peer as a whole: nothing of its request is read, and its connection ends (r516, r517)."""
    _LOG.warning("refused a request from %s: %s", address_of(request), err)
    response = _failed(service, err.http_status)
    response.force_close()
    return response


class _Site(web.BaseSite):
    """A listening address whose connections are bounded."""

    def __init__(
        self,
        runner: web.ServerRunner,
        connections: Connections,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        *,
        shared: bool,
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._shared = shared
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
        self._server = await self._connections.listen(
            protocol, self._host, self._port, self._tls, shared=self._shared
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServer:
    """A server that listens.

    Attributes:
        url: The base address, without the well-known path.
    """

    runner: web.ServerRunner
    host: str
    port: int
    url: str
    stopping: asyncio.Event

    async def close(self) -> None:
        """Stop listening, finish the requests under way, end the connections."""
        self.stopping.set()
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
    shared: bool = False,
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
        shared: Whether other processes listen on the same port.

    Raises:
        OSError: if the address is taken or not ours.
    """
    limits = service.settings.connection_limits
    connections = Connections(limits, service.count_closed, exempt)
    admission = connections.admission
    service.watch(Limit.CONNECTIONS, limits.connections, lambda: admission.open, lambda: connections.refused)
    stopping = asyncio.Event()
    handler = front(service, peers, prefix=prefix, connections=connections, alarms=alarms, stopping=stopping)
    loop, most = asyncio.get_running_loop(), service.settings.max_bytes
    server = web.Server(
        handler,
        request_factory=partial(web.BaseRequest, loop=loop, client_max_size=most),
        access_log=None,
        keepalive_timeout=service.settings.idle_timeout_s,
        max_line_size=_HEADER_BYTES,
        max_field_size=_HEADER_BYTES,
        max_headers=_HEADERS_AT_MOST,
        lingering_time=0.0,
    )
    runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await _Site(runner, connections, host, port, tls, shared=shared).start()
    except OSError:
        await runner.cleanup()
        raise
    bound = runner.addresses[0][1]
    scheme = "http" if tls is None else "https"
    shown = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{shown}:{bound}{base_path(prefix)}"
    return HttpServer(runner=runner, host=host, port=bound, url=url, stopping=stopping)


async def serve_health(
    service: VtnService,
    alarms: Alarms = _no_alarms,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    shared: bool = False,
) -> HttpServer:
    """Serve ``/health`` and ``/ready`` by themselves, in plain HTTP, for whoever has no certificate.

    Raises:
        OSError: if the address is taken or not ours.
    """
    stopping = asyncio.Event()
    told = {"/health": _health(service), "/ready": _ready(service, alarms, stopping)}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        known = told.get(request.rel_url.raw_path)
        if known is None:
            return web.Response(status=404)
        return await known(request) if request.method in ("GET", "HEAD") else web.Response(status=405)

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, reuse_port=shared or None).start()
    except OSError:
        await runner.cleanup()
        raise
    bound = runner.addresses[0][1]
    url = f"http://{host}:{bound}"
    return HttpServer(runner=runner, host=host, port=bound, url=url, stopping=stopping)
