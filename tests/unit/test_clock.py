"""The lockstep clock: order, quiet, failure and cancellation."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from feederloop.clock import Rank, SimClock

START = datetime(2018, 5, 16, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def test_sleepers_wake_by_time_then_rank() -> None:
    clock, log = SimClock(START), []

    async def sleeper(name: str, seconds: float, rank: Rank) -> None:
        await clock.sleep_until(at(seconds), rank, name)
        log.append((name, (clock.now() - START).total_seconds()))

    clock.spawn(sleeper("ven", 10, Rank.VEN), "ven")
    clock.spawn(sleeper("late", 11, Rank.PLANT), "late")
    clock.spawn(sleeper("plant", 10, Rank.PLANT), "plant")
    await clock.run(at(60))
    assert log == [("plant", 10.0), ("ven", 10.0), ("late", 11.0)]
    assert clock.now() == at(60)


async def test_time_waits_for_work_outside_the_loop() -> None:
    clock = SimClock(START)
    seen: list[datetime] = []

    async def slow() -> None:
        await clock.sleep_until(at(1), Rank.VTN, "slow")
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        for _ in range(20):
            await asyncio.sleep(0)
        seen.append(clock.now())

    async def other() -> None:
        await clock.sleep_until(at(2), Rank.PLANT, "other")
        seen.append(clock.now())

    clock.spawn(slow(), "slow")
    clock.spawn(other(), "other")
    await clock.run(at(5))
    assert seen == [at(1), at(2)]


async def test_a_sleep_in_the_past_fires_now() -> None:
    clock = SimClock(START)
    seen: list[datetime] = []

    async def work() -> None:
        await clock.sleep_until(at(3), Rank.DSO, "a")
        await clock.sleep_until(at(1), Rank.DSO, "a")
        seen.append(clock.now())

    clock.spawn(work(), "work")
    await clock.run(at(4))
    assert seen == [at(3)]


async def test_run_stops_at_its_horizon_and_goes_on_later() -> None:
    clock = SimClock(START)
    ticks: list[float] = []

    async def ticker() -> None:
        for k in range(1, 10):
            await clock.sleep_until(at(10 * k), Rank.DSO, "tick")
            ticks.append(10.0 * k)

    clock.spawn(ticker(), "ticker")
    await clock.run(at(30))
    assert ticks == [10.0, 20.0, 30.0]
    await clock.run(at(50))
    assert ticks[-1] == 50.0


async def test_a_failure_ends_the_run() -> None:
    clock = SimClock(START)

    async def fails() -> None:
        await clock.sleep_until(at(1), Rank.DSO, "x")
        raise LookupError("boom")

    clock.spawn(fails(), "fails")
    with pytest.raises(LookupError, match="boom"):
        await clock.run(at(10))


async def test_a_cancelled_sleeper_does_not_hold_time() -> None:
    clock = SimClock(START)
    reached: list[float] = []

    async def forever() -> None:
        await clock.sleep_until(at(1000), Rank.VEN, "v")

    async def killer(victim: asyncio.Task[None]) -> None:
        await clock.sleep_until(at(5), Rank.DSO, "k")
        victim.cancel()

    async def after() -> None:
        await clock.sleep_until(at(20), Rank.DSO, "a")
        reached.append(20.0)

    victim = clock.spawn(forever(), "victim")
    clock.spawn(killer(victim), "killer")
    clock.spawn(after(), "after")
    await clock.run(at(2000))
    assert reached == [20.0]
    assert victim.cancelled()
