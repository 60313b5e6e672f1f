"""A simulated home that lives today: the profiles' year, laid over the calendar.

The profiles know one year. Its 52 whole weeks repeat for ever, so that a weekday meets the same weekday; the
season drifts by a day or two a year.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from config.settings import Neighbourhood
from feederloop.simulation.homes import SimulatedHousehold, build_household
from feederloop.simulation.profiles import LOCAL, ProfileError, Profiles
from feederloop.simulation.scenario import (
    HomeSpec,
    Scenario,
    ScenarioError,
    ScenarioOptions,
    load_scenario,
)
from ven_client.hems.program import Planner
from ven_client.slots import SLOT, slot_start

__all__ = ["YEARS", "RepeatedYear", "wall_household", "wall_scenario"]

YEARS: Final = 3
"""How long a home lives before its program must be started anew."""
_WEEKS: Final = timedelta(weeks=52)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RepeatedYear(Profiles):
    """Profiles whose first 52 weeks repeat, before and after."""

    def index(self, slot: datetime) -> int:
        """Return a slot's position in the arrays.

        Raises:
            ProfileError: if the instant is no slot edge.
        """
        index, rest = divmod((slot - self.start) % _WEEKS, SLOT)
        if rest:
            raise ProfileError(f"{slot.isoformat()} is no slot of the profiles")
        return index


def wall_scenario(
    home: str,
    now: datetime,
    *,
    homes: int = 50,
    scenario: str | None = None,
    seed: int = 1,
    parameters: Neighbourhood | None = None,
) -> tuple[Scenario, HomeSpec]:
    """Return a neighbourhood as it is today, and one home of it.

    Args:
        home: Its id, such as ``H07``.
        now: The present instant.
        homes: 33 or 50.
        scenario: Who owns what; None takes the neighbourhood's default.
        seed: Draws reserve prices and forecast errors.
        parameters: Tariff, preferences and devices; None takes those that ship with the product.

    Raises:
        ScenarioError: if there is no such home or neighbourhood.
        InvalidFeeder, SettingsError, ProfileError: if the data cannot be read.
    """
    found = load_scenario(ScenarioOptions(homes=homes, scenario=scenario, seed=seed), parameters)
    spec = next((each for each in found.homes if each.home == home), None)
    if spec is None:
        raise ScenarioError(f"no home {home}; there are {found.homes[0].home} to {found.homes[-1].home}")
    year = found.profiles
    today = replace(
        found,
        options=replace(found.options, day=now.astimezone(LOCAL).date()),
        profiles=RepeatedYear(start=year.start, load_w=year.load_w, pv_w_per_kwp=year.pv_w_per_kwp),
    )
    return today, spec


def wall_household(
    home: str,
    now: datetime,
    *,
    homes: int = 50,
    scenario: str | None = None,
    seed: int = 1,
    parameters: Neighbourhood | None = None,
) -> SimulatedHousehold:
    """Return a home of a neighbourhood as it starts now; see :func:`wall_scenario` for the arguments.

    Raises:
        ScenarioError: if there is no such home or neighbourhood.
        InvalidFeeder, SettingsError, ProfileError: if the data cannot be read.
        InvalidHome: if a preference does not fit the home's battery.
    """
    today, spec = wall_scenario(home, now, homes=homes, scenario=scenario, seed=seed, parameters=parameters)
    return build_household(today, spec, slot_start(now), Planner(), days_after=YEARS * 365)
