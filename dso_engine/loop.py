"""The loop: what the engine does at which instant, on whatever clock it is given.

Three timers run side by side. The hourly one walks the steps of the market hour, the slot one looks ahead two
minutes and 90 seconds before each slot, the fast one ticks every 10 s inside slots whose price is armed. One
tick runs at a time; a tick that comes late on the wall clock is skipped, never queued.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dso_engine.control import RealtimePrice
from dso_engine.hourly import COMMITMENT, GATE, PHASES, RESULT, HourlyMarket
from dso_engine.model import SLOT
from dso_engine.phase_planner import PhasePlanner
from dso_engine.ports import Clock

__all__ = ["Engine", "RunPeriod"]

RANK: Final = 3
"""The engine's place among those that act at one instant: after the meters and the VTN, before the homes."""
HOUR: Final = timedelta(hours=1)
PHASES_AGAIN: Final = timedelta(minutes=2)
HEAR_LATE: Final = timedelta(minutes=2)
"""Commitments are due at h - 55 and heard two minutes later, so that a retried report still counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPeriod:
    """From when to when the engine runs; both are slot edges."""

    start: datetime
    end: datetime


class Engine:
    """Runs the market, the phases and the price.

    Args:
        clock: Time.
        market: The hourly auction.
        phases: The phase planner.
        price: The real-time price; None leaves it out.
        period: First and last instant.
        step: Period of the ticks.
        lead: How long before a slot its price is published.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        market: HourlyMarket,
        phases: PhasePlanner,
        price: RealtimePrice | None,
        period: RunPeriod,
        step: timedelta = timedelta(seconds=10),
        lead: timedelta = timedelta(seconds=90),
    ) -> None:
        self._clock = clock
        self._market = market
        self._phases = phases
        self._price = price
        self._period = period
        self._step = step
        self._lead = lead
        self._price_turn = asyncio.Lock()

    def timers(self) -> tuple[tuple[str, Coroutine[Any, Any, None]], ...]:
        """Return the named coroutines that make up the engine; the caller starts them on its clock."""
        timers: list[tuple[str, Coroutine[Any, Any, None]]] = [
            ("dso-market", self._hours()),
            ("dso-phases", self._slots(PHASES_AGAIN, self._phases_again)),
        ]
        if self._price is not None:
            timers += [
                ("dso-arm", self._slots(self._lead, self._prepare)),
                ("dso-ticks", self._ticks(self._price)),
            ]
        return tuple(timers)

    async def run(self) -> None:
        """Run all timers as tasks of this one, on a clock that needs no registration (the wall)."""
        await asyncio.gather(*(work for _, work in self.timers()))

    async def _hours(self) -> None:
        """Walk the moments of all delivery hours in order of time."""
        steps: list[tuple[timedelta, Callable[[datetime], Awaitable[None]]]] = [
            (GATE, self._market.clear),
            (RESULT, self._market.publish),
            (COMMITMENT - HEAR_LATE, self._market.hear_commitments),
            (PHASES, self._plan_phases),
        ]
        hour = self._period.start.replace(minute=0, second=0, microsecond=0)
        moments = []
        while hour < self._period.end:
            moments += [(hour - before, i, hour) for i, (before, _) in enumerate(steps)]
            hour += HOUR
        complete = {h for h in {m[2] for m in moments} if h - GATE >= self._period.start}
        for when, index, delivery in sorted(moments):
            if delivery not in complete:
                continue  # its gate closed before the run began
            await self._clock.sleep_until(when, RANK, "market")
            await steps[index][1](delivery)

    async def _plan_phases(self, hour: datetime) -> None:
        await self._phases.plan_hour(hour, self._clock.now())

    async def _phases_again(self, slot: datetime, now: datetime) -> None:
        await self._phases.plan_again(slot, now)

    async def _prepare(self, slot: datetime, now: datetime) -> None:
        """Look ahead to a slot; a tick of the same instant waits, else the faster one would decide."""
        if self._price is not None:
            async with self._price_turn:
                await self._price.prepare(slot, now)

    async def _slots(self, lead: timedelta, act: Callable[[datetime, datetime], Awaitable[None]]) -> None:
        """Call ``act(slot, now)`` a while before every slot but the first."""
        slot = self._period.start + SLOT
        while slot < self._period.end:
            await self._clock.sleep_until(slot - lead, RANK, "slot")
            await act(slot, self._clock.now())
            slot += SLOT

    async def _ticks(self, price: RealtimePrice) -> None:
        """Tick inside every slot, from one step after its start to one step before its end."""
        slot = self._period.start
        while slot < self._period.end:
            await self._clock.sleep_until(slot, RANK, "begin")
            price.begin(slot)
            tick = slot + self._step
            while price.running and tick < slot + SLOT:
                await self._clock.sleep_until(tick, RANK, "tick")
                if self._clock.now() < tick + self._step:  # a late tick is skipped, not queued
                    async with self._price_turn:
                        await price.tick(self._clock.now())
                tick += self._step
            slot += SLOT
