"""Ten thousand VENs on disk: names, a certificate for each, and where the store of their VTN is.

One P-256 key for each, made quickly; the files are those of nobody but the benchmark, and go with its folder.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certs.certificates import alternative_names, leaf_certificate
from certs.files import key_pem, pem, read_certificates
from certs.keys import PrivateKey, fingerprint
from certs.pki import DEFAULT_VALIDITY, KeyKind, Pki, Role
from certs.tls import CertificateFiles
from feederloop.bench.grounds import HOST, now

__all__ = ["Crowd", "push_host"]


def push_host(number: int) -> str:
    """Return the loopback address at which a push VEN listens: each has one of its own."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """The VENs of a benchmark.

    Attributes:
        folder: Where everything is.
        vens: How many there are.
        push: How many of them, the last ones, are pushed to.
        port: At which the push VENs listen, each at an address of its own.
    """

    folder: Path
    vens: int
    push: int = 0
    port: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, which are their venIDs too."""
        return tuple(f"ven-{number:05}" for number in range(self.vens))

    @property
    def first_push(self) -> int:
        """The number of the first VEN that is pushed to."""
        return self.vens - self.push

    @property
    def trust(self) -> Path:
        """The roots that everybody trusts."""
        return self.folder / "pki" / "trust.pem"

    @property
    def server(self) -> CertificateFiles:
        """The certificate of the VTN."""
        base = self.folder / "pki" / "issued" / "vtn" / "localhost"
        return CertificateFiles(certificate=base / "ec.pem", key=base / "ec.key")

    @property
    def store(self) -> Path:
        """The SQLite file."""
        return self.folder / "vtn.sqlite"

    @property
    def census(self) -> Path:
        """The file of names and fingerprints."""
        return self.folder / "vens.csv"

    def pem_of(self, number: int) -> Path:
        """Return the file with the key and the certificate of a VEN."""
        return self.folder / "vens" / f"{number:05}.pem"

    def make(self) -> None:
        """Issue all certificates."""
        present, pki = now(), Pki(self.folder / "pki")
        pki.init(present)
        pki.issue(Role.VTN, "localhost", present, kinds=[KeyKind.EC], hosts=[HOST])
        (self.folder / "vens").mkdir(mode=0o700)
        issuing, issuing_key = self._issuing()
        with self.census.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            for number, name in enumerate(self.names):
                hosts = [push_host(number)] if number >= self.first_push else []
                key = ec.generate_private_key(ec.SECP256R1())
                made = leaf_certificate(
                    name,
                    Role.VEN.value,
                    key,
                    alternative_names(name, hosts),
                    issuing,
                    issuing_key,
                    present,
                    DEFAULT_VALIDITY,
                    serves=bool(hosts),
                )
                self.pem_of(number).write_bytes(key_pem(key) + pem(made, issuing))
                rows.writerow((name, fingerprint(made)))

    def _issuing(self) -> tuple[x509.Certificate, PrivateKey]:
        base = self.folder / "pki" / "ca" / KeyKind.EC.value
        key = load_pem_private_key((base / "issuing.key").read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        return read_certificates(base / "issuing.pem")[0], key

    def read_census(self) -> tuple[tuple[str, str], ...]:
        """Return names and fingerprints, as they were issued."""
        with self.census.open(encoding="utf-8", newline="") as file:
            return tuple((name, mark) for name, mark in csv.reader(file))
