"""The settings of ``feederloop dso``, its homes, the names of its meters, its tariff and its folder."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from config.dso_settings import DsoProgramSettings, RebateSection, TariffSection, TelemetrySection
from config.program import SettingsError, effective, load
from config.settings import Tariff, data_path, load_neighbourhood
from dso_engine.errors import StaleMeasurement
from dso_engine.feeder import Network, load_network
from dso_engine.hourly import TariffMillicent
from dso_engine.intake import OrderDecision, OrderOutcome
from dso_engine.market import Order, Side, clear
from dso_engine.model import HomeId, Pcc, Phase
from dso_engine.records import DayAheadRecord, FaultRecord, StepRecord
from feederloop.cli import app
from feederloop.customers import read_connections
from feederloop.dso_settlement import ACCOUNTS, WallRebate, WallTariff, opened_ledger
from feederloop.dso_state import RecordFolder
from feederloop.telemetry.sources import meter_names

TOKEN = "0123456789abcdef"
NEEDED = 'network = "n.json"\nhomes = "h.csv"\nstate = "s"\n[vtn]\ntoken = "x"\n[telemetry]\npath = "m.csv"\n'


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(data_path("networks", "lv_33h_17pv.json"))


def settings(text: str, folder: Path) -> DsoProgramSettings:
    file = folder / "dso.toml"
    file.write_text(text, encoding="utf-8")
    return load(DsoProgramSettings, file, {}, {})


def test_the_commented_file_says_the_defaults(tmp_path: Path) -> None:
    shipped = load(DsoProgramSettings, data_path("dso.toml"), {}, {})
    plain = settings(NEEDED, tmp_path)
    for name in ("limits", "control", "costs", "tariff", "settlement", "log", "seed", "market_base"):
        assert getattr(shipped, name) == getattr(plain, name), name
    assert shipped.telemetry == plain.telemetry.model_copy(update={"path": shipped.telemetry.path})
    assert shipped.vtn.model_copy(update={"token_file": None, "token": plain.vtn.token}) == plain.vtn
    text = data_path("dso.toml").read_text(encoding="utf-8")
    assert shipped.network == data_path("networks", "lv_50h_rural.json"), "a path counts from the file"
    for name, field in DsoProgramSettings.model_fields.items():
        assert f"{name} =" in text or f"[{name}]" in text
        for part in getattr(field.annotation, "model_fields", {}):
            assert f"{part} =" in text or f".{part}]" in text, part


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("network", "netwrk"), "netwrk: no such setting"),
        (('token = "x"', ""), "either token or token_file"),
        (('token = "x"', 'token = "x"\nurl = "http://dso.example:8081"'), "leaves this machine"),
        (('path = "m.csv"', ""), "needs a path"),
        (('path = "m.csv"', 'path = "m.csv"\nkind = "fax"'), "kind"),
        (('path = "m.csv"', 'path = "m.csv"\nv_low_v = 400.0'), "v_low_v"),
        (('path = "m.csv"', 'path = "m.csv"\npccs = ["F1-A"]'), "pccs"),
        (("[vtn]", "[limits]\nrelease_voltage = 0.09\n[vtn]"), "release level"),
        (("[vtn]", "[tariff]\nfeed_in = 0.3\n[vtn]"), "feed-in"),
        (("[vtn]", '[tariff]\nkind = "free"\n[vtn]'), "tariff.kind"),
        (("[vtn]", '[tariff]\nkind = "dynamic"\n[vtn]'), "needs hourly: 24 prices, not 0"),
        (("[vtn]", '[tariff]\nkind = "dynamic"\nhourly = [0.1]\n[vtn]'), "24 prices, not 1"),
        (
            ("[vtn]", "[tariff]\npeak_from_hour = 23\npeak_to_hour = 5\n[vtn]"),
            "peak must end after it starts",
        ),
        (("[vtn]", "[tariff]\npeak_to_hour = 25\n[vtn]"), "tariff.peak_to_hour"),
        (("[vtn]", '[settlement]\nafter = "soon"\n[vtn]'), "settlement.after: .*ISO 8601"),
        (("[vtn]", "[settlement]\nreward_percent = -1\n[vtn]"), "settlement.reward_percent"),
        (("[vtn]", '[tariff]\ntimezone = "Europe/Nowhere"\n[vtn]'), "tariff.timezone: .*no time zone"),
        (("[vtn]", '[tariff]\ntimezone = ""\n[vtn]'), "tariff.timezone: .*no time zone"),
        (("[vtn]", '[tariff]\ntimezone = "../etc"\n[vtn]'), "tariff.timezone: .*no time zone"),
        (("[vtn]", "[tariff]\npeak_from_hour = 17\npeak_to_hour = 17\n[vtn]"), "tariff: .*a peak of no hour"),
        (("[vtn]", "[tariff]\nsupplier = 1e300\n[vtn]"), "tariff.supplier"),
        (("[vtn]", "[control]\nmax_price_eur_per_kwh = 1e300\n[vtn]"), "control.max_price_eur_per_kwh"),
        (("[vtn]", "[settlement.rebate]\nmax_eur_per_kwh = 1e300\n[vtn]"), "rebate.max_eur_per_kwh"),
        (("[vtn]", '[settlement]\nlate_readings = "P1M"\n[vtn]'), "settlement.late_readings: .*years and mo"),
        (("[vtn]", '[settlement]\nafter = "P1Y"\n[vtn]'), "settlement.after: .*years and months"),
        (("[vtn]", '[settlement]\nafter = "-PT1M"\n[vtn]'), "settlement.after: .*ISO 8601"),
        (("[vtn]", '[settlement]\nlate_readings = "P999999D"\n[vtn]'), "late_readings: .*1000 years"),
        (('path = "m.csv"', 'path = "m.csv"\nmax_age = "PT0S"'), "telemetry.max_age: .*longer than zero"),
        (('path = "m.csv"', 'path = "m.csv"\nmax_age = "P1M"'), "telemetry.max_age: .*years and months"),
        (('token = "x"', 'token = "x"\ntimeout = "PT0S"'), "vtn.timeout: .*longer than zero"),
        (('token = "x"', 'token = "x"\ntimeout = "P1M"'), "vtn.timeout: .*years and months"),
        (('token = "x"', 'token = "x"\nclock_warn = "PT31S"'), "clock_warn must not be longer"),
        (('token = "x"', 'token = "x"\nclock_refuse = "PT0S"'), "vtn.clock_refuse: .*longer than zero"),
        (("[vtn]", '[settlement]\nstart = "2026-05-16T10:00:00"\n[vtn]'), "settlement.start"),
        (("[vtn]", "[settlement.rebate]\nproduction = [1]\n[vtn]"), "24 values"),
        (("[vtn]", "[settlement.rebate]\nmax_eur_per_kwh = 0.02\n[vtn]"), "production is needed"),
    ],
)
def test_what_does_not_fit_is_told(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=told):
        settings(NEEDED.replace(*change, 1), tmp_path)


def test_check_config_shows_what_is_in_effect_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "dso.toml"
    file.write_text(NEEDED.replace('"x"', f'"{TOKEN}"'), encoding="utf-8")
    words = ["dso", "--config", str(file), "--telemetry", "mqtt", "--set", "control.step_s=20"]
    shutil.copy(data_path("networks", "lv_33h_17pv.json"), tmp_path / "n.json")
    (tmp_path / "h.csv").write_text("home,ven_id\nH01,ven-1\n")
    found = CliRunner().invoke(app, [*words, "--check-config"])
    assert found.exit_code == 0, found.output
    assert TOKEN not in found.output
    assert 'kind = "mqtt"' in found.output
    assert "step_s = 20" in found.output
    assert effective(settings(NEEDED, tmp_path)).count("[telemetry.mqtt]") == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("n.json", "nowhere.json"), "nowhere.json"),
        (("h.csv", "stray.csv"), "has no H99"),
        (('token = "x"', 'token_file = "nowhere.token"'), "nowhere.token"),
        (('path = "m.csv"', 'path = "m.csv"\npccs = ["x=F9-A"]'), "no F9-A"),
        (("[vtn]", '[tariff]\ntimezone = "Europe/Nowhere"\n[vtn]'), "tariff.timezone"),
    ],
)
def test_check_config_finds_what_would_keep_it_from_starting(
    change: tuple[str, str], told: str, tmp_path: Path
) -> None:
    shutil.copy(data_path("networks", "lv_33h_17pv.json"), tmp_path / "n.json")
    (tmp_path / "h.csv").write_text("home,ven_id\nH01,ven-1\n")
    (tmp_path / "stray.csv").write_text("home,ven_id\nH99,ven-1\n")
    file = tmp_path / "dso.toml"
    file.write_text(NEEDED.replace(*change, 1), encoding="utf-8")
    found = CliRunner().invoke(app, ["dso", "--config", str(file), "--check-config"])
    assert found.exit_code == 2
    assert told in found.output
    assert {each.name for each in tmp_path.iterdir()} == {"n.json", "h.csv", "stray.csv", "dso.toml"}


@pytest.mark.usefixtures("quiet")
def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "dso.toml"
    file.write_text(NEEDED, encoding="utf-8")
    found = CliRunner().invoke(app, ["dso", "--config", str(file)])
    assert found.exit_code == 2
    assert "n.json" in found.output
    assert "Traceback" not in found.output


# --- homes -------------------------------------------------------------------------------------------------


def test_homes_in_both_forms(network: Network, tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text(
        "home,ven_id,pv_kwp,switch,contract_kva\nH02,ven-2,3,,9\nH01,,4.5,,\nH03,ven-3,,switch-3,\n"
    )
    (tmp_path / "h.toml").write_text(
        '[[home]]\nhome = "H03"\nven_id = "ven-3"\nswitch = "switch-3"\n'
        '[[home]]\nhome = "H01"\npv_kwp = 4.5\n'
        '[[home]]\nhome = "H02"\nven_id = "ven-2"\npv_kwp = 3\ncontract_kva = 9\n'
    )
    found = read_connections(tmp_path / "h.csv", network)
    assert found == read_connections(tmp_path / "h.toml", network)
    assert [each.customer.home for each in found] == [home.id for home in network.homes]
    by_home = {each.customer.home: each for each in found}
    one, two, three, four = (by_home[HomeId(f"H0{k}")] for k in (1, 2, 3, 4))
    assert (one.customer.participates, one.customer.pv_kwp, one.ven_id) == (False, 4.5, None)
    assert (two.customer.participates, two.customer.contract_kva, two.ven_id) == (True, 9.0, "ven-2")
    assert (three.customer.has_switch, three.switch, three.customer.contract_kva) == (True, "switch-3", inf)
    assert (four.customer.participates, four.customer.pv_kwp) == (False, 0.0)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("H99,v,,,", "no H99"),
        ("H01,v,,,\nH01,w,,,", "home H01 comes twice"),
        ("H01,v,,,\nH02,v,,,", "ven_id v comes twice"),
        ("H01,,,switch-1,", "needs a VEN"),
        ("H01,v,-1,,", "line 2: pv_kwp"),
        ("H01,v,nan,,", "line 2: pv_kwp"),
        ("H01,v,,,0", "contract_kva"),
        ("H01,v,,,,x", "more cells than names"),
        (",v,,,", "home"),
    ],
)
def test_a_file_of_homes_that_is_wrong(rows: str, told: str, network: Network, tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text(f"home,ven_id,pv_kwp,switch,contract_kva\n{rows}\n")
    with pytest.raises(SettingsError, match=told):
        read_connections(tmp_path / "h.csv", network)


# --- meters, tariff, folder --------------------------------------------------------------------------------


def test_names_of_meters(network: Network) -> None:
    def names(*pccs: str) -> dict[str, Pcc]:
        return meter_names(TelemetrySection(path=Path("x"), pccs=pccs), network)

    assert list(names()) == [str(pcc.id) for pcc in network.pccs]
    full = tuple(f"meter {k}={pcc.id}" for k, pcc in enumerate(network.pccs))
    assert names(*full)["meter 1"] == Pcc(feeder=network.feeders[0], phase=Phase.B)
    with pytest.raises(SettingsError, match="no meter for"):
        names(*full[1:])
    with pytest.raises(SettingsError, match="no F9-A"):
        names("x=F9-A", *full)
    with pytest.raises(SettingsError, match="comes twice"):
        names("x=F1-A", *full)


def test_a_tariff_goes_by_local_hours() -> None:
    tariff = WallTariff(TariffSection(timezone="Europe/Paris"))
    summer, winter = datetime(2026, 7, 1, 15, tzinfo=UTC), datetime(2026, 1, 1, 15, tzinfo=UTC)
    assert (tariff[summer].supplier, tariff[winter].supplier) == (20_000, 15_000)  # 17:00 and 16:00 there
    assert tariff[summer].feed_in == 10_000
    with pytest.raises(ValidationError, match="no time zone"):
        TariffSection(timezone="Moon/Base")


def test_tariffs_of_three_kinds_are_those_of_a_neighbourhood() -> None:
    """What is said in the section and in neighbourhood.toml leads to the same tariff; flat needs no more."""
    prices = tuple(0.2 + 0.01 * hour for hour in range(24))
    default = load_neighbourhood().tariff
    assert TariffSection().tariff() == default
    assert TariffSection(kind="flat").tariff() == Tariff(supplier=0.15, feed_in=0.1)
    assert TariffSection(kind="flat", peak_from_hour=20, peak_to_hour=3).tariff().supplier_at(21) == 0.15
    dynamic = TariffSection(kind="dynamic", hourly=prices)
    assert dynamic.tariff() == Tariff(supplier=0.15, hourly=prices, feed_in=0.1)
    night = datetime(2026, 1, 1, 23, 50, tzinfo=UTC)
    assert WallTariff(dynamic)[night] == TariffMillicent(supplier=20_000, feed_in=10_000)  # 00:50 there
    assert WallTariff(TariffSection(kind="flat"))[night].supplier == 15_000


def test_a_kind_of_tariff_is_chosen_in_the_file(tmp_path: Path) -> None:
    text = NEEDED.replace("[vtn]", '[tariff]\nkind = "flat"\nsupplier = 0.30\n[vtn]', 1)
    found = settings(text, tmp_path)
    assert found.tariff.tariff() == Tariff(supplier=0.30, feed_in=0.1)
    again = settings(effective(found).replace("# token is set", 'token = "x"'), tmp_path)
    assert again.tariff == found.tariff


def test_a_rebate_follows_the_production_expected() -> None:
    production = tuple(float(max(0, 6 - abs(hour - 12))) for hour in range(24))
    rebate = WallRebate(RebateSection(max_eur_per_kwh=0.02, production=production), "Etc/GMT-1")
    day = datetime(2026, 5, 15, 23, tzinfo=UTC)
    found = [rebate[day + timedelta(hours=k)] for k in range(24)]
    assert found == [0] * 7 + [333, 667, 1_000, 1_333, 1_667, 2_000, 1_667, 1_333, 1_000, 667, 333] + [0] * 6
    assert WallRebate(RebateSection(), "UTC")[day] == 0


@pytest.mark.parametrize(
    ("start", "first"),
    [
        (None, "2026-05-16T11:00:00+00:00"),
        ("2026-05-01T00:00:00+02:00", "2026-04-30T22:00:00+00:00"),
        ("2026-05-01T00:00:01+02:00", "2026-04-30T23:00:00+00:00"),
    ],
)
def test_accounts_begin_with_a_whole_hour_and_stay_there(
    tmp_path: Path, start: str | None, first: str
) -> None:
    given = settings(NEEDED, tmp_path)
    section = given.settlement.model_copy(update={"start": start and datetime.fromisoformat(start)})
    told = given.model_copy(update={"state": tmp_path, "settlement": section})
    now = datetime(2026, 5, 16, 10, 0, 1, tzinfo=UTC)
    with closing(opened_ledger(told, now)) as ledger:
        assert ledger.first_hour == datetime.fromisoformat(first)
    with closing(opened_ledger(told, now + timedelta(days=1))) as again:
        assert again.first_hour == datetime.fromisoformat(first)
    (tmp_path / ACCOUNTS).write_text("what is this?" * 99)
    with pytest.raises(SettingsError, match=ACCOUNTS):
        opened_ledger(told, now)


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("2026-05-16T10:00:00Z", "2026-05-16T10:00:00+00:00"),
        ("2026-05-16T10:00:00+05:30", "2026-05-16T05:00:00+00:00"),
        ("2026-05-16T10:30:00+05:30", "2026-05-16T05:00:00+00:00"),
        ("2026-05-16T10:00:01+02:00", "2026-05-16T09:00:00+00:00"),
    ],
)
def test_accounts_begin_with_an_hour_of_the_market(tmp_path: Path, start: str, first: str) -> None:
    """Market hours are those of UTC, wherever the clock of whoever wrote the setting stands."""
    given = settings(f'{NEEDED}[settlement]\nstart = "{start}"\n', tmp_path)
    (tmp_path / "s").mkdir()
    with closing(opened_ledger(given, datetime(2026, 5, 20, tzinfo=UTC))) as ledger:
        assert ledger.first_hour.isoformat() == first


def test_records_are_lines_of_json_and_a_folder_has_one_engine(tmp_path: Path) -> None:
    folder = RecordFolder(tmp_path / "state")
    slot = datetime(2026, 5, 16, 10, tzinfo=UTC)
    folder.record(FaultRecord.of(StaleMeasurement("F1-A"), slot=slot, at=slot, what="tick"))
    folder.record(
        StepRecord(
            slot=slot,
            at=slot,
            pcc=Pcc(feeder=1, phase=Phase.B),
            p_kw=1.5,
            projected_kw=2.0,
            c_lo_kw=None,
            c_hi_kw=3.0,
            u_millicent=-7,
            stepped=True,
            mode="hold",
        )
    )
    (path,) = (tmp_path / "state").glob("records-*.jsonl")
    fault, step = map(json.loads, path.read_text().splitlines())
    assert (fault["kind"], fault["error"], fault["text"]) == ("FaultRecord", "StaleMeasurement", "F1-A")
    assert (step["kind"], step["pcc"], step["u_millicent"]) == ("StepRecord", {"feeder": 1, "phase": 1}, -7)
    assert folder.counts == {"FaultRecord": 1, "StepRecord": 1}
    folder.write_status({"a": 1})
    assert json.loads((tmp_path / "state" / "status.json").read_text()) == {"a": 1}
    with pytest.raises(SettingsError, match="another engine"):
        RecordFolder(tmp_path / "state")
    folder.close()
    RecordFolder(tmp_path / "state").close()


def test_an_order_that_was_refused_is_on_record_as_it_came(tmp_path: Path) -> None:
    """A block of 100 Wh is 16.67 in each slot, and no order for that reason; nobody is warned of it."""
    folder = RecordFolder(tmp_path / "state")
    slot = datetime(2026, 5, 16, 10, tzinfo=UTC)
    odd = Order(home=HomeId("H01"), side=Side.BUY, price_millicent=1, volume_wh=100 / 6, seq=1)  # type: ignore[arg-type]  # the point
    refused = (OrderDecision(order=odd, outcome=OrderOutcome.BAD_VOLUME),)
    folder.record(DayAheadRecord(slot=slot, book=(), refused=refused, clearing=clear(())))
    folder.close()
    (path,) = (tmp_path / "state").glob("records-*.jsonl")
    (record,) = map(json.loads, path.read_text().splitlines())
    (decision,) = record["refused"]
    assert (decision["outcome"], decision["order"]["volume_wh"]) == ("bad_volume", 100 / 6)


def test_a_full_disk_costs_records_not_the_feeder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RecordFolder(tmp_path / "state")
    slot = datetime(2026, 5, 16, 10, tzinfo=UTC)

    def full(*given: object, **named: object) -> object:
        raise OSError(28, "no space left")

    monkeypatch.setattr(Path, "open", full)
    for _ in range(3):
        folder.record(FaultRecord.of(StaleMeasurement("F1-A"), slot=slot, at=slot, what="tick"))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    folder.close()
