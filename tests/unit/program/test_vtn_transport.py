"""Which transport the settings of the VTN ask for, and what is wrong with its files before it starts."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from certs.pki import KeyKind, Pki, Role
from certs.tls import TlsError
from config.program import load
from config.settings import SettingsError
from config.vtn_settings import VtnProgramSettings
from dso_engine.gateway_messages import Contexts
from feederloop.cli import app
from feederloop.vtn_program import RunningVtn
from feederloop.vtn_transport import Watched, vtn_transport
from schemas.oadr20b.errors import DeploymentError
from tests.unit.vtn.rig import MemoryStore, Rig
from vtn_server.peers import ClaimedNames, ProxyPeers, TlsPeers
from vtn_server.settings import Identity


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VTN with both kinds of certificates, an operator, and a VTN whose certificate is over."""
    folder = tmp_path_factory.mktemp("pki") / "pki"
    pki, now = Pki(folder), datetime.now(UTC)
    pki.init(now)
    pki.issue(Role.VTN, "localhost", now, hosts=["127.0.0.1"])
    pki.issue(Role.OPERATOR, "olga", now, kinds=[KeyKind.EC])
    pki.issue(Role.VTN, "late", now - timedelta(days=2), kinds=[KeyKind.EC], validity=timedelta(days=1))
    return folder


def settings(**given: object) -> VtnProgramSettings:
    return load(VtnProgramSettings, None, given, {})


def of(authority: Path, role: str = "vtn", name: str = "localhost") -> dict[str, object]:
    return {"folder": authority / "issued" / role / name}


def test_tls_is_what_a_vtn_has_unless_told_otherwise(authority: Path) -> None:
    with pytest.raises(SettingsError, match=r"TLS.*--plain"):
        vtn_transport(settings())
    found = vtn_transport(settings(tls=of(authority)))
    assert isinstance(found.peers, TlsPeers)
    assert found.identity is Identity.CERTIFICATE
    assert found.context is not None
    assert len(found.fingerprints) == 2  # RSA and P-256 together
    assert found.push is not None
    assert (found.faults, found.alarms()) == ((), ())
    with pytest.raises(DeploymentError, match="https"):
        found.targets.check("http://127.0.0.1:1/home")


def test_plain_http_is_said_by_name() -> None:
    found = vtn_transport(settings(plain=True))
    assert isinstance(found.peers, ClaimedNames)
    assert found.identity is Identity.CLAIMED
    assert found.context is None
    found.targets.check("http://127.0.0.1:1/home")
    with pytest.raises(SettingsError, match="plain-anywhere"):
        vtn_transport(settings(plain=True, host="0.0.0.0"))


def test_behind_a_proxy(authority: Path) -> None:
    proxy = {"addresses": ["127.0.0.1"]}
    with pytest.raises(SettingsError, match="certificates"):  # it would push
        vtn_transport(settings(proxy=proxy))
    found = vtn_transport(settings(proxy=proxy, push=False))
    assert isinstance(found.peers, ProxyPeers)
    assert (found.identity, found.context, found.push) == (Identity.CERTIFICATE, None, None)
    assert found.exempt("127.0.0.1")
    assert not found.exempt("192.0.2.1")
    assert vtn_transport(settings(proxy=proxy, tls=of(authority))).push is not None
    with pytest.raises(SettingsError, match="plain-anywhere"):
        vtn_transport(settings(proxy=proxy, push=False, host="0.0.0.0"))
    with pytest.raises(SettingsError, match="proxy"):
        settings(proxy=proxy, plain=True)
    with pytest.raises(SettingsError, match="addresses"):
        settings(proxy={"addresses": ["nginx.example"]})


@pytest.mark.parametrize(
    ("role", "name", "told"), [("vtn", "late", "expired"), ("operator", "olga", "not for a TLS server")]
)
def test_check_config_finds_certificates_that_every_ven_would_refuse(
    authority: Path, role: str, name: str, told: str
) -> None:
    found = CliRunner().invoke(
        app, ["vtn", "--check-config", "--certs", str(authority / "issued" / role / name)]
    )
    assert found.exit_code == 2
    assert told in found.stderr


def test_check_config_finds_a_key_that_does_not_fit(authority: Path, tmp_path: Path) -> None:
    folder = authority / "issued" / "vtn" / "localhost"
    for source, name in ((folder / "ec.pem", "ec.pem"), (folder.parent / "late" / "ec.key", "ec.key")):
        shutil.copy(source, tmp_path / name)
    words = ["vtn", "--check-config", "--certs", str(tmp_path), "--trust", str(authority / "trust.pem")]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 2
    assert "ec.pem" in found.stderr
    good = CliRunner().invoke(app, ["vtn", "--check-config", "--certs", str(folder)])
    assert good.exit_code == 0, good.stderr


def test_a_renewal_that_fails_is_an_alarm_until_it_succeeds(authority: Path, tmp_path: Path) -> None:
    crl, now = tmp_path / "crl.pem", datetime.now(UTC)
    shutil.copy(authority / "crl.pem", crl)
    found = vtn_transport(settings(tls=of(authority) | {"crl": crl}))
    side = found.watched[0]
    assert isinstance(side, Watched)
    crl.write_text("no list", encoding="utf-8")
    with pytest.raises(TlsError):
        side.refresh(now)
    (alarm,) = found.alarms()
    assert "crl.pem" in alarm
    shutil.copy(authority / "crl.pem", crl)
    side.refresh(now)
    assert found.alarms() == ()
    assert any("stale" in each for each in side.alarms(now + timedelta(days=31)))


@pytest.mark.parametrize(
    ("host", "name", "told"),
    [
        ("0.0.0.0", "localhost", "https://localhost:8443/a"),
        ("[::]", "localhost", "https://localhost:8443/a"),
        ("127.0.0.1", "localhost", "https://127.0.0.1:8443/a"),
        ("vtn.example", "localhost", "https://vtn.example:8443/a"),
        ("0.0.0.0", None, "https://0.0.0.0:8443/a"),
    ],
)
async def test_the_program_tells_an_address_that_its_certificate_names(
    host: str, name: str | None, told: str
) -> None:
    rig = await Rig(MemoryStore()).start()
    vtn = RunningVtn(
        service=rig.service,
        operator=rig.operator,
        url=f"https://{host}:8443/a",
        api_url=None,
        host=name,
    )
    assert vtn.banner(Contexts()).splitlines()[0] == f"vtn: {told}"


def test_the_host_comes_from_the_certificate_only_where_it_serves(authority: Path) -> None:
    assert vtn_transport(settings(tls=of(authority), host="0.0.0.0")).host == "localhost"
    assert vtn_transport(settings(plain=True)).host is None
    proxy = {"addresses": ["127.0.0.1"]}
    assert vtn_transport(settings(proxy=proxy, tls=of(authority))).host is None
