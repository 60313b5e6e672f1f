"""What is written down about the plant at every slot edge of a run, before anybody acts at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dso_engine.model import SLOT
from feederloop.clock import Rank, SimClock
from feederloop.simulation.homes import SimulatedHousehold
from feederloop.simulation.plant import Plant, SlotView

__all__ = ["Watch"]


@dataclass(slots=True, kw_only=True)
class Watch:
    """Looks at the plant at slot edges.

    Attributes:
        views: The plant at the end of each counted slot.
        registers: Net energy of each home by its meter, Wh, at each edge.
        curtailed: Energy of each home that was curtailed, Wh, at each edge.
        levels: Stored energy of each home, kWh, at each edge.
        low_kwh: The lowest of them.
        high_kwh: The highest of them.
    """

    clock: SimClock
    plant: Plant
    households: Sequence[SimulatedHousehold]
    views: list[SlotView] = field(default_factory=list)
    registers: dict[datetime, tuple[int, ...]] = field(default_factory=dict)
    curtailed: dict[datetime, tuple[int, ...]] = field(default_factory=dict)
    levels: dict[datetime, tuple[float, ...]] = field(default_factory=dict)
    low_kwh: list[float] = field(default_factory=list)
    high_kwh: list[float] = field(default_factory=list)

    async def run(
        self, begin: datetime, counted: datetime, end: datetime, then: Callable[[datetime], None]
    ) -> None:
        """Look at every edge.

        Args:
            begin: First edge.
            counted: Start of the first slot that counts.
            end: Last edge.
            then: Called after each slot, with its start.
        """
        self._note(begin, await self._at(begin))
        slot = begin
        while slot < end:
            edge = slot + SLOT
            now = await self._at(edge)
            view = self.plant.look(now)
            if slot >= counted:
                self.views.append(view)
            self._note(edge, now)
            then(slot)
            slot = edge

    async def _at(self, when: datetime) -> datetime:
        await self.clock.sleep_until(when, Rank.PLANT, "plant")
        return self.clock.now()

    def _note(self, edge: datetime, now: datetime) -> None:
        devices = [household.devices for household in self.households]
        self.registers[edge] = tuple(each.meter_wh(now) for each in devices)
        self.curtailed[edge] = tuple(each.curtailed_wh(now) for each in devices)
        self.levels[edge] = levels = tuple(each.battery_kwh(now) for each in devices)
        if not self.low_kwh:
            self.low_kwh, self.high_kwh = list(levels), list(levels)
        self.low_kwh = list(map(min, self.low_kwh, levels))
        self.high_kwh = list(map(max, self.high_kwh, levels))
