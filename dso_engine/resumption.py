"""How an engine takes up its work in the middle of an hour: it learns from the homes' server what it said.

Learned: results and commitments of the hours under way, what was traded the day before, commanded phases,
prices of the running and the coming slot. Not there to be learned, and lost with the engine before:

* how many calm slots there were: a price that is there counts as armed, so it is released later, not sooner;
* the search of a running price: a price that is not zero stays as it is to the end of the slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from dso_engine.control import RealtimePrice
from dso_engine.day_ahead import DayAheadMarket
from dso_engine.hourly import COMMITMENT, GATE, PHASES, RESULT, HourBook, HourlyMarket
from dso_engine.model import SLOT
from dso_engine.phase_planner import PhasePlanner
from dso_engine.ports import HomeExchange
from dso_engine.products import local_midnight

__all__ = ["ANSWER", "Resumption", "slot_of"]

HOUR = timedelta(hours=1)
ANSWER = timedelta(minutes=60)
"""Before the delivery hour, when answers to a result are due: a result after that is of no use."""


def slot_of(now: datetime) -> datetime:
    """Return the start of the slot an instant lies in."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    return hour + (now - hour) // SLOT * SLOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """Takes up what an engine before this one has begun."""

    exchange: HomeExchange
    book: HourBook
    market: HourlyMarket
    phases: PhasePlanner
    price: RealtimePrice | None
    day_ahead: DayAheadMarket | None = None

    async def take_up(self, now: datetime) -> None:
        """Learn what is known, and do what is overdue but still of use.

        May be called again after an error.

        Raises:
            ExchangeFailed: if the homes' server is out of reach.
        """
        if self.day_ahead is not None:
            for midnight in _days_under_way(self.day_ahead, now):
                await self.day_ahead.take_up(midnight, now)
        for hour in _hours_under_way(now):
            await self._results(hour, now)
            if now >= hour - COMMITMENT:
                await self.market.hear_commitments(hour)
            commanded = await self.phases.resume(hour)
            if not commanded and hour - PHASES <= now < hour:
                await self.phases.plan_hour(hour, now)
        if self.price is not None:
            await self.price.resume(slot_of(now), now)

    async def _results(self, hour: datetime, now: datetime) -> None:
        results = await self.exchange.results(hour)
        if results:
            await self.market.take_up(hour, results)
        elif now < hour - ANSWER:
            await self.market.clear(hour)
            if now >= hour - RESULT:
                await self.market.publish(hour)


def _hours_under_way(now: datetime) -> Iterator[datetime]:
    """Yield the hour before this one, whose meters the forecast uses, to the last whose gate is closed."""
    hour = now.replace(minute=0, second=0, microsecond=0) - HOUR
    while hour - GATE <= now:
        yield hour
        hour += HOUR


def _days_under_way(market: DayAheadMarket, now: datetime) -> Iterator[datetime]:
    """Yield the day of the hour before this one to the last whose gate is closed."""
    midnight = local_midnight(now - HOUR)
    while market.gate(midnight) <= now:
        yield midnight
        midnight += timedelta(days=1)
