"""Who asks: every request gets its identity from its transport, before anything else is read of it.

============== =================================== ========================================================
``Peers``      the identity comes from             what is refused (403, and the connection is closed)
============== =================================== ========================================================
ClaimedNames   nowhere: plain HTTP                 nothing; the venID of the message is believed
TlsPeers       the certificate of the connection   none, expired, not yet valid, revoked, weak
ProxyPeers     a header of a trusted proxy         the same, and every request that is not the proxy's
============== =================================== ========================================================

The certificate is judged for every request: a connection may outlive it (r516), and so may a resumed session.
Which VEN it belongs to is decided later, by :func:`vtn_server.registration.authorise`.

Source: section 2.3; rules 68, 516, 517.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from aiohttp import web

from certs.crl import NOTHING_REVOKED, Revoked
from certs.peer import PeerCertificate, ProxyTrust, check_peer, peer_of
from schemas.oadr20b.errors import UnknownPeer
from vtn_server.state import PeerIdentity

__all__ = ["ClaimedNames", "Peers", "ProxyPeers", "RevocationSource", "TlsPeers", "address_of", "identity_of"]


class RevocationSource(Protocol):
    """What knows the revoked certificates: a :class:`certs.tls.ServerTls` is one."""

    @property
    def revoked(self) -> Revoked:
        """What the lists say now."""
        ...


class Peers(Protocol):
    """Tells who asks."""

    def identify(self, request: web.BaseRequest) -> PeerIdentity:
        """Return who sent a request.

        Raises:
            SecurityError: if there is no traffic with whoever it was.
        """
        ...


class ClaimedNames:
    """Plain HTTP: nobody proves anything, the venID of a message is believed."""

    def identify(self, request: web.BaseRequest) -> PeerIdentity:
        """Return an identity without certificate."""
        return PeerIdentity(connection=_connection(request))


class TlsPeers:
    """Mutual TLS that ends here.

    Args:
        revocation: Knows the revoked certificates.
        now: The wall clock, aware; certificates live in it.
    """

    def __init__(self, revocation: RevocationSource, now: Callable[[], datetime]) -> None:
        self._revocation = revocation
        self._now = now

    def identify(self, request: web.BaseRequest) -> PeerIdentity:
        """Return the identity that the certificate of the connection gives.

        Raises:
            UnknownPeer: if there is none.
            CertificateRefused: if it must not be used now.
        """
        certificate = peer_of(request.transport)
        if certificate is None:
            raise UnknownPeer("no client certificate")
        check_peer(certificate, self._now(), self._revocation.revoked)
        return identity_of(certificate, _connection(request))


class ProxyPeers:
    """TLS ends at a proxy, which passes the client's certificate on.

    A connection of the proxy carries the requests of many VENs, so every request counts as a connection of
    its own: a set of events is then sent twice at most, instead of being taken for heard too early.

    Args:
        trust: The proxy's addresses and headers.
        now: The wall clock, aware.
        revocation: Knows the revoked certificates; None leaves that to the proxy.
    """

    def __init__(
        self, trust: ProxyTrust, now: Callable[[], datetime], revocation: RevocationSource | None = None
    ) -> None:
        self._trust = trust
        self._now = now
        self._revocation = revocation
        self._numbers = itertools.count(1)

    def identify(self, request: web.BaseRequest) -> PeerIdentity:
        """Return the identity that the proxy vouches for.

        Raises:
            UnknownPeer: if the request is not the proxy's, or the proxy verified no certificate.
            CertificateRefused: if the certificate cannot be read or must not be used now.
        """
        certificate = self._trust.peer(request.headers.items(), address_of(request))
        revoked = NOTHING_REVOKED if self._revocation is None else self._revocation.revoked
        check_peer(certificate, self._now(), revoked)
        return identity_of(certificate, f"proxied {next(self._numbers)}")


def identity_of(certificate: PeerCertificate, connection: str) -> PeerIdentity:
    """Return the identity that a certificate gives, once it has been judged."""
    return PeerIdentity(
        fingerprint=certificate.fingerprint, certificate=certificate.der, connection=connection
    )


def address_of(request: web.BaseRequest) -> str | None:
    """Return the address at the other end of the connection; None where there is no telling."""
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) and name else None


def _connection(request: web.BaseRequest) -> str:
    transport = request.transport
    return str(None if transport is None else transport.get_extra_info("peername"))
