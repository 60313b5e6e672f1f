"""Why a certificate would be refused: every reason at once, in words, before a peer says "handshake failed".

The checks are those that our servers and clients make: dates, key strength (r68), signature algorithm, a
chain of CAs up to a trusted root, purpose, key usage, host name, and revocation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs.crl import Revoked
from certs.keys import weakness

__all__ = ["Purpose", "build_chain", "is_ca", "is_issued_by", "is_self_signed", "names_host", "refusals"]

_STRONG: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_MAX_DEPTH: Final = 8


class Purpose:
    """The two purposes of a certificate, as object identifiers."""

    CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
    SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH


def is_ca(certificate: x509.Certificate) -> bool:
    """Return whether a certificate may issue others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether a certificate carries the signature of an issuer, by name and by key."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Return whether a certificate is a root."""
    return is_issued_by(certificate, certificate)


def build_chain(
    leaf: x509.Certificate, others: Iterable[x509.Certificate], roots: Iterable[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """Return the chain from a certificate upwards as far as it goes.

    It is complete if its last certificate is one of the roots.
    """
    roots, others = tuple(roots), tuple(others)
    chain = [leaf]
    while chain[-1] not in roots and len(chain) < _MAX_DEPTH:
        above = (each for each in (*roots, *others) if each not in chain and is_issued_by(chain[-1], each))
        issuer = next(above, None)
        if issuer is None:
            break
        chain.append(issuer)
    return tuple(chain)


def refusals(
    leaf: x509.Certificate,
    others: Iterable[x509.Certificate],
    roots: Iterable[x509.Certificate],
    now: datetime,
    *,
    purpose: x509.ObjectIdentifier = Purpose.CLIENT,
    host: str | None = None,
    revoked: Revoked | None = None,
) -> tuple[str, ...]:
    """Return all reasons why a certificate would be refused; none if it would be accepted.

    Args:
        leaf: The certificate.
        others: What its holder sends along.
        roots: What the other side trusts.
        now: The present instant, aware.
        purpose: As TLS client or server.
        host: The name under which a server is addressed.
        revoked: What the revocation lists say.
    """
    roots = tuple(roots)
    chain = build_chain(leaf, others, roots)
    found = []
    for position, each in enumerate(chain):
        who = "the certificate" if position == 0 else f"the CA {each.subject.rfc4514_string()}"
        found += [f"{who} {reason}" for reason in _of_any(each, now, root=each in roots)]
        if position and not is_ca(each):
            found.append(f"{who} is not allowed to issue certificates")
    if chain[-1] not in roots:
        missing = chain[-1].issuer.rfc4514_string()
        found.append(
            "the certificate is self-signed and not trusted"
            if is_self_signed(chain[-1])
            else f"no chain to a trusted root: the certificate of the issuer {missing} is missing"
        )
    found += [f"the certificate {reason}" for reason in _of_leaf(leaf, purpose, host)]
    found += _of_revocation(leaf, now, revoked)
    return tuple(found)


def _of_any(certificate: x509.Certificate, now: datetime, *, root: bool) -> list[str]:
    found = []
    if now > certificate.not_valid_after_utc:
        found.append(f"expired at {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
    if now < certificate.not_valid_before_utc:
        found.append(f"is valid from {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} on")
    weak = weakness(certificate.public_key())
    if weak is not None:
        found.append(f"has a weak key: {weak}")
    if not root and not isinstance(certificate.signature_hash_algorithm, _STRONG):
        used = certificate.signature_hash_algorithm
        found.append(f"is signed with {used.name if used else 'an unknown hash'}, SHA-256 is needed")
    return found


def _of_leaf(leaf: x509.Certificate, purpose: x509.ObjectIdentifier, host: str | None) -> list[str]:
    found = []
    extensions = leaf.extensions
    try:
        if purpose not in extensions.get_extension_for_class(x509.ExtendedKeyUsage).value:
            what = "server" if purpose == Purpose.SERVER else "client"
            found.append(f"is not for a TLS {what} (extended key usage)")
    except x509.ExtensionNotFound:
        pass  # without the extension every purpose is allowed
    try:
        if not extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            found.append("is not for digital signatures (key usage)")
    except x509.ExtensionNotFound:
        pass
    if is_ca(leaf):
        found.append("is a CA's")
    if host is not None and not names_host(leaf, host):
        found.append(f"does not name the host {host}")
    return found


def names_host(leaf: x509.Certificate, host: str) -> bool:
    """Return whether a certificate is for a host, a DNS name or an IP address (RFC 6125)."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        wanted = host.lower().rstrip(".")
    for name in names.get_values_for_type(x509.DNSName):
        known = name.lower()
        if known == wanted or (known.startswith("*.") and known[1:] == wanted[wanted.find(".") :]):
            return True
    return False


def _of_revocation(leaf: x509.Certificate, now: datetime, revoked: Revoked | None) -> list[str]:
    if revoked is None:
        return []
    found = []
    issuer = leaf.issuer.public_bytes()
    if (issuer, leaf.serial_number) in revoked:
        found.append("the certificate is revoked")
    if issuer not in revoked.issuers and revoked.issuers:
        found.append("no revocation list of the certificate's issuer is loaded")
    if revoked.stale_for(now) is not None:
        found.append(f"the revocation list is stale since {revoked.next_update:%Y-%m-%dT%H:%M:%SZ}")
    return found
