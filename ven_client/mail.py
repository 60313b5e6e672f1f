"""What goes out of and comes into a VEN, as bytes, where XML signatures are in use.

The VEN signs whatever it sends over TLS, and its VTN's replies and pushes are verified with the certificate
of the connection they came over; which of them must be signed, the policy says (:mod:`certs.envelope`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from certs.envelope import CannotSign, Envelope, Opened, SignaturePolicy
from certs.peer import PeerCertificate
from certs.xmldsig import NonceStore, Signer
from schemas.oadr20b import wire
from schemas.oadr20b.errors import CertificateTrouble, SecurityError, TransportError, WireError
from schemas.oadr20b.model import AnyMessage

__all__ = ["Mail"]


class Mail:
    """The way of a VEN's messages between bytes and values.

    Args:
        envelope: Knows the policy and the keys.
        nonces: Where the nonces of what was accepted are remembered.
        now: The protocol's clock.
    """

    def __init__(self, envelope: Envelope, nonces: NonceStore, now: Callable[[], datetime]) -> None:
        self._envelope: Final = envelope
        self._nonces: Final = nonces
        self._now: Final = now

    @property
    def signs(self) -> bool:
        """Whether what is sent is signed; the registration says so, too."""
        return self._envelope.policy is not SignaturePolicy.OFF

    async def open(
        self, body: bytes, peer: PeerCertificate | None, *, max_bytes: int = wire.MAX_BYTES
    ) -> Opened:
        """Return the message in a body, once it is certain that it was never accepted before.

        Raises:
            WireError: if there is none.
            SecurityError: if it is not to be believed.
            StateError: if its nonce cannot be kept.
        """
        certificate = None if peer is None else peer.der
        return await self._envelope.accept(body, certificate, self._now(), self._nonces, max_bytes=max_bytes)

    def encode(self, message: AnyMessage, *, signed: bool) -> bytes:
        """Return a message as a body, which leaves at once.

        Raises:
            InvalidValue: if it cannot be written.
            CannotSign: if our certificate does not allow it now.
        """
        return self._envelope.write(message, self._now(), signed=signed)

    def renew(self, signer: Signer) -> None:
        """Sign with another key from now on."""
        self._envelope.renew(signer)

    # --- for a client, whose errors are those of its transport ----------------------------------------------

    def request(self, message: AnyMessage) -> bytes:
        """Return a request as a body.

        Raises:
            TransportError: if it cannot be written or signed.
        """
        try:
            return self.encode(message, signed=self.signs)
        except WireError as err:
            raise TransportError(f"the message cannot be written: {err}", err.http_status) from err
        except CannotSign as err:
            raise CertificateTrouble(f"the message cannot be signed: {err}") from err

    async def reply(self, body: bytes, peer: PeerCertificate | None) -> AnyMessage:
        """Return the reply in a body.

        Raises:
            CertificateTrouble: if it is not to be believed; it is ignored then (r514).
            TransportError: if there is none.
        """
        try:
            return (await self.open(body, peer)).message
        except WireError as err:
            raise TransportError(f"the reply is not a valid message: {err}", 200) from err
        except SecurityError as err:
            raise CertificateTrouble(f"the reply is not to be believed: {err}", 200) from err
