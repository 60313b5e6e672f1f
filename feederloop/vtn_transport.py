"""How a VTN talks to its VENs: mutual TLS, TLS that ends at a proxy, or plain HTTP where that was asked for.

========== ================================ =================== ===========================================
transport  asked for by                     who is who          pushes
========== ================================ =================== ===========================================
TLS        nothing else: the default        its certificate     https, with our certificate, to the VEN's
proxy      ``[proxy] addresses``            the proxy's header  likewise, if ``[tls]`` has a certificate
plain      ``plain``, ``plain_anywhere``    the venID           http
========== ================================ =================== ===========================================
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from certs.chain import Purpose
from certs.crl import NOTHING_REVOKED, Revoked, load_crls, read_crls
from certs.files import PkiError
from certs.peer import ProxyTrust
from certs.tls import ClientTls, ServerTls, TlsError, TlsFiles
from config.settings import SettingsError
from config.vtn_settings import VtnProgramSettings, is_loopback
from feederloop.tls_sides import (
    Refreshable,
    client_tls,
    faults,
    own_fingerprints,
    own_host,
    server_tls,
    tls_files,
    wall_clock,
)
from feederloop.transport_security import PLAIN_WARNING, check_plain
from vtn_server.peers import ClaimedNames, Peers, ProxyPeers, TlsPeers
from vtn_server.push_targets import PushTargets
from vtn_server.settings import Identity

__all__ = ["VtnTransport", "Watched", "vtn_transport"]

_LOG: Final = logging.getLogger(__name__)


class RevocationFile:
    """Revocation lists without a TLS of our own, where a proxy ends it.

    Args:
        path: The lists; a file that is not there yet means no check.

    Raises:
        SettingsError: if it cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._revoked = NOTHING_REVOKED
        try:
            self.refresh(wall_clock())
        except TlsError as err:
            raise SettingsError(str(err)) from err

    @property
    def revoked(self) -> Revoked:
        """What the lists say."""
        return self._revoked

    def refresh(self, now: datetime) -> None:
        """Read the lists again.

        Raises:
            TlsError: if they cannot be used; then everything stays as it was.
        """
        del now
        if self._path is None:
            return
        try:
            self._revoked = load_crls(read_crls(self._path.read_bytes()))
        except FileNotFoundError as err:
            if self._revoked.issuers:
                raise TlsError(f"{self._path}: the revocation list has disappeared") from err
        except (PkiError, OSError) as err:
            raise TlsError(f"{self._path}: {err}") from err


class Watched:
    """Something made of files, and whether it could be renewed last time.

    Args:
        side: What is refreshed.
    """

    def __init__(self, side: ServerTls | ClientTls | RevocationFile) -> None:
        self._side = side
        self._failed: str | None = None

    def refresh(self, now: datetime) -> None:
        """Refresh it.

        Raises:
            TlsError: if that fails; it is remembered until it does not.
        """
        try:
            self._side.refresh(now)
        except TlsError as err:
            self._failed = f"certificates are not renewed: {err}"
            raise
        self._failed = None

    def alarms(self, now: datetime) -> tuple[str, ...]:
        """Return what an operator has to look after."""
        revoked = self._side.revoked
        stale = None if revoked.stale_for(now) is None else "a revocation list is stale"
        return tuple(each for each in (self._failed, stale) if each is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class VtnTransport:
    """What the program needs for its connections.

    Attributes:
        peers: Tells who asks.
        identity: What proves which VEN that is.
        context: That of the server; None is HTTP.
        push: Our certificate for pushes; None is plain HTTP, or no pushes.
        targets: Where push VENs may listen.
        exempt: Whether an address may have as many connections as it likes.
        watched: What is refreshed from its files while the program runs.
        fingerprints: Those of our own certificates, for those who pin them.
        faults: Why peers would refuse our own certificates.
        host: The host our certificate names, if our own TLS serves and it names one.
    """

    peers: Peers
    identity: Identity
    context: ssl.SSLContext | None
    push: ClientTls | None
    targets: PushTargets
    exempt: Callable[[str], bool]
    watched: tuple[Watched, ...] = ()
    fingerprints: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    host: str | None = None

    def sides(self) -> tuple[Refreshable, ...]:
        """Return what to keep fresh."""
        return self.watched

    def alarms(self) -> tuple[str, ...]:
        """Return what an operator has to look after, each once."""
        now = wall_clock()
        return tuple(dict.fromkeys(alarm for each in self.watched for alarm in each.alarms(now)))


def vtn_transport(settings: VtnProgramSettings) -> VtnTransport:
    """Return the transport that the settings ask for.

    Raises:
        SettingsError: if it is not possible with these settings and files.
    """
    if settings.plain or (settings.plain_anywhere and not settings.proxy.addresses):
        check_plain(settings)
        _LOG.warning(PLAIN_WARNING)
        return VtnTransport(
            peers=ClaimedNames(),
            identity=Identity.CLAIMED,
            context=None,
            push=None,
            targets=_targets(settings, https_only=False),
            exempt=_nobody,
        )
    if settings.proxy.addresses:
        return _behind_proxy(settings)
    files = tls_files(settings.tls, single=False)
    server = server_tls(settings.tls, files)
    push = client_tls(settings.tls, _single(files)) if settings.push else None
    purposes = (Purpose.SERVER, Purpose.CLIENT) if settings.push else (Purpose.SERVER,)
    return VtnTransport(
        peers=TlsPeers(server, wall_clock),
        identity=Identity.CERTIFICATE,
        context=server.context,
        push=push,
        targets=_targets(settings, https_only=True),
        exempt=_nobody,
        watched=tuple(Watched(each) for each in (server, push) if each is not None),
        fingerprints=own_fingerprints(files),
        faults=faults(files, wall_clock(), purposes),
        host=own_host(files),
    )


def _behind_proxy(settings: VtnProgramSettings) -> VtnTransport:
    if not (is_loopback(settings.host) or settings.plain_anywhere):
        raise SettingsError(
            f"behind a proxy the VTN speaks plain HTTP: on {settings.host} only with --plain-anywhere"
        )
    trust = ProxyTrust(
        addresses=tuple(ipaddress.ip_network(each) for each in settings.proxy.addresses),
        header=settings.proxy.header,
        verify_header=settings.proxy.verify_header or None,
    )
    push: ClientTls | None = None
    revocation = RevocationFile(settings.tls.crl)
    found: tuple[str, ...] = ()
    if settings.push:
        files = tls_files(settings.tls, single=True)  # a VTN that pushes needs a certificate of its own
        push = client_tls(settings.tls, files)
        found = faults(files, wall_clock(), (Purpose.CLIENT,))
        revocation = RevocationFile(files.crl)
    return VtnTransport(
        peers=ProxyPeers(trust, wall_clock, revocation),
        identity=Identity.CERTIFICATE,
        context=None,
        push=push,
        targets=_targets(settings, https_only=True),
        exempt=trust.trusts,
        watched=tuple(Watched(each) for each in (revocation, push) if each is not None),
        faults=found,
    )


def _single(files: TlsFiles) -> TlsFiles:
    """Return the files of the one certificate that we show to push VENs: P-256 before RSA."""
    return TlsFiles(own=files.own[:1], trust=files.trust, crl=files.crl)


def _targets(settings: VtnProgramSettings, *, https_only: bool) -> PushTargets:
    """Return where push VENs may listen; those of a VTN that is for its own machine only are there, too."""
    networks = tuple(ipaddress.ip_network(each) for each in settings.push_to.networks)
    if not networks and is_loopback(settings.host) and not settings.proxy.addresses:
        networks = PushTargets.loopback().networks
    return PushTargets(networks=networks, ports=settings.push_to.ports, https_only=https_only)


def _nobody(address: str) -> bool:
    del address
    return False
