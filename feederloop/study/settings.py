"""What a day of a study is played with, and the neighbourhood that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from config.settings import Neighbourhood, data_path, load_neighbourhood
from feederloop.simulation.scenario import Scenario, ScenarioOptions, load_scenario

__all__ = ["BATTERIES_KWH", "DAYS", "SEEDS", "Setting", "scenario_of"]

DAYS: Final = tuple(date(2018, 5, 14) + timedelta(days=k) for k in range(6))
"""Monday to Saturday of the week the demo's day lies in; production and consumption are about equal."""
SEEDS: Final = (1, 2, 3)
BATTERIES_KWH: Final = (3.0, 6.0, 9.0)
"""The thesis' sizes (section 6.1 of chapter 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One day of one neighbourhood; two equal settings give the same flows to the last bit.

    Attributes:
        network: File in ``config/networks``.
        scenario: Who owns what, a name in ``scenarios.json``.
        rebate_eur_per_kwh: Largest rebate on the distribution fee (thesis eq. 4.1).
        pv_kwp: Rated power of each PV; None takes the network's default.
        peak_eur_per_kwh: The supplier's price in the evening; None takes the default of ``config/``.
        day_ahead: Whether hourly blocks are traded the day before; None likewise.
    """

    network: str
    scenario: str
    day: date
    seed: int = 1
    battery_kwh: float = 6.0
    rebate_eur_per_kwh: float = 0.02
    pv_kwp: float | None = None
    peak_eur_per_kwh: float | None = None
    day_ahead: bool | None = None


def scenario_of(setting: Setting) -> Scenario:
    """Return the neighbourhood of a setting; everything it does not name is the default of ``config/``.

    Raises:
        ScenarioError, SettingsError, ProfileError, InvalidFeeder: if it does not fit the data.
    """
    scenario = load_scenario(
        ScenarioOptions(
            day=setting.day,
            network=data_path("networks", setting.network),
            scenario=setting.scenario,
            seed=setting.seed,
            pv_kwp=setting.pv_kwp,
        ),
        _parameters(setting),
    )
    return replace(scenario, name=setting.scenario)


def _parameters(setting: Setting) -> Neighbourhood:
    default = load_neighbourhood()
    day_ahead = default.market.day_ahead if setting.day_ahead is None else setting.day_ahead
    peak = default.tariff.supplier_peak if setting.peak_eur_per_kwh is None else setting.peak_eur_per_kwh
    return default.model_copy(
        update={
            "battery": default.battery.model_copy(update={"capacity_kwh": setting.battery_kwh}),
            "tariff": default.tariff.model_copy(update={"supplier_peak": peak}),
            "market": default.market.model_copy(
                update={"rebate_max_eur_per_kwh": setting.rebate_eur_per_kwh, "day_ahead": day_ahead}
            ),
        }
    )
