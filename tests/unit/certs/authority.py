"""An authority on disk with a VTN and two VENs, made once per test run; and TLS handshakes in memory."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from certs.files import read_certificates
from certs.pki import Pki, Role
from certs.tls import CertificateFiles, TlsFiles

REAL_NOW = datetime.now(UTC)
"""OpenSSL looks at the real clock, so these certificates are valid on it."""


def make_authority(folder: Path) -> Pki:
    """An authority with vtn ``localhost`` and vens ``ven-1`` and ``ven-2``, RSA and P-256 each."""
    pki = Pki(folder)
    pki.init(REAL_NOW)
    pki.issue(Role.VTN, "localhost", REAL_NOW, hosts=["127.0.0.1"])
    pki.issue(Role.VEN, "ven-1", REAL_NOW)
    pki.issue(Role.VEN, "ven-2", REAL_NOW)
    return pki


def own(folder: Path, role: str, name: str, kind: str) -> CertificateFiles:
    """The files of a party."""
    base = folder / "issued" / role / name
    return CertificateFiles(certificate=base / f"{kind}.pem", key=base / f"{kind}.key")


def files(folder: Path, role: str, name: str, *kinds: str, crl: bool = False) -> TlsFiles:
    """The TLS files of a party."""
    return TlsFiles(
        own=tuple(own(folder, role, name, kind) for kind in kinds),
        trust=folder / "trust.pem",
        crl=folder / "crl.pem" if crl else None,
    )


def leaf(folder: Path, role: str, name: str, kind: str) -> x509.Certificate:
    """The certificate of a party."""
    return read_certificates(own(folder, role, name, kind).certificate)[0]


def days(number: float) -> timedelta:
    """A number of days."""
    return timedelta(days=number)


@dataclass(frozen=True)
class Connection:
    """Two ends of a TLS connection whose handshake is done."""

    client: ssl.SSLObject
    server: ssl.SSLObject

    def get_extra_info(self, name: str, default: object = None) -> object:
        """As a transport of the server does."""
        return self.server if name == "ssl_object" else default


def connect(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    *,
    host: str | None = "localhost",
    session: ssl.SSLSession | None = None,
) -> Connection:
    """Shake hands in memory.

    Raises:
        ssl.SSLError: of the side that refuses.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = client.wrap_bio(to_client, to_server, server_hostname=host, session=session)
    server_end = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(20):
        for end in (client_end, server_end):
            if end not in done:
                try:
                    end.do_handshake()
                    done.add(end)
                except ssl.SSLWantReadError:
                    pass
        if len(done) == 2:
            # TLS 1.3 clients learn from the first bytes after the handshake that they were refused,
            # and get their session tickets there.
            server_end.write(b"x")
            assert client_end.read(1) == b"x"
            return Connection(client_end, server_end)
    raise AssertionError("the handshake does not end")
