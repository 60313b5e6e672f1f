"""Which protection the connections of ``feederloop ven`` have: mutual TLS, or none where that was wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from certs.chain import Purpose
from certs.tls import ClientTls, ServerTls, TlsFiles
from config.settings import SettingsError
from config.ven_settings import VenProgramSettings
from feederloop.tls_sides import client_tls, faults, server_tls, tls_files, wall_clock
from feederloop.transport_security import check_plain
from feederloop.ven_mail import ven_key
from ven_client.vtn_identity import VtnIdentity

__all__ = ["VenSecurity", "check_ven_config", "ven_security"]

_PLAIN: Final = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenSecurity:
    """Mutual TLS of a VEN.

    Attributes:
        files: Its certificate, its trust and the revocation lists.
        client: For its way to the VTN.
        server: For its listener; None for a pull VEN.
        vtn: Judges the VTN as a server.
        poster: Tells the VTN from whoever else connects to the listener; None for a pull VEN.
    """

    files: TlsFiles
    client: ClientTls
    server: ServerTls | None
    vtn: VtnIdentity
    poster: VtnIdentity | None

    @property
    def sides(self) -> tuple[ClientTls | ServerTls, ...]:
        """What has to be kept fresh."""
        return (self.client,) if self.server is None else (self.client, self.server)


def ven_security(
    settings: VenProgramSettings, now: Callable[[], datetime] = wall_clock
) -> VenSecurity | None:
    """Return the mutual TLS of a VEN; None is plain HTTP.

    Args:
        settings: What the program was told.
        now: The wall clock, in which certificates live.

    Raises:
        SettingsError: if neither TLS nor plain HTTP is possible with these settings.
    """
    address = urlsplit(settings.vtn_url)
    if settings.plain or settings.plain_anywhere:
        if address.scheme != _PLAIN:
            raise SettingsError(f"{settings.vtn_url} is reached by TLS, not by plain HTTP: leave --plain out")
        check_plain(settings)
        return None
    if address.scheme == _PLAIN:
        raise SettingsError(f"{settings.vtn_url} is plain HTTP: only with --plain")
    files = tls_files(settings.tls, single=True)
    host, pinned = address.hostname or "", settings.tls.vtn_fingerprint
    client = client_tls(settings.tls, files)
    server = server_tls(settings.tls, files) if settings.push else None
    return VenSecurity(
        files=files,
        client=client,
        server=server,
        vtn=VtnIdentity(host, now, client, pinned),
        poster=None if server is None else VtnIdentity(host, now, server, pinned),
    )


def check_ven_config(settings: VenProgramSettings) -> tuple[str, ...]:
    """Return what is wrong with the certificate of a VEN: it would start, but its peers would refuse it.

    Raises:
        SettingsError: if it would not start.
    """
    security = ven_security(settings)
    ven_key(settings)
    if security is None:
        return ()
    purposes = (Purpose.CLIENT, Purpose.SERVER) if settings.push else (Purpose.CLIENT,)
    host = urlsplit(settings.listener.address).hostname if settings.push else None
    return faults(security.files, wall_clock(), purposes, host)
