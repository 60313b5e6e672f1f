"""What the customer of ``feederloop ven`` wants and pays reaches the home's energy manager."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.program import SettingsError, load
from config.ven_settings import VenProgramSettings
from feederloop.simulation.homes import price_sheet
from feederloop.ven_home import ven_home
from feederloop.wall_home import wall_scenario
from ven_client.home import HomeManager

NOW = datetime(2026, 5, 16, 10, 3, tzinfo=UTC)


def manager(tmp_path: Path, text: str = "") -> HomeManager:
    """The manager of H07, which has a battery of 6 kWh."""
    file = tmp_path / "ven.toml"
    file.write_text(text, encoding="utf-8")
    return ven_home(load(VenProgramSettings, file, {}, {}), lambda: NOW).manager


def test_without_wishes_a_home_is_that_of_the_neighbourhood(tmp_path: Path) -> None:
    found = manager(tmp_path).parameters
    assert (found.comfort_weight, found.no_discharge_hours) == (1.0, ())
    assert found.battery is not None
    assert found.battery.e_low_kwh == pytest.approx(0.6)
    assert found.battery.capacity_kwh == 6.0


def test_wishes_reach_the_manager(tmp_path: Path) -> None:
    text = "[preferences]\ncomfort_weight = 3.0\nreserve_soc = 0.4\nno_discharge_hours = [18, 7]\n"
    found = manager(tmp_path, text).parameters
    assert (found.comfort_weight, found.no_discharge_hours) == (3.0, (7, 18))
    assert found.battery is not None
    assert found.battery.e_low_kwh == found.battery.e_market_low_kwh == pytest.approx(2.4)


def test_the_reserve_is_of_the_battery_that_is_there(tmp_path: Path) -> None:
    pytest.importorskip("aiomqtt")
    devices = '[devices]\nkind = "mqtt"\nbattery_kwh = 10.0\nbattery_kw = 4.0\n'
    found = manager(tmp_path, f"{devices}[preferences]\nreserve_soc = 0.5\n").parameters
    assert found.battery is not None
    assert found.battery.e_low_kwh == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("text", "supplier"),
    [
        ('kind = "flat"', {0.15}),
        ('kind = "time_of_use"\nsupplier_peak = 0.25', {0.15, 0.25}),
        (f'kind = "dynamic"\nhourly = {[round(0.2 + 0.01 * hour, 2) for hour in range(24)]}', None),
    ],
)
def test_a_home_plans_with_the_tariff_it_is_told(
    tmp_path: Path, text: str, supplier: set[float] | None
) -> None:
    file = tmp_path / "ven.toml"
    file.write_text(f"[tariff]\n{text}\n", encoding="utf-8")
    given = load(VenProgramSettings, file, {}, {})
    hours = [given.tariff.tariff().supplier_at(hour) for hour in range(24)]
    assert set(hours) == (supplier or {round(0.2 + 0.01 * hour, 2) for hour in range(24)})
    planned = ven_home(given, lambda: NOW).manager._prices
    assert [round(planned.supplier_c_per_kwh[6 * hour] / 100.0, 6) for hour in range(24)] == hours
    scenario, spec = wall_scenario("H07", NOW)
    default = price_sheet(scenario, spec).supplier_c_per_kwh
    assert (planned.supplier_c_per_kwh == default) == (set(hours) == {0.15, 0.20})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[preferences]\ncomfort_weight = 0", "preferences.comfort_weight"),
        ("[preferences]\nreserve_soc = 1.5", "preferences.reserve_soc"),
        (
            "[preferences]\nreserve_soc = 0.95",
            "preferences: a reserve of .* is more than the battery may hold",
        ),
        ("[preferences]\nno_discharge_hours = [24]", "no_discharge_hours"),
        ("[preferences]\ncomfort = 1", "preferences.comfort: no such setting"),
        ('[tariff]\nkind = "dynamic"', "24 prices"),
        ("[tariff]\nfeed_in = 0.5", "must not exceed"),
    ],
)
def test_wishes_that_cannot_be(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        manager(tmp_path, text)
