"""Bounds on the connections of a server, below HTTP: how many, from where, and how slow they may be.

For both sides that listen: a VTN, and a VEN that takes pushes. ``listen`` starts a server whose connections

* are counted when they are accepted, before TLS: beyond ``connections`` in all, or ``per_address`` from one
  address (IPv6: one /64), a new one is closed at once;
* end if their TLS handshake takes longer than ``handshake_s``;
* end if the head of a request is not complete ``head_s`` after the connection is made, or after its first
  byte on a connection that was idle (slow requests, "slow loris");
* end if what is written to them is not taken within ``write_s`` (slow readers).

When our own certificate has changed, connections that have shown the old one end: idle ones at once, the
others with their next answer, which HTTP has to see to (:meth:`Connections.is_outdated`).

HTTP has to say when a request has begun and ended (:meth:`Connections.serving`); the body and the time
between requests are HTTP's to bound. Every connection that is refused or cut off is told to ``closed``, with
one of the words of :class:`Closed`; a handshake that fails is logged with OpenSSL's reason.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from certs.door import Door, Guest
from certs.tls import FrontContext

__all__ = ["Admission", "Closed", "ConnectionLimits", "Connections"]

_LOG: Final = logging.getLogger(__name__)
_NOTHING: Final = nullcontext()


class Closed(StrEnum):
    """Why a connection was refused or cut off."""

    TOO_MANY = "tooMany"
    TOO_MANY_OF_ADDRESS = "tooManyOfAddress"
    HANDSHAKE = "handshake"
    SLOW_HEAD = "slowHead"
    SLOW_READER = "slowReader"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Bounds of a server's connections.

    Attributes:
        connections: How many may be open.
        per_address: How many of them from one address; trusted proxies are exempt.
        handshake_s: How long a TLS handshake may take.
        head_s: How long the head of a request may take.
        write_s: How long a reply may take to be taken.
    """

    connections: int = 2000
    per_address: int = 200
    handshake_s: float = 10.0
    head_s: float = 10.0
    write_s: float = 30.0


def _nobody(address: str) -> bool:
    del address
    return False


class Admission:
    """Counts the open connections, and says whether one more may come.

    Args:
        limits: How many.
        exempt: Whether an address may have as many as it likes: a proxy stands for many clients.
    """

    def __init__(self, limits: ConnectionLimits, exempt: Callable[[str], bool] = _nobody) -> None:
        self._limits = limits
        self._exempt = exempt
        self._open = 0
        self._by_address: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """How many connections are open."""
        return self._open

    def enter(self, address: str) -> Closed | None:
        """Count one more connection, or return why it may not come."""
        if self._open >= self._limits.connections:
            return Closed.TOO_MANY
        key = _origin(address)
        if self._by_address[key] >= self._limits.per_address and not self._exempt(address):
            return Closed.TOO_MANY_OF_ADDRESS
        self._open += 1
        self._by_address[key] += 1
        return None

    def leave(self, address: str) -> None:
        """Count one connection less."""
        key = _origin(address)
        self._open -= 1
        self._by_address[key] -= 1
        if self._by_address[key] <= 0:
            del self._by_address[key]


def _origin(address: str) -> str:
    """Return what stands for one peer: an IPv4 address, or the network that one IPv6 host has for itself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


class _Guard(Guest):
    """Stands between a connection and its HTTP protocol, and watches the time."""

    def __init__(
        self, inner: asyncio.Protocol, host: str, limits: ConnectionLimits, owner: Connections
    ) -> None:
        self._inner = inner
        self._host = host
        self._limits = limits
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._head: asyncio.TimerHandle | None = None
        self._head_by: float | None = None
        """When the head that is expected has to be complete; None while none is."""
        self._write: asyncio.TimerHandle | None = None
        self.serving = False
        self.outdated = False
        """Whether the connection has shown a certificate that is ours no more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport = transport
        # So that pause_writing says that anything is left. With 0, TLS calls an empty buffer full.
        transport.set_write_buffer_limits(high=1)
        self._owner.guards[transport] = self
        self._owner.strangers.discard(self)
        self._expect_head()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if not self.serving and self._head_by is None:
            self._expect_head()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._write = self._loop.call_later(self._limits.write_s, self._abort, Closed.SLOW_READER)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._write is not None:
            self._write.cancel()
            self._write = None
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head, self._write):
            if timer is not None:
                timer.cancel()
        if self._transport is not None:
            self._owner.guards.pop(self._transport, None)
            self._owner.admission.leave(self._host)
        self._inner.connection_lost(exc)

    def never_made(self) -> None:
        """Take note that the connection ended in its handshake, or that nothing more is to come of it."""
        if self._transport is None:
            self._owner.strangers.discard(self)
            self._owner.admission.leave(self._host)
            self._owner.closed(Closed.HANDSHAKE)

    def __enter__(self) -> None:
        """Mark that the head of a request is complete."""
        self.serving = True
        self._head_by = None

    def __exit__(self, *failure: object) -> None:
        """Mark that the request is answered."""
        self.serving = False

    def retire(self) -> None:
        """End the connection: at once if it is idle, else HTTP does it with the next answer."""
        self.outdated = True
        if self._transport is not None and not self.serving and self._head_by is None:
            self._transport.close()

    def _expect_head(self) -> None:
        """Give a head its time, by one timer that goes on from request to request."""
        self._head_by = self._loop.time() + self._limits.head_s
        if self._head is None:
            self._head = self._loop.call_at(self._head_by, self._look_for_head)

    def _look_for_head(self) -> None:
        self._head = None
        if self._head_by is None:
            return
        if self._loop.time() < self._head_by:
            self._head = self._loop.call_at(self._head_by, self._look_for_head)
        else:
            self._abort(Closed.SLOW_HEAD)

    def _abort(self, reason: Closed) -> None:
        if self._transport is not None:
            _LOG.info("cut off %s: %s", self._transport.get_extra_info("peername"), reason)
            self._owner.closed(reason)
            self._transport.abort()


class Connections:
    """The connections of one server.

    Args:
        limits: Their bounds.
        closed: Is told why a connection was refused or cut off.
        exempt: Whether an address may have as many connections as it likes.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        closed: Callable[[str], None],
        exempt: Callable[[str], bool] = _nobody,
    ) -> None:
        self._limits = limits
        self.closed: Final = closed
        self.admission: Final = Admission(limits, exempt)
        self.refused = 0
        """How many connections were refused because there were enough."""
        self.guards: Final[dict[asyncio.BaseTransport, _Guard]] = {}
        self.strangers: Final[set[_Guard]] = set()
        """Those whose TLS handshake is not over."""

    def serving(self, transport: asyncio.BaseTransport | None) -> AbstractContextManager[None]:
        """Mark that the head of a request is complete, until it is answered."""
        guard = None if transport is None else self.guards.get(transport)
        return _NOTHING if guard is None else guard

    def retire(self) -> None:
        """End the connections that have shown a certificate which is ours no more."""
        for guard in (*self.guards.values(), *self.strangers):
            guard.retire()

    def is_outdated(self, transport: asyncio.BaseTransport | None) -> bool:
        """Return whether a connection has to end with the answer to its present request."""
        guard = None if transport is None else self.guards.get(transport)
        return guard is not None and guard.outdated

    async def listen(
        self,
        protocol: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        *,
        shared: bool = False,
    ) -> Door:
        """Start a server; port 0 takes a free one.

        Args:
            protocol: Makes the protocol of a connection.
            host: An address or a name of this machine.
            port: The port.
            tls: The context of a TLS server; a :class:`certs.tls.FrontContext` says when connections are
                outdated.
            shared: Whether other processes of the same user listen there, too (SO_REUSEPORT).

        Raises:
            OSError: if an address is taken or not ours.
        """
        loop = asyncio.get_running_loop()
        if tls is not None:
            tls.sslobject_class = _Telling
        if isinstance(tls, FrontContext):
            tls.renewed = (*tls.renewed, self.retire)
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        listening = _bound(found[0][0], str(found[0][4][0]), port, shared=shared)
        try:
            return Door(
                listening,
                admits=self._admits,
                guest=lambda address: self._guest(protocol(), address),
                tls=tls,
                handshake_s=self._limits.handshake_s,
            )
        except BaseException:
            listening.close()
            raise

    def _admits(self, host: str) -> bool:
        reason = self.admission.enter(host)
        if reason is None:
            return True
        self.refused += 1
        self.closed(reason)
        _LOG.warning("refused a connection from %s: %s", host, reason)
        return False

    def _guest(self, inner: asyncio.Protocol, host: str) -> _Guard:
        guard = _Guard(inner, host, self._limits, self)
        self.strangers.add(guard)
        return guard


def _bound(family: int, host: str, port: int, *, shared: bool) -> socket.socket:
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.setblocking(False)
        found.bind((host, port))
    except OSError as err:
        found.close()
        raise OSError(err.errno, f"{host} port {port}: {err.strerror}") from err
    return found


class _Telling(ssl.SSLObject):
    """A TLS connection that says why a handshake has failed; asyncio keeps that to itself."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as err:
            _LOG.warning("a TLS handshake failed: %s", err.reason or err)
            raise
