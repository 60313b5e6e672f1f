"""Certificate revocation lists: making one, and asking one that was loaded.

A list says which serial numbers of one issuer are withdrawn, and until when it may be relied on
(``nextUpdate``). Several lists, one per issuing CA, live in one PEM file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certs.files import PkiError
from certs.keys import PrivateKey

__all__ = ["NOTHING_REVOKED", "Revoked", "crl_pem", "extend_crl", "load_crls", "new_crl", "read_crls"]

_BLOCK: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----\s*", re.DOTALL)


def new_crl(
    issuer: x509.Certificate,
    key: PrivateKey,
    now: datetime,
    valid_for: timedelta,
    *,
    entries: Iterable[x509.RevokedCertificate] = (),
    number: int = 1,
) -> x509.CertificateRevocationList:
    """Return a revocation list signed by an issuing CA."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now)
        .next_update(now + valid_for)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
            critical=False,
        )
    )
    for entry in entries:
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key, hashes.SHA256())


def extend_crl(
    old: x509.CertificateRevocationList,
    issuer: x509.Certificate,
    key: PrivateKey,
    now: datetime,
    valid_for: timedelta,
    *,
    serials: Iterable[int] = (),
) -> x509.CertificateRevocationList:
    """Return the next list of an issuer: what the old one has, and these serial numbers from now on."""
    entries = list(old)
    known = {entry.serial_number for entry in entries}
    for serial in serials:
        if serial not in known:
            known.add(serial)
            entries.append(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            )
    number = old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    return new_crl(issuer, key, now, valid_for, entries=entries, number=number + 1)


def read_crls(data: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """Return the lists in PEM text.

    Raises:
        PkiError: if there is none or one cannot be read.
    """
    try:
        found = tuple(x509.load_pem_x509_crl(block) for block in _BLOCK.findall(data))
    except ValueError as err:
        raise PkiError(f"not a certificate revocation list: {err}") from err
    if not found:
        raise PkiError("no certificate revocation list in this file")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What the loaded lists say.

    Attributes:
        entries: (Issuer name as DER, serial number) of each revoked certificate.
        issuers: Names of the issuers that have a list, as DER.
        next_update: When the first of the lists becomes stale; None when no list is loaded.
    """

    entries: frozenset[tuple[bytes, int]] = frozenset()
    issuers: frozenset[bytes] = frozenset()
    next_update: datetime | None = None

    def __contains__(self, issuer_and_serial: tuple[bytes, int]) -> bool:
        return issuer_and_serial in self.entries

    def stale_for(self, now: datetime) -> timedelta | None:
        """Return how long the oldest list is past its nextUpdate, or None if none is."""
        if self.next_update is None or now <= self.next_update:
            return None
        return now - self.next_update


NOTHING_REVOKED: Final = Revoked()


def load_crls(lists: Iterable[x509.CertificateRevocationList]) -> Revoked:
    """Return what some lists say together; a list without nextUpdate never becomes stale."""
    lists = tuple(lists)
    dates = [each.next_update_utc for each in lists if each.next_update_utc is not None]
    return Revoked(
        entries=frozenset(
            (each.issuer.public_bytes(), entry.serial_number) for each in lists for entry in each
        ),
        issuers=frozenset(each.issuer.public_bytes() for each in lists),
        next_update=min(dates) if dates else None,
    )


def crl_pem(lists: Iterable[x509.CertificateRevocationList]) -> bytes:
    """Return lists as PEM text."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in lists)
