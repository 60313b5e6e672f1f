"""The certificates of a program: from its settings to TLS, searched for faults, renewed while it runs.

Shared by the VTN and the VEN programs. Files are read again every minute and on SIGHUP; files that cannot be
used leave everything as it was and are logged as an error each time.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol, TypeVar

from cryptography import x509

from certs.chain import Purpose, refusals
from certs.crl import load_crls, read_crls
from certs.files import PkiError, read_certificates
from certs.keys import fingerprint
from certs.tls import CertificateFiles, ClientTls, CrlStale, ServerTls, TlsError, TlsFiles, TlsProfile
from config.settings import SettingsError
from config.tls_settings import Tls

__all__ = [
    "EVERY_S",
    "Refreshable",
    "client_tls",
    "expiring",
    "faults",
    "kept_fresh",
    "own_fingerprints",
    "own_host",
    "refresh",
    "server_tls",
    "tls_files",
    "wall_clock",
]

S = TypeVar("S", ServerTls, ClientTls)

_LOG: Final = logging.getLogger(__name__)
_KINDS: Final = ("ec", "rsa")
EVERY_S: float = 60.0
"""How often files are read again, s."""
_SOON: Final = timedelta(days=30)


class Refreshable(Protocol):
    """A :class:`~certs.tls.ServerTls`, a :class:`~certs.tls.ClientTls`, or anything else made of files."""

    def refresh(self, now: datetime) -> None:
        """Read the files again.

        Raises:
            TlsError: if they cannot be used; then everything stays as it was.
        """
        ...


def wall_clock() -> datetime:
    """Return the time in which certificates live."""
    return datetime.now(UTC)


def tls_files(section: Tls, *, single: bool) -> TlsFiles:
    """Return the files that the settings name.

    Args:
        section: The settings.
        single: Take one certificate only, P-256 before RSA, for a party that is known by its fingerprint;
            a VTN's server has both.

    Raises:
        SettingsError: if the settings name none, or not all that is needed.
    """
    own = _own(section)
    trust, crl = section.trust, section.crl
    if section.folder is not None:
        trust = trust or _beside(section.folder, "trust.pem")
        crl = crl or _beside(section.folder, "crl.pem")
    if not own:
        raise SettingsError("TLS needs certificates: tls.folder, or tls.certificate and tls.key (or --plain)")
    if trust is None:
        raise SettingsError("tls.trust is needed: the roots that are trusted")
    return TlsFiles(own=own[:1] if single else own, trust=trust, crl=crl)


def _own(section: Tls) -> tuple[CertificateFiles, ...]:
    if section.folder is None:
        pairs = zip(section.certificate, section.key, strict=True)
        return tuple(CertificateFiles(certificate=certificate, key=key) for certificate, key in pairs)
    found = tuple(
        CertificateFiles(certificate=section.folder / f"{kind}.pem", key=section.folder / f"{kind}.key")
        for kind in _KINDS
        if (section.folder / f"{kind}.pem").exists()
    )
    if not found:
        raise SettingsError(f"tls.folder {section.folder}: neither ec.pem nor rsa.pem is there")
    return found


def _beside(folder: Path, name: str) -> Path | None:
    """Return a file of the folder, or of the authority that has issued into it: PKI/issued/ROLE/NAME."""
    authority = folder.resolve().parents
    places = (folder, *authority[2:3])
    return next((place / name for place in places if (place / name).exists()), None)


def server_tls(section: Tls, files: TlsFiles) -> ServerTls:
    """Return the TLS of a server.

    Raises:
        SettingsError: if the files cannot be used.
    """
    return _made(ServerTls, section, files)


def client_tls(section: Tls, files: TlsFiles) -> ClientTls:
    """Return the TLS of a client.

    Raises:
        SettingsError: if the files cannot be used.
    """
    return _made(ClientTls, section, files)


def _made(side: type[S], section: Tls, files: TlsFiles) -> S:
    try:
        return side(
            files,
            wall_clock(),
            profile=TlsProfile(section.profile),
            crl_stale=CrlStale(section.crl_stale),
        )
    except TlsError as err:
        raise SettingsError(str(err)) from err


def own_fingerprints(files: TlsFiles) -> tuple[str, ...]:
    """Return the fingerprints of our own certificates, for whoever has to enrol them.

    Raises:
        SettingsError: if they cannot be read.
    """
    return tuple(fingerprint(leaf) for leaf, _ in _leaves(files))


def own_host(files: TlsFiles) -> str | None:
    """Return the first DNS name of our first certificate that has one, wildcards apart; None without any.

    Raises:
        SettingsError: if they cannot be read.
    """
    for leaf, _ in _leaves(files):
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            continue
        for name in names.get_values_for_type(x509.DNSName):
            if "*" not in name:
                return name
    return None


def _leaves(files: TlsFiles) -> list[tuple[x509.Certificate, tuple[x509.Certificate, ...]]]:
    try:
        chains = [read_certificates(each.certificate) for each in files.own]
    except PkiError as err:
        raise SettingsError(str(err)) from err
    return [(chain[0], chain[1:]) for chain in chains]


def faults(
    files: TlsFiles, now: datetime, purposes: tuple[x509.ObjectIdentifier, ...], host: str | None = None
) -> tuple[str, ...]:
    """Return why peers would refuse our own certificates.

    Args:
        files: The files; peers are taken to trust the roots that we trust.
        now: The wall's time.
        purposes: What the certificates are used for, of :class:`certs.chain.Purpose`.
        host: The name under which we are addressed as a server; None if we are not, or it is not known.

    Raises:
        SettingsError: if a file cannot be read.
    """
    try:
        roots = read_certificates(files.trust)
        there = files.crl is not None and files.crl.exists()
        revoked = load_crls(read_crls(files.crl.read_bytes())) if there and files.crl is not None else None
    except (PkiError, OSError) as err:
        raise SettingsError(str(err)) from err
    found: list[str] = []
    for own, (leaf, others) in zip(files.own, _leaves(files), strict=True):
        reasons: list[str] = []
        for purpose in purposes:
            name = host if purpose == Purpose.SERVER else None
            reasons += refusals(leaf, others, roots, now, purpose=purpose, host=name, revoked=revoked)
        found += [f"{own.certificate}: {reason}" for reason in dict.fromkeys(reasons)]
    return tuple(found)


def expiring(files: TlsFiles, now: datetime) -> tuple[str, ...]:
    """Return which of our own certificates end within 30 days.

    Raises:
        SettingsError: if a file cannot be read.
    """
    pairs = zip(files.own, _leaves(files), strict=True)
    return tuple(
        f"{own.certificate} expires at {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        for own, (leaf, _) in pairs
        if now <= leaf.not_valid_after_utc < now + _SOON
    )


# --- renewal -----------------------------------------------------------------------------------------------


def refresh(sides: tuple[Refreshable, ...], now: datetime) -> bool:
    """Read all files again; return whether all could be used. What could not is logged."""
    good = True
    for side in sides:
        try:
            side.refresh(now)
        except TlsError as err:
            good = False
            _LOG.error("certificates are not renewed: %s", err)
    return good


@asynccontextmanager
async def kept_fresh(
    *sides: Refreshable, now: Callable[[], datetime] = wall_clock, every_s: float | None = None
) -> AsyncIterator[asyncio.Event]:
    """Keep the files of some sides fresh while this is held.

    Args:
        sides: What is refreshed.
        now: The wall clock.
        every_s: How often, besides SIGHUP; :data:`EVERY_S` if left out.

    Yields:
        An event: setting it refreshes at once, as SIGHUP does.
    """
    wanted = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, wanted.set)
    task = asyncio.create_task(
        _keep(sides, now, wanted, EVERY_S if every_s is None else every_s), name="certificates"
    )
    try:
        yield wanted
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _keep(
    sides: tuple[Refreshable, ...], now: Callable[[], datetime], wanted: asyncio.Event, every_s: float
) -> None:
    while True:
        asked = True
        try:
            async with asyncio.timeout(every_s):
                await wanted.wait()
        except TimeoutError:
            asked = False
        wanted.clear()
        if refresh(sides, now()) and asked:
            _LOG.info("certificates and revocation lists were read again")
