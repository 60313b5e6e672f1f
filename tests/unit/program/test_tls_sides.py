"""From the ``[tls]`` settings to TLS: which files, what is wrong with them, and when they are read again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from certs.chain import Purpose
from certs.pki import KeyKind, Pki, Role
from certs.tls import TlsError
from config.settings import SettingsError
from config.tls_settings import Tls, VenTls
from feederloop.cli import app
from feederloop.tls_sides import expiring, faults, kept_fresh, own_fingerprints, refresh, tls_files
from schemas.oadr20b.errors import CertificateTrouble, TransportError
from schemas.oadr20b.model import Poll
from tests.e2e.tls_parties import HOST, make_parties, mark, revoke, wall
from ven_client.refusals import Refusals


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parties") / "pki"
    pki = make_parties(folder, "home-07")
    pki.issue(Role.VEN, "home-07", wall(), kinds=[KeyKind.RSA])
    pki.issue(Role.VEN, "home-12", wall(), kinds=[KeyKind.RSA], hosts=[HOST])
    pki.issue(Role.VEN, "brief", wall(), kinds=[KeyKind.EC], validity=timedelta(days=29))
    return folder


# --- which files -------------------------------------------------------------------------------------------


def test_a_folder_of_the_authority(made: Path) -> None:
    section = Tls(folder=made / "issued/ven/home-07")
    both = tls_files(section, single=False)
    assert [each.certificate.name for each in both.own] == ["ec.pem", "rsa.pem"]
    assert [each.key.name for each in both.own] == ["ec.key", "rsa.key"]
    assert both.trust.samefile(made / "trust.pem")
    assert both.crl is not None
    assert both.crl.samefile(made / "crl.pem")
    assert tls_files(section, single=True).own == both.own[:1]
    assert own_fingerprints(tls_files(section, single=True)) == (mark(made, Role.VEN, "home-07"),)


def test_a_folder_that_was_carried_elsewhere(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made / "issued/ven/home-12", tmp_path / "a/b/c/certs"))
    with pytest.raises(SettingsError, match=r"tls\.trust"):
        tls_files(Tls(folder=folder), single=True)
    shutil.copy(made / "trust.pem", folder)
    found = tls_files(Tls(folder=folder), single=True)
    assert (found.own[0].certificate.name, found.trust, found.crl) == ("rsa.pem", folder / "trust.pem", None)
    named = tls_files(Tls(folder=folder, trust=made / "trust.pem", crl=made / "crl.pem"), single=True)
    assert (named.trust, named.crl) == (made / "trust.pem", made / "crl.pem")


def test_files_by_name(made: Path) -> None:
    folder = made / "issued/ven/home-07"
    section = Tls.model_validate(
        {
            "certificate": [str(folder / "rsa.pem"), str(folder / "ec.pem")],
            "key": [str(folder / "rsa.key"), str(folder / "ec.key")],
            "trust": str(made / "trust.pem"),
        }
    )
    assert [each.certificate.name for each in tls_files(section, single=False).own] == ["rsa.pem", "ec.pem"]
    assert tls_files(section, single=True).own[0].key == folder / "rsa.key"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"folder": "a", "certificate": "b", "key": "c"}, "either folder"),
        ({"certificate": "b"}, "needs its key"),
        ({"vtn_fingerprint": "00:11"}, "vtn_fingerprint"),
        ({"profile": "old"}, "profile"),
    ],
)
def test_settings_that_do_not_fit(values: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        VenTls.model_validate(values)


@pytest.mark.parametrize(("section", "told"), [(Tls(), "--plain"), (Tls(folder=Path("gone")), "gone")])
def test_nothing_to_start_with(section: Tls, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        tls_files(section, single=True)


# --- what is wrong -----------------------------------------------------------------------------------------


def test_faults_of_our_own_certificates(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "pki"))
    home = tls_files(Tls(folder=folder / "issued/ven/home-07"), single=True)
    listener = tls_files(Tls(folder=folder / "issued/ven/home-12"), single=True)
    both = (Purpose.CLIENT, Purpose.SERVER)
    assert faults(home, wall(), (Purpose.CLIENT,)) == ()
    assert faults(listener, wall(), both, HOST) == ()
    assert "not for a TLS server" in " ".join(faults(home, wall(), both))
    assert "elsewhere" in " ".join(faults(listener, wall(), both, "elsewhere"))
    assert "expired" in " ".join(faults(home, wall() + timedelta(days=826), (Purpose.CLIENT,)))
    revoke(Pki(folder), folder, Role.VEN, "home-07")
    assert "revoked" in " ".join(faults(home, wall(), (Purpose.CLIENT,)))


def test_certificates_that_end_soon(made: Path) -> None:
    brief = tls_files(Tls(folder=made / "issued/ven/brief"), single=True)
    assert ["expires at" in each for each in expiring(brief, wall())] == [True]
    assert expiring(brief, wall() + timedelta(days=30)) == ()  # that is a fault
    assert expiring(tls_files(Tls(folder=made / "issued/ven/home-07"), single=False), wall()) == ()


def check(*words: str) -> Result:
    return CliRunner().invoke(app, ["ven", "--check-config", *words])


def test_check_config_looks_at_the_files(made: Path) -> None:
    ven = made / "issued/ven"
    good = check("--certs", str(ven / "home-07"), "--vtn-fingerprint", mark(made, Role.VTN, "localhost"))
    assert (good.exit_code, good.stderr) == (0, "")
    assert f'folder = "{ven / "home-07"}"' in good.stdout
    assert check("--certs", str(ven / "home-12"), "--push").exit_code == 0
    assert check("--plain").exit_code == 0
    for words, told in (
        (("--certs", str(ven / "home-07"), "--push"), "not for a TLS server"),
        (("--certs", str(ven / "home-07"), "--vtn", "http://127.0.0.1:1"), "only with --plain"),
        (("--plain", "--vtn", "https://127.0.0.1:1"), "leave --plain out"),
        ((), "TLS needs certificates"),
    ):
        found = check(*words)
        assert (found.exit_code, told in found.stderr) == (2, True), found.stderr


# --- renewal -----------------------------------------------------------------------------------------------


class Side:
    """Counts how often it is refreshed; may fail."""

    def __init__(self) -> None:
        self.times = 0
        self.broken = False
        self.seen = asyncio.Event()

    def refresh(self, now: datetime) -> None:
        self.times += 1
        self.seen.set()
        if self.broken:
            raise TlsError("x.pem: broken")


async def test_sighup_and_the_clock_refresh_all_sides(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Side(), Side()
    first.broken = True
    async with kept_fresh(first, second, every_s=3600.0), asyncio.timeout(30):
        for times in (1, 2):
            second.seen.clear()
            os.kill(os.getpid(), signal.SIGHUP)
            await second.seen.wait()
            assert (first.times, second.times) == (times, times)
    assert "x.pem: broken" in caplog.text
    async with kept_fresh(second, every_s=0.001), asyncio.timeout(30):
        while second.times < 5:
            await asyncio.sleep(0)
    assert refresh((second,), wall())
    assert not refresh((first, second), wall())


def test_no_message_is_given_up_for_trouble_with_certificates() -> None:
    refusals = Refusals(2)
    poll = Poll(ven_id="ven")
    for _ in range(5):
        assert not refusals.is_hopeless(poll, CertificateTrouble("revoked", 403))
    assert [refusals.is_hopeless(poll, TransportError("HTTP", 500)) for _ in range(2)] == [False, True]
