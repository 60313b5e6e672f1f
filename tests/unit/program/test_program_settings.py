"""The settings of the two programs: where values come from, what a typo does, what is shown."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from config.program import SettingsError, effective, load, without_password
from config.settings import data_path
from config.ven_settings import VenProgramSettings
from config.vtn_settings import VtnProgramSettings, is_loopback

TOKEN = "0123456789abcdef"


def vtn(
    text: str = "",
    folder: Path | None = None,
    options: dict[str, object] | None = None,
    environment: dict[str, str] | None = None,
) -> VtnProgramSettings:
    file = None
    if folder is not None:
        file = folder / "vtn.toml"
        file.write_text(text, encoding="utf-8")
    return load(VtnProgramSettings, file, options or {}, environment or {})


@pytest.mark.parametrize(
    ("name", "cls"), [("vtn.toml", VtnProgramSettings), ("ven.toml", VenProgramSettings)]
)
def test_the_commented_files_say_the_defaults(
    name: str, cls: type[VtnProgramSettings | VenProgramSettings]
) -> None:
    shipped = load(cls, data_path(name), {}, {})
    plain = load(cls, None, {}, {})
    folder = str(data_path())
    assert effective(shipped).replace(f"{folder}/", "") == effective(plain)
    text = data_path(name).read_text(encoding="utf-8")
    for field in cls.model_fields:  # each setting is explained
        assert f"{field} =" in text or f"[{field}]" in text
        inner = getattr(cls.model_fields[field].annotation, "model_fields", {})
        for part in inner:
            assert f"{part} =" in text or f"[{field}.{part}]" in text, part


def test_options_win_over_variables_and_those_over_the_file(tmp_path: Path) -> None:
    text = 'port = 1\nvtn_id = "a"\n[operator]\nport = 11\n[limits]\nmax_deliveries = 7\n'
    found = vtn(
        text,
        tmp_path,
        {"port": 3, "operator": {"port": 33}},
        {"VTN_PORT": "2", "VTN_VTN_ID": "b", "VTN_LIMITS__READ_TIMEOUT": "PT3S", "OTHER": "x"},
    )
    assert (found.port, found.vtn_id, found.operator.port) == (3, "b", 33)
    assert (found.limits.max_deliveries, found.limits.read_timeout) == (7, "PT3S")  # both sources, one table


def test_lists_in_variables_are_json() -> None:
    assert vtn(environment={"VTN_MARKET_CONTEXTS": '["http://a", "http://b"]'}).market_contexts == (
        "http://a",
        "http://b",
    )


@pytest.mark.parametrize(
    ("text", "options", "environment", "told"),
    [
        ("prt = 1", {}, {}, "prt: no such setting"),
        ("[operator]\ntokn = 'x'", {}, {}, "operator.tokn: no such setting"),
        ("", {"hots": "x"}, {}, "hots: no such setting"),
        ("", {}, {"VTN_PRT": "1"}, "VTN_PRT"),
        ("", {}, {"VTN_OPERATOR__PRT": "1"}, "operator.prt"),
        ("port = 'x'", {}, {}, "port"),
        ("port = 70000", {}, {}, "port"),
        ("poll_period = '10s'", {}, {}, "poll_period"),
        ("poll_period = 'PT'", {}, {}, "poll_period"),
        ("poll_period = '-PT10S'", {}, {}, "poll_period"),
        ("poll_period = 'P1M'", {}, {}, "poll_period: .*P1M: years and months"),
        ("poll_period = 'PT0S'", {}, {}, "poll_period: .*longer than zero"),
        ("[limits]\nresend_after = 'P1M'", {}, {}, "limits.resend_after: .*years and months"),
        ("[limits]\nread_timeout = 'PT0S'", {}, {}, "limits.read_timeout: .*longer than zero"),
        ("[limits]\npush_keep_alive = 'P1Y'", {}, {}, "limits.push_keep_alive: .*years and months"),
        ("[signature]\nwindow = 'P1M'", {}, {}, "signature.window: .*years and months"),
        ("[retention]\nevery = 'PT0S'", {}, {}, "retention.every: .*longer than zero"),
        ("[retention]\nevents = 'P9999Y'", {}, {}, "retention.events: .*1000 years"),
        ("market_contexts = 'a'", {}, {}, "market_contexts"),
        ("port = ", {}, {}, "vtn.toml"),
        ("[operator]\nhost = '0.0.0.0'", {}, {}, "loopback"),
        (f"[operator]\ntoken = '{TOKEN}'\ntoken_file = 'x'", {}, {}, "either token or token_file"),
        ("[log]\nlevel = 'loud'", {}, {}, "log.level"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, text: str, options: dict[str, object], environment: dict[str, str], told: str
) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        vtn(text, tmp_path, options, environment)
    assert TOKEN not in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load(VtnProgramSettings, tmp_path / "nowhere.toml", {}, {})


def test_relative_paths_in_a_file_count_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    text = "db = 'sqlite:///data/vtn.sqlite'\nvens = 'vens.toml'\n[operator]\ntoken_file = '/run/token'\n"
    found = vtn(text, folder)
    assert found.db == f"sqlite:///{folder}/data/vtn.sqlite"
    assert found.vens == folder / "vens.toml"
    assert found.operator.token_file == Path("/run/token")
    outside = vtn(text, folder, {"db": "sqlite:///here.sqlite"}, {"VTN_VENS": "mine.csv"})
    assert outside.db == "sqlite:///here.sqlite"
    assert outside.vens == Path("mine.csv")
    assert vtn("db = 'postgresql://u@h/d'", folder).db == "postgresql://u@h/d"
    assert vtn("db = 'vtn.sqlite'", folder).db == str(folder / "vtn.sqlite")


def test_what_is_shown_can_be_read_again_and_tells_no_secret(tmp_path: Path) -> None:
    settings = vtn(
        "db = 'postgresql://me:pa:ss@word@host/db'\n"
        "market_contexts = ['a\"b']\n[retention]\nreadings = 'P2Y'\n",
        tmp_path,
        {"operator": {"token": TOKEN}},
    )
    shown = effective(settings)
    assert TOKEN not in shown
    assert "pa:ss" not in shown
    assert "word" not in shown
    assert "# token is set" in shown
    again = tomllib.loads(shown)
    assert again["db"] == "postgresql://me:***@host/db"
    assert again["market_contexts"] == ['a"b']
    assert again["retention"] == {"readings": "P2Y", "every": "P1D"}
    assert load(VtnProgramSettings, None, again, {}).market_contexts == ('a"b',)


def test_settings_are_frozen() -> None:
    settings = vtn()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
    with pytest.raises(ValueError, match="frozen"):
        settings.operator.port = 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("vtn = 'ftp://x'", "vtn"),
        ("ven_id = ''", "empty"),
        ("[polling]\njitter = 1.0", "jitter"),
        ("timeout = 'PT0S'", "timeout: .*longer than zero"),
        ("[polling]\nidle = 'P1M'", "polling.idle: .*years and months"),
        ("[polling]\nfast = '-PT1S'", "polling.fast: .*ISO 8601"),
        ("[polling]\nretry = 'PT0S'", "polling.retry: .*longer than zero"),
        ("[devices]\nstale_after = 'P1Y'", "devices.stale_after: .*years and months"),
        ("[devices]\nrepeat = 'PT0S'", "devices.repeat: .*longer than zero"),
        ("[signature]\nwindow = 'PT0S'", "signature.window: .*longer than zero"),
        ("[tariff]\npeak_from_hour = 23", "tariff: .*a peak of no hour"),
        ("[home]\nhouse = 1", "home.house"),
    ],
)
def test_ven_settings_refuse(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "ven.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=told):
        load(VenProgramSettings, file, {}, {})


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("127.0.0.1.example", False),
        ("localhost.example", False),
    ],
)
def test_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_urls_without_password() -> None:
    assert without_password("sqlite:////a@b:c") == "sqlite:////a@b:c"
    assert without_password("postgresql://me@host:5432/db") == "postgresql://me@host:5432/db"
    assert without_password("postgresql://me:x@host:5432/db") == "postgresql://me:***@host:5432/db"
