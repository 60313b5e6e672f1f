"""Who is at the other end: the certificate of a peer, from its TLS connection or from a proxy's header.

Every request gets its peer from here, and :func:`refusal` is asked for every request: a connection may
outlive the certificate it was opened with (r516), and a resumed TLS session does not present it again.

*Behind a proxy that ends TLS* the certificate comes in a header, URL-encoded PEM, and is believed only if the
request comes from an address that is named as a trusted proxy. For nginx see docs/proxy.md.

``proxy_set_header`` replaces what a client has sent under these names; a request that has one of them twice
is refused. The proxy has verified the chain; dates, key strength and revocation are checked here again.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from certs.crl import NOTHING_REVOKED, Revoked
from certs.keys import fingerprint_of_der, weakness
from schemas.oadr20b.errors import CertificateRefused, UnknownPeer

__all__ = ["PeerCertificate", "ProxyTrust", "check_peer", "peer_of", "refusal", "still_valid"]

_MAX_HEADER: Final = 16_384
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Transport(Protocol):
    """What is needed of an asyncio transport."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return something the transport knows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCertificate:
    """The certificate of a peer, as far as we need it.

    Attributes:
        der: The certificate; what a signature is verified with.
        fingerprint: The OpenADR fingerprint.
        subject: Distinguished name, for people.
        common_name: First common name of the subject; empty if there is none.
        issuer_der: Name of the issuer as DER, as revocation lists have it.
        serial: Serial number.
        not_before: Start of validity, UTC.
        not_after: End of validity, UTC.
        weakness: Why its key is too weak, or None.
    """

    der: bytes
    fingerprint: str
    subject: str
    common_name: str
    issuer_der: bytes
    serial: int
    not_before: datetime
    not_after: datetime
    weakness: str | None

    @staticmethod
    def of(der: bytes) -> PeerCertificate:
        """Return the certificate in DER bytes; the last ones seen are remembered.

        Raises:
            CertificateRefused: if it cannot be read.
        """
        return _parsed(der)


@lru_cache(maxsize=4096)
def _parsed(der: bytes) -> PeerCertificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return PeerCertificate(
            der=der,
            fingerprint=fingerprint_of_der(der),
            subject=certificate.subject.rfc4514_string(),
            common_name=str(names[0].value) if names else "",
            issuer_der=certificate.issuer.public_bytes(),
            serial=certificate.serial_number,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            weakness=_weakness(certificate),
        )
    except ValueError as err:
        raise CertificateRefused(f"not a readable certificate: {err}") from err


def _weakness(certificate: x509.Certificate) -> str | None:
    try:
        return weakness(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm) as err:
        return f"a key that cannot be read: {type(err).__name__}"


def peer_of(transport: Transport | None) -> PeerCertificate | None:
    """Return the certificate that the other end of a TLS connection has proved to hold.

    Returns:
        None without TLS, without a certificate, or when the connection is gone.

    Raises:
        CertificateRefused: if it cannot be read.
    """
    if transport is None:
        return None
    tls = transport.get_extra_info("ssl_object")
    if not isinstance(tls, ssl.SSLObject | ssl.SSLSocket):
        return None
    der = tls.getpeercert(binary_form=True)
    return PeerCertificate.of(der) if der else None


def refusal(peer: PeerCertificate, now: datetime, revoked: Revoked = NOTHING_REVOKED) -> str | None:
    """Return why there is no traffic with this peer now, or None if there may be (r68, r516)."""
    if now > peer.not_after:
        return f"the certificate {peer.fingerprint} expired at {peer.not_after:%Y-%m-%dT%H:%M:%SZ}"
    if now < peer.not_before:
        return f"the certificate {peer.fingerprint} is valid from {peer.not_before:%Y-%m-%dT%H:%M:%SZ} on"
    if (peer.issuer_der, peer.serial) in revoked:
        return f"the certificate {peer.fingerprint} is revoked"
    if peer.weakness is not None:
        return f"the certificate {peer.fingerprint} has a weak key: {peer.weakness}"
    return None


def still_valid(peer: PeerCertificate, now: datetime, revoked: Revoked = NOTHING_REVOKED) -> bool:
    """Return whether there may be traffic with this peer now; to be asked for every request."""
    return refusal(peer, now, revoked) is None


def check_peer(peer: PeerCertificate, now: datetime, revoked: Revoked = NOTHING_REVOKED) -> None:
    """Refuse a peer with which there must be no traffic now.

    Raises:
        CertificateRefused: with the reason.
    """
    reason = refusal(peer, now, revoked)
    if reason is not None:
        raise CertificateRefused(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyTrust:
    """A proxy that ends TLS, and the headers in which it passes on the client's certificate.

    Attributes:
        addresses: Where the proxy's requests come from.
        header: Header with the certificate as URL-encoded PEM.
        verify_header: Header that must say ``SUCCESS``; None if the proxy has none.
    """

    addresses: tuple[IpNetwork, ...]
    header: str = "X-SSL-Client-Cert"
    verify_header: str | None = "X-SSL-Client-Verify"

    @classmethod
    def at(cls, *addresses: str) -> ProxyTrust:
        """Return the trust in a proxy at some addresses or networks, with the usual headers.

        Raises:
            ValueError: if one of them is no address.
        """
        return cls(addresses=tuple(ipaddress.ip_network(each) for each in addresses))

    def peer(self, headers: Iterable[tuple[str, str]], remote: str | None) -> PeerCertificate:
        """Return the certificate of the client behind the proxy.

        Args:
            headers: All headers of the request, repeated ones repeated.
            remote: Address the request comes from.

        Raises:
            UnknownPeer: if the request does not come from the proxy, or the proxy verified no certificate.
            CertificateRefused: if the certificate cannot be read.
        """
        if not self.trusts(remote):
            raise UnknownPeer(f"{remote or 'an unknown address'} is not the trusted proxy")
        headers = tuple(headers)
        if self.verify_header is not None and self._one(headers, self.verify_header) != "SUCCESS":
            raise UnknownPeer("the proxy has not verified a client certificate")
        text = unquote(self._one(headers, self.header))
        try:
            certificate = x509.load_pem_x509_certificate(text.encode("ascii"))
        except ValueError as err:
            raise CertificateRefused("the proxy's header holds no readable certificate") from err
        return PeerCertificate.of(certificate.public_bytes(Encoding.DER))

    def trusts(self, remote: str | None) -> bool:
        """Return whether an address is the proxy's."""
        try:
            address = ipaddress.ip_address(remote or "")
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.addresses)

    @staticmethod
    def _one(headers: Iterable[tuple[str, str]], name: str) -> str:
        # Some servers fold '_' and '-' together, so a client could smuggle a second header in.
        wanted = name.lower().replace("_", "-")
        values = [value for key, value in headers if key.lower().replace("_", "-") == wanted]
        if len(values) != 1 or not values[0] or len(values[0]) > _MAX_HEADER:
            raise UnknownPeer(f"{len(values)} headers {name}, one is needed")
        return values[0]
