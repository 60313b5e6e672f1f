"""Sorting the bundles that certificate authorities deliver."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    pkcs12,
)

from certs.bundle import Bundle, read_bundle
from certs.files import PkiError, pem, read_certificates
from certs.keys import PrivateKey, fingerprint
from tests.unit.certs.authority import REAL_NOW, days, own
from tests.unit.certs.parties import certificate, key


def parts(made: Path, name: str, kind: str) -> tuple[bytes, bytes, bytes]:
    """Key, certificate with chain, and roots of a VEN."""
    files = own(made, "ven", name, kind)
    return files.key.read_bytes(), files.certificate.read_bytes(), (made / "trust.pem").read_bytes()


def secret(data: bytes) -> PrivateKey:
    found = serialization.load_pem_private_key(data, None)
    assert isinstance(found, PrivateKey)
    return found


def check(bundle: Bundle, made: Path, name: str, kind: str) -> None:
    chain = read_certificates(own(made, "ven", name, kind).certificate)
    assert bundle.key is not None
    assert bundle.leaf == chain[0]
    assert bundle.chain == chain[1:]
    assert set(bundle.roots) == set(read_certificates(made / "trust.pem"))


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_pem_in_any_order_and_twice(made: Path, kind: str) -> None:
    secret_pem, chain, roots = parts(made, "ven-1", kind)
    for files in (
        [secret_pem, chain, roots],
        [roots + chain + secret_pem],
        [chain + secret_pem, chain, roots],
    ):
        bundle = read_bundle(files)
        check(bundle, made, "ven-1", kind)
        assert bundle.unrelated == ()


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_pkcs12(made: Path, kind: str) -> None:
    secret_pem, _, _ = parts(made, "ven-1", kind)
    chain = read_certificates(own(made, "ven", "ven-1", kind).certificate)
    roots = read_certificates(made / "trust.pem")
    data = pkcs12.serialize_key_and_certificates(
        b"ven", secret(secret_pem), chain[0], [*roots, *chain[1:]], BestAvailableEncryption(b"pw")
    )
    check(read_bundle([data], b"pw"), made, "ven-1", kind)
    with pytest.raises(PkiError, match="password"):
        read_bundle([data], b"wrong")
    with pytest.raises(PkiError, match="password"):
        read_bundle([data])


def test_encrypted_pem_key(made: Path) -> None:
    secret_pem, chain, roots = parts(made, "ven-1", "ec")
    encrypted = secret(secret_pem).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw")
    )
    check(read_bundle([encrypted, chain, roots], b"pw"), made, "ven-1", "ec")
    for password in (b"wrong", None):
        with pytest.raises(PkiError, match="password"):
            read_bundle([encrypted, chain], password)


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
def test_both_forms_of_keys(made: Path, form: PrivateFormat) -> None:
    secret_pem, chain, _ = parts(made, "ven-1", "rsa")
    data = secret(secret_pem).private_bytes(Encoding.PEM, form, serialization.NoEncryption())
    assert read_bundle([data + chain]).leaf is not None


def test_what_does_not_belong(made: Path) -> None:
    secret_pem, chain, roots = parts(made, "ven-1", "ec")
    other = read_certificates(own(made, "ven", "ven-2", "rsa").certificate)
    bundle = read_bundle([secret_pem, chain, roots, pem(*other)])
    check(bundle, made, "ven-1", "ec")
    assert set(bundle.unrelated) == set(other)
    report = "\n".join(bundle.report(REAL_NOW))
    assert "not installed" in report
    assert fingerprint(read_certificates(own(made, "ven", "ven-1", "ec").certificate)[0]) in report
    assert "PRIVATE" not in report


def test_reports_about_faults(made: Path) -> None:
    secret_pem, chain, _ = parts(made, "ven-1", "ec")
    _, other_chain, _ = parts(made, "ven-2", "ec")
    leaf_only = pem(read_certificates(own(made, "ven", "ven-1", "ec").certificate)[0])

    def report(*files: bytes, later: float = 0) -> str:
        return "\n".join(read_bundle(files).report(REAL_NOW + days(later)))

    assert "incomplete" in report(secret_pem, leaf_only)
    assert "none that belongs to the key" in report(secret_pem, other_chain)
    assert "only certificates" in report(chain)
    assert "expired" in report(secret_pem, chain, later=900)


def test_a_self_signed_certificate_is_its_own_chain() -> None:
    secret_pem = key("ec").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption())
    bundle = read_bundle([secret_pem, pem(certificate("ec"))])
    assert bundle.leaf == certificate("ec")
    assert (bundle.chain, bundle.roots, bundle.unrelated) == ((), (), ())


def test_things_that_are_refused(made: Path) -> None:
    secret_pem, chain, _ = parts(made, "ven-1", "ec")
    second, second_chain, _ = parts(made, "ven-2", "ec")
    with pytest.raises(PkiError, match="2 private keys"):
        read_bundle([secret_pem, second])
    with pytest.raises(PkiError, match="several certificates"):
        read_bundle([chain, second_chain])
    with pytest.raises(PkiError, match="neither PEM"):
        read_bundle([b"garbage"])
    with pytest.raises(PkiError, match="cannot be read"):
        read_bundle([chain.replace(b"MII", b"XII", 1)])
    odd = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(PkiError, match="RSA or an elliptic curve"):
        read_bundle([odd])


def test_install(made: Path, tmp_path: Path) -> None:
    bundle = read_bundle(parts(made, "ven-1", "ec"))
    written = bundle.install(tmp_path / "to", "home")
    assert sorted(path.name for path in written) == ["home.key", "home.pem", "home.roots.pem"]
    assert stat.S_IMODE((tmp_path / "to" / "home.key").stat().st_mode) == 0o600
    assert read_certificates(tmp_path / "to" / "home.pem") == (bundle.leaf, *bundle.chain)
    with pytest.raises(PkiError, match="already"):
        bundle.install(tmp_path / "to", "home")


def test_a_key_that_fits_no_certificate_is_not_installed(made: Path, tmp_path: Path) -> None:
    secret_pem, _, roots = parts(made, "ven-1", "ec")
    _, other_chain, _ = parts(made, "ven-2", "ec")
    for files in ([secret_pem], [secret_pem, roots], [secret_pem, other_chain, roots]):
        bundle = read_bundle(files)
        assert "fits no certificate" in (bundle.fault() or "")
        with pytest.raises(PkiError, match=r"secp256r1\) fits no certificate"):
            bundle.install(tmp_path / "to", "home")
    assert not (tmp_path / "to").exists()
    for files in ([other_chain], [roots], list(parts(made, "ven-2", "ec"))):
        assert read_bundle(files).fault() is None


def test_nothing_to_install_and_weak_key(tmp_path: Path) -> None:
    empty = Bundle(key=None, leaf=None, chain=(), roots=(), unrelated=())
    with pytest.raises(PkiError, match="nothing"):
        empty.install(tmp_path, "x")
    weak = Bundle(key=key("rsa-1024"), leaf=None, chain=(), roots=(), unrelated=())
    with pytest.raises(PkiError, match="1024"):
        weak.install(tmp_path, "x")
    assert any("refused" in line for line in weak.report(REAL_NOW))
