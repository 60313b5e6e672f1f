"""The engine's timers: which instant does what."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from dso_engine.control import RealtimePrice
from dso_engine.hourly import HourlyMarket
from dso_engine.loop import Engine, RunPeriod
from dso_engine.model import SLOT
from dso_engine.phase_planner import PhasePlanner
from feederloop.clock import Rank, SimClock
from tests.unit.engine.engine_fakes import HOUR

Log = list[tuple[str, datetime, datetime]]
"""What, for which hour or slot, when."""


class FakeMarket(HourlyMarket):
    def __init__(self, log: Log, clock: SimClock) -> None:
        self._log, self._clock = log, clock

    async def clear(self, hour: datetime) -> None:
        self._log.append(("clear", hour, self._clock.now()))

    async def publish(self, hour: datetime) -> None:
        self._log.append(("publish", hour, self._clock.now()))

    async def hear_commitments(self, hour: datetime) -> None:
        self._log.append(("hear", hour, self._clock.now()))


class FakePhases(PhasePlanner):
    def __init__(self, log: Log, clock: SimClock) -> None:
        self._log, self._clock = log, clock

    async def plan_hour(self, hour: datetime, now: datetime) -> None:
        assert now == self._clock.now()
        self._log.append(("plan", hour, now))

    async def plan_again(self, slot: datetime, now: datetime) -> None:
        assert now == self._clock.now()
        self._log.append(("again", slot, now))


class FakePrice(RealtimePrice):
    """Armed for the slots of ``arm``; one tick may take long."""

    def __init__(self, log: Log, clock: SimClock, arm: frozenset[datetime]) -> None:
        self._log, self._clock, self._arm = log, clock, arm
        self._slot: datetime | None = None
        self.slow_at: datetime | None = None
        self.slow_for = timedelta(0)
        self.busy = False

    @property
    def running(self) -> bool:
        return self._slot in self._arm

    async def prepare(self, slot: datetime, now: datetime) -> None:
        assert now == self._clock.now()
        self._log.append(("prepare", slot, now))
        if self.busy:
            for _ in range(5):
                await asyncio.sleep(0)
            self._log.append(("prepared", slot, now))

    def begin(self, slot: datetime) -> None:
        self._slot = slot
        self._log.append(("begin", slot, self._clock.now()))

    async def tick(self, now: datetime) -> None:
        assert self._slot is not None
        self._log.append(("tick", self._slot, now))
        if now == self.slow_at:
            await self._clock.sleep_until(now + self.slow_for, Rank.DSO, "slow")
        if self.busy:
            for _ in range(5):
                await asyncio.sleep(0)
            self._log.append(("ticked", self._slot, now))


def engine(
    start: datetime,
    end: datetime,
    arm: frozenset[datetime] = frozenset(),
    slow: tuple[datetime, float] | None = None,
    price: bool = True,
    busy: bool = False,
) -> tuple[Engine, SimClock, Log]:
    log: Log = []
    clock = SimClock(start - SLOT)
    prices = FakePrice(log, clock, arm)
    if slow is not None:
        prices.slow_at, prices.slow_for = slow[0], timedelta(seconds=slow[1])
    prices.busy = busy
    made = Engine(
        clock=clock,
        market=FakeMarket(log, clock),
        phases=FakePhases(log, clock),
        price=prices if price else None,
        period=RunPeriod(start=start, end=end),
    )
    return made, clock, log


async def play(made: Engine, clock: SimClock, end: datetime) -> None:
    for name, work in made.timers():
        clock.spawn(work, name)
    await clock.run(end)


async def test_moments_of_the_market_hour() -> None:
    made, clock, log = engine(HOUR - timedelta(hours=2), HOUR + timedelta(hours=1))
    await play(made, clock, HOUR + timedelta(hours=1))
    market = [each for each in log if each[0] in ("clear", "publish", "hear", "plan")]
    expected = [
        ("clear", HOUR, HOUR - timedelta(minutes=75)),
        ("publish", HOUR, HOUR - timedelta(minutes=70)),
        ("hear", HOUR, HOUR - timedelta(minutes=53)),
        ("plan", HOUR, HOUR - timedelta(minutes=50)),
    ]
    # 09:00 and 10:00 had their gates at 07:45 and 08:45, before the run began at 09:00
    assert market == expected


async def test_an_hour_whose_gate_closes_as_the_run_begins_is_played() -> None:
    start = HOUR - timedelta(minutes=70)
    made, clock, log = engine(start, HOUR + timedelta(hours=1))
    await play(made, clock, HOUR)
    assert [each for each in log if each[1] == HOUR and each[0] == "clear"] == []
    start -= SLOT
    made, clock, log = engine(start, HOUR + timedelta(hours=1))
    await play(made, clock, HOUR)
    assert ("clear", HOUR, HOUR - timedelta(minutes=75)) in log


async def test_steps_of_overlapping_hours_come_in_order_of_time() -> None:
    made, clock, log = engine(HOUR - timedelta(hours=3), HOUR + timedelta(hours=2))
    await play(made, clock, HOUR + timedelta(hours=2))
    times = [when for what, _, when in log if what in ("clear", "publish", "hear", "plan")]
    assert times == sorted(times)
    hours = {hour for what, hour, _ in log if what == "clear"}
    assert hours == {HOUR + k * timedelta(hours=1) for k in (-1, 0, 1)}


async def test_every_slot_but_the_first_is_looked_ahead_to() -> None:
    made, clock, log = engine(HOUR, HOUR + 3 * SLOT)
    await play(made, clock, HOUR + 3 * SLOT)
    assert [each for each in log if each[0] in ("again", "prepare")] == [
        (what, slot, slot - timedelta(seconds=lead))
        for slot in (HOUR + SLOT, HOUR + 2 * SLOT)
        for what, lead in (("again", 120), ("prepare", 90))
    ]
    assert [each[1] for each in log if each[0] == "begin"] == [HOUR, HOUR + SLOT, HOUR + 2 * SLOT]
    assert all(slot == when for what, slot, when in log if what == "begin")


async def test_ticks_run_only_in_armed_slots() -> None:
    armed = HOUR + SLOT
    made, clock, log = engine(HOUR, HOUR + 3 * SLOT, frozenset({armed}))
    await play(made, clock, HOUR + 3 * SLOT)
    assert [each for each in log if each[0] == "tick"] == [
        ("tick", armed, armed + timedelta(seconds=s)) for s in range(10, 600, 10)
    ]


async def test_a_late_tick_is_skipped_not_queued() -> None:
    """The tick at +30 takes 25 s: +40 is over by then, +50 is 5 s late and still of use."""
    made, clock, log = engine(HOUR, HOUR + SLOT, frozenset({HOUR}), slow=(HOUR + timedelta(seconds=30), 25.0))
    await play(made, clock, HOUR + SLOT)
    seconds = [(when - HOUR).total_seconds() for what, _, when in log if what == "tick"]
    assert seconds[:6] == [10.0, 20.0, 30.0, 55.0, 60.0, 70.0]
    assert seconds[-1] == 590.0


async def test_a_tick_and_a_look_ahead_of_one_instant_take_turns() -> None:
    """Both are due at +510; whoever starts ends before the other begins, and it is always the same one."""
    made, clock, log = engine(HOUR, HOUR + 2 * SLOT, frozenset({HOUR}), busy=True)
    await play(made, clock, HOUR + 2 * SLOT)
    both = [what for what, _, when in log if when == HOUR + timedelta(seconds=510)]
    assert both == ["prepare", "prepared", "tick", "ticked"]


async def test_without_a_price_there_are_no_ticks() -> None:
    made, clock, log = engine(HOUR, HOUR + 2 * SLOT, price=False)
    await play(made, clock, HOUR + 2 * SLOT)
    assert {what for what, _, _ in log} == {"again"}
