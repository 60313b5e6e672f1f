"""XML signatures of OpenADR 2.0b messages, in both directions: the production path.

The rules, as this module keeps them:

*What a signed message looks like.* ``oadrPayload`` holds a ``ds:Signature`` and then the
``oadrSignedObject`` it belongs to, side by side (detached). SignedInfo has two references: the Id of the
signed object, and the ``ds:Object`` (or a part of it) whose SignatureProperty holds ``ReplayProtect``, so
that the time stamp is signed as well.

*What is allowed.* Inclusive Canonical XML 1.0 with or without comments, for SignedInfo and as the only
transform; SHA-256 digests; RSA-SHA256 with an RSA key of 2048 bits or more, ECDSA-SHA256 with P-256, P-384
or P-521. The method must be the one of the key. Anything else is refused by name, before any arithmetic.

*Who is believed.* Only the certificate the caller passes, which the transport has established. KeyInfo is
written, because peers want to see it, and never read. A certificate outside its validity verifies nothing.

*What is read is what was signed.* :meth:`Verifier.verify` returns the very element whose digest it has
computed. It is the only ``oadrSignedObject`` of the document and a child of the payload; Ids are unique in
the document; there are exactly the two references. Decode that element and nothing else. Do not parse the
bytes again. Comments and processing instructions are refused: canonicalisation drops comments, and a comment
in the middle of a text would change what a reader sees of it.

*Once, and now.* The time stamp may differ from the receiver's clock by the window, in both directions
(default 300 s; openleadr's 5 s are too tight for the field). The nonce must be new: :meth:`Verifier.accept`
asks a :class:`NonceStore` that survives restarts and is shared by all processes. The nonce is remembered
under the signer's fingerprint, so one peer cannot use up another one's. A message is signed at the moment
it is sent, and again when it is sent again.

*A message that fails any of this is ignored*: no state changes, and the answer is the error's HTTP status.

Time and nonces are arguments. Keys are loaded when a :class:`Signer` is made; those of peers are kept by the
:class:`Verifier`.

Source: S 10.6; r514; section 2.4; XML Signature Syntax and Processing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from certs.keys import PrivateKey, TrustedKey, sign_bytes, verify_bytes
from certs.known_shapes import Likeness, Shape
from certs.xmldsig_parts import (
    C14N,
    OADR,
    SIGNATURE,
    SIGNED_OBJECT,
    Element,
    Parts,
    Scope,
    canonical,
    dissect,
    method_uri,
    read_protection,
)
from schemas.oadr20b.errors import BadSignature, ForbiddenAlgorithm, OutsideWindow, Replay

__all__ = [
    "DEFAULT_WINDOW",
    "NonceStore",
    "Proof",
    "Signer",
    "Verified",
    "Verifier",
    "check_window",
    "digest_text",
    "is_signed",
    "protection",
]

DEFAULT_WINDOW: Final = timedelta(seconds=300)
SIGNED_ID: Final = "oadrSignedObject"
_ID: Final = f"{{{OADR}}}Id"
_NCNAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NONCE: Final = re.compile(r"[!-~]{1,128}")
_OWN_IDS: Final = ("signature", "prop", "replayProtect")
_SCOPES: Final = 64
_KEYS: Final = 4096


class NonceStore(Protocol):
    """Where nonces are remembered: durable, and shared by all processes that serve one role."""

    async def remember(self, nonce: str, timestamp: datetime) -> bool:
        """Remember a nonce; return False if it was there already, in one atomic step.

        It may be forgotten once ``timestamp`` is more than the window in the past: from then on the message
        is refused by its time stamp. (A time stamp in the future keeps its nonce for longer.)

        Args:
            nonce: The key to remember, 64 characters (:attr:`Verified.replay_key`).
            timestamp: The signed moment, UTC.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a signature that is right says.

    Attributes:
        timestamp: When it was signed, UTC.
        nonce: Its nonce, any length.
        fingerprint: Of the certificate it was verified with.
    """

    timestamp: datetime
    nonce: str
    fingerprint: str

    @property
    def replay_key(self) -> str:
        """The nonce of this signer, as 64 characters whatever the peer chose."""
        return hashlib.sha256(f"{self.fingerprint} {self.nonce}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(Proof):
    """A message whose signature is right.

    Attributes:
        parts: Of the document that was verified.
    """

    parts: Parts

    @property
    def element(self) -> Element:
        """The oadrSignedObject that was verified; decode this one."""
        return self.parts.signed


def is_signed(payload: Element) -> bool:
    """Return whether a payload claims to be signed."""
    return next(payload.iter(SIGNATURE), None) is not None


def check_window(timestamp: datetime, now: datetime, window: timedelta) -> None:
    """Refuse a time stamp that is too far from now, in either direction.

    Raises:
        OutsideWindow: if it differs by more than the window.
    """
    age_s = (now - timestamp).total_seconds()
    if abs(age_s) > window.total_seconds():
        where = "ago" if age_s > 0 else "in the future"
        raise OutsideWindow(f"signed {abs(age_s):.0f} s {where}, {window.total_seconds():.0f} s are allowed")


# --- signing -----------------------------------------------------------------------------------------------


class Signer:
    """Signs the messages of one party with one key, loaded once.

    Args:
        key: The party's private key.
        certificate: The certificate that goes with it.

    Raises:
        CertificateRefused: if the key is too weak.
        ValueError: if key and certificate do not belong together.
    """

    def __init__(self, key: PrivateKey, certificate: x509.Certificate) -> None:
        self._trusted = TrustedKey.of(certificate)
        if key.public_key() != self._trusted.public_key:
            raise ValueError("the private key does not belong to the certificate")
        self._key = key
        self._method = method_uri(rsa=isinstance(key, rsa.RSAPrivateKey))
        self._certificate = _lines(certificate.public_bytes(Encoding.DER))
        self._scopes: OrderedDict[tuple[object, ...], Scope] = OrderedDict()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the signing certificate."""
        return self._trusted.fingerprint

    def sign(self, payload: Element, now: datetime, nonce: str, *, wall: datetime | None = None) -> None:
        """Add the signature to a payload, in place; an earlier one is replaced.

        Args:
            payload: ``oadrPayload`` with its ``oadrSignedObject``; the latter gets an Id if it has none.
            now: The sending moment, aware.
            nonce: Never used before with this key, for example 32 random hex digits; printable ASCII.
            wall: The time of certificates, where ``now`` is a simulated one.

        Raises:
            CertificateRefused: if the certificate is not valid now.
            ValueError: if the payload has no signed object, its Id cannot be referenced, or the nonce will
                not do.
        """
        scope, signed = self.prepare(payload)
        digests, properties, value = self._made(scope, digest_text(canonical(signed, C14N)), now, nonce, wall)
        parts = scope.signed_info.format(*digests), value, scope.properties.format(*properties)
        payload.insert(0, etree.fromstring(scope.signature.format(*parts)))

    def signature(
        self, scope: Scope, digest: str, now: datetime, nonce: str, *, wall: datetime | None = None
    ) -> str:
        """Return the text of a signature, which goes into a payload after its start tag; see :meth:`sign`.

        Args:
            scope: The texts for the payload.
            digest: Of its signed object, as it stands there; see :func:`digest_text`.
            now: The sending moment.
            nonce: Never used before.
            wall: The time of certificates.
        """
        digests, properties, value = self._made(scope, digest, now, nonce, wall)
        return scope.inside.format(*digests, value, *properties)

    def _made(
        self, scope: Scope, digest: str, now: datetime, nonce: str, wall: datetime | None
    ) -> tuple[tuple[str, str], tuple[str, str], str]:
        """Return both digests, time stamp and nonce as they are written, and the signature value."""
        self._trusted.check_time(wall or now)
        properties = protection(now, nonce)
        digests = digest, digest_text(scope.properties.format(*properties).encode())
        return digests, properties, _lines(sign_bytes(self._key, scope.signed_info.format(*digests).encode()))

    def prepare(self, payload: Element) -> tuple[Scope, Element]:
        """Return the texts of a signature for this payload, and its signed object with an Id.

        Raises:
            ValueError: as :meth:`sign`.
        """
        for old in payload.findall(SIGNATURE):
            payload.remove(old)
        signed = payload.find(SIGNED_OBJECT)
        if signed is None:
            raise ValueError("there is no oadrSignedObject to sign")
        signed_id = signed.get(_ID)
        if signed_id is None:
            signed_id = SIGNED_ID
            signed.set(_ID, signed_id)
        if not _NCNAME.fullmatch(signed_id) or signed_id in _OWN_IDS:
            raise ValueError("the Id of the signed object cannot be referenced")
        # Two payloads with the same key have the same texts: the namespaces in scope and the Id.
        key = (signed_id, *payload.nsmap.items())
        scope = self._scopes.get(key)
        if scope is None:
            scope = Scope.of(
                payload.nsmap, method=self._method, certificate=self._certificate, signed_id=signed_id
            )
            self._scopes[key] = scope
            if len(self._scopes) > _SCOPES:
                self._scopes.popitem(last=False)
        return scope, signed


def protection(now: datetime, nonce: str) -> tuple[str, str]:
    """Return time stamp and nonce as ReplayProtect has them."""
    if not _NONCE.fullmatch(nonce):
        raise ValueError("a nonce is 1 to 128 printable ASCII characters")
    stamp = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return stamp, escape(nonce)


def digest_text(data: bytes) -> str:
    """Return a SHA-256 digest as a reference has it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _lines(data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return "\n".join(text[i : i + 64] for i in range(0, len(text), 64))


# --- verifying ---------------------------------------------------------------------------------------------


class Verifier:
    """Verifies the messages of peers; keeps the keys of the certificates it has seen.

    Args:
        window: How far a time stamp may be from now, in both directions.
    """

    def __init__(self, *, window: timedelta = DEFAULT_WINDOW) -> None:
        self._window = window
        self._keys: OrderedDict[x509.Certificate | bytes, TrustedKey] = OrderedDict()

    @property
    def window(self) -> timedelta:
        """How far a time stamp may be from now; nonces are remembered as long."""
        return self._window

    def verify(
        self,
        payload: Element,
        certificate: x509.Certificate | bytes,
        now: datetime,
        *,
        wall: datetime | None = None,
    ) -> Verified:
        """Return the verified signed object of a payload, and the nonce that remains to be checked.

        Args:
            payload: The root of the document as it was parsed; see :func:`schemas.oadr20b.wire.parse`.
            certificate: Of the peer, as its transport has established it (or its DER bytes).
            now: The receiver's time, aware.
            wall: The time of certificates, where ``now`` is a simulated one.

        Raises:
            SecurityError: one of its subclasses, for every reason not to believe the message.
        """
        trusted = self._trusted(certificate)
        trusted.check_time(wall or now)
        parts = dissect(payload)
        _check_method(parts.method, trusted)
        self._check(parts, trusted)
        check_window(parts.timestamp, now, self._window)
        return Verified(
            parts=parts,
            timestamp=parts.timestamp,
            nonce=parts.nonce,
            fingerprint=trusted.fingerprint,
        )

    def recognise(
        self,
        likeness: Likeness,
        shape: Shape,
        certificate: x509.Certificate | bytes,
        now: datetime,
        wall: datetime,
    ) -> Proof:
        """Return the proof of a body that is like one that was verified; see :mod:`certs.known_shapes`.

        Raises:
            SecurityError: if it is not certain; then :meth:`verify` has to say.
        """
        trusted = self._trusted(certificate)
        trusted.check_time(wall)
        _check_method(shape.method, trusted)
        timestamp, nonce = read_protection(likeness.timestamp, likeness.nonce)
        check_window(timestamp, now, self._window)
        likeness.check(shape, trusted)
        return Proof(timestamp=timestamp, nonce=nonce, fingerprint=trusted.fingerprint)

    async def accept(
        self, payload: Element, certificate: x509.Certificate | bytes, now: datetime, nonces: NonceStore
    ) -> Element:
        """Return the verified signed object of a payload that was never accepted before.

        Raises:
            SecurityError: as :meth:`verify`.
            Replay: if the nonce is known.
        """
        verified = self.verify(payload, certificate, now)
        if not await nonces.remember(verified.replay_key, verified.timestamp):
            raise Replay("the nonce of this message was used before")
        return verified.element

    def _check(self, parts: Parts, trusted: TrustedKey) -> None:
        """Do the arithmetic.

        Raises:
            BadSignature: if the value or a digest is wrong.
        """
        if not verify_bytes(trusted.public_key, parts.value, canonical(parts.info, parts.c14n)):
            raise BadSignature(
                "the signature was not made with the key of this peer, or SignedInfo was changed"
            )
        for reference in parts.references:
            digest = hashlib.sha256(canonical(reference.target, reference.c14n)).digest()
            if not hmac.compare_digest(digest, reference.digest):
                raise BadSignature(f"{etree.QName(reference.target).localname} was changed after signing")

    def _trusted(self, certificate: x509.Certificate | bytes) -> TrustedKey:
        trusted = self._keys.get(certificate)
        if trusted is None:
            trusted = self._keys[certificate] = TrustedKey.of(certificate)
            if len(self._keys) > _KEYS:
                self._keys.popitem(last=False)
        return trusted


def _check_method(method: str, trusted: TrustedKey) -> None:
    """Raise ForbiddenAlgorithm if a signature method is not the one of the peer's key."""
    if method != method_uri(rsa=isinstance(trusted.public_key, rsa.RSAPublicKey)):
        raise ForbiddenAlgorithm(f"signature method {method[:100]} for this certificate")
