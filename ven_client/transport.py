"""Simple HTTP, pull: one POST per exchange over one kept-alive connection. The only file that knows aiohttp.

Every reply is read through all steps of :func:`schemas.oadr20b.wire.read`. A reply that is byte for byte the
one to the last poll is not read again: reading is a pure function, and most polls bring nothing. With XML
signatures no two messages are the same, and all go through :mod:`ven_client.mail`.

With TLS a new connection takes the certificates that are current then, and one that was opened with others
is given up. The VTN's certificate is judged before every exchange, so that nothing is sent over a connection
that has outlived it (r516); whatever goes wrong with a certificate, theirs or ours, is a
``CertificateTrouble``.

Source: section 2.2, 2.3; S 9.1.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import aiohttp
from aiohttp.tracing import Trace
from yarl import URL

from certs.peer import PeerCertificate
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import CertificateTrouble, SecurityError, TransportError, WireError
from schemas.oadr20b.model import AnyMessage, Poll
from ven_client.mail import Mail
from ven_client.stats import ClientStats, Tally
from ven_client.vtn_identity import VtnIdentity

__all__ = ["ClientContext", "Exchange", "HttpPull", "retry_after_s"]

_PATH: Final = "OpenADR2/Simple/2.0b"
_HEADERS: Final = {"Content-Type": "application/xml"}
_LONGEST_WAIT_S: Final = 3600.0
_NOT_NEEDED: Final = ("User-Agent", "Accept", "Accept-Encoding")
_FORBIDDEN: Final = 403
_KEEP_ALIVE_S: Final = 75.0
"""How long an idle connection is kept: past the usual poll period, as a handshake costs more than a poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its reply as they went over the wire, for a message log."""

    sent_at: datetime
    service: ServiceName
    request: bytes
    response: bytes
    http_status: int


class ClientContext(Protocol):
    """What makes connections: a :class:`certs.tls.ClientTls`."""

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the next connection; another one when certificates have changed."""
        ...


class _ConnectionLost(Exception):
    """A connection that had served before ended before any byte of the reply."""


class _Refused(Exception):
    """The certificate of the server; its cause is the :class:`SecurityError`."""


class _Connector(aiohttp.TCPConnector):
    """One connection, which is judged each time it is used.

    Args:
        context: Of TLS; None for plain HTTP.
        vtn: Judges the server's certificate; None for plain HTTP, or to leave it at the handshake.
    """

    def __init__(self, context: ssl.SSLContext | None, vtn: VtnIdentity | None) -> None:
        super().__init__(
            limit=1, keepalive_timeout=_KEEP_ALIVE_S, ssl=context if context is not None else True
        )
        self._vtn = vtn
        self.peer: PeerCertificate | None = None
        """Whose connection was used last; None without TLS."""
        self.is_new = False
        """Whether that connection was used for the first time."""
        self._transport: asyncio.BaseTransport | None = None

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        """Return a connection over which something may be sent now.

        Raises:
            _Refused: if there is no traffic with the server.
            ClientError, TimeoutError: as aiohttp does.
        """
        connection = await super().connect(req, traces, timeout)
        self.is_new = connection.transport is not self._transport
        self._transport = connection.transport
        if self._vtn is not None:
            try:
                self.peer = self._vtn.check_server(connection.transport)
            except SecurityError as err:
                connection.close()
                raise _Refused from err
        return connection


class HttpPull:
    """The transport of one pull VEN.

    Args:
        base_url: The VTN's address without the well-known path, e.g. ``https://vtn.example:8443``.
        now: Returns the present instant, for the message log.
        timeout_s: How long a reply may take, wall time; at least 5 s in the field (S 9.1.7).
        observer: Is shown every exchange.
        tls: Our certificate and trust; needed for https.
        vtn: Judges the VTN's certificate before every exchange; needed for signatures.
        mail: Signs and verifies; None is a VEN without XML signatures.
        compressed: Whether to ask for compressed replies (S 9.1.9.2); they are understood in any case.
    """

    def __init__(
        self,
        base_url: str,
        *,
        now: Callable[[], datetime],
        timeout_s: float = 10.0,
        observer: Callable[[Exchange], None] | None = None,
        tls: ClientContext | None = None,
        vtn: VtnIdentity | None = None,
        mail: Mail | None = None,
        compressed: bool = False,
    ) -> None:
        if mail is not None and vtn is None:
            raise ValueError("replies are verified with the certificate of the connection: that needs TLS")
        base = f"{base_url.rstrip('/')}/{_PATH}"
        self._urls = {service: URL(f"{base}/{service.value}") for service in ServiceName}
        self._now = now
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._observer = observer
        self._tls = tls
        self._vtn = vtn
        self._mail = mail
        self._context: ssl.SSLContext | None = None
        self._headers = {**_HEADERS, "Accept-Encoding": "gzip, deflate"} if compressed else _HEADERS
        self._retry_after_s: float | None = None
        self._http: aiohttp.ClientSession | None = None
        self._connector: _Connector | None = None
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
            CertificateTrouble: if one side refuses the certificate of the other.
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
        http, self._http, self._connector, self._reused = self._http, None, None, False
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
            body = self._encoded(message)  # what is sent again is signed again
            status, raw = await self._post(service, body)
        self._tally.body(len(raw), status)
        if self._observer is not None:
            self._observer(
                Exchange(sent_at=sent_at, service=service, request=body, response=raw, http_status=status)
            )
        if status == _FORBIDDEN and self._tls is not None:
            what = "certificate" if self._mail is None else "certificate or signature"
            raise CertificateTrouble(f"the VTN refuses our {what}", status, self._retry_after_s)
        if status != 200:
            raise TransportError(f"HTTP status {status}", status, self._retry_after_s)
        reply = self._decoded(message, raw) if self._mail is None else await self._believed(self._mail, raw)
        self._reused = True
        self._tally.received(reply)
        return reply

    def _encoded(self, message: AnyMessage) -> bytes:
        """The one place where a message becomes bytes."""
        if self._mail is not None:
            return self._mail.request(message)
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
        """Where bytes become a message without XML signatures."""
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

    async def _believed(self, mail: Mail, raw: bytes) -> AnyMessage:
        """Where bytes become a message with XML signatures.

        The connection of a reply that is not to be believed ends: a new one may show the certificate that the
        VTN signs with by now.
        """
        try:
            return await mail.reply(raw, self._peer)
        except CertificateTrouble:
            await self.close()
            raise

    @property
    def _peer(self) -> PeerCertificate | None:
        """Who the last bytes came from."""
        return None if self._connector is None else self._connector.peer

    async def _post(self, service: ServiceName, body: bytes) -> tuple[int, bytes]:
        """The one place where errors of aiohttp become ours."""
        client = await self._client()
        reused, self._reused = self._reused, False
        try:
            async with client.post(
                self._urls[service], data=body, headers=self._headers, allow_redirects=False
            ) as response:
                self._retry_after_s = retry_after_s(response.headers.get("Retry-After"))
                return response.status, await _limited(response)
        except _Refused as err:
            if reused:  # a new connection may show a renewed certificate
                raise _ConnectionLost from err
            raise CertificateTrouble(f"the VTN's certificate is refused: {err.__cause__}") from err
        except aiohttp.ClientConnectorError as err:
            in_handshake = isinstance(err.os_error, ConnectionResetError | ssl.SSLEOFError)
            raise _cut_off(err) if self._tls is not None and in_handshake else _failure(err) from err
        except aiohttp.ClientPayloadError as err:
            raise _failure(err) from err
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as err:
            if reused:
                raise _ConnectionLost from err
            if self._tls is not None and self._connector is not None and self._connector.is_new:
                raise _cut_off(err) from err
            raise _failure(err) from err
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as err:
            raise _failure(err) from err

    async def _client(self) -> aiohttp.ClientSession:
        context = None if self._tls is None else self._tls.context
        if context is not self._context:
            await self.close()
        if self._http is None:
            self._context = context
            self._connector = _Connector(context, self._vtn)
            self._http = aiohttp.ClientSession(
                connector=self._connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_NOT_NEEDED,
                timeout=self._timeout,
            )
        return self._http


def _failure(err: Exception) -> TransportError:
    """Return what an error of the connection is: trouble with a certificate, or any other."""
    found = _tls_error(err)
    if isinstance(found, ssl.SSLCertVerificationError):
        return CertificateTrouble(f"the VTN's certificate is refused: {found.verify_message or found}")
    # An alert is the other side's word: it wants a certificate, or not this one.
    if found is not None and "ALERT" in str(found):
        return CertificateTrouble(f"the VTN refuses the TLS connection: {found}")
    return TransportError(f"{type(err).__name__}: {err}")


def _cut_off(err: Exception) -> TransportError:
    """Return what it means that a new connection ended in the TLS handshake or before any byte of a reply.

    That is how servers refuse a client's certificate whose alert gets lost: in TLS 1.3 because the connection
    closes with our request unread, elsewhere because the server does not take the time to send it.
    """
    found = _failure(err)
    if isinstance(found, CertificateTrouble):
        return found
    return CertificateTrouble(
        f"the VTN ends connections in the TLS handshake or right after it; it may refuse our certificate, or "
        f"have too many connections ({found})"
    )


def _tls_error(err: BaseException | None) -> ssl.SSLError | None:
    """Return the error of the TLS library behind an error of aiohttp, if there is one."""
    seen = 0
    while err is not None and seen < 5:
        inner = getattr(err, "os_error", None)
        for each in (inner, err):
            if isinstance(each, ssl.SSLError):
                return each
        err, seen = err.__cause__, seen + 1
    return None


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
