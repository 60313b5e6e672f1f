"""A day-ahead market with four homes in memory, on simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from dso_engine.day_ahead import DayAheadMarket
from dso_engine.errors import ExchangeFailed
from dso_engine.guard import Guard, Steadfast
from dso_engine.hourly import HourBook
from dso_engine.intake import Arrival
from dso_engine.loop import Engine, RunPeriod
from dso_engine.market import Order, Side, sequence_number
from dso_engine.model import HomeId
from dso_engine.ports import BlockOrder, DayResult
from dso_engine.records import DayAheadRecord
from dso_engine.resumption import Resumption
from feederloop.clock import SimClock
from tests.unit.engine.engine_fakes import FakeExchange, Tape
from tests.unit.engine.test_engine_loop import FakeMarket, FakePhases
from tests.unit.engine.test_engine_resume import Everywhere

MIDNIGHT = datetime(2018, 5, 15, 23, tzinfo=UTC)
GATE = datetime(2018, 5, 15, 10, tzinfo=UTC)
NOON = datetime(2018, 5, 15, 11, tzinfo=UTC)
TEN = MIDNIGHT + timedelta(hours=10)
A, B, C, D = (HomeId(f"H0{k}") for k in range(1, 5))


class Homes:
    """Implements ``DayAheadExchange``: offers a test puts in, and what was told."""

    def __init__(self) -> None:
        self.offers: list[BlockOrder] = []
        self.told: dict[datetime, tuple[DayResult, ...]] = {}
        self.away_until: datetime | None = None
        self.replies_lost = 0
        self.asked = 0
        self.gone: frozenset[HomeId] = frozenset()
        self.clock: SimClock | None = None
        self.told_at: list[datetime] = []

    async def day_ahead_orders(
        self, midnight: datetime, of: frozenset[HomeId] | None = None
    ) -> tuple[BlockOrder, ...]:
        self._reach()
        found = (o for o in self.offers if midnight <= o.hour < midnight + timedelta(days=1))
        return tuple(
            o
            for o in found
            if (o.arrival.order.home not in self.gone if of is None else o.arrival.order.home in of)
        )

    async def publish_day_ahead(self, midnight: datetime, results: Sequence[DayResult]) -> None:
        self._reach()
        assert midnight not in self.told, "told twice"
        if results:
            self.told[midnight] = tuple(results)
        if self.clock is not None:
            self.told_at.append(self.clock.now())
        if self.replies_lost:
            self.replies_lost -= 1
            raise ExchangeFailed("no answer")

    async def day_ahead_results(self, midnight: datetime) -> tuple[DayResult, ...]:
        self._reach()
        self.asked += 1
        return self.told.get(midnight, ())

    def _reach(self) -> None:
        if self.clock is not None and self.away_until is not None and self.clock.now() < self.away_until:
            raise ExchangeFailed("no answer")

    def say(
        self,
        home: HomeId,
        side: Side,
        price: int,
        wh: int,
        hour: datetime = TEN,
        at: datetime = GATE - timedelta(minutes=5),
    ) -> None:
        order = Order(
            home=home, side=side, price_millicent=price, volume_wh=wh, seq=sequence_number(hour, home, 7)
        )
        self.offers.append(BlockOrder(hour=hour, arrival=Arrival(order=order, at=at)))


class NoPhases(FakePhases):
    async def resume(self, hour: datetime) -> bool:
        del hour
        return True


class Rig:
    """An engine with nothing but a day-ahead market, from an instant on."""

    def __init__(
        self,
        start: datetime,
        *,
        resumes: bool = False,
        homes: Homes | None = None,
        lacks: Callable[[datetime], bool] | None = None,
    ) -> None:
        self.clock, self.tape, self.book = SimClock(start), Tape(), HourBook()
        self.homes = homes or Homes()
        self.homes.clock = self.clock
        self.market = DayAheadMarket(
            exchange=self.homes, book=self.book, recorder=self.tape, tariff=Everywhere(), lacks=lacks
        )
        hourly, phases = FakeMarket([], self.clock), NoPhases([], self.clock)
        resumption = Resumption(
            exchange=FakeExchange(),
            book=self.book,
            market=hourly,
            phases=phases,
            price=None,
            day_ahead=self.market,
        )
        self.guard: Guard = Steadfast(self.clock, self.tape)
        self.engine = Engine(
            clock=self.clock,
            market=hourly,
            phases=phases,
            price=None,
            period=RunPeriod(start=MIDNIGHT, end=MIDNIGHT + timedelta(days=2)),
            guard=self.guard,
            resumption=resumption if resumes else None,
            day_ahead=self.market,
        )

    async def run(self, until: datetime) -> None:
        """Let the timer of the day-ahead market run."""
        work = dict(self.engine.timers())
        timer = work.pop("dso-day-ahead")
        for other in work.values():
            other.close()
        task = self.clock.spawn(timer, "days")
        await self.clock.run(until)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @property
    def blocks(self) -> list[DayAheadRecord]:
        return [record for record in self.tape.records if isinstance(record, DayAheadRecord)]


def four_homes(homes: Homes) -> None:
    """Two buyers and two sellers of the block from ten: B and C are critical, A and D trade.

    Bids by price: A 15 c x 100, B 13 c x 50. Asks: D 9 c x 60, C 12 c x 80. Units match while bid >= ask: all
    140 that are offered. B owns the last bid that matches, C the last ask. So buyers pay 13 c, sellers get
    12 c, and A (100) is rationed to what D has (60).
    """
    homes.say(A, Side.BUY, 15_000, 100)
    homes.say(B, Side.BUY, 13_000, 50)
    homes.say(C, Side.SELL, 12_000, 80)
    homes.say(D, Side.SELL, 9_000, 60)
