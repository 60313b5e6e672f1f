"""What all servers of a benchmark share: an authority, certificates, the list of VENs, one transport."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certs.files import read_certificates
from certs.keys import fingerprint
from certs.pki import KeyKind, Pki, Role
from certs.tls import CertificateFiles, ClientTls, TlsFiles
from certs.xmldsig import Signer
from feederloop.bench.model import Transport

__all__ = ["HOST", "VTN_ID", "Grounds", "client_of", "now", "signer_of"]

HOST: Final = "127.0.0.1"
VTN_ID: Final = "Feederloop_VTN"


def now() -> datetime:
    """Return the wall's time."""
    return datetime.now(UTC)


def signer_of(own: CertificateFiles) -> Signer:
    """Return what signs with the key of a party.

    Raises:
        ValueError: if the key is of no kind that signs messages.
    """
    key = load_pem_private_key(own.key.read_bytes(), None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError(f"{own.key}: neither RSA nor an elliptic curve")
    return Signer(key, read_certificates(own.certificate)[0])


def client_of(files: TlsFiles, *, signed: bool) -> tuple[ClientTls, Signer | None]:
    """Return the TLS of a VEN, and its signer where it signs."""
    return ClientTls(files, now()), signer_of(files.own[0]) if signed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """One transport with its parties.

    Attributes:
        folder: The authority's, with keys of VTN and VENs; delete it afterwards.
        transport: How messages travel.
        vens: The number of VENs.
    """

    folder: Path
    transport: Transport
    vens: int

    def make(self) -> None:
        """Issue all certificates, of both kinds. Once for all transports: they share the folder."""
        both, present, pki = [KeyKind.RSA, KeyKind.EC], now(), Pki(self.folder)
        pki.init(present)
        pki.issue(Role.VTN, "localhost", present, kinds=both, hosts=[HOST])
        for name in self.names:
            pki.issue(Role.VEN, name, present, kinds=both)

    @property
    def names(self) -> tuple[str, ...]:
        """The VENs: their names, and their venIDs too."""
        return tuple(f"ven-{number:03}" for number in range(self.vens))

    @property
    def vtn_files(self) -> TlsFiles:
        """The VTN's certificate of the kind that the transport asks for."""
        return self._files(Role.VTN, "localhost")

    def ven_files(self, name: str) -> TlsFiles:
        """The certificate of a VEN."""
        return self._files(Role.VEN, name)

    def mark(self, name: str) -> str | None:
        """The fingerprint of a VEN; None over plain HTTP."""
        if self.transport is Transport.PLAIN:
            return None
        return fingerprint(read_certificates(self.ven_files(name).own[0].certificate)[0])

    def write_vens(self, path: Path) -> None:
        """Write the file of VENs that ``feederloop vtn --vens`` takes."""
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("name", "ven_id", "fingerprint"))
            rows.writerows((name, name, self.mark(name) or "") for name in self.names)

    def _files(self, role: Role, name: str) -> TlsFiles:
        base = self.folder / "issued" / role.value / name
        kind = self.transport.key
        own = CertificateFiles(certificate=base / f"{kind}.pem", key=base / f"{kind}.key")
        return TlsFiles(own=(own,), trust=self.folder / "trust.pem")
