"""The HTTP transport of the VTN: paths, methods, headers, compression; nothing of the protocol.

Source: OpenADR 2.0b sections 9.1.2 to 9.1.9, rules 53 and 511; G12.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import ssl
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from aiohttp import web

from schemas.oadr20b.enums import ServiceName
from vtn_server.service import VtnService
from vtn_server.state import PeerIdentity

__all__ = ["PATH", "VERSION", "HttpServer", "application", "normal_path", "serve"]

PATH: Final = "/OpenADR2/Simple/2.0b/"
"""The well-known path between the prefix and the service (r511)."""

VERSION: Final = metadata.version("feederloop")
"""The version of the product."""

_SHUTDOWN_S: Final = 10.0
"""How long requests under way may take to end; no handler waits for anything but the store."""
_CONTENT_TYPE: Final = "application/xml"
_SLASHES: Final = re.compile("/+")
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_COMPRESSION_LEVEL: Final = 1
_BUSY_FOR_S: Final = "1"
_HEADERS: Final = {"Content-Type": _CONTENT_TYPE}
_STOPPING: Final = web.AppKey("stopping", asyncio.Event)


def application(service: VtnService, *, prefix: str = "") -> web.Application:
    """Return the aiohttp application of a VTN.

    Args:
        service: The VTN.
        prefix: What stands before the well-known path, such as ``/dso``; empty for none.
    """
    base = "/" + prefix.strip("/") if prefix.strip("/") else ""
    app = web.Application(client_max_size=service.settings.max_bytes)
    app[_STOPPING] = asyncio.Event()
    app.router.add_get("/health", _health(service))
    app.router.add_get("/ready", _ready(service))
    app.router.add_route("*", "/{path:.*}", _openadr(service, base + PATH))
    return app


def _health(service: VtnService) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def health(request: web.Request) -> web.Response:
        del request
        if service.is_broken:
            return web.Response(status=503, text="broken")
        return web.Response(text="ok")

    return health


def _ready(service: VtnService) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Whether to send requests here: not once the store has failed, nor while the VTN stops."""

    async def ready(request: web.Request) -> web.Response:
        takes = not (service.is_broken or request.app[_STOPPING].is_set())
        told = {"ready": takes, "version": VERSION, "vtn_id": service.settings.vtn_id}
        return web.json_response(told, status=200 if takes else 503)

    return ready


def _openadr(service: VtnService, base: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    services = {base + name: name for name in ServiceName}

    async def handle(request: web.Request) -> web.Response:
        name = services.get(normal_path(request.rel_url.raw_path))
        if name is None:
            return _failed(service, 404)
        if request.method != "POST":
            return _failed(service, service.settings.wrong_method_status)
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

    serving = 0

    async def bounded(request: web.Request) -> web.Response:
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
        """Stop listening, finish the requests under way, end the connections."""
        if isinstance(app := self.runner.app, web.Application):
            app[_STOPPING].set()
        await self.runner.cleanup()


async def serve(
    service: VtnService,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    prefix: str = "",
    tls: ssl.SSLContext | None = None,
) -> HttpServer:
    """Start to listen; port 0 takes a free one.

    Raises:
        OSError: if the address is taken or not ours.
    """
    runner = web.AppRunner(
        application(service, prefix=prefix),
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
        keepalive_timeout=service.settings.idle_timeout_s,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError:
        await runner.cleanup()
        raise
    bound = runner.addresses[0][1]
    base = "/" + prefix.strip("/") if prefix.strip("/") else ""
    scheme = "http" if tls is None else "https"
    shown = f"[{host}]" if ":" in host else host
    return HttpServer(runner=runner, host=host, port=bound, url=f"{scheme}://{shown}:{bound}{base}")
