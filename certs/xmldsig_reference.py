"""The reference path: signing and verification by xmlsig behind the contract of :mod:`certs.xmldsig`.

It exists to check the production path against code of other people: both write the same bytes for an RSA
key, verify each other's messages and come to the same verdicts. It is slower (xmlsig reads its schema for
every message), and xmlsig alone is not safe: it prefers a key inside the message over the one it was given,
takes RSA-MD5 and HMAC, and does not say what it has verified. Therefore the message goes through
:func:`certs.xmldsig_parts.dissect` first, and xmlsig sees a copy without KeyInfo.

The only importer of xmlsig. ECDSA, which xmlsig lacks, is registered in its table of methods once, here.
"""

from __future__ import annotations

import base64
import copy
from datetime import datetime
from typing import Any, Final

import xmlsig
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from lxml import etree
from xmlsig.algorithms.base import Algorithm
from xmlsig.constants import TransformUsageSignatureMethod

from certs.keys import PrivateKey, TrustedKey, sign_bytes, verify_bytes
from certs.xmldsig import Signer, Verifier, protection
from certs.xmldsig_parts import DS, ECDSA_SHA256, SIGNATURE, Element, Parts
from schemas.oadr20b.errors import BadSignature

__all__ = ["ReferenceSigner", "ReferenceVerifier"]

_KEY_INFO: Final = f"{{{DS}}}KeyInfo"


class _Ecdsa(Algorithm):  # type: ignore[misc]  # xmlsig has no types
    """ECDSA with SHA-256 for xmlsig, r and s side by side."""

    private_key_class = ec.EllipticCurvePrivateKey
    public_key_class = ec.EllipticCurvePublicKey

    @staticmethod
    def sign(data: bytes, private_key: PrivateKey, digest: type[hashes.HashAlgorithm]) -> bytes:
        return sign_bytes(private_key, data)

    @staticmethod
    def verify(
        signature_value: str,
        data: bytes,
        public_key: ec.EllipticCurvePublicKey,
        digest: type[hashes.HashAlgorithm],
    ) -> None:
        if not verify_bytes(public_key, base64.b64decode(signature_value), data):
            raise InvalidSignature


TransformUsageSignatureMethod[ECDSA_SHA256] = {"digest": hashes.SHA256, "method": _Ecdsa}


class ReferenceSigner(Signer):
    """Signs as :class:`certs.xmldsig.Signer` does; xmlsig computes digests and the value."""

    def __init__(self, key: PrivateKey, certificate: x509.Certificate) -> None:
        super().__init__(key, certificate)
        self._context: Any = xmlsig.SignatureContext()
        self._context.private_key = key
        self._context.x509 = certificate

    def sign(self, payload: Element, now: datetime, nonce: str, *, wall: datetime | None = None) -> None:
        """Add the signature to a payload, in place; see the base class."""
        self._trusted.check_time(wall or now)
        scope, _ = self.prepare(payload)
        properties = scope.properties.format(*protection(now, nonce))
        text = scope.signature.format(scope.signed_info.format("", ""), "", properties)
        signature = etree.fromstring(text)  # digests and value are still empty
        payload.insert(0, signature)
        self._context.sign(signature)


class ReferenceVerifier(Verifier):
    """Verifies as :class:`certs.xmldsig.Verifier` does; xmlsig does the arithmetic."""

    def _check(self, parts: Parts, trusted: TrustedKey) -> None:
        root = copy.deepcopy(parts.signature.getroottree()).getroot()
        signature = root.find(SIGNATURE)
        assert signature is not None
        for key_info in signature.findall(_KEY_INFO):
            signature.remove(key_info)
        context: Any = xmlsig.SignatureContext()
        context.public_key = trusted.public_key
        try:
            context.verify(signature)
        except Exception as err:  # xmlsig raises bare Exception for every reason
            raise BadSignature(f"xmlsig refuses the signature: {err}") from err
