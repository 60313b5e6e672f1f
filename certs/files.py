"""Key and certificate files: private ones for the owner only, each replaced in one step."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs.keys import PrivateKey

__all__ = [
    "PkiError",
    "certificate_paths",
    "key_pem",
    "pem",
    "read_certificates",
    "safe_name",
    "write_private",
    "write_public",
]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class PkiError(Exception):
    """What was asked of the PKI cannot be done; the text is for the person who asked."""


def safe_name(name: str) -> str:
    """Return a name that is fit to be a file name.

    Raises:
        PkiError: if it is not.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise PkiError(f"the name {name!r} must be 1 to 64 letters, digits, '.', '_', '@' or '-'")
    return name


def pem(*certificates: x509.Certificate) -> bytes:
    """Return certificates as PEM, in this order."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def key_pem(key: PrivateKey) -> bytes:
    """Return a private key as unencrypted PKCS#8; only for :func:`write_private`."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a PEM file in their order.

    Raises:
        PkiError: if it cannot be read or holds none.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as err:
        raise PkiError(f"{path}: no certificates: {err}") from err


def certificate_paths(path: Path) -> tuple[Path, ...]:
    """Return the certificate files of a party's folder, ``ec.pem`` and ``rsa.pem``; a file is itself.

    Raises:
        PkiError: if the folder has neither.
    """
    if not path.is_dir():
        return (path,)
    found = tuple(path / name for name in ("ec.pem", "rsa.pem") if (path / name).exists())
    if not found:
        raise PkiError(f"{path}: neither ec.pem nor rsa.pem is in this folder")
    return found


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read; it never exists with wider rights."""
    _write(path, data, 0o600)


def write_public(path: Path, data: bytes) -> None:
    """Write a file that everybody may read."""
    _write(path, data, 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
