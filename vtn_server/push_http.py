"""One POST to a push VEN, and every way it can end. The only file of the push transport that knows aiohttp.

Requests have a Content-Length, are never compressed nor chunked, and redirects are not followed.

Who listens has to be the VEN: before anything is sent, on new and on kept-alive connections, the certificate
is compared with the one that is enrolled for it, and must not be expired, revoked or weak by now. What name
leads to which address is settled when the connection is made, and only there is the address judged
(:mod:`vtn_server.push_targets`).

Source: OpenADR 2.0b sections 9.1.5 to 9.1.9 and 9.2.1.1.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import aiohttp
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.tracing import Trace
from yarl import URL

from certs.peer import peer_of, refusal
from certs.tls import ClientTls
from vtn_server.kept import Kept
from vtn_server.push_targets import PushTargets

__all__ = ["Answer", "Outbound", "PushHttp", "PushLimits", "WrongVen"]

_HEADERS: Final = {"Content-Type": "application/xml"}
_LAST: Final = {**_HEADERS, "Connection": "close"}
_NOT_NEEDED: Final = ("User-Agent", "Accept", "Accept-Encoding")
# aiohttp has no way to tell its connector for whom a connection is; one task posts one thing at a time.
_WANTED: Final[ContextVar[str | None]] = ContextVar("fingerprint wanted", default=None)
_USED: Final[ContextVar[asyncio.BaseTransport | None]] = ContextVar("connection used", default=None)
_FOUND: Final[ContextVar[bytes | None]] = ContextVar("certificate found", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushLimits:
    """Bounds of the push transport.

    Attributes:
        timeout_s: How long an exchange may take, wall time; at least 5 s in the field (section 9.1.7).
        back_off_cap_s: The longest pause after failures, before jitter.
        exchanges: How many exchanges may be under way at once, slow ones apart.
        doubtful_exchanges: How many of those with VENs whose last exchange failed.
        slow_exchanges: How many more may be under way that were not answered within ``slow_s``.
        slow_s: After how long an exchange counts among those; see :mod:`vtn_server.push_slots`.
        keep_alive_s: How long an idle connection is kept; many peers close theirs after 75 s.
        kept: How many connections are kept; beyond that one ends with its exchange.
    """

    timeout_s: float = 10.0
    back_off_cap_s: float = 300.0
    exchanges: int = 128
    doubtful_exchanges: int = 16
    slow_exchanges: int = 1000
    slow_s: float = 0.25
    keep_alive_s: float = 70.0
    kept: int = 2000

    def __post_init__(self) -> None:
        if not 0 < self.doubtful_exchanges < self.exchanges:
            raise ValueError("doubtful_exchanges is positive and below exchanges")
        if self.slow_exchanges < 0 or self.kept < 0:
            raise ValueError("numbers of exchanges and connections are not negative")
        if min(self.timeout_s, self.slow_s) <= 0 or self.back_off_cap_s < 1 or self.keep_alive_s < 0:
            raise ValueError("times of the push transport must be positive")

    @property
    def connections(self) -> int:
        """How many connections there may be."""
        return self.exchanges + self.slow_exchanges + self.kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; ``status`` is None where nothing did.

    Attributes:
        certificate: The VEN's, as DER; None without TLS.
    """

    status: int | None
    body: bytes = b""
    retry_after: str | None = None
    reason: str = ""
    certificate: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """What holds for all connections to push VENs.

    Attributes:
        targets: Where they may lead.
        tls: Our certificate, and the roots and revocation lists of VENs; None is plain HTTP, or https to a
            server whose certificate is not ours to judge.
        now: The wall clock, in which certificates live.
    """

    targets: PushTargets
    tls: ClientTls | None
    now: Callable[[], datetime]


class WrongVen(aiohttp.ClientError):
    """Whoever listens at the address is not the VEN."""


class _Connector(aiohttp.TCPConnector):
    """Makes connections to VENs, and looks at each before it is used.

    Args:
        outbound: What holds for all of them.
        limit: How many there may be.
        keep_alive_s: How long an idle one is kept.
    """

    def __init__(self, outbound: Outbound, limit: int, keep_alive_s: float) -> None:
        super().__init__(
            limit=limit,
            keepalive_timeout=keep_alive_s,
            use_dns_cache=False,
            socket_factory=self._socket,
        )
        self._outbound = outbound

    def _socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        reason = self._outbound.targets.refusal(str(address[0]), int(address[1]))
        if reason is not None:
            raise OSError(reason)
        return socket.socket(family, kind, protocol)

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection to the VEN that is meant.

        Raises:
            WrongVen: if somebody else is at its end.
        """
        connection = await super().connect(req, traces, timeout)
        try:
            self._check(connection)
        except BaseException:
            connection.close()
            raise
        _USED.set(connection.transport)
        return connection

    def _check(self, connection: Connection) -> None:
        tls, wanted = self._outbound.tls, _WANTED.get()
        if tls is None:
            return
        peer = peer_of(connection.transport)
        if peer is None:
            raise WrongVen("it has no certificate")
        reason = refusal(peer, self._outbound.now(), tls.revoked)
        if reason is not None:
            raise WrongVen(reason)
        if wanted is None or peer.fingerprint != wanted.upper():
            raise WrongVen(f"{peer.fingerprint} is not the VEN's certificate (463)")
        _FOUND.set(peer.der)


class PushHttp:
    """The connections to all push VENs of one VTN."""

    def __init__(self, limits: PushLimits, outbound: Outbound, max_bytes: int) -> None:
        self._limits = limits
        self._outbound = outbound
        self._max_bytes = max_bytes
        self._http: aiohttp.ClientSession | None = None
        self._kept = Kept(limits.kept, limits.keep_alive_s)

    @property
    def kept(self) -> int:
        """How many connections may be kept alive at this moment."""
        return len(self._kept)

    @property
    def not_kept(self) -> int:
        """How many exchanges ended their connection because enough others were kept."""
        return self._kept.refused

    async def close(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    def distrust(self) -> None:
        """End the connection that this task has used last, whose reply was not to be believed.

        A new one may show the certificate that the VEN signs with by now.
        """
        used = _USED.get()
        _USED.set(None)
        if used is not None:
            used.close()

    async def post(self, url: str, body: bytes, fingerprint: str | None) -> Answer:
        """Return what came of an exchange; never raises.

        A kept-alive connection that turns out to be closed is replaced and the request repeated at once, one
        time: all operations are idempotent (section 9.1.4).

        Args:
            url: The VEN's service.
            body: The message.
            fingerprint: That of the VEN's certificate; without one nothing is sent over TLS.
        """
        _WANTED.set(fingerprint)
        _FOUND.set(None)
        _USED.set(None)
        for attempt in (1, 2):
            try:
                return await self._once(url, body)
            except aiohttp.ServerDisconnectedError as err:
                if attempt == 2:
                    return Answer(status=None, reason=f"{type(err).__name__}: {err}")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as err:
                return Answer(status=None, reason=f"{type(err).__name__}: {err}")
        raise AssertionError("unreachable")

    async def _once(self, url: str, body: bytes) -> Answer:
        tls, target = self._outbound.tls, URL(url)
        keeps = self._kept.take((target.host, target.port), asyncio.get_running_loop().time())
        async with self._client().post(
            target,
            data=body,
            headers=_HEADERS if keeps else _LAST,
            allow_redirects=False,
            ssl=True if tls is None else tls.context,
        ) as response:
            reply = await _limited(response, self._max_bytes)
            return Answer(
                status=response.status,
                body=reply,
                retry_after=response.headers.get("Retry-After"),
                reason=f"HTTP status {response.status}",
                certificate=_FOUND.get(),
            )

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=_Connector(
                    self._outbound,
                    self._limits.exchanges + self._limits.slow_exchanges,
                    self._limits.keep_alive_s,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_NOT_NEEDED,
                timeout=aiohttp.ClientTimeout(total=self._limits.timeout_s),
            )
        return self._http


async def _limited(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Return the body.

    Raises:
        ValueError: if it is larger than ``most`` bytes.
    """
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > most:
            raise ValueError("the reply is too large")
        parts.append(part)
    return b"".join(parts)
