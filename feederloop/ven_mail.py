"""How ``feederloop ven`` signs and verifies, if it does."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from certs.envelope import Envelope
from certs.nonces import MemoryNonces
from certs.xmldsig import Verifier
from config.ven_settings import VenProgramSettings
from feederloop.process import length
from feederloop.signing_key import SigningKey, signature_policy, signing_key
from feederloop.tls_sides import wall_clock
from ven_client.mail import Mail
from ven_client.statefile import StateFile

__all__ = ["ven_key", "ven_mail"]


def ven_key(settings: VenProgramSettings) -> SigningKey | None:
    """Return the key that the VEN signs with; None where it does not.

    Raises:
        SettingsError: if the settings do not allow it.
    """
    policy = signature_policy(settings.signature, plain=settings.plain or settings.plain_anywhere)
    return signing_key(settings.signature, settings.tls, policy)


def ven_mail(
    settings: VenProgramSettings, key: SigningKey, file: StateFile | None, now: Callable[[], datetime]
) -> Mail:
    """Return what signs and verifies for a VEN.

    Args:
        settings: What the program was told.
        key: The VEN's.
        file: Where nonces are kept; without one they are gone with the process.
        now: The protocol's clock.

    Raises:
        StateError: if the file cannot be written.
    """
    window = _window(settings)
    envelope = Envelope(
        signature_policy(settings.signature, plain=False),
        signer=key.signer,
        verifier=Verifier(window=window),
        new_nonce=lambda: secrets.token_hex(16),
        wall=wall_clock,
    )
    mail = Mail(
        envelope,
        MemoryNonces(now=now, window=window) if file is None else file.nonces(now=now, window=window),
        now,
    )
    key.renewed = mail.renew
    return mail


def _window(settings: VenProgramSettings) -> timedelta:
    """Return how far the time stamp of a signature may be from now.

    Raises:
        SettingsError: if it is given in months.
    """
    return length(settings.signature.window)
