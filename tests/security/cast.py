"""Who takes part in the attacks: an authority, honest parties, people with certificates of every bad kind.

The keys of some of them are those of ``tests/unit/certs/parties.py``, so that the forgeries that are tried
there on the verifier can be tried here on servers.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs.certificates import alternative_names, leaf_certificate
from certs.files import key_pem, pem, read_certificates, write_private, write_public
from certs.keys import PrivateKey
from certs.pki import KeyKind, Pki, Role
from tests.e2e.tls_parties import HOST, wall
from tests.unit.certs.parties import key
from tests.unit.vtn.rig import ALICE, BOB

PKI = "pki"
STRANGERS = "other"
VEN_IDS = {
    "alice": str(ALICE),
    "bob": str(BOB),
    "rita": "ven-rita",
    "edith": "ven-edith",
    "carol": "ven-carol",
    "olaf": "ven-olaf",
    "early": "ven-early",
    "wendy": "ven-wendy",
}
"""Every VEN that is provisioned, with the venID it has. Rita has an RSA key, Carol is revoked, Olaf's
certificate has expired, Early's is not valid yet, Wendy has an RSA key of 1024 bits."""
KINDS = {"rita": "rsa", "wendy": "rsa"}
"""The kind of key, where it is not P-256."""
MALLORY = "mallory"
"""Has a good certificate of the authority, and nobody provisioned her."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A certificate with its chain, and its key, as files; None shows none."""

    certificate: Path
    key: Path


def make_cast(folder: Path) -> None:
    """Write the authority, everybody's certificates, and another authority with the same names."""
    pki = Pki(folder / PKI)
    pki.init(wall())
    pki.issue(Role.VTN, "localhost", wall(), kinds=[KeyKind.EC], hosts=[HOST])
    _certify(folder, Role.VTN, "localhost", key("ec"), wall(), serves=True)
    for name in ("alice", "bob", MALLORY):
        pki.issue(Role.VEN, name, wall(), kinds=[KeyKind.EC], hosts=[HOST])
    for number in range(12):
        pki.issue(Role.VEN, f"new-{number}", wall(), kinds=[KeyKind.EC])
    _certify(folder, Role.VEN, "rita", key("rsa"), wall())
    _certify(folder, Role.VEN, "edith", key("ec"), wall())
    _certify(folder, Role.VEN, "wendy", key("rsa-1024"), wall())
    _certify(folder, Role.VEN, "olaf", _fresh(), wall() - timedelta(days=40))
    _certify(folder, Role.VEN, "early", _fresh(), wall() + timedelta(days=40))
    _certify(folder, Role.VEN, "carol", _fresh(), wall())
    pki.revoke([read_certificates(credentials(folder, "carol").certificate)[0]], wall())
    others = Pki(folder / STRANGERS)
    others.init(wall())
    others.issue(Role.VEN, "alice", wall(), kinds=[KeyKind.EC])


def _fresh() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _certify(
    folder: Path, role: Role, name: str, own: PrivateKey, start: datetime, *, serves: bool = False
) -> None:
    """Issue a certificate for 30 days from some instant on, for a key the authority would not take itself."""
    kind = "rsa" if isinstance(own, rsa.RSAPrivateKey) else "ec"
    ca = folder / PKI / "ca" / kind
    (issuing,) = read_certificates(ca / "issuing.pem")
    issuing_key = serialization.load_pem_private_key((ca / "issuing.key").read_bytes(), password=None)
    assert isinstance(issuing_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    certificate = leaf_certificate(
        name,
        role.value,
        own,
        alternative_names(name, [HOST]),
        issuing,
        issuing_key,
        start,
        timedelta(days=30),
        serves=serves,
    )
    base = folder / PKI / "issued" / role.value / name
    write_private(base / f"{kind}.key", key_pem(own))
    write_public(base / f"{kind}.pem", pem(certificate, issuing))


def credentials(
    folder: Path, name: str, *, role: Role = Role.VEN, authority: str = PKI, kinds: Mapping[str, str] = KINDS
) -> Credentials:
    """Return the files of a party."""
    base = folder / authority / "issued" / role.value / name
    kind = kinds.get(name, "ec")
    return Credentials(certificate=base / f"{kind}.pem", key=base / f"{kind}.key")


def certificate_of(folder: Path, name: str) -> x509.Certificate:
    """Return the certificate of a VEN."""
    return read_certificates(credentials(folder, name).certificate)[0]


def context(folder: Path, shown: Credentials | None) -> ssl.SSLContext:
    """Return what an attacker connects with: any certificate whatsoever, or none, however weak."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname = False
    found.set_ciphers("DEFAULT:@SECLEVEL=0")
    found.load_verify_locations(folder / PKI / "trust.pem")
    if shown is not None:
        found.load_cert_chain(shown.certificate, shown.key)
    return found
