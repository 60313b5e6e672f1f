"""TLS contexts for servers and clients, and their renewal while the program runs.

*Profiles.* ``modern``: TLS 1.2 with AEAD suites, and TLS 1.3. ``certification``: TLS 1.2 only, the two CBC
suites that the profile mandates first, and the server chooses (S 10.3: it selects one of them whatever else
is offered). Both demand a certificate from the client, and clients always check the server's chain and name.

*Two server certificates*, RSA and P-256, are loaded into one context; OpenSSL picks the one that goes with
the suite.

*Renewal.* An asyncio server keeps the context it was started with. That one, the front, hands every new
connection to an inner context, which :meth:`ServerTls.refresh` builds anew from the files, so certificates,
trust and revocation lists change without a restart. If our own certificates have changed, whoever listens
with the front is told, so that connections which have shown the old ones can end: peers verify our XML
signatures with what their connection has shown. Files that do not load leave the old context in place and
raise :class:`TlsError`. Clients take :attr:`ClientTls.context` for each new connection. Files that are as
they were leave the context as it was: sessions can be resumed, and clients need not connect anew.

*Revocation* is off until a list is loaded; then peers' certificates (not those of CAs) are checked, and every
issuer needs a list. OpenSSL refuses everybody once a list is past its nextUpdate. A late list must not take a
fleet down: with ``crl_stale=accept`` the handshake then goes on without the check for seven days, while
``revoked`` still names everybody on the stale list and :func:`certs.peer.refusal` still refuses them. With
``refuse``, or after the seven days, nobody gets in. Either way the alarm is raised at each refresh. Call
``refresh`` every minute or so, and for every request ask :func:`certs.peer.refusal`: connections that are
open already do not see a new list otherwise, nor do resumed sessions.

Source: section 2.3; dependencies.md, certification ciphers.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from certs.crl import NOTHING_REVOKED, Revoked, load_crls, read_crls
from certs.files import PkiError
from certs.peer import PeerCertificate, check_peer, peer_of, refusal, still_valid

__all__ = [
    "CertificateFiles",
    "ClientTls",
    "CrlStale",
    "FrontContext",
    "PeerCertificate",
    "ServerTls",
    "TlsError",
    "TlsFiles",
    "TlsProfile",
    "check_peer",
    "peer_of",
    "refusal",
    "still_valid",
]

_LOG = logging.getLogger(__name__)

CERTIFICATION_CIPHERS: Final = "ECDHE-ECDSA-AES128-SHA256:AES128-SHA256:ECDHE+AESGCM:DEFAULT"
MODERN_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
CRL_GRACE: Final = timedelta(days=7)


class TlsError(Exception):
    """Certificate files that cannot be used; the text names the file."""


class TlsProfile(StrEnum):
    """Which versions and suites."""

    MODERN = "modern"
    CERTIFICATION = "certification"


class CrlStale(StrEnum):
    """What a revocation list past its nextUpdate means for peers that are not on it."""

    ACCEPT = "accept"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """A certificate with its chain, and its private key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Everything a party needs for mutual TLS.

    Attributes:
        own: Its certificates; a server's RSA and P-256 ones, a client's one.
        trust: The roots it trusts.
        crl: Revocation lists; None (or a file that is not there yet) means no check.
    """

    own: tuple[CertificateFiles, ...]
    trust: Path
    crl: Path | None = None


Alarm = Callable[[str], None]


def _log_alarm(text: str) -> None:
    _LOG.error("%s", text)


def _apply_profile(context: ssl.SSLContext, profile: TlsProfile) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if profile is TlsProfile.CERTIFICATION:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CERTIFICATION_CIPHERS)
    else:
        context.set_ciphers(MODERN_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    context.verify_mode = ssl.CERT_REQUIRED


class _Tls:
    """What servers and clients have in common: files, revocation lists, and one current context."""

    _side: ssl._SSLMethod

    def __init__(
        self,
        files: TlsFiles,
        now: datetime,
        *,
        profile: TlsProfile = TlsProfile.MODERN,
        crl_stale: CrlStale = CrlStale.ACCEPT,
        crl_grace: timedelta = CRL_GRACE,
        alarm: Alarm = _log_alarm,
    ) -> None:
        self._files = files
        self._profile = profile
        self._crl_stale = crl_stale
        self._crl_grace = crl_grace
        self._alarm = alarm
        self._revoked = NOTHING_REVOKED
        self._seen = self._digest()
        self._current = self._build(now)

    @property
    def revoked(self) -> Revoked:
        """What the loaded revocation lists say."""
        return self._revoked

    def refresh(self, now: datetime) -> None:
        """Read all files again; new connections use what they say.

        Raises:
            TlsError: if they cannot be used; then everything stays as it was.
        """
        seen = self._digest()
        checking = bool(self._current.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF)
        if seen == self._seen and self._checks(self._revoked, now) == checking:
            self._warn(self._revoked, now)
            return
        self._current = self._build(now)
        self._seen = seen

    def _digest(self) -> tuple[bytes, bytes]:
        """Return what changes when a file does, first for our own certificates and keys, then for the others.

        Taken before the files are loaded, so no change is missed.
        """
        own = [path for each in self._files.own for path in (each.certificate, each.key)]
        return _digest_of(own), _digest_of([self._files.trust, self._files.crl])

    def _build(self, now: datetime) -> ssl.SSLContext:
        context = ssl.SSLContext(self._side)
        _apply_profile(context, self._profile)
        try:
            for each in self._files.own:
                context.load_cert_chain(each.certificate, each.key, password=_no_password)
            context.load_verify_locations(self._files.trust)
        except (OSError, ssl.SSLError, ValueError) as err:
            names = ", ".join(str(each.certificate) for each in self._files.own)
            raise TlsError(f"{names}, {self._files.trust}: {err}") from err
        revoked = self._load_crl(context)
        if self._checks(revoked, now):
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        self._warn(revoked, now)
        self._revoked = revoked
        return context

    def _load_crl(self, context: ssl.SSLContext) -> Revoked:
        path = self._files.crl
        if path is None:
            return NOTHING_REVOKED
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            if self._revoked.issuers:
                raise TlsError(f"{path}: the revocation list has disappeared") from None
            return NOTHING_REVOKED
        except OSError as err:
            raise TlsError(f"{path}: {err}") from err
        try:
            revoked = load_crls(read_crls(data))
            context.load_verify_locations(path)
        except (PkiError, ssl.SSLError, OSError) as err:
            raise TlsError(f"{path}: {err}") from err
        return revoked

    def _checks(self, revoked: Revoked, now: datetime) -> bool:
        """Return whether OpenSSL checks the lists."""
        stale = revoked.stale_for(now)
        return bool(revoked.issuers) and (stale is None or self._refuses(stale))

    def _refuses(self, stale: timedelta) -> bool:
        return self._crl_stale is CrlStale.REFUSE or stale > self._crl_grace

    def _warn(self, revoked: Revoked, now: datetime) -> None:
        """Raise the alarm about a stale list."""
        stale = revoked.stale_for(now)
        if stale is None or not revoked.issuers:
            return
        self._alarm(
            f"the revocation list {self._files.crl} is stale since {revoked.next_update:%Y-%m-%dT%H:%M:%SZ}: "
            + (
                "all peers are refused"
                if self._refuses(stale)
                else "peers that are not on it are still accepted"
            )
        )


def _digest_of(paths: Sequence[Path | None]) -> bytes:
    found = hashlib.sha256()
    for path in paths:
        try:
            data = b"" if path is None else path.read_bytes()
        except OSError as err:
            data = type(err).__name__.encode()
        found.update(hashlib.sha256(data).digest())
    return found.digest()


def _no_password() -> bytes:
    # Without this OpenSSL would ask at the terminal for the password of an encrypted key.
    raise ValueError("the private key is encrypted; import it first")


class FrontContext(ssl.SSLContext):
    """The context that a server is started with.

    Attributes:
        renewed: Are called when new connections are shown other certificates of ours than before.
    """

    renewed: tuple[Callable[[], None], ...] = ()


class ServerTls(_Tls):
    """The TLS side of a server.

    Args:
        files: Its certificates, trust and revocation lists.
        now: The present instant, wall clock, aware.
        profile: Versions and suites.
        crl_stale: What a stale revocation list means.
        crl_grace: How long ``accept`` holds after nextUpdate.
        alarm: Is told about stale lists.

    Raises:
        TlsError: if the files cannot be used.
    """

    _side = ssl.PROTOCOL_TLS_SERVER

    def __init__(
        self,
        files: TlsFiles,
        now: datetime,
        *,
        profile: TlsProfile = TlsProfile.MODERN,
        crl_stale: CrlStale = CrlStale.ACCEPT,
        crl_grace: timedelta = CRL_GRACE,
        alarm: Alarm = _log_alarm,
    ) -> None:
        super().__init__(files, now, profile=profile, crl_stale=crl_stale, crl_grace=crl_grace, alarm=alarm)
        self._front = FrontContext(ssl.PROTOCOL_TLS_SERVER)
        _apply_profile(self._front, profile)
        self._front.sni_callback = self._hand_over
        self._adopt()

    @property
    def context(self) -> FrontContext:
        """The context to start a server with; stays the same for the life of this object."""
        return self._front

    def refresh(self, now: datetime) -> None:
        """Read all files again; new connections use what they say.

        Raises:
            TlsError: if they cannot be used; then everything stays as it was.
        """
        own = self._seen[0]
        super().refresh(now)
        self._adopt()
        if self._seen[0] != own:
            for renewed in self._front.renewed:
                renewed()

    def _adopt(self) -> None:
        # A connection that is handed over keeps the flags of the context it was accepted with.
        self._front.verify_flags = self._current.verify_flags

    def _hand_over(self, connection: ssl.SSLObject, name: str | None, front: ssl.SSLContext) -> None:
        connection.context = self._current


class ClientTls(_Tls):
    """The TLS side of a client: its certificate, and checks of the server's chain and host name.

    Args:
        files: Its certificate, trust and revocation lists.
        now: The present instant, wall clock, aware.
        profile: Versions and suites.
        crl_stale: What a stale revocation list means.
        crl_grace: How long ``accept`` holds after nextUpdate.
        alarm: Is told about stale lists.

    Raises:
        TlsError: if the files cannot be used.
    """

    _side = ssl.PROTOCOL_TLS_CLIENT

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the next connection; another one after a refresh that found something new."""
        return self._current
