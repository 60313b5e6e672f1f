"""The gate of the day before: a simulated day with a day-ahead market begins with it.

The gate lies thirteen hours before the day. What lies between is not played: it decides nothing about the
day, and fifty homes that poll and plan through an evening would cost as much as half the day. So the street
is there for 25 minutes around the gate, registers, offers, is told and answers; then its VENs go off, and
come up before the run like those of any street that was without power: they register and are told again what
the VTN holds for them. That is also what shows that no trade is lost on either side.

The homes of the run are built anew at its start, with full meters and batteries as without a day-ahead
market. They take their offers over, as a VEN's state file would bring them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dso_engine.day_ahead import DAY_AHEAD
from dso_engine.model import HomeId
from feederloop.clock import Rank, SimClock
from feederloop.simulation.homes import SimulatedHousehold, build_household
from feederloop.simulation.scenario import Scenario
from feederloop.simulation.vens import FleetOfVens
from ven_client.hems.program import Planner
from ven_client.state import HomeMemory

__all__ = ["DayBefore", "opening"]

_OPENS: Final = timedelta(minutes=20)
"""Before the gate: time to register, and to be asked for the offer that is due five minutes before it."""
_CLOSES: Final = timedelta(minutes=5)
"""After the gate: every VEN has polled several times."""


def opening(scenario: Scenario) -> datetime:
    """Return when the street has to be there for the gate of the scenario's day."""
    return scenario.midnight - DAY_AHEAD.day_ahead_gate - _OPENS


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBefore:
    """The street around the gate."""

    scenario: Scenario
    clock: SimClock
    planner: Planner
    vens: FleetOfVens

    async def play(self) -> Mapping[HomeId, HomeMemory]:
        """Offer, hear the results, and return what each home has to remember."""
        start = opening(self.scenario)
        street = [build_household(self.scenario, spec, start, self.planner) for spec in self.scenario.homes]
        for household in street:
            self.vens.start(household)
        await self.clock.sleep_until(start + _OPENS + _CLOSES, Rank.OBSERVER, "day-before")
        for home in self.vens.running:
            await self.vens.stop(home)
        return self._remembered(street)

    def _remembered(self, street: Sequence[SimulatedHousehold]) -> Mapping[HomeId, HomeMemory]:
        now = self.clock.now()
        return {each.spec.home: HomeMemory(blocks=each.manager.memory(now).blocks) for each in street}
