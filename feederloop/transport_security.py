"""Plain HTTP, where it was asked for in so many words: on this machine only, unless it may go anywhere."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from config.settings import SettingsError
from config.ven_settings import VenProgramSettings
from config.vtn_settings import VtnProgramSettings, is_loopback

__all__ = ["PLAIN_WARNING", "check_plain"]

PLAIN_WARNING: Final = "plain HTTP: whoever is on the way can read and forge everything, and be any VEN"


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
    vtn = urlsplit(settings.vtn_url).hostname or ""
    return (vtn, settings.listener.host) if settings.push else (vtn,)
