"""What an expected error does to the engine: ends a simulation, is noted and skipped on the wall clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest

from dso_engine.control import RealtimePrice
from dso_engine.errors import EngineError, ExchangeFailed, PowerFlowDiverged, StaleMeasurement
from dso_engine.guard import Guard, Loud, Steadfast
from dso_engine.hourly import HourlyMarket
from dso_engine.loop import Engine, RunPeriod
from dso_engine.model import SLOT
from dso_engine.phase_planner import PhasePlanner
from dso_engine.records import FaultRecord
from feederloop.clock import SimClock
from tests.unit.engine.engine_fakes import HOUR, Tape
from tests.unit.engine.test_engine_loop import FakeMarket, FakePhases, FakePrice, Log


class Failing:
    """Work that fails as often as there are errors, and is then done."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)


async def guarded(
    work: Callable[[], Awaitable[None]], until: timedelta | None
) -> tuple[bool, Tape, datetime]:
    """Run work under the steadfast guard, from HOUR on."""
    clock, tape = SimClock(HOUR), Tape()
    guard = Steadfast(clock, tape)
    done: list[bool] = []

    async def run() -> None:
        done.append(await guard.run("tick", HOUR, work, None if until is None else HOUR + until))

    clock.spawn(run(), "guarded")
    await clock.run(HOUR + timedelta(hours=1) if until is None else HOUR + until)
    assert len(done) == 1
    return done[0], tape, clock.now()


async def test_in_a_simulation_every_error_goes_up() -> None:
    with pytest.raises(StaleMeasurement):
        await Loud().run("tick", HOUR, Failing(StaleMeasurement("old")), HOUR + SLOT)


@pytest.mark.parametrize("error", [StaleMeasurement("F1-A"), PowerFlowDiverged("x", "y"), EngineError("z")])
async def test_an_expected_error_is_noted_and_the_work_skipped(error: EngineError) -> None:
    work = Failing(error)
    done, tape, _ = await guarded(work, timedelta(seconds=10))
    assert not done
    assert work.calls == 1
    assert tape.records == [FaultRecord.of(error, slot=HOUR, at=HOUR, what="tick")]


async def test_a_server_out_of_reach_is_tried_again_while_it_is_of_use() -> None:
    work = Failing(*(ExchangeFailed("no answer") for _ in range(100)))
    done, tape, _ = await guarded(work, timedelta(seconds=35))
    assert not done
    assert work.calls == 4  # at 0, 10, 20 and 30 s
    assert len(tape.records) == 1, "one record while it is the same trouble"
    work = Failing(ExchangeFailed("no answer"), ExchangeFailed("refused"))
    done, tape, _ = await guarded(work, None)
    assert done
    assert [r.text for r in tape.records if isinstance(r, FaultRecord)] == ["no answer", "refused"]


async def test_what_comes_too_late_is_not_done() -> None:
    work = Failing()
    done, tape, _ = await guarded(work, timedelta(0))
    assert not done
    assert work.calls == 0
    assert len(tape.records) == 1


async def test_what_nobody_expected_goes_up() -> None:
    with pytest.raises(KeyError):
        await guarded(Failing(KeyError("bug")), timedelta(seconds=10))


# --- in the loop -------------------------------------------------------------------------------------------


class ShakyPrice(FakePrice):
    """Every second tick finds no meters, every look ahead no server."""

    async def prepare(self, slot: datetime, now: datetime) -> None:
        await super().prepare(slot, now)
        raise ExchangeFailed("no answer")

    async def tick(self, now: datetime) -> None:
        await super().tick(now)
        if now.second % 20 == 0:
            raise StaleMeasurement("F1-A")


def shaky(guard: Callable[[SimClock, Tape], Guard], clock: SimClock, log: Log, tape: Tape) -> Engine:
    market: HourlyMarket = FakeMarket(log, clock)
    phases: PhasePlanner = FakePhases(log, clock)
    price: RealtimePrice = ShakyPrice(log, clock, frozenset({HOUR}))
    return Engine(
        clock=clock,
        market=market,
        phases=phases,
        price=price,
        period=RunPeriod(start=HOUR, end=HOUR + 2 * SLOT),
        guard=guard(clock, tape),
    )


async def test_timers_go_on_after_errors_on_the_wall_clock_only() -> None:
    clock, tape = SimClock(HOUR - SLOT), Tape()
    log: Log = []
    made = shaky(lambda clock, tape: Steadfast(clock, tape), clock, log, tape)
    for name, work in made.timers():
        clock.spawn(work, name)
    await clock.run(HOUR + 2 * SLOT)
    assert len([each for each in log if each[0] == "tick"]) == 59
    faults = [(r.what, r.error) for r in tape.records if isinstance(r, FaultRecord)]
    assert faults.count(("tick", "StaleMeasurement")) == 29
    assert faults.count(("look ahead", "ExchangeFailed")) == 1
    assert len([each for each in log if each[0] == "prepare"]) == 9, "at T - 90, T - 80, ... T - 10"

    clock, tape = SimClock(HOUR - SLOT), Tape()
    log = []
    made = shaky(lambda clock, tape: Loud(), clock, log, tape)
    works = [clock.spawn(work, name) for name, work in made.timers()]
    with pytest.raises(StaleMeasurement):
        await clock.run(HOUR + 2 * SLOT)
    for each in works:
        each.cancel()
    await asyncio.gather(*works, return_exceptions=True)
