"""Which certificate is the VTN's, and whether there is traffic with it now.

*As a client* the VEN has its TLS library check the chain and the host name. What is left is asked before
every exchange, because a connection outlives the certificate it was opened with (r516): dates, revocation
and key strength, and the pinned fingerprint where there is one.

*As a server*, of a push VEN, it must tell its VTN from everybody else with a certificate of the same trust,
such as its neighbours. The rule:

* With pinned fingerprints the VTN is who holds one of those certificates. A VTN has two (RSA and P-256), and
  two more for a while when they are renewed, so there may be several.
* Without, the VTN is who holds a certificate for the host name in the VTN's address: the same check as when
  the VEN connects. Where a VTN and push VENs share a host (on one machine, in tests) their certificates do,
  too: pin the fingerprints there.

Source: section 2.3; S 9.2.1.1, 10.5.1; rules 68, 516, 517.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from cryptography import x509

from certs.chain import names_host
from certs.crl import Revoked
from certs.peer import PeerCertificate, Transport, check_peer, peer_of
from schemas.oadr20b.errors import FingerprintMismatch, UnknownPeer

__all__ = ["RevocationSource", "VtnIdentity"]


class RevocationSource(Protocol):
    """What knows the revoked certificates: a :class:`certs.tls.ClientTls` or ``ServerTls``."""

    @property
    def revoked(self) -> Revoked:
        """What the lists say now."""
        ...


class VtnIdentity:
    """Tells the VTN by its certificate.

    Args:
        host: The host of the VTN's address.
        now: The wall clock, aware; certificates live in it, whatever clock the session has.
        revocation: Knows the revoked certificates.
        fingerprints: The VTN's certificates; empty means those for ``host``.
    """

    def __init__(
        self,
        host: str,
        now: Callable[[], datetime],
        revocation: RevocationSource,
        fingerprints: tuple[str, ...] = (),
    ) -> None:
        self._host = host
        self._now = now
        self._revocation = revocation
        self._pinned = frozenset(each.upper() for each in fingerprints)

    def caller(self, transport: Transport | None) -> PeerCertificate:
        """Return who is at the other end of a connection; it need not be the VTN.

        Raises:
            UnknownPeer: if it has no certificate.
            CertificateRefused: if there is no traffic with it now.
        """
        peer = peer_of(transport)
        if peer is None:
            raise UnknownPeer("no certificate")
        check_peer(peer, self._now(), self._revocation.revoked)
        return peer

    def is_vtn(self, peer: PeerCertificate) -> bool:
        """Return whether a certificate is the VTN's."""
        if self._pinned:
            return peer.fingerprint in self._pinned
        return _names_host(peer.der, self._host)

    def check_server(self, transport: Transport | None) -> PeerCertificate:
        """Return the certificate of the server that we are connected to, before something is sent to it.

        Its chain and its name have been checked in the handshake.

        Raises:
            UnknownPeer: if it has none.
            CertificateRefused: if there is no traffic with it now.
            FingerprintMismatch: if the VTN's certificates are pinned and this is none of them.
        """
        peer = self.caller(transport)
        if self._pinned and peer.fingerprint not in self._pinned:
            raise FingerprintMismatch(
                f"the certificate {peer.fingerprint} is not one of those that are pinned"
            )
        return peer


@lru_cache(maxsize=256)
def _names_host(der: bytes, host: str) -> bool:
    return names_host(x509.load_der_x509_certificate(der), host)
