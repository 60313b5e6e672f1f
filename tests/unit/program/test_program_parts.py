"""The file of VENs, the log formats, plain HTTP, the token, and a home that lives today."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.program import SettingsError, load
from config.ven_settings import VenProgramSettings
from config.vtn_settings import OperatorApi, VtnProgramSettings
from feederloop.logs import setup_logs
from feederloop.provisioning import read_provisions
from feederloop.simulation.profiles import load_profiles
from feederloop.simulation.scenario import ScenarioError
from feederloop.transport_security import check_plain
from feederloop.ven_program import SteadyClock
from feederloop.vtn_program import operator_token, vtn_settings
from feederloop.vtn_retention import retention_of
from feederloop.vtn_transport import vtn_transport
from feederloop.wall_home import RepeatedYear, wall_household
from schemas.oadr20b.xmltypes import Duration
from vtn_server.state import Provision, VenId

PRINT = "aa:bb:cc:dd:ee:ff:00:11:22:33"
ALICE = Provision(
    ven_id=VenId("ven-1"),
    ven_name="alice",
    fingerprint=PRINT.upper(),
    resources=("switch-1", "battery-1"),
    groups=("street",),
    market_contexts=("http://a",),
)
BOB = Provision(ven_id=VenId("ven-2"), ven_name="bob")

TOML = f"""
[[ven]]
name = "alice"
ven_id = "ven-1"
fingerprint = "{PRINT}"
resources = ["switch-1", "battery-1"]
groups = ["street"]
market_contexts = ["http://a"]

[[ven]]
name = "bob"
ven_id = "ven-2"
"""
CSV = f"""name,ven_id,fingerprint,groups,resources,market_contexts
alice,ven-1,{PRINT},street,switch-1; battery-1,http://a
bob,ven-2,,,,
"""


@pytest.mark.parametrize(
    ("name", "text"), [("vens.toml", TOML), ("vens.csv", CSV), ("V.CSV", "\ufeff" + CSV)]
)
def test_a_file_of_vens(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    assert read_provisions(file) == (ALICE, BOB)


def test_an_empty_file_of_vens(tmp_path: Path) -> None:
    file = tmp_path / "vens.toml"
    file.write_text("", encoding="utf-8")
    assert read_provisions(file) == ()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.toml", "[[ven]]\nname = 'a'", "ven 1: ven_id"),
        ("a.toml", "[[ven]]\nname = 'a'\nven_id = '1'\ngroup = ['x']", "group"),
        ("a.toml", "[[vne]]\nname = 'a'", r"\[\[ven\]\]"),
        ("a.toml", "ven = 3", r"\[\[ven\]\]"),
        ("a.toml", "[[ven]]\nname = 'a'\nven_id = '1'\nfingerprint = 'AA:BB'", "fingerprint"),
        ("a.toml", "[[ven]", "a.toml"),
        ("a.csv", "name,ven_id\na,1\nb,1\n", "ven_id 1 comes twice"),
        ("a.csv", "name,ven_id\na,1\na,2\n", "name a comes twice"),
        ("a.csv", f"name,ven_id,fingerprint\na,1,{PRINT}\nb,2,{PRINT.upper()}\n", "fingerprint"),
        ("a.csv", "name,venid\na,1\n", "line 2"),
        ("a.csv", "name,ven_id\na,1,more\n", "more cells"),
    ],
)
def test_a_wrong_file_of_vens(tmp_path: Path, name: str, text: str, told: str) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=told):
        read_provisions(file)


def test_no_file_of_vens(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="gone"):
        read_provisions(tmp_path / "gone.csv")


# --- logs --------------------------------------------------------------------------------------------------


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    yield io.StringIO()
    root.handlers = before
    root.setLevel(level)


def test_json_lines(logs: io.StringIO) -> None:
    setup_logs("info", "auto", logs)  # no terminal
    log = logging.getLogger("feederloop.test")
    log.debug("not this")
    log.info(
        "%s says\n%s", "ven-1", "hello", extra={"ven_id": "ven-1", "at": datetime(2026, 1, 1, tzinfo=UTC)}
    )
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("oh")
    first, second = map(json.loads, logs.getvalue().splitlines())
    assert (first["level"], first["logger"], first["text"]) == (
        "info",
        "feederloop.test",
        "ven-1 says\nhello",
    )
    assert first["ven_id"] == "ven-1"
    assert first["time"].endswith("Z")
    assert set(first) == {"time", "level", "logger", "text", "ven_id", "at"}
    assert "ValueError: broken" in second["exception"]


def test_text_lines(logs: io.StringIO) -> None:
    setup_logs("warning", "text", logs)
    logging.getLogger("x").info("not this")
    logging.getLogger("x").warning("this")
    assert logs.getvalue().endswith("WARNING x: this\n")


# --- plain HTTP and the token ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (VtnProgramSettings(plain=True, host="0.0.0.0"), "plain-anywhere"),
        (VenProgramSettings(plain=True, vtn="http://vtn.example"), "vtn.example"),
    ],
)
def test_plain_http_stays_here(settings: VtnProgramSettings | VenProgramSettings, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        check_plain(settings)


@pytest.mark.parametrize(
    "settings",
    [
        VtnProgramSettings(plain=True),
        VtnProgramSettings(plain=True, plain_anywhere=True, host="0.0.0.0"),
        VenProgramSettings(plain=True, vtn="http://[::1]:80"),
        VenProgramSettings(plain_anywhere=True, vtn="http://vtn.example"),
    ],
)
def test_plain_http_where_it_was_asked_for(settings: VtnProgramSettings | VenProgramSettings) -> None:
    check_plain(settings)


def test_the_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abcdefghijklmnop\nrest\n", encoding="utf-8")
    assert operator_token(OperatorApi()) is None
    assert operator_token(OperatorApi(token_file=file)) == "abcdefghijklmnop"
    for bad in ("", "short", "with space in the middle", "ümlautümlautümlaut"):
        file.write_text(bad, encoding="utf-8")
        with pytest.raises(SettingsError, match="16 or more"):
            operator_token(OperatorApi(token_file=file))
    with pytest.raises(SettingsError, match="gone"):
        operator_token(OperatorApi(token_file=tmp_path / "gone"))


def test_the_values_the_vtn_gets() -> None:
    given = {
        "vtn_id": "v",
        "plain": True,
        "poll_period": "PT7S",
        "open_enrolment": True,
        "push": False,
        "limits": {
            "resend_after": "PT1M",
            "max_deliveries": 3,
            "read_timeout": "PT2S",
            "check_rules": True,
            "accept_bare_root": True,
            "wrong_method_status": 405,
            "max_bytes": 20_000,
        },
        "retention": {"readings": "P2Y", "events": "P1M"},
    }
    found = load(VtnProgramSettings, None, given, {})
    values = vtn_settings(found, vtn_transport(found))
    assert (values.vtn_id, values.poll_period, values.open_enrolment) == ("v", Duration(seconds=7), True)
    assert (values.resend_after_s, values.max_deliveries, values.read_timeout_s) == (60.0, 3, 2.0)
    assert (values.push, values.max_bytes) == (False, 20_000)
    assert (values.check_rules, values.accept_bare_root, values.wrong_method_status) == (True, True, 405)
    keep = retention_of(found)
    assert (keep.readings, keep.events) == (timedelta(days=730), timedelta(days=30))
    assert values.keep_completed == timedelta(days=2)


def test_memory_keeps_no_event_longer_than_the_store_does() -> None:
    found = load(VtnProgramSettings, None, {"plain": True, "retention": {"events": "PT1H"}}, {})
    assert vtn_settings(found, vtn_transport(found)).keep_completed == timedelta(hours=1)


# --- a home today ------------------------------------------------------------------------------------------


def test_the_year_of_profiles_repeats_on_the_same_weekday() -> None:
    year = load_profiles()
    repeated = RepeatedYear(start=year.start, load_w=year.load_w, pv_w_per_kwp=year.pv_w_per_kwp)
    slot = datetime(2018, 5, 16, 10, 20, tzinfo=UTC)
    assert repeated.index(slot) == year.index(slot)
    for years in (-3, 1, 8):
        there = slot + years * timedelta(weeks=52)
        assert there.weekday() == slot.weekday()
        assert repeated.load_kw(6, there) == year.load_kw(6, slot)


def test_a_home_lives_now() -> None:
    now = datetime(2026, 11, 24, 7, 53, 28, 123456, tzinfo=UTC)
    household = wall_household("H07", now)
    assert household.spec.home == "H07"
    assert household.devices.load_kw(now) > 0.0
    much_later = now + timedelta(days=400)
    assert household.devices.load_kw(much_later) > 0.0
    with pytest.raises(ScenarioError, match="H99"):
        wall_household("H99", now)


def test_a_clock_that_is_set_back_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(datetime(2026, 1, 1, 0, minute, tzinfo=UTC) for minute in (5, 6, 4, 7))
    monkeypatch.setattr("feederloop.clock.WallClock.now", lambda self: next(times))
    clock = SteadyClock()
    assert [clock.now().minute for _ in range(3)] == [6, 6, 7]
