"""Errors of the OpenADR stack: families that know how they are answered.

::

    OadrError
     x WireError             bytes-level; becomes an HTTP status
       + NotXml              not well-formed, not UTF-8, or not one document          406
       + ForbiddenDoctype    the document has a document type declaration             406
       + SchemaViolation     well-formed, but not valid against the official schema   406
       + NotModelled         valid, but uses a part of the schema we refuse           406
       + InvalidValue        a value outside what its type can hold                   406
       + TooLarge            more bytes than the limit allows                         413
       + UnsupportedMediaType                                                         406
     x SecurityError         the sender, or whether it is genuine, is in doubt; HTTP status   403
       + UnknownPeer         no certificate, or one from nobody we know
       + CertificateRefused  expired, not yet valid, revoked, or with a weak key
       + FingerprintMismatch the certificate is not the one enrolled for this venID
       + NotSigned           no XML signature where one is required
       + BadSignature        the signature or a digest does not verify
         - ForbiddenAlgorithm   a method, transform or canonicalisation outside the allow-list
         - SignatureWrapping    what is signed is not what would be read
       + Replay              the message was seen before
         - NoReplayProtect      the signature has no time stamp and nonce, or does not cover them
         - OutsideWindow        signed too long ago, or in the future
     x ApplicationError      well-formed and valid, but wrong; becomes an eiResponse code
       + OutOfSequence 450 . NotAllowed 451 . InvalidId 452 . NotRecognised 453 . InvalidData 454
       + ComplianceError 459 . SignalNotSupported 460 . ReportNotSupported 461 . TargetMismatch 462
       + NotRegistered 463 . DeploymentError 469
     x TransportError        the peer could not be reached or did not answer with a message
       + CertificateTrouble  one of the two refuses the other's certificate
"""

from __future__ import annotations

from typing import ClassVar


class OadrError(Exception):
    """Base of everything the OpenADR stack raises on purpose."""


class WireError(OadrError):
    """A fault in the bytes; the peer gets an HTTP status and no OpenADR answer (section 9.1.5)."""

    http_status: ClassVar[int] = 406


class NotXml(WireError):
    """The body is not one well-formed XML document in UTF-8."""


class ForbiddenDoctype(WireError):
    """The document carries a document type declaration, which no OpenADR message needs."""


class SchemaViolation(WireError):
    """The document does not validate against the official 2.0b schema."""


class NotModelled(WireError):
    """The document is valid but uses a part of the schema this product refuses (Green Button feeds)."""


class InvalidValue(WireError):
    """A value is valid text for its type but cannot be represented (the year 0, a duration of 10^12 days)."""


class TooLarge(WireError):
    """The body is larger than the configured limit; it was not parsed."""

    http_status = 413


class UnsupportedMediaType(WireError):
    """The Content-Type is not application/xml in UTF-8."""


class SecurityError(OadrError):
    """The peer or the message is not trusted; no state changes and there is no OpenADR answer (r514, r517).

    The status is 403 throughout: rule 517 names it, and 401 would promise a challenge that TLS does not have.
    """

    http_status: ClassVar[int] = 403


class UnknownPeer(SecurityError):
    """The request has no client certificate, or one that belongs to nobody we know."""


class CertificateRefused(SecurityError):
    """A certificate that is expired, not yet valid, revoked, or holds a weak key (r68, r516)."""


class FingerprintMismatch(SecurityError):
    """The certificate is not the one that is enrolled for this party (S 10.5.1)."""


class NotSigned(SecurityError):
    """A message without XML signature where one is required (r514)."""


class BadSignature(SecurityError):
    """The XML signature is malformed, or its value or a digest does not verify (r514)."""


class ForbiddenAlgorithm(BadSignature):
    """A signature, digest, canonicalisation or transform method that is not on the allow-list."""


class SignatureWrapping(BadSignature):
    """The references of the signature are not exactly the message that would be read and its time stamp."""


class Replay(SecurityError):
    """A signed message whose nonce was seen before."""


class NoReplayProtect(Replay):
    """The signature does not carry and cover exactly one well-formed ReplayProtect."""


class OutsideWindow(Replay):
    """The time stamp of the signature is too far in the past or in the future."""


class ApplicationError(OadrError):
    """A valid message that cannot be served; answered with HTTP 200 and this code in eiResponse.

    Args:
        description: What is wrong, for the peer's operator; becomes responseDescription.
    """

    code: ClassVar[str] = "469"

    def __init__(self, description: str) -> None:
        super().__init__(f"{self.code}: {description}")
        self.description = description


class OutOfSequence(ApplicationError):
    """A modification number older or other than the one known (r48, r58)."""

    code = "450"


class NotAllowed(ApplicationError):
    """A legal request at a moment or of a kind that is not allowed (r20)."""

    code = "451"


class InvalidId(ApplicationError):
    """An id that is unknown or belongs to somebody else (r21, r208, r304, r400)."""

    code = "452"


class NotRecognised(ApplicationError):
    """A signal name, report name or message this endpoint does not know."""

    code = "453"


class InvalidData(ApplicationError):
    """Values out of range, or more asked than was offered (r340)."""

    code = "454"


class ComplianceError(ApplicationError):
    """Missing information or a payload of the wrong type (r33)."""

    code = "459"


class SignalNotSupported(ApplicationError):
    """The receiver cannot act on a signal of the event (r48, r109)."""

    code = "460"


class ReportNotSupported(ApplicationError):
    """The receiver cannot produce or take this report."""

    code = "461"


class TargetMismatch(ApplicationError):
    """The market context or the target is not the receiver's (r48)."""

    code = "462"


class NotRegistered(ApplicationError):
    """The peer is not registered or not authorised (r517)."""

    code = "463"


class DeploymentError(ApplicationError):
    """Anything else that this deployment cannot do (r112)."""

    code = "469"


class TransportError(OadrError):
    """The peer could not be reached, was too slow, or answered with something other than a message.

    Args:
        reason: What happened, in words.
        http_status: The status the peer answered, if it answered one.
        retry_after_s: How long the peer asks to wait before the next attempt, seconds.
    """

    def __init__(
        self, reason: str, http_status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.http_status = http_status
        self.retry_after_s = retry_after_s


class CertificateTrouble(TransportError):
    """One side refuses the certificate of the other: repeating helps only once somebody has seen to it."""
