"""Who lives in the neighbourhood: network, ownership, parameters and the draws of a seed.

The seed draws reserve prices and forecast noise; who owns what is data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from config.settings import Neighbourhood, data_path, load_neighbourhood
from dso_engine.feeder import Network, load_network
from dso_engine.model import SLOT, HomeId
from feederloop.simulation.profiles import SLOTS_PER_DAY, Profiles, load_profiles, local_midnight
from feederloop.simulation.switches import SwitchDay
from ven_client.noisy_forecast import noise_factors

__all__ = ["HomeSpec", "Scenario", "ScenarioError", "ScenarioOptions", "load_scenario"]

_NETWORKS: Final = {33: ("lv_33h_17pv.json", "chapter4_33h"), 50: ("lv_50h_rural.json", "D")}
_GROUPS: Final = ("pv_battery", "pv_only", "battery_only", "none")


class ScenarioError(Exception):
    """The scenario cannot be built: unknown name, or homes that the network or the profiles do not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioOptions:
    """What a user chooses.

    Attributes:
        homes: 33 or 50, a network that ships with the product; ignored where ``network`` is given.
        network: A network file of the user's own.
        scenario: A name in ``scenarios.json``, or a JSON file of the user's own that lists the homes with
            ``pv_battery``, ``pv_only`` and ``battery_only``.
        pv_kwp: Rated power of each PV; None takes the network's default.
    """

    day: date = date(2018, 5, 16)
    homes: int = 50
    network: Path | None = None
    scenario: str | None = None
    seed: int = 1
    pv_kwp: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeSpec:
    """One home.

    Attributes:
        index: Row in the profiles and position in the network.
        bid_factor: Bid limit over the tariff, one draw per home.
        ask_factor: Ask limit over the feed-in tariff.
        noise_seed: Seed of its forecast noise.
    """

    home: HomeId
    index: int
    pv_kwp: float
    has_battery: bool
    has_switch: bool
    bid_factor: float
    ask_factor: float
    noise_seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenario:
    """Everything a run needs to know about the neighbourhood."""

    name: str
    options: ScenarioOptions
    network: Network
    parameters: Neighbourhood
    profiles: Profiles
    homes: tuple[HomeSpec, ...]

    @property
    def midnight(self) -> datetime:
        """Start of the local day, UTC."""
        return local_midnight(self.options.day)

    def load_kw(self, home: HomeSpec, slot: datetime) -> float:
        """Return the actual mean load of a slot, kW."""
        return self.profiles.load_kw(home.index, slot)

    def pv_kw(self, home: HomeSpec, slot: datetime) -> float:
        """Return the actual mean production of a slot, kW."""
        return home.pv_kwp * self.profiles.pv_kw_per_kwp(slot) if home.pv_kwp else 0.0

    def noise(self, home: HomeSpec, slot: datetime) -> tuple[float, float]:
        """Return the factors of the home's forecast error for load and production of a slot.

        They depend on the home, the slot and the seed only, whoever asks and how often.
        """
        return noise_factors(home.noise_seed, slot, self.parameters.market.forecast_noise)


def load_scenario(options: ScenarioOptions, parameters: Neighbourhood | None = None) -> Scenario:
    """Return the neighbourhood of a choice.

    Raises:
        ScenarioError: if the choice does not fit the data.
        InvalidFeeder: if the network file cannot be used.
        SettingsError: if the parameters cannot be read.
        ProfileError: if the profiles cannot be read.
    """
    settings = parameters or load_neighbourhood()
    path, name = _files(options)
    network, profiles = load_network(path), load_profiles()
    owners = _ownership(name, network)
    if len(network.homes) > profiles.load_w.shape[0]:
        raise ScenarioError(f"{len(network.homes)} homes, but profiles for {profiles.load_w.shape[0]} only")
    default_kwp = settings.pv.kwp_rural if network.name == "lv_50h_rural" else settings.pv.kwp_other
    kwp = default_kwp if options.pv_kwp is None else options.pv_kwp
    rng = np.random.default_rng(options.seed)
    market = settings.market
    homes = []
    for index, home in enumerate(network.homes):
        draws = rng.random(2)
        homes.append(
            HomeSpec(
                home=home.id,
                index=index,
                pv_kwp=kwp if home.id in owners.pv else 0.0,
                has_battery=home.id in owners.battery,
                has_switch=False,
                bid_factor=_between(market.bid_factor_low, market.bid_factor_high, float(draws[0])),
                ask_factor=_between(market.ask_factor_low, market.ask_factor_high, float(draws[1])),
                noise_seed=int(rng.integers(2**32)),
            )
        )
    scenario = Scenario(
        name=Path(name).stem if name.endswith(".json") else name,
        options=options,
        network=network,
        parameters=settings,
        profiles=profiles,
        homes=tuple(homes),
    )
    return _with_switches(scenario)


def _files(options: ScenarioOptions) -> tuple[Path, str]:
    if options.network is not None:
        return options.network, options.scenario or "D"
    if options.homes not in _NETWORKS:
        raise ScenarioError(f"{options.homes} homes: only {sorted(_NETWORKS)} ship with the product")
    file, name = _NETWORKS[options.homes]
    return data_path("networks", file), options.scenario or name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owners:
    pv: frozenset[str]
    battery: frozenset[str]


def _ownership(name: str, network: Network) -> _Owners:
    """Return who owns PV and a battery; homes the network does not have are an error."""
    if name.endswith(".json"):
        groups = _groups(_read_json(Path(name)), name)
    else:
        table = _read_json(data_path("networks", "scenarios.json"))
        known = {**table["scenarios_50h"], "chapter4_33h": table["chapter4_33h"]}
        if name not in known:
            raise ScenarioError(f"no scenario {name!r}; there are {', '.join(sorted(known))}")
        groups = _groups(known[name], name)
    have = frozenset(home.id for home in network.homes)
    if stray := frozenset().union(*groups.values()) - have:
        raise ScenarioError(f"scenario {name} names homes the network lacks: {', '.join(sorted(stray))}")
    both = groups.get("pv_battery", frozenset())
    return _Owners(
        pv=both | groups.get("pv_only", frozenset()),
        battery=both | groups.get("battery_only", frozenset()),
    )


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ScenarioError: if the file cannot be read, or holds anything else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ScenarioError(f"{path.name}: cannot be read: {err.strerror}") from err
    except ValueError as err:
        raise ScenarioError(f"{path.name}: is no JSON: {err}") from err
    if not isinstance(value, dict):
        raise ScenarioError(f"{path.name}: a JSON object is needed")
    return value


def _groups(table: dict[str, Any], name: str) -> dict[str, frozenset[str]]:
    """Return the homes of each group.

    Raises:
        ScenarioError: if a group is unknown or is no list of homes.
    """
    for group, homes in table.items():
        if group not in _GROUPS or not isinstance(homes, list) or any(not isinstance(h, str) for h in homes):
            raise ScenarioError(
                f"scenario {name}: {group!r} is not one of {', '.join(_GROUPS)} with a list of homes"
            )
    return {group: frozenset(homes) for group, homes in table.items()}


def _with_switches(scenario: Scenario) -> Scenario:
    """Give a transfer switch to homes chosen by what they exchanged the day before."""
    control = scenario.parameters.control
    yesterday = [scenario.midnight - timedelta(days=1) + k * SLOT for k in range(SLOTS_PER_DAY)]
    day = SwitchDay(
        network=scenario.network,
        load_kw=np.array([[scenario.load_kw(spec, t) for spec in scenario.homes] for t in yesterday]),
        pv_kw=np.array([[scenario.pv_kw(spec, t) for spec in scenario.homes] for t in yesterday]),
        q_per_p=scenario.parameters.homes.load_q_per_p,
        mu_kw2=control.phase_mu_kw2,
    )
    chosen = frozenset(day.choose(control.switch_choice, control.switches))
    homes = tuple(replace(spec, has_switch=spec.home in chosen) for spec in scenario.homes)
    return replace(scenario, homes=homes)


def _between(low: float, high: float, u: float) -> float:
    return low + (high - low) * u
