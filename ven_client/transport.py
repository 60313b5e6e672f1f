"""Simple HTTP, pull: one POST per exchange over one kept-alive connection. The only file that knows aiohttp.

Every reply is read through all steps of :func:`schemas.oadr20b.wire.read`. A reply that is byte for byte the
one to the last poll is not read again: reading is a pure function, and most polls bring nothing.

Source: section 2.2; S 9.1.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import aiohttp
from yarl import URL

from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import TransportError, WireError
from schemas.oadr20b.model import AnyMessage, Poll
from ven_client.stats import ClientStats, Tally

__all__ = ["Exchange", "HttpPull", "retry_after_s"]

_PATH: Final = "OpenADR2/Simple/2.0b"
_HEADERS: Final = {"Content-Type": "application/xml"}
_LONGEST_WAIT_S: Final = 3600.0
_NOT_NEEDED: Final = ("User-Agent", "Accept", "Accept-Encoding")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its reply as they went over the wire, for a message log."""

    sent_at: datetime
    service: ServiceName
    request: bytes
    response: bytes
    http_status: int


class _ConnectionLost(Exception):
    """A connection that had served before ended before any byte of the reply."""


class HttpPull:
    """The transport of one pull VEN.

    Args:
        base_url: The VTN's address without the well-known path, e.g. ``http://127.0.0.1:8080``.
        now: Returns the present instant, for the message log.
        timeout_s: How long a reply may take, wall time; at least 5 s in the field (S 9.1.7).
        observer: Is shown every exchange.
        tls: The context of an https connection.
        compressed: Whether to ask for compressed replies (S 9.1.9.2); they are understood in any case.
    """

    def __init__(
        self,
        base_url: str,
        *,
        now: Callable[[], datetime],
        timeout_s: float = 10.0,
        observer: Callable[[Exchange], None] | None = None,
        tls: ssl.SSLContext | None = None,
        compressed: bool = False,
    ) -> None:
        base = f"{base_url.rstrip('/')}/{_PATH}"
        self._urls = {service: URL(f"{base}/{service.value}") for service in ServiceName}
        self._now = now
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._observer = observer
        self._tls = tls
        self._headers = {**_HEADERS, "Accept-Encoding": "gzip, deflate"} if compressed else _HEADERS
        self._retry_after_s: float | None = None
        self._http: aiohttp.ClientSession | None = None
        self._reused = False
        self._tally = Tally()
        self._poll: tuple[AnyMessage | None, bytes] = (None, b"")
        self._known: tuple[bytes, AnyMessage | None] = (b"", None)

    def stats(self) -> ClientStats:
        """Return the counts so far."""
        return self._tally.snapshot()

    async def exchange(self, service: ServiceName, message: AnyMessage) -> AnyMessage:
        """Send a message and return the reply.

        A kept-alive connection that turns out to be closed is replaced and the request repeated at once, one
        time: all operations are idempotent (S 9.1.4).

        Raises:
            TransportError: if no valid message came back, or the message cannot be written.
        """
        try:
            return await self._exchange(service, message)
        except TransportError:
            self._tally.failures += 1
            self._reused = False
            raise

    async def close(self) -> None:
        """Close the connection; the next exchange opens a new one."""
        http, self._http, self._reused = self._http, None, False
        if http is not None:
            await http.close()

    async def _exchange(self, service: ServiceName, message: AnyMessage) -> AnyMessage:
        body = self._encoded(message)
        sent_at = self._now()
        self._tally.sent(message, len(body))
        try:
            status, raw = await self._post(service, body)
        except _ConnectionLost:
            self._tally.reconnects += 1
            status, raw = await self._post(service, body)
        self._tally.body(len(raw), status)
        if self._observer is not None:
            self._observer(
                Exchange(sent_at=sent_at, service=service, request=body, response=raw, http_status=status)
            )
        if status != 200:
            raise TransportError(f"HTTP status {status}", status, self._retry_after_s)
        reply = self._decoded(message, raw)
        self._reused = True
        self._tally.received(reply)
        return reply

    def _encoded(self, message: AnyMessage) -> bytes:
        if message is self._poll[0]:
            return self._poll[1]
        try:
            body = wire.write(message)
        except WireError as err:
            raise TransportError(f"the message cannot be written: {err}", err.http_status) from err
        if isinstance(message, Poll):
            self._poll = (message, body)
        return body

    def _decoded(self, request: AnyMessage, raw: bytes) -> AnyMessage:
        known, reply = self._known
        if reply is not None and raw == known:
            return reply
        try:
            reply = wire.read(raw)
        except WireError as err:
            raise TransportError(f"the reply is not a valid message: {err}", 200) from err
        if isinstance(request, Poll):
            self._known = (raw, reply)
        return reply

    async def _post(self, service: ServiceName, body: bytes) -> tuple[int, bytes]:
        """The one place where errors of aiohttp become ours."""
        reused, self._reused = self._reused, False
        try:
            async with self._client().post(
                self._urls[service], data=body, headers=self._headers, allow_redirects=False
            ) as response:
                self._retry_after_s = retry_after_s(response.headers.get("Retry-After"))
                return response.status, await _limited(response)
        except (aiohttp.ClientConnectorError, aiohttp.ClientPayloadError) as err:
            raise TransportError(f"{type(err).__name__}: {err}") from err
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as err:
            if reused:
                raise _ConnectionLost from err
            raise TransportError(f"{type(err).__name__}: {err}") from err
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as err:
            raise TransportError(f"{type(err).__name__}: {err}") from err

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            connector = aiohttp.TCPConnector(limit=1, ssl=self._tls if self._tls is not None else True)
            self._http = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_NOT_NEEDED,
                timeout=self._timeout,
            )
        return self._http


def retry_after_s(header: str | None) -> float | None:
    """Return how long a Retry-After header asks to wait, seconds, an hour at most; None without one.

    Only the form in seconds is understood: a date would need a clock both sides agree on.
    """
    text = (header or "").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    return min(float(text), _LONGEST_WAIT_S)


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, decompressed.

    Raises:
        TransportError: if it is larger than a message may be.
    """
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > wire.MAX_BYTES:
            raise TransportError("the reply is too large", response.status)
        parts.append(part)
    return b"".join(parts)
