"""The engine's clock against the VTN's: what is compared, and what is not done while they differ."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from dso_engine.errors import ExchangeFailed
from dso_engine.gateway_messages import price_signal
from dso_engine.guard import Loud, Steadfast
from dso_engine.loop import Engine
from dso_engine.records import FaultRecord
from dso_engine.settling import Settling
from feederloop.clock import SimClock
from feederloop.dso_program import _in_step
from feederloop.remote_desk import RemoteDesk
from feederloop.vtn_clock import ClocksDiffer, ClockState, GuardedByClock, VtnClock, least_lead
from tests.unit.engine.engine_fakes import Tape
from tests.unit.engine.gateway_rig import TOKEN, Desk
from vtn_server.api import application
from vtn_server.api_desk import Desk as ApiDesk

NOW = datetime(2026, 5, 16, 10, 3, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WARN, REFUSE = 2 * SECOND, 30 * SECOND


class Wrong:
    """A machine and a VTN whose clock differs."""

    def __init__(self, lead: timedelta = timedelta(0)) -> None:
        self.now, self.lead, self.tape, self.asked = NOW, lead, Tape(), 0
        self.away = False
        self.clock = VtnClock(lambda: self.now, warn=WARN, refuse=REFUSE, recorder=self.tape)

    async def ask(self) -> None:
        self.asked += 1
        if self.away:
            raise ExchangeFailed("the VTN is away")
        self.clock.heard(self.now, self.now, self.now - self.lead)

    @property
    def faults(self) -> list[str]:
        return [each.text for each in self.tape.records if isinstance(each, FaultRecord)]


seconds = st.integers(0, 10**6).map(lambda k: timedelta(milliseconds=k))


@given(st.integers(-(10**9), 10**9).map(lambda k: timedelta(milliseconds=k)), seconds, seconds)
def test_never_more_than_the_difference_is_taken_and_no_less_than_a_fast_reply_shows(
    lead: timedelta, there: timedelta, back: timedelta
) -> None:
    """The VTN answers after ``there``, the reply is here after ``back`` more."""
    told = NOW - lead + there
    found = least_lead(NOW, NOW + there + back, told)
    assert abs(found) <= abs(lead)
    assert found * lead.total_seconds() >= timedelta(0), "nor is ahead taken for behind"
    assert abs(lead) - abs(found) <= there + back
    assert least_lead(NOW, NOW, NOW - lead) == lead


@pytest.mark.parametrize(
    ("lead", "state", "text"),
    [
        (timedelta(0), ClockState.AGREE, ""),
        (1.999 * SECOND, ClockState.AGREE, ""),
        (2 * SECOND, ClockState.DIFFER, "ahead of the VTN's by 2 s or more"),
        (-29.9 * SECOND, ClockState.DIFFER, "behind the VTN's by 2 s or more"),
        (30 * SECOND, ClockState.REFUSED, "ahead of the VTN's by 30 s or more"),
        (-3600 * SECOND, ClockState.REFUSED, "behind the VTN's by 30 s or more"),
    ],
)
async def test_what_a_difference_means(
    lead: timedelta, state: ClockState, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = Wrong(lead)
    assert wrong.clock.compared_at is None
    for _ in range(3):
        await wrong.ask()
    assert wrong.clock.state is state
    assert wrong.clock.lead == lead
    assert [each.endswith(text) for each in wrong.faults] == [True] * bool(text), "told once"
    errors = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert len(errors) == (state is ClockState.REFUSED)
    assert (text in caplog.text) if text else not caplog.records


async def test_nothing_is_done_until_the_clocks_agree() -> None:
    wrong, done = Wrong(timedelta(hours=1)), list[datetime]()
    clock = SimClock(NOW)
    guard = GuardedByClock(Steadfast(clock, wrong.tape), wrong.clock, wrong.ask)

    async def work() -> None:
        done.append(clock.now())

    async def run() -> None:
        assert await guard.run("settlement", NOW, work, NOW + timedelta(minutes=20))

    task = clock.spawn(run(), "work")
    await clock.run(NOW + timedelta(minutes=5))
    assert done == []
    wrong.lead = timedelta(0)
    await clock.run(NOW + timedelta(minutes=6))
    await task
    assert done == [NOW + timedelta(minutes=5, seconds=10)]
    assert len(wrong.faults) == 2, "one of the clock, one of the work that waited, and no more"


async def test_work_goes_on_where_nobody_knows_the_other_clock(caplog: pytest.LogCaptureFixture) -> None:
    """A VTN that is away keeps the meters' side from nothing; one of an older version is told of once."""
    wrong, done = Wrong(), list[str]()
    guard = GuardedByClock(Loud(), wrong.clock, wrong.ask)

    async def work() -> None:
        done.append("x")

    wrong.away = True
    await guard.run("tick", NOW, work, None)
    assert done == ["x"]
    for _ in range(2):
        wrong.clock.heard(NOW, NOW, None)
    assert wrong.clock.state is ClockState.UNKNOWN
    assert [each.message.split(":")[0] for each in caplog.records] == ["the VTN does not tell its time"]
    wrong.away, wrong.lead = False, timedelta(hours=1)
    for away in (False, True):
        wrong.away = away  # what was found stands until the VTN says otherwise
        with pytest.raises(ClocksDiffer):
            await guard.run("tick", NOW, work, None)
    assert done == ["x"]


async def test_a_comparison_is_made_at_first_and_when_it_is_old() -> None:
    wrong = Wrong()
    for moved, asked in ((0, 1), (0, 1), (60, 1), (1, 2), (-300, 3), (0, 3)):
        wrong.now += moved * SECOND
        await wrong.clock.check(wrong.ask)
        assert wrong.asked == asked
    wrong.lead = REFUSE
    wrong.now += 61 * SECOND
    for asked in (4, 5):
        with pytest.raises(ClocksDiffer):
            await wrong.clock.check(wrong.ask)
        assert wrong.asked == asked, "while it is wrong, each time"


async def test_a_difference_does_not_come_and_go() -> None:
    """It is told from a threshold on, and until it is below half of it."""
    wrong = Wrong()
    steps = [(0, "agree"), (2, "differ"), (1.9, "differ"), (1, "differ"), (0.9, "agree"), (1.9, "agree")]
    steps += [(30, "refused"), (29, "refused"), (-15, "refused"), (14.9, "differ"), (29, "differ")]
    for lead, state in steps:
        wrong.lead = lead * SECOND
        await wrong.ask()
        assert wrong.clock.state.value == state
    assert len(wrong.faults) == 3


async def test_a_slow_reply_shows_no_agreement() -> None:
    """The VTN took nine seconds, and its time is that of the end: the clocks may differ by as much."""
    wrong = Wrong()

    def slow(lead: timedelta) -> ClockState:
        wrong.clock.heard(NOW, NOW + 9 * SECOND, NOW + 9 * SECOND - lead)
        return wrong.clock.state

    assert slow(31 * SECOND) is ClockState.DIFFER
    assert slow(39 * SECOND) is ClockState.REFUSED
    assert slow(20 * SECOND) is ClockState.REFUSED
    assert wrong.clock.lead == 30 * SECOND
    await wrong.ask()
    assert wrong.clock.state is ClockState.AGREE


class Runs:
    """Runs until it is ended, and counts how often it began."""

    def __init__(self) -> None:
        self.begun, self.ended = 0, 0
        self.fault: Exception | None = None

    async def run(self) -> None:
        self.begun += 1
        try:
            if self.fault is not None:
                raise self.fault
            await asyncio.Event().wait()
        finally:
            self.ended += 1


async def test_the_engine_takes_up_anew_when_the_clocks_agree_again() -> None:
    wrong, engine, settling = Wrong(), Runs(), Runs()
    task = asyncio.create_task(_in_step(cast(Engine, engine), cast(Settling, settling), wrong.clock))

    async def told(lead: timedelta) -> None:
        wrong.lead = lead
        await wrong.ask()
        for _ in range(20):
            await asyncio.sleep(0)

    await told(timedelta(0))
    await told(3 * SECOND)
    await told(timedelta(0))
    assert (engine.begun, settling.begun) == (1, 1)
    await told(timedelta(hours=1))
    assert (engine.begun, engine.ended) == (1, 0)
    settling.fault = ValueError("a fault of the program")
    await told(3 * SECOND)
    assert (engine.begun, engine.ended, settling.begun) == (2, 2, 2)
    with pytest.raises(ExceptionGroup, match="unhandled"):
        await task


# --- over HTTP ---------------------------------------------------------------------------------------------


@pytest.fixture
async def desk() -> AsyncIterator[tuple[Desk, VtnClock, RemoteDesk]]:
    """A VTN behind its operator API, and a desk whose machine is ten minutes behind."""
    made = await Desk().start()
    api = ApiDesk(operator=made.rig.operator, now=made.now, new_id=lambda: "x", vtn_id="v", version="1")
    clock = VtnClock(lambda: made.now() - timedelta(minutes=10), warn=WARN, refuse=REFUSE, recorder=Tape())
    async with TestServer(application(api, TOKEN)) as server:
        remote = RemoteDesk(str(server.make_url("")), TOKEN, clock=clock)
        yield made, clock, remote
        await remote.close()


async def test_every_reply_of_the_operator_api_tells_the_vtns_time(
    desk: tuple[Desk, VtnClock, RemoteDesk],
) -> None:
    made, clock, remote = desk
    await remote.compare_clocks()
    assert clock.lead == -timedelta(minutes=10)
    assert clock.compared_at == made.now() - timedelta(minutes=10)
    assert clock.state is ClockState.REFUSED


async def test_a_refusal_tells_it_as_well(desk: tuple[Desk, VtnClock, RemoteDesk]) -> None:
    _, clock, remote = desk
    with pytest.raises(ExchangeFailed):
        await remote.modify([("nothing", price_signal(5))])
    assert clock.lead == -timedelta(minutes=10)
