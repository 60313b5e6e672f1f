"""The ``[signature]`` table of the programs: policy, key, renewal."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from certs.envelope import SignaturePolicy
from certs.pki import KeyKind, Pki, Role
from certs.tls import CertificateFiles, TlsError
from certs.xmldsig import Signer
from config.program import load
from config.settings import SettingsError
from config.signature_settings import Signature
from config.tls_settings import Tls
from config.ven_settings import VenProgramSettings
from config.vtn_settings import VtnProgramSettings
from feederloop.signing_key import SigningKey, signature_policy, signing_key, vtn_key, vtn_signatures
from feederloop.ven_mail import ven_key, ven_mail
from tests.e2e.tls_parties import make_parties, mark, wall
from ven_client.statefile import StateFile


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority that tests only read."""
    folder = tmp_path_factory.mktemp("parties") / "pki"
    make_parties(folder, "alice").issue(Role.VTN, "both", wall(), kinds=[KeyKind.RSA, KeyKind.EC])
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "pki"))


def tls(folder: Path, name: str = "both") -> Tls:
    return Tls(folder=folder / "issued/vtn" / name)


@pytest.mark.parametrize("policy", ["optional", "required"])
def test_the_key_is_that_of_tls_and_p256_where_there_are_two(made: Path, policy: str) -> None:
    section = Signature.model_validate({"policy": policy})
    key = signing_key(section, tls(made), SignaturePolicy(policy))
    assert key is not None
    assert key.signer.fingerprint == mark(made, Role.VTN, "both")


def test_another_key_where_one_is_named(made: Path) -> None:
    base = made / "issued/vtn/both"
    section = Signature(policy="optional", certificate=base / "rsa.pem", key=base / "rsa.key")
    key = signing_key(section, tls(made, "localhost"), SignaturePolicy.OPTIONAL)
    assert key is not None
    assert key.signer.fingerprint == mark(made, Role.VTN, "both", kind="rsa")


def test_no_signatures_no_key() -> None:
    assert signing_key(Signature(), Tls(), SignaturePolicy.OFF) is None


def test_over_plain_http_there_are_none() -> None:
    assert signature_policy(Signature(policy="optional"), plain=True) is SignaturePolicy.OFF
    assert signature_policy(Signature(policy="required"), plain=False) is SignaturePolicy.REQUIRED
    with pytest.raises(SettingsError, match="TLS"):
        signature_policy(Signature(policy="required"), plain=True)


def test_behind_a_proxy_there_are_signatures(made: Path) -> None:
    base = made / "issued/vtn/both"
    options: dict[str, object] = {
        "plain_anywhere": True,
        "proxy": {"addresses": ["127.0.0.1"]},
        "signature": {"policy": "required", "certificate": base / "ec.pem", "key": base / "ec.key"},
    }
    settings = load(VtnProgramSettings, None, options, {})
    assert vtn_signatures(settings) is SignaturePolicy.REQUIRED
    assert vtn_key(settings) is not None
    settings = load(VtnProgramSettings, None, {"plain": True, "signature": {"policy": "optional"}}, {})
    assert vtn_signatures(settings) is SignaturePolicy.OFF
    assert vtn_key(settings) is None


def test_certificate_and_key_go_together(made: Path) -> None:
    with pytest.raises(ValueError, match="together"):
        Signature(certificate=made / "x.pem")


@pytest.mark.parametrize("spoil", ["gone", "empty", "other"])
def test_files_that_cannot_be_used(folder: Path, spoil: str) -> None:
    key = folder / "issued/vtn/localhost/ec.key"
    match spoil:
        case "gone":
            key.unlink()
        case "empty":
            key.write_bytes(b"")
        case _:
            shutil.copy(folder / "issued/vtn/both/ec.key", key)
    with pytest.raises(SettingsError):
        signing_key(Signature(policy="optional"), tls(folder, "localhost"), SignaturePolicy.OPTIONAL)


def test_a_renewed_key_is_taken_and_a_bad_one_is_not(folder: Path) -> None:
    base = folder / "issued/vtn/localhost"
    key = SigningKey(CertificateFiles(certificate=base / "ec.pem", key=base / "ec.key"))
    told: list[Signer] = []
    key.renewed = told.append
    old = key.signer
    key.refresh(wall())
    assert told == []
    Pki(folder).rotate(Role.VTN, "localhost", wall())
    key.refresh(wall())
    assert told == [key.signer]
    assert key.signer.fingerprint == mark(folder, Role.VTN, "localhost") != old.fingerprint
    good = key.signer
    (base / "ec.key").write_text("half a key")
    for _ in range(2):
        with pytest.raises(TlsError):
            key.refresh(wall())
    assert key.signer is good


def test_a_ven_that_signs(made: Path, tmp_path: Path) -> None:
    options: dict[str, object] = {
        "tls": {"folder": made / "issued/ven/alice"},
        "signature": {"policy": "required", "window": "PT60S"},
    }
    settings = load(VenProgramSettings, None, options, {})
    key = ven_key(settings)
    assert key is not None
    file = StateFile(tmp_path / "state", "alice")
    mail = ven_mail(settings, key, file, wall)
    assert mail.signs
    assert key.renewed is not None
    file.close()
    assert ven_key(load(VenProgramSettings, None, {"plain": True}, {})) is None
