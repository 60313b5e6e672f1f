"""Keys and certificates as the profile sees them: fingerprints, strength, and signatures over bytes.

A key of a peer is RSA with 2048 bits or more, or on one of the curves P-256, P-384 and P-521 (r68; G3: what
lies between 224 and 255 bits is refused). Everything here takes loaded keys; nothing is parsed per message.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from schemas.oadr20b.errors import CertificateRefused

__all__ = [
    "MIN_RSA_BITS",
    "PrivateKey",
    "PublicKey",
    "TrustedKey",
    "fingerprint",
    "fingerprint_of_der",
    "sign_bytes",
    "verify_bytes",
    "weakness",
]

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

MIN_RSA_BITS: Final = 2048
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_PADDING: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()
_ECDSA: Final = ec.ECDSA(_SHA256)


def fingerprint_of_der(der: bytes) -> str:
    """Return the OpenADR fingerprint of a certificate: the last ten bytes of its SHA-256, as ``AA:BB:...``.

    Source: S 10.5.1.
    """
    return hashlib.sha256(der).digest()[-10:].hex(":").upper()


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the OpenADR fingerprint of a certificate, 29 characters."""
    return fingerprint_of_der(certificate.public_bytes(Encoding.DER))


def weakness(key: object) -> str | None:
    """Return why a public key is not good enough for OpenADR 2.0b, or None if it is (r68, G3)."""
    match key:
        case rsa.RSAPublicKey():
            return (
                None if key.key_size >= MIN_RSA_BITS else f"RSA key of {key.key_size} bits, 2048 are needed"
            )
        case ec.EllipticCurvePublicKey():
            return None if key.curve.name in _CURVES else f"elliptic curve {key.curve.name}, P-256 is needed"
        case _:
            return f"key of type {type(key).__name__}, RSA or an elliptic curve is needed"


def sign_bytes(key: PrivateKey, data: bytes) -> bytes:
    """Return the signature value of XML Signature over data: PKCS#1 v1.5, or r and s side by side, SHA-256.

    Source: RFC 6931, sections 2.3.2 and 2.3.6.
    """
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, _PADDING, _SHA256)
    r, s = decode_dss_signature(key.sign(data, _ECDSA))
    size = _coordinate_bytes(key.curve)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def verify_bytes(key: PublicKey, signature: bytes, data: bytes) -> bool:
    """Return whether a signature value as :func:`sign_bytes` makes it is right for data."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, _PADDING, _SHA256)
            return True
        size = _coordinate_bytes(key.curve)
        if len(signature) != 2 * size:
            return False
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        key.verify(encode_dss_signature(r, s), data, _ECDSA)
    except InvalidSignature:
        return False
    return True


def _coordinate_bytes(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """The public key of a certificate that the caller trusts, loaded once.

    Attributes:
        public_key: The key, of sufficient strength.
        fingerprint: Of the certificate.
        not_before: Start of validity, UTC.
        not_after: End of validity, UTC.
    """

    public_key: PublicKey
    fingerprint: str
    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, certificate: x509.Certificate | bytes) -> TrustedKey:
        """Return the key of a certificate (or of its DER bytes).

        Raises:
            CertificateRefused: if it is not a certificate or its key is too weak.
        """
        try:
            if isinstance(certificate, bytes):
                certificate = x509.load_der_x509_certificate(certificate)
            key = certificate.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm) as err:
            raise CertificateRefused(f"not a readable certificate: {err}") from err
        weak = weakness(key)
        if weak is not None or not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            raise CertificateRefused(weak or "unsupported key")
        return cls(
            public_key=key,
            fingerprint=fingerprint(certificate),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )

    def check_time(self, now: datetime) -> None:
        """Refuse the key outside the validity of its certificate.

        Raises:
            CertificateRefused: r516.
        """
        if now > self.not_after:
            raise CertificateRefused(f"the certificate expired at {self.not_after:%Y-%m-%dT%H:%M:%SZ}")
        if now < self.not_before:
            raise CertificateRefused(f"the certificate is valid from {self.not_before:%Y-%m-%dT%H:%M:%SZ} on")
