"""The key with which a program signs its messages: from the settings, renewed while the program runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certs.envelope import SignaturePolicy
from certs.files import PkiError, read_certificates
from certs.tls import CertificateFiles, TlsError
from certs.xmldsig import Signer
from config.settings import SettingsError
from config.signature_settings import Signature
from config.tls_settings import Tls
from config.vtn_settings import VtnProgramSettings
from feederloop.tls_sides import tls_files
from schemas.oadr20b.errors import SecurityError

__all__ = ["SigningKey", "signature_policy", "signing_key", "vtn_key", "vtn_signatures"]


class SigningKey:
    """A signer that follows its files; satisfies :class:`feederloop.tls_sides.Refreshable`.

    Args:
        files: The certificate, its chain after it, and the key, as PEM.

    Raises:
        TlsError: if they cannot be used.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._seen = self._digest()
        self.signer = self._load()
        self.renewed: Callable[[Signer], None] | None = None
        """Is told the new signer when the files have changed."""

    def refresh(self, now: datetime) -> None:
        """Read the files again if they have changed.

        Raises:
            TlsError: if they cannot be used; then the old key goes on.
        """
        del now
        seen = self._digest()
        if seen == self._seen:
            return
        self.signer, self._seen = self._load(), seen
        if self.renewed is not None:
            self.renewed(self.signer)

    def _digest(self) -> bytes:
        try:
            data = [path.read_bytes() for path in (self._files.certificate, self._files.key)]
        except OSError as err:
            raise TlsError(str(err)) from err
        return b"".join(hashlib.sha256(each).digest() for each in data)

    def _load(self) -> Signer:
        try:
            leaf = read_certificates(self._files.certificate)[0]
            key = load_pem_private_key(self._files.key.read_bytes(), None)
            if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
                raise TlsError(f"{self._files.key}: a key of type {type(key).__name__} cannot sign messages")
            return Signer(key, leaf)
        except PkiError as err:
            raise TlsError(str(err)) from err
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm, SecurityError) as err:
            raise TlsError(f"{self._files.key}: {err}") from err


def signature_policy(section: Signature, *, plain: bool) -> SignaturePolicy:
    """Return what is done about signatures; over plain HTTP nothing, for there is nobody to believe.

    Raises:
        SettingsError: if they are required there.
    """
    policy = SignaturePolicy(section.policy)
    if not plain:
        return policy
    if policy is SignaturePolicy.REQUIRED:
        raise SettingsError("required signatures need TLS: they are verified with the peer's certificate")
    return SignaturePolicy.OFF


def signing_key(section: Signature, tls: Tls, policy: SignaturePolicy) -> SigningKey | None:
    """Return the key to sign with; None where nothing is signed.

    Without one of its own that of TLS is taken, P-256 before RSA, as OpenSSL does.

    Raises:
        SettingsError: if there is none that can be used.
    """
    if policy is SignaturePolicy.OFF:
        return None
    if section.certificate is not None and section.key is not None:
        files = CertificateFiles(certificate=section.certificate, key=section.key)
    else:
        files = tls_files(tls, single=True).own[0]
    try:
        return SigningKey(files)
    except TlsError as err:
        raise SettingsError(str(err)) from err


def vtn_signatures(settings: VtnProgramSettings) -> SignaturePolicy:
    """Return what a VTN does about signatures; behind a proxy its VENs have certificates, too.

    Raises:
        SettingsError: if they are required over plain HTTP.
    """
    plain = settings.plain or settings.plain_anywhere
    return signature_policy(settings.signature, plain=plain and not settings.proxy.addresses)


def vtn_key(settings: VtnProgramSettings) -> SigningKey | None:
    """Return the key that a VTN signs with; None where it does not.

    Raises:
        SettingsError: if the settings do not allow it.
    """
    return signing_key(settings.signature, settings.tls, vtn_signatures(settings))
