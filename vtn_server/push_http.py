"""One POST to a push VEN, and every way it can end. The only file of the push transport that knows aiohttp.

Requests have a Content-Length, are never compressed nor chunked, and redirects are not followed.

Source: OpenADR 2.0b sections 9.1.5 to 9.1.9.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

__all__ = ["Answer", "PushHttp", "PushLimits"]

_HEADERS: Final = {"Content-Type": "application/xml"}
_NOT_NEEDED: Final = ("User-Agent", "Accept", "Accept-Encoding")


@dataclass(frozen=True, slots=True, kw_only=True)
class PushLimits:
    """Bounds of the push transport.

    Attributes:
        timeout_s: How long an exchange may take, wall time; at least 5 s in the field (section 9.1.7).
        back_off_cap_s: The longest pause after failures, before jitter.
        exchanges: How many exchanges may be under way at once.
        doubtful_exchanges: How many of those with VENs whose last exchange failed.
        keep_alive_s: How long an idle connection is kept.
    """

    timeout_s: float = 10.0
    back_off_cap_s: float = 300.0
    exchanges: int = 64
    doubtful_exchanges: int = 16
    keep_alive_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.doubtful_exchanges < self.exchanges:
            raise ValueError("doubtful_exchanges is positive and below exchanges")
        if self.timeout_s <= 0 or self.back_off_cap_s < 1 or self.keep_alive_s < 0:
            raise ValueError("times of the push transport must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; ``status`` is None where nothing did."""

    status: int | None
    body: bytes = b""
    retry_after: str | None = None
    reason: str = ""


class PushHttp:
    """The connections to all push VENs of one VTN."""

    def __init__(self, limits: PushLimits, tls: ssl.SSLContext | None, max_bytes: int) -> None:
        self._limits = limits
        self._tls = tls
        self._max_bytes = max_bytes
        self._http: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def post(self, url: str, body: bytes) -> Answer:
        """Return what came of an exchange; never raises.

        A kept-alive connection that turns out to be closed is replaced and the request repeated at once, one
        time: all operations are idempotent (section 9.1.4).
        """
        for attempt in (1, 2):
            try:
                async with self._client().post(
                    URL(url), data=body, headers=_HEADERS, allow_redirects=False
                ) as response:
                    reply = await _limited(response, self._max_bytes)
                    return Answer(
                        status=response.status,
                        body=reply,
                        retry_after=response.headers.get("Retry-After"),
                        reason=f"HTTP status {response.status}",
                    )
            except aiohttp.ServerDisconnectedError as err:
                if attempt == 2:
                    return Answer(status=None, reason=f"{type(err).__name__}: {err}")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as err:
                return Answer(status=None, reason=f"{type(err).__name__}: {err}")
        raise AssertionError("unreachable")

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            connector = aiohttp.TCPConnector(
                limit=self._limits.exchanges,
                keepalive_timeout=self._limits.keep_alive_s,
                ssl=self._tls if self._tls is not None else True,
            )
            self._http = aiohttp.ClientSession(
                connector=connector,
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
