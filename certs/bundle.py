"""Importing what a CA has delivered: one or several files with everything in them, sorted out.

A bundle may be PEM text with any blocks in any order, or PKCS#12. The certificate is the one whose key is
there (or the only one that is no CA); the chain goes from it upwards; roots are self-signed; the rest is
reported as unrelated and not installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from certs.chain import build_chain, is_ca, is_self_signed
from certs.files import PkiError, key_pem, pem, safe_name, write_private, write_public
from certs.keys import PrivateKey, fingerprint, weakness

__all__ = ["Bundle", "read_bundle"]

_KEY_BLOCK: Final = re.compile(
    rb"-----BEGIN (?P<kind>(?:[A-Z]+ )?PRIVATE KEY)-----.+?-----END (?P=kind)-----\s*", re.DOTALL
)
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle, sorted.

    Attributes:
        key: The private key, if there was one.
        leaf: The party's certificate, if there was one.
        chain: Its CAs, from its issuer upwards, without the root.
        roots: Self-signed certificates.
        unrelated: What belongs to none of these.
    """

    key: PrivateKey | None
    leaf: x509.Certificate | None
    chain: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    unrelated: tuple[x509.Certificate, ...]

    def report(self, now: datetime) -> tuple[str, ...]:
        """Return what is what, one line for each part; nothing secret is in it."""
        lines = []
        if self.key is None:
            lines.append("key          none: only certificates can be imported")
        else:
            weak = weakness(self.key.public_key())
            lines.append(f"key          {_kind(self.key)}" + (f", refused: {weak}" if weak else ""))
        if self.leaf is None:
            lines.append("certificate  none that belongs to the key")
        else:
            lines.append(f"certificate  {_line(self.leaf, now)}, fingerprint {fingerprint(self.leaf)}")
        lines += [f"chain {number:<6} {_line(each, now)}" for number, each in enumerate(self.chain, 1)]
        if self.leaf is not None:
            top = self.chain[-1] if self.chain else self.leaf
            if build_chain(top, (), self.roots)[-1] not in self.roots:
                lines.append(f"chain        incomplete: {top.issuer.rfc4514_string()} is not in the bundle")
        lines += [f"root         {_line(each, now)}" for each in self.roots]
        lines += [f"unrelated    {_line(each, now)}, not installed" for each in self.unrelated]
        return tuple(lines)

    def fault(self) -> str | None:
        """Return why nothing of this bundle is installed, or None if it can be."""
        if self.key is not None:
            weak = weakness(self.key.public_key())
            if weak is not None:
                return weak
            if self.leaf is None:
                there = "; ".join(each.subject.rfc4514_string() for each in (*self.unrelated, *self.roots))
                return (
                    f"the private key ({_kind(self.key)}) fits no certificate of the bundle, "
                    f"which has {there or 'none'}"
                )
        elif self.leaf is None and not self.roots:
            return "there is nothing to install in this bundle"
        return None

    def install(self, folder: Path, name: str) -> tuple[Path, ...]:
        """Write NAME.key, NAME.pem (certificate and chain) and NAME.roots.pem; return what was written.

        Raises:
            PkiError: if there is nothing to install, the key is too weak or fits no certificate, or a file
                is there already; then nothing is written.
        """
        base = folder / safe_name(name)
        fault = self.fault()
        if fault is not None:
            raise PkiError(fault)
        parts: list[tuple[Path, bytes]] = []
        if self.leaf is not None:
            parts.append((base.with_name(f"{name}.pem"), pem(self.leaf, *self.chain)))
        if self.roots:
            parts.append((base.with_name(f"{name}.roots.pem"), pem(*self.roots)))
        key_path = base.with_name(f"{name}.key")
        paths = [path for path, _ in parts] + ([key_path] if self.key is not None else [])
        for path in paths:
            if path.exists():
                raise PkiError(f"{path} is there already")
        if self.key is not None:
            write_private(key_path, key_pem(self.key))
        for path, data in parts:
            write_public(path, data)
        return tuple(paths)


def read_bundle(files: Iterable[bytes], password: bytes | None = None) -> Bundle:
    """Return the sorted content of some files.

    Args:
        files: Contents of PEM or PKCS#12 files.
        password: Of the PKCS#12 file or the encrypted key.

    Raises:
        PkiError: if a file cannot be read, or there are several keys.
    """
    keys: list[PrivateKey] = []
    certificates: list[x509.Certificate] = []
    for data in files:
        found, more = _read_pem(data, password) if b"-----BEGIN " in data else _read_p12(data, password)
        keys += found
        certificates += more
    if len(keys) > 1:
        raise PkiError(f"{len(keys)} private keys in the bundle; import one party at a time")
    return _sort(keys[0] if keys else None, tuple(dict.fromkeys(certificates)))


def _read_pem(data: bytes, password: bytes | None) -> tuple[list[PrivateKey], list[x509.Certificate]]:
    keys = []
    for block in _KEY_BLOCK.finditer(data):
        encrypted = b"ENCRYPTED" in block.group()
        try:
            key = serialization.load_pem_private_key(block.group(), password if encrypted else None)
        except (ValueError, TypeError) as err:
            raise PkiError("the private key cannot be read: wrong or missing password?") from err
        keys.append(_usable(key))
    try:
        certificates = x509.load_pem_x509_certificates(data) if _CERTIFICATE in data else []
    except ValueError as err:
        raise PkiError(f"a certificate cannot be read: {err}") from err
    return keys, certificates


def _read_p12(data: bytes, password: bytes | None) -> tuple[list[PrivateKey], list[x509.Certificate]]:
    try:
        store = pkcs12.load_pkcs12(data, password)
    except ValueError as err:
        raise PkiError("neither PEM nor a PKCS#12 file with this password") from err
    certificates = [each.certificate for each in store.additional_certs]
    if store.cert is not None:
        certificates.insert(0, store.cert.certificate)
    return ([_usable(store.key)] if store.key is not None else []), certificates


def _usable(key: object) -> PrivateKey:
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise PkiError(f"a key of type {type(key).__name__}; RSA or an elliptic curve is needed")
    return key


def _sort(key: PrivateKey | None, certificates: tuple[x509.Certificate, ...]) -> Bundle:
    if key is not None:
        public = key.public_key()
        candidates = [each for each in certificates if each.public_key() == public]
    else:
        candidates = [each for each in certificates if not is_ca(each) and not is_self_signed(each)]
        if len(candidates) > 1:
            raise PkiError("several certificates without a key; import one party at a time")
    leaf = max(candidates, key=lambda each: each.not_valid_after_utc, default=None)
    roots = tuple(each for each in certificates if each is not leaf and is_self_signed(each) and is_ca(each))
    others = tuple(each for each in certificates if each is not leaf and each not in roots)
    chain = build_chain(leaf, others, roots)[1:] if leaf is not None else ()
    chain = tuple(each for each in chain if each not in roots)
    unrelated = tuple(each for each in others if each not in chain)
    if leaf is None:  # intermediate certificates alone: keep them as trust material
        chain, unrelated = (), others
    return Bundle(key=key, leaf=leaf, chain=chain, roots=roots, unrelated=unrelated)


def _kind(key: PrivateKey) -> str:
    public = key.public_key()
    return f"RSA {public.key_size}" if isinstance(public, rsa.RSAPublicKey) else public.curve.name


def _line(certificate: x509.Certificate, now: datetime) -> str:
    end = certificate.not_valid_after_utc
    state = "expired" if now > end else "valid"
    return f"{certificate.subject.rfc4514_string()}, {state} until {end:%Y-%m-%d}"
