"""A small authority with P-256 certificates for tests over sockets: a VTN and some VENs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from certs.files import read_certificates
from certs.keys import fingerprint
from certs.pki import KeyKind, Pki, Role
from certs.tls import CertificateFiles, ClientTls, ServerTls, TlsFiles

HOST = "127.0.0.1"
"""Where everything listens; the VTN's certificate is for ``localhost`` and for this."""


def wall() -> datetime:
    """The clock of certificates."""
    return datetime.now(UTC)


def make_parties(folder: Path, *vens: str, hosts: tuple[str, ...] = ()) -> Pki:
    """Make an authority, the VTN ``localhost`` and VENs; VENs with hosts may listen there."""
    pki = Pki(folder)
    pki.init(wall())
    pki.issue(Role.VTN, "localhost", wall(), kinds=[KeyKind.EC], hosts=[HOST])
    for name in vens:
        pki.issue(Role.VEN, name, wall(), kinds=[KeyKind.EC], hosts=hosts)
    return pki


def files(folder: Path, role: Role, name: str, *, trust: Path | None = None, kind: str = "ec") -> TlsFiles:
    """The files of a party; it trusts its own authority if nothing else is said."""
    base = folder / "issued" / role.value / name
    roots = trust or folder / "trust.pem"
    return TlsFiles(
        own=(CertificateFiles(certificate=base / f"{kind}.pem", key=base / f"{kind}.key"),),
        trust=roots,
        crl=roots.with_name("crl.pem"),
    )


def server(folder: Path, role: Role, name: str, *, trust: Path | None = None) -> ServerTls:
    """The TLS of a party that listens."""
    return ServerTls(files(folder, role, name, trust=trust), wall())


def client(folder: Path, role: Role, name: str, *, trust: Path | None = None, kind: str = "ec") -> ClientTls:
    """The TLS of a party that connects."""
    return ClientTls(files(folder, role, name, trust=trust, kind=kind), wall())


def mark(folder: Path, role: Role, name: str, *, kind: str = "ec") -> str:
    """The fingerprint of a party's current certificate."""
    return fingerprint(read_certificates(folder / "issued" / role.value / name / f"{kind}.pem")[0])


def revoke(pki: Pki, folder: Path, role: Role, name: str) -> None:
    """Put the current certificate of a party on the list."""
    pki.revoke(read_certificates(folder / "issued" / role.value / name / "ec.pem")[:1], wall())
