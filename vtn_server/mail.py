"""What comes in and goes out of a VTN, as bytes: read, verified, never twice; encoded, signed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from certs.envelope import Envelope, Opened, SignaturePolicy
from certs.xmldsig import Signer, Verifier
from schemas.oadr20b import wire
from schemas.oadr20b.errors import WireError
from schemas.oadr20b.model import AnyMessage
from vtn_server.decision import Reply
from vtn_server.encoder import Encoder
from vtn_server.known_forms import KnownForms
from vtn_server.known_polls import KnownPolls
from vtn_server.nonces import StoredNonces
from vtn_server.records import EventRecord
from vtn_server.settings import VtnSettings
from vtn_server.state import PeerIdentity
from vtn_server.store import Store

__all__ = ["Mail", "wall_time"]


def wall_time() -> datetime:
    """Return the time of the wall."""
    return datetime.now(UTC)


class Mail:
    """The way of a VTN's messages between bytes and values.

    Args:
        settings: What is done about signatures, and the bounds of a body.
        store: Where nonces are remembered.
        now: The protocol's clock.
        new_id: Makes nonces.
        signer: Signs what leaves; None is possible where the settings want no signatures.
        wall: The wall clock, in which certificates live.

    Raises:
        ValueError: if the settings want signatures, and there is nothing to sign with.
    """

    def __init__(
        self,
        settings: VtnSettings,
        store: Store,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        signer: Signer | None,
        wall: Callable[[], datetime] = wall_time,
    ) -> None:
        self._settings: Final = settings
        self._now: Final = now
        self._encoder: Final = Encoder()
        self._polls: Final = KnownPolls()
        self._reports: Final = KnownForms(self._read, max_bytes=settings.max_bytes)
        self._unsigned: Final = settings.signatures is SignaturePolicy.OFF
        self._nonces: Final = StoredNonces(store, now=now, window=settings.signature_window)
        self._envelope: Final = Envelope(
            settings.signatures,
            signer=signer,
            verifier=Verifier(window=settings.signature_window),
            new_nonce=new_id,
            wall=wall,
        )

    async def open(self, body: bytes, peer: PeerIdentity) -> Opened:
        """Return the message in a body, once it is certain that it was never accepted before.

        Raises:
            WireError: if there is none.
            SecurityError: if it is not to be believed.
            StoreError: if its nonce cannot be made durable.
        """
        if self._unsigned:
            known = self._polls.find(body) or self._reports.find(body)
            if known is not None:
                return Opened(message=known)
        opened = await self._envelope.accept(
            body,
            peer.certificate,
            self._now(),
            self._nonces,
            max_bytes=self._settings.max_bytes,
            bare_root=self._settings.accept_bare_root,
        )
        if self._unsigned:
            self._polls.learn(body, opened.message)
            self._reports.learn(body, opened.message)
        return opened

    def _read(self, body: bytes) -> AnyMessage:
        """Return the message in a body whose signature nobody looks at."""
        settings = self._settings
        return wire.read(body, max_bytes=settings.max_bytes, bare_root=settings.accept_bare_root)

    def encode(self, message: Reply, *, signed: bool) -> bytes:
        """Return a message of ours as a body, which leaves at once.

        Raises:
            WireError: if it cannot be written, or is not valid where the settings want that checked.
            CannotSign: if it is to be signed, and our certificate does not allow it now.
        """
        body = self._encoder.encode(message)
        if signed:
            body = self._envelope.sign(body, self._now())
        if self._settings.validate_outgoing:
            wire.parse(body)
        return body

    def prepare(self, records: Sequence[EventRecord]) -> None:
        """Encode events before anybody asks for them; what cannot be written is the trouble of who asks."""
        with suppress(WireError):
            for record in records:
                self._encoder.prepare(record, self._now())

    def renew(self, signer: Signer) -> None:
        """Sign with another key from now on."""
        self._envelope.renew(signer)
