"""Bytes to messages and back for both roles, signed or not, as the policy of a party says.

*Reading.* The element that was verified is the element that is decoded; the bytes are parsed once, or not at
all where they are those of an earlier message but for the signature's own values (:mod:`certs.known_shapes`).

======== =========== ========= ==================================================================
policy   certificate signature
======== =========== ========= ==================================================================
off      any         any       not looked at: the message counts as unsigned
optional none        any       likewise: there is nothing a signature could be verified with
optional there       none      the message counts as unsigned
optional there       there     verified; refused if anything is wrong with it, never taken as unsigned
required none        any       refused (UnknownPeer): plain HTTP and required signatures do not go together
required there       none      refused (NotSigned)
required there       there     verified
======== =========== ========= ==================================================================

*The certificate* is the one the transport has established, so what somebody else signed is refused even if
it is genuine. A signature is verified before the message is decoded, and its nonce is remembered before the
message is acted on: a message that was begun twice cannot be acted on twice.

*Writing.* A message is signed at the moment it leaves, with a nonce of its own; who sends it again signs it
again (r514). A signature of ours needs no certificate of the peer.

*Two clocks.* Time stamps are of the protocol's clock, which may be a simulated one. Certificates live in the
time of the wall.

Source: S 10.6; r514; section 2.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from certs.known_shapes import KnownShapes, Likeness
from certs.sealing import Sealer
from certs.xmldsig import NonceStore, Proof, Signer, Verifier, is_signed
from schemas.oadr20b import wire
from schemas.oadr20b.codec import decode_message, decode_signed_object
from schemas.oadr20b.errors import NotSigned, OadrError, Replay, SecurityError, UnknownPeer
from schemas.oadr20b.model import AnyMessage

__all__ = ["CannotSign", "Envelope", "Opened", "SignaturePolicy"]


class SignaturePolicy(StrEnum):
    """What a party does about XML signatures."""

    OFF = "off"
    """It writes none and looks at none (standard security)."""
    OPTIONAL = "optional"
    """It verifies those that come, and writes them to whoever wants them."""
    REQUIRED = "required"
    """It ignores what is not signed, and signs everything (high security, r514)."""


class CannotSign(OadrError):
    """Our own certificate does not allow to sign now; the fault is not the peer's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A message that was read.

    Attributes:
        proof: What its signature says; None if it counts as unsigned.
    """

    message: AnyMessage
    proof: Proof | None = None

    @property
    def signed(self) -> bool:
        """Whether a signature of the peer covers the message."""
        return self.proof is not None


class Envelope:
    """How one party reads and writes messages.

    Args:
        policy: What it does about signatures.
        signer: Its key; needed unless the policy is off.
        verifier: Knows the window.
        new_nonce: Makes nonces, never one twice.
        wall: The wall clock, aware, for the validity of certificates.

    Raises:
        ValueError: if the policy is not off and there is no key.
    """

    def __init__(
        self,
        policy: SignaturePolicy,
        *,
        signer: Signer | None,
        verifier: Verifier,
        new_nonce: Callable[[], str],
        wall: Callable[[], datetime],
    ) -> None:
        if policy is not SignaturePolicy.OFF and signer is None:
            raise ValueError(f"signatures are {policy}, and there is no key to sign with")
        self.policy = policy
        self.verifier = verifier
        self._sealer = None if signer is None else Sealer(signer)
        self._shapes = KnownShapes()
        self._new_nonce = new_nonce
        self._wall = wall

    @property
    def always_signs(self) -> bool:
        """Whether everything that leaves is signed."""
        return self.policy is SignaturePolicy.REQUIRED

    # --- reading -------------------------------------------------------------------------------------------

    def read(
        self,
        body: bytes,
        certificate: bytes | None,
        now: datetime,
        *,
        max_bytes: int = wire.MAX_BYTES,
        bare_root: bool = False,
    ) -> Opened:
        """Return the message in a body; that it is no replay remains to be checked, see :meth:`accept`.

        Args:
            body: As it came.
            certificate: The peer's, as DER; None without TLS.
            now: The protocol's time, aware.
            max_bytes: The largest body that is parsed.
            bare_root: Whether a message without oadrPayload around it is taken (G4).

        Raises:
            WireError: if it is no message.
            SecurityError: if its signature is wrong, or missing where it is required.
        """
        required = self.policy is SignaturePolicy.REQUIRED
        if required and certificate is None:
            raise UnknownPeer("signatures are required, and this peer has no certificate")
        if certificate is None or self.policy is SignaturePolicy.OFF:
            return Opened(message=wire.read(body, max_bytes=max_bytes, bare_root=bare_root))
        likeness = self._shapes.likeness(body) if len(body) <= max_bytes else None
        known = None if likeness is None else self._known(likeness, certificate, now)
        if known is not None:
            return known
        payload = wire.parse(body, max_bytes=max_bytes, bare_root=bare_root)
        if not is_signed(payload):
            if required:
                raise NotSigned("signatures are required, and this message has none")
            return Opened(message=decode_message(payload))
        proof = self.verifier.verify(payload, certificate, now, wall=self._wall())
        message = decode_signed_object(proof.element)
        if likeness is not None:
            self._shapes.learn(body, likeness, proof.parts, message)
        return Opened(message=message, proof=proof)

    def _known(self, likeness: Likeness, certificate: bytes, now: datetime) -> Opened | None:
        """Return the message of a body that is like an earlier one; None if it has to be looked at whole."""
        shape = self._shapes.find(likeness)
        if shape is None:
            return None
        try:
            proof = self.verifier.recognise(likeness, shape, certificate, now, self._wall())
        except SecurityError:
            return None  # the long way says why, and has the last word
        return Opened(message=shape.message, proof=proof)

    async def accept(
        self,
        body: bytes,
        certificate: bytes | None,
        now: datetime,
        nonces: NonceStore,
        *,
        max_bytes: int = wire.MAX_BYTES,
        bare_root: bool = False,
    ) -> Opened:
        """Return the message in a body that was never accepted before, once its nonce is remembered.

        Raises:
            WireError, SecurityError: as :meth:`read`.
            Replay: if it was accepted before.
        """
        opened = self.read(body, certificate, now, max_bytes=max_bytes, bare_root=bare_root)
        proof = opened.proof
        if proof is not None and not await nonces.remember(proof.replay_key, proof.timestamp):
            raise Replay("the nonce of this message was used before")
        return opened

    # --- writing -------------------------------------------------------------------------------------------

    def write(self, message: AnyMessage, now: datetime, *, signed: bool) -> bytes:
        """Return a message as a body, which leaves at once.

        Args:
            message: The message.
            now: The protocol's time, aware.
            signed: Whether the peer wants it signed.

        Raises:
            InvalidValue: if it cannot be written.
            CannotSign: if our certificate is not valid now.
        """
        if not signed:
            return wire.write(message)
        return self.sign(wire.write(message), now)

    def sign(self, body: bytes, now: datetime) -> bytes:
        """Return a body of ours, which leaves at once, with a signature.

        Raises:
            CannotSign: if our certificate is not valid now.
        """
        if self._sealer is None:
            raise CannotSign("there is no key to sign with")
        try:
            return self._sealer.seal(body, now, self._new_nonce(), wall=self._wall())
        except SecurityError as err:
            raise CannotSign(str(err)) from err

    def renew(self, signer: Signer) -> None:
        """Sign with another key from now on."""
        self._sealer = Sealer(signer)
