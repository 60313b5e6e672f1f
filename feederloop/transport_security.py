"""Which protection a program's connections have: TLS, or none where that was asked for in so many words."""

from __future__ import annotations

import ssl
from typing import Final
from urllib.parse import urlsplit

from config.settings import SettingsError
from config.ven_settings import VenProgramSettings
from config.vtn_settings import VtnProgramSettings, is_loopback

__all__ = ["PLAIN_WARNING", "check_plain", "tls_context"]

PLAIN_WARNING: Final = "plain HTTP: whoever is on the way can read and forge everything, and be any VEN"


def tls_context(settings: VtnProgramSettings | VenProgramSettings) -> ssl.SSLContext | None:
    """Return the TLS context of a program's connections; None is plain HTTP.

    Raises:
        SettingsError: if neither TLS nor plain HTTP is possible with these settings.
    """
    if settings.plain or settings.plain_anywhere:
        check_plain(settings)
        return None
    raise SettingsError("TLS is not there yet in this version; for a test on this machine say --plain")


def check_plain(settings: VtnProgramSettings | VenProgramSettings) -> None:
    """Check that plain HTTP stays on this machine, unless it may go anywhere.

    Raises:
        SettingsError: if it would not.
    """
    if settings.plain_anywhere:
        return
    for host in _hosts(settings):
        if not is_loopback(host):
            raise SettingsError(f"plain HTTP to {host} leaves this machine: only with --plain-anywhere")


def _hosts(settings: VtnProgramSettings | VenProgramSettings) -> tuple[str, ...]:
    if isinstance(settings, VtnProgramSettings):
        return (settings.host,)
    vtn = urlsplit(settings.vtn).hostname or ""
    return (vtn, settings.listener.host) if settings.push else (vtn,)
