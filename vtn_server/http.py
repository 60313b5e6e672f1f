"""The HTTP transport of the VTN: paths, methods, headers, compression; nothing of the protocol.

Source: OpenADR 2.0b sections 9.1.2 to 9.1.9, rules 53 and 511; G12.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from schemas.oadr20b.enums import ServiceName
from vtn_server.service import VtnService
from vtn_server.state import PeerIdentity

__all__ = ["PATH", "HttpServer", "application", "serve"]

PATH: Final = "/OpenADR2/Simple/2.0b/"
"""The well-known path between the prefix and the service (r511)."""

_CONTENT_TYPE: Final = "application/xml"
_SLASHES: Final = re.compile("/+")
_COMPRESSION_LEVEL: Final = 1
_HEADERS: Final = {"Content-Type": _CONTENT_TYPE}


def application(service: VtnService, *, prefix: str = "") -> web.Application:
    """Return the aiohttp application of a VTN.

    Args:
        service: The VTN.
        prefix: What stands before the well-known path, such as ``/dso``; empty for none.
    """
    base = "/" + prefix.strip("/") if prefix.strip("/") else ""
    app = web.Application(client_max_size=service.settings.max_bytes)
    app.router.add_get("/health", _health(service))
    app.router.add_route("*", "/{path:.*}", _openadr(service, base + PATH))
    return app


def _health(service: VtnService) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def health(request: web.Request) -> web.Response:
        del request
        if service.is_broken:
            return web.Response(status=503, text="broken")
        return web.Response(text="ok")

    return health


def _openadr(service: VtnService, base: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    services = {base + name: name for name in ServiceName}

    def service_of(path: str) -> ServiceName | None:
        found = services.get(path)
        return found or services.get(_SLASHES.sub("/", path).rstrip("/"))

    async def handle(request: web.Request) -> web.Response:
        name = service_of(request.path)
        if name is None:
            return _failed(service, 404)
        if request.method != "POST":
            return _failed(service, 501)
        if not _is_xml(request):
            return _failed(service, 406)
        try:
            async with asyncio.timeout(service.settings.read_timeout_s):
                body = await request.read()
        except TimeoutError:
            return _failed(service, 408)
        except web.HTTPRequestEntityTooLarge:
            return _failed(service, 413)
        status, reply = await service.handle(body, _peer(request), name)
        return _reply(request, status, reply)

    return handle


def _failed(service: VtnService, status: int) -> web.Response:
    service.count_http_error(status)
    return web.Response(status=status)


def _is_xml(request: web.Request) -> bool:
    if request.content_type != _CONTENT_TYPE:
        return False
    return (request.charset or "utf-8").lower() in ("utf-8", "utf8")


def _peer(request: web.Request) -> PeerIdentity:
    """Return who asks: without TLS no fingerprint, and the peer's end of the connection as its name."""
    address = request.transport.get_extra_info("peername") if request.transport is not None else None
    return PeerIdentity(fingerprint=None, connection=str(address))


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
        """Stop listening and end the connections."""
        await self.runner.cleanup()


async def serve(
    service: VtnService, *, host: str = "127.0.0.1", port: int = 0, prefix: str = ""
) -> HttpServer:
    """Start to listen; port 0 takes a free one."""
    runner = web.AppRunner(application(service, prefix=prefix), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    bound = runner.addresses[0][1]
    base = "/" + prefix.strip("/") if prefix.strip("/") else ""
    return HttpServer(runner=runner, host=host, port=bound, url=f"http://{host}:{bound}{base}")
