"""The certificates themselves: what a CA's and a party's contain.

Source: section 2.3; RFC 5280 4.2.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.files import PkiError
from certs.keys import PrivateKey

__all__ = ["alternative_names", "ca_certificate", "common_name", "leaf_certificate"]

_BACKDATE: Final = timedelta(minutes=5)
"""Certificates are valid from a little earlier, for peers whose clocks are behind."""
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:\*\.)?(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}\Z")
"""RFC 1123 2.1. The last label is no number: a mistyped IP address is no name. A wildcard may lead."""


def common_name(text: str, unit: str | None = None) -> x509.Name:
    """Return a distinguished name: a common name, and an organisational unit if there is one."""
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, text)]
    if unit is not None:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return x509.Name(parts)


def alternative_names(name: str, hosts: Iterable[str]) -> x509.SubjectAlternativeName:
    """Return the names a certificate may be used for; each is an IP address or a DNS name.

    Args:
        name: The party's; what DNS does not allow in it is replaced, because a venID need not be a host.
        hosts: Host names (``*.`` may stand in front) and IP addresses, used as they are.

    Raises:
        PkiError: for a name that is not ASCII, and for a host that is neither a host name nor an address.
    """
    found: list[x509.GeneralName] = []
    hosts = tuple(hosts)
    for each in hosts:
        _check_host(each)
    for each in dict.fromkeys((name, *hosts)):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(each)))
        except ValueError:
            if not each.isascii():
                raise PkiError(f"the host name {each!r} must be written in ASCII (xn--...)") from None
            found.append(x509.DNSName(each.replace("_", "-").replace("@", ".")))
    return x509.SubjectAlternativeName(found)


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not host.isascii():
            raise PkiError(f"the host name {host!r} must be written in ASCII (xn--...)") from None
        if not _HOST.match(host):
            raise PkiError(f"{host!r} is neither a host name nor an IP address") from None


def _usage(*, ca: bool, rsa_key: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        # One of the two mandated suites moves the session key under the RSA key.
        key_encipherment=not ca and rsa_key,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, key: PrivateKey, issuer: x509.Certificate | None, now: datetime, validity: timedelta
) -> x509.CertificateBuilder:
    end = now + validity
    if issuer is not None:
        if now > issuer.not_valid_after_utc:
            raise PkiError("the issuing CA has expired")
        end = min(end, issuer.not_valid_after_utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def ca_certificate(
    subject: x509.Name,
    key: PrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: PrivateKey,
    now: datetime,
    validity: timedelta,
    *,
    path_length: int,
) -> x509.Certificate:
    """Return the certificate of a CA; a root if there is no issuer.

    Raises:
        PkiError: if the issuer has expired.
    """
    return (
        _builder(subject, key, issuer, now, validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )


def leaf_certificate(
    name: str,
    unit: str,
    key: PrivateKey,
    names: x509.SubjectAlternativeName,
    issuer: x509.Certificate,
    issuer_key: PrivateKey,
    now: datetime,
    validity: timedelta,
    *,
    serves: bool,
) -> x509.Certificate:
    """Return the certificate of a party, for a client, and for a server if it serves.

    Raises:
        PkiError: if the issuer has expired.
    """
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if serves else [])]
    return (
        _builder(common_name(name, unit), key, issuer, now, validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False, rsa_key=isinstance(key, rsa.RSAPrivateKey)), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(names, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )
