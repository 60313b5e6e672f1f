"""The loop: what the engine does at which instant, on whatever clock it is given.

Three timers run side by side. The hourly one walks the steps of the market hour, the slot one looks ahead two
minutes and 90 seconds before each slot, the fast one ticks every 10 s inside slots whose price is armed. One
tick runs at a time; a tick that comes late on the wall clock is skipped, never queued. Where there is a
day-ahead market, a fourth one waits for its gate.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from dso_engine.control import RealtimePrice
from dso_engine.day_ahead import DayAheadMarket
from dso_engine.guard import Guard, Loud
from dso_engine.hourly import COMMITMENT, GATE, PHASES, RESULT, HourlyMarket
from dso_engine.model import SLOT
from dso_engine.phase_planner import PhasePlanner
from dso_engine.ports import Clock
from dso_engine.products import local_midnight
from dso_engine.resumption import ANSWER, Resumption, slot_of

__all__ = ["Engine", "RunPeriod"]

RANK: Final = 3
"""The engine's place among those that act at one instant: after the meters and the VTN, before the homes."""
HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
PHASES_AGAIN: Final = timedelta(minutes=2)
_REMEMBERED: Final = timedelta(days=2)
_NEXT: Final = timedelta(microseconds=1)
HEAR_LATE: Final = timedelta(minutes=2)
"""Commitments are due at h - 55 and heard two minutes later, so that a retried report still counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPeriod:
    """From when to when the engine runs; both are slot edges. Without an end it runs until it is stopped."""

    start: datetime
    end: datetime | None = None

    def holds(self, slot: datetime) -> bool:
        """Return whether a slot or hour begins before the end."""
        return self.end is None or slot < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One step of the market hour: how long before the delivery hour, and until when it is of use."""

    what: str
    before: timedelta
    act: Callable[[datetime], Awaitable[None]]
    useless: timedelta


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
        guard: What becomes of an expected error; by default it ends the run.
        resumption: Takes up what an engine before this one began, first of all; None starts from nothing,
            with the first hour whose gate closes after the start.
        day_ahead: The day-ahead market; None where there is none. It begins with the first gate that closes
            after the timers are started, which may lie before the period.
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
        guard: Guard | None = None,
        resumption: Resumption | None = None,
        day_ahead: DayAheadMarket | None = None,
    ) -> None:
        self._clock = clock
        self._market = market
        self._phases = phases
        self._price = price
        self._period = period
        self._step = step
        self._lead = lead
        self._guard = guard or Loud()
        self._resumption = resumption
        self._day_ahead = day_ahead
        self._begun = period.start
        """Moments of the market hour before this instant are past."""
        self._price_turn = asyncio.Lock()

    def timers(self) -> tuple[tuple[str, Coroutine[Any, Any, None]], ...]:
        """Return the named coroutines that make up the engine; the caller starts them on its clock."""
        timers: list[tuple[str, Coroutine[Any, Any, None]]] = [
            ("dso-market", self._hours()),
            ("dso-phases", self._slots("phases", PHASES_AGAIN, self._phases.plan_again)),
        ]
        if self._day_ahead is not None:
            timers.append(("dso-day-ahead", self._days(self._day_ahead)))
        if self._price is not None:
            timers += [
                ("dso-arm", self._slots("look ahead", self._lead, self._prepare)),
                ("dso-ticks", self._ticks(self._price)),
            ]
        return tuple(timers)

    async def run(self) -> None:
        """Take up what there is, and run all timers until they end, on a clock that needs no registration."""
        await self.take_up()
        async with asyncio.TaskGroup() as group:
            for name, work in self.timers():
                group.create_task(work, name=name)

    async def take_up(self) -> None:
        """Learn what an engine before this one began, and look at the feeder at once.

        The look ahead to the coming slot does not wait for its moment: a feeder may be at its limit already.
        """
        if self._resumption is None:
            return
        work = partial(self._learn, self._resumption)
        await self._guard.run("taking up", self._period.start, work, None)
        if self._price is not None:
            coming = self._period.start + SLOT
            await self._guard.run("look ahead", coming, partial(self._at_once, self._prepare, coming), coming)

    async def _learn(self, resumption: Resumption) -> None:
        """Take up at the present instant; the timers go on from there, however long it took."""
        now = self._clock.now()
        self._period = replace(self._period, start=slot_of(now))
        await resumption.take_up(now)
        self._begun = now + _NEXT

    # --- the day before ------------------------------------------------------------------------------------

    async def _days(self, market: DayAheadMarket) -> None:
        """Wait for the gates of all delivery days that begin within the period."""
        since = self._begun if self._resumption is not None else self._clock.now()
        midnight = local_midnight(since)
        while self._period.holds(midnight):
            gate = market.gate(midnight)
            if gate >= since:
                await self._clock.sleep_until(gate, RANK, "day-ahead")
                work = partial(market.auction, midnight)
                await self._guard.run("day-ahead auction", midnight, work, market.final(midnight))
            midnight += _DAY

    # --- the market hour -----------------------------------------------------------------------------------

    async def _hours(self) -> None:
        """Walk the moments of all delivery hours in order of time."""
        zero = timedelta(0)
        steps = (
            _Step(what="auction", before=GATE, act=self._market.clear, useless=ANSWER),
            _Step(what="results", before=RESULT, act=self._market.publish, useless=ANSWER),
            _Step(
                what="commitments",
                before=COMMITMENT - HEAR_LATE,
                act=self._market.hear_commitments,
                useless=PHASES,
            ),
            _Step(what="phases", before=PHASES, act=self._plan_phases, useless=zero),
        )
        for when, index, hour in heapq.merge(*(self._moments(k, step) for k, step in enumerate(steps))):
            step = steps[index]
            await self._clock.sleep_until(when, RANK, "market")
            await self._guard.run(step.what, hour, partial(step.act, hour), hour - step.useless)
            if self._period.end is None:
                self._forget(when - _REMEMBERED)

    def _forget(self, before: datetime) -> None:
        """Forget what nobody asks for any more; an engine without an end would grow and grow."""
        self._phases.forget(before)
        if self._resumption is not None:
            self._resumption.book.forget(before)

    def _moments(self, index: int, step: _Step) -> Iterator[tuple[datetime, int, datetime]]:
        """Yield when a step is to be done, for hour after hour."""
        hour = self._period.start.replace(minute=0, second=0, microsecond=0)
        while self._period.holds(hour):
            when = hour - step.before
            # A run that takes up nothing leaves hours alone whose gate closed before it began.
            first = when if self._resumption is not None else hour - GATE
            if first >= self._begun:
                yield when, index, hour
            hour += HOUR

    async def _plan_phases(self, hour: datetime) -> None:
        await self._phases.plan_hour(hour, self._clock.now())

    # --- slots ---------------------------------------------------------------------------------------------

    async def _prepare(self, slot: datetime, now: datetime) -> None:
        """Look ahead to a slot; a tick of the same instant waits, else the faster one would decide."""
        if self._price is not None:
            async with self._price_turn:
                await self._price.prepare(slot, now)

    async def _slots(
        self, what: str, lead: timedelta, act: Callable[[datetime, datetime], Awaitable[None]]
    ) -> None:
        """Call ``act(slot, now)`` a while before every slot but the first."""
        slot = self._period.start + SLOT
        while self._period.holds(slot):
            await self._clock.sleep_until(slot - lead, RANK, "slot")
            await self._guard.run(what, slot, partial(self._at_once, act, slot), slot)
            slot += SLOT

    async def _at_once(self, act: Callable[[datetime, datetime], Awaitable[None]], slot: datetime) -> None:
        await act(slot, self._clock.now())

    async def _ticks(self, price: RealtimePrice) -> None:
        """Tick inside every slot, from one step after its start to one step before its end."""
        slot = self._period.start
        while self._period.holds(slot):
            await self._clock.sleep_until(slot, RANK, "begin")
            price.begin(slot)
            tick = slot + self._step
            while price.running and tick < slot + SLOT:
                await self._clock.sleep_until(tick, RANK, "tick")
                if self._clock.now() < tick + self._step:  # a late tick is skipped, not queued
                    await self._guard.run("tick", slot, partial(self._tick, price), tick + self._step)
                tick += self._step
            slot += SLOT

    async def _tick(self, price: RealtimePrice) -> None:
        async with self._price_turn:
            await price.tick(self._clock.now())
