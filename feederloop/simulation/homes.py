"""From a scenario to homes: devices, prices, forecasts and energy managers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dso_engine.model import SLOT
from feederloop.simulation.profiles import SLOTS_PER_DAY
from feederloop.simulation.ratings import rated_battery, rated_home
from feederloop.simulation.scenario import HomeSpec, Scenario
from ven_client.devices import Phase, SimulatedHome
from ven_client.forecast import Known, Persistence, Profile
from ven_client.hems import model as hems
from ven_client.hems.preferences import Preferences, preferred
from ven_client.hems.program import Planner
from ven_client.home import HomeManager
from ven_client.noisy_forecast import Noisy
from ven_client.planning import PriceSheet

__all__ = [
    "SimulatedHousehold",
    "battery_of",
    "build_household",
    "forecaster_of",
    "parameters_of",
    "price_sheet",
]

_CENT: Final = 100.0
_DAYS_BEFORE: Final = 3
_DAYS_AFTER: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedHousehold:
    """A home's devices and the manager that runs them."""

    spec: HomeSpec
    devices: SimulatedHome
    manager: HomeManager


def battery_of(scenario: Scenario, spec: HomeSpec) -> hems.Battery | None:
    """Return a home's battery; None if it owns none."""
    if not spec.has_battery:
        return None
    return rated_battery(scenario.parameters)


def parameters_of(scenario: Scenario, spec: HomeSpec) -> hems.HomeParameters:
    """Return a home's devices and costs."""
    p = scenario.parameters
    home = rated_home(p, battery_of(scenario, spec))
    wishes = Preferences(
        comfort_weight=p.preferences.comfort_weight,
        reserve_kwh=p.preferences.reserve_soc * p.battery.capacity_kwh,
        no_discharge_hours=p.preferences.no_discharge_hours,
    )
    return preferred(home, wishes)


def price_sheet(scenario: Scenario, spec: HomeSpec) -> PriceSheet:
    """Return a home's prices for every slot of a local day, c/kWh (mechanisms.md 12)."""
    p = scenario.parameters
    supplier = [_CENT * p.tariff.supplier_at(k // 6) for k in range(SLOTS_PER_DAY)]
    feed_in = [_CENT * p.tariff.feed_in] * SLOTS_PER_DAY
    bid = [price * spec.bid_factor for price in supplier]
    ask = [min(f * spec.ask_factor, b) for f, b in zip(feed_in, bid, strict=True)]
    expected = mean_pv_kwh(scenario)
    peak = max(expected)
    share = [e / peak if peak else 0.0 for e in expected]
    return PriceSheet(
        supplier_c_per_kwh=tuple(supplier),
        feed_in_c_per_kwh=tuple(feed_in),
        bid_c_per_kwh=tuple(bid),
        ask_c_per_kwh=tuple(ask),
        rebate_c_per_kwh=tuple(_CENT * p.market.rebate_max_eur_per_kwh * s for s in share),
    )


def mean_pv_kwh(scenario: Scenario) -> tuple[float, ...]:
    """Return the mean production of a home expected for each slot of the day, kWh: the day before's."""
    yesterday = scenario.midnight - timedelta(days=1)
    total_kwp = sum(home.pv_kwp for home in scenario.homes)
    mean_kwp = total_kwp / len(scenario.homes)
    return tuple(
        mean_kwp * scenario.profiles.pv_kw_per_kwp(yesterday + k * SLOT) / hems.SLOTS_PER_HOUR
        for k in range(SLOTS_PER_DAY)
    )


def build_household(
    scenario: Scenario,
    spec: HomeSpec,
    start: datetime,
    planner: Planner,
    *,
    days_after: int = _DAYS_AFTER,
) -> SimulatedHousehold:
    """Return a home as it stands at the start of a run.

    Args:
        scenario: The neighbourhood.
        spec: Which home.
        start: First instant of the run, a slot edge.
        planner: Compiled programmes, shared by the homes of a process.
        days_after: How many days the profiles reach, the scenario's included.
    """
    load, pv = _profile(scenario, spec, days_after, production=False), None
    if spec.pv_kwp:
        pv = _profile(scenario, spec, days_after, production=True)
    parameters = parameters_of(scenario, spec)
    connection = scenario.network.homes[spec.index]
    devices = SimulatedHome(
        start=start,
        load=load,
        pv=pv,
        battery=parameters.battery,
        flexible=parameters.flexible,
        phase=Phase(connection.phase + 1),
    )
    manager = HomeManager(
        parameters=parameters,
        devices=devices,
        planner=planner,
        forecaster=forecaster_of(scenario, spec, load, pv),
        nowcast=Known(load=load, pv=pv),
        prices=price_sheet(scenario, spec),
        mean_pv_kwh_day=mean_pv_kwh(scenario),
        has_pv=pv is not None,
        has_switch=spec.has_switch,
    )
    return SimulatedHousehold(spec=spec, devices=devices, manager=manager)


def forecaster_of(scenario: Scenario, spec: HomeSpec, load: Profile, pv: Profile | None) -> Noisy:
    """Return what a home expects of the coming hours, from its actual load and production.

    Source: mechanisms.md 12, "forecast in the market".
    """
    market = scenario.parameters.market
    of = Known(load=load, pv=pv) if market.forecast == "perfect" else Persistence(load=load, pv=pv)
    return Noisy(of=of, seed=spec.noise_seed, sigma=market.forecast_noise)


def _profile(scenario: Scenario, spec: HomeSpec, days_after: int, *, production: bool) -> Profile:
    """Return the days around the run: forecasts look back, the last market hours look ahead."""
    first = scenario.midnight - timedelta(days=_DAYS_BEFORE)
    read = scenario.pv_kw if production else scenario.load_kw
    slots = range((_DAYS_BEFORE + days_after) * SLOTS_PER_DAY)
    return Profile(start=first, step_s=600, kw=tuple(read(spec, first + k * SLOT) for k in slots))
