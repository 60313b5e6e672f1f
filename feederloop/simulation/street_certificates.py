"""Certificates for a simulated street, made on the fly: an authority, the VTN, one certificate per home.

P-256 throughout. They are of the time of the wall, which TLS knows, whatever day is played.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from certs.pki import Issued, KeyKind, Pki, Role
from certs.tls import CertificateFiles, ClientTls, ServerTls, TlsFiles
from dso_engine.model import HomeId
from ven_client.vtn_identity import VtnIdentity
from vtn_server.peers import TlsPeers

__all__ = ["StreetCertificates"]

_HOST: Final = "127.0.0.1"
_VALIDITY: Final = timedelta(days=2)


def _wall() -> datetime:
    return datetime.now(UTC)


class StreetCertificates:
    """The certificates of a run.

    Args:
        folder: Where to make the authority; delete it after the run, the private keys are in it.
        homes: Who gets a certificate.

    Raises:
        PkiError: if the folder already holds an authority, or a home's name is no file name.
    """

    def __init__(self, folder: Path, homes: Iterable[HomeId]) -> None:
        self._pki = Pki(folder)
        self._pki.init(_wall(), name="feederloop demo")
        self._vtn = self._issue(Role.VTN, "localhost", _HOST)
        self._homes = {home: self._issue(Role.VEN, str(home)) for home in homes}

    def fingerprint(self, home: HomeId) -> str:
        """Return the fingerprint of a home's certificate."""
        return self._homes[home].fingerprint

    def server(self) -> tuple[ServerTls, TlsPeers]:
        """Return the TLS of the VTN, and what tells it who asks."""
        tls = ServerTls(self._files(self._vtn), _wall())
        return tls, TlsPeers(tls, _wall)

    def client(self, home: HomeId) -> tuple[ClientTls, VtnIdentity]:
        """Return the TLS of a home, and what tells it its VTN, whose fingerprint it has been given."""
        tls = ClientTls(self._files(self._homes[home]), _wall())
        return tls, VtnIdentity(_HOST, _wall, tls, (self._vtn.fingerprint,))

    def _issue(self, role: Role, name: str, *hosts: str) -> Issued:
        (issued,) = self._pki.issue(role, name, _wall(), kinds=[KeyKind.EC], hosts=hosts, validity=_VALIDITY)
        return issued

    def _files(self, issued: Issued) -> TlsFiles:
        assert issued.key_path is not None
        return TlsFiles(
            own=(CertificateFiles(certificate=issued.path, key=issued.key_path),),
            trust=self._pki.trust_path,
            crl=self._pki.crl_path,
        )
