"""The phase planner: the hour's plan, and what sends a new one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dso_engine.hourly import HourBook, hour_slots
from dso_engine.model import SLOT, Commitment, HomeId, Phase
from dso_engine.nowcast import Nowcast
from dso_engine.phase import allocate
from dso_engine.phase_planner import PhasePlanner
from dso_engine.records import PhaseRecord
from tests.unit.engine.engine_fakes import HOUR, FakeExchange, Tape, customers, rural

HOMES = rural().homes
ONE = next(h for h in HOMES if h.feeder == 1 and h.phase == Phase.A).id
TWO = next(h for h in HOMES if h.feeder == 2 and h.phase == Phase.A).id
ON_B = next(h for h in HOMES if h.feeder == 1 and h.phase == Phase.B).id
PLANNED_AT = HOUR - timedelta(minutes=50)


class Desk:
    """A planner whose homes with a switch sit on loaded phases."""

    def __init__(self, *switched: HomeId) -> None:
        self.exchange, self.book, self.tape = FakeExchange(), HourBook(), Tape()
        self.planner = PhasePlanner(
            network=rural(),
            customers=customers(switches=frozenset(switched)),
            exchange=self.exchange,
            book=self.book,
            nowcast=Nowcast(exchange=self.exchange, book=self.book),
            recorder=self.tape,
            mu_kw2=0.25,
        )

    def commit(self, **wh: int) -> None:
        """Every home plans nothing, but those named."""
        self.book.keep_commitments(
            [
                Commitment(home=h.id, slot=s, grid_energy_wh=wh.get(h.id, 0), up_w=0, down_w=0)
                for h in HOMES
                for s in hour_slots(HOUR)
            ]
        )

    async def plan(self) -> None:
        await self.planner.plan_hour(HOUR, PLANNED_AT)

    async def again(self, k: int) -> None:
        slot = HOUR + k * SLOT
        await self.planner.plan_again(slot, slot - timedelta(minutes=2))

    @property
    def sent(self) -> list[dict[HomeId, tuple[Phase, ...]]]:
        assert all(hour == HOUR for hour, _ in self.exchange.phases)
        return [plan for _, plan in self.exchange.phases]


def neighbour(home: HomeId) -> HomeId:
    """Another home on the same feeder and phase, without a switch."""
    own = next(h for h in HOMES if h.id == home)
    return next(h.id for h in HOMES if h.feeder == own.feeder and h.phase == own.phase and h.id != home)


async def test_a_home_leaves_the_phase_its_neighbour_loads() -> None:
    """3 kW and 3 kW on phase A: one of them moves to B, the first of the two that are as good."""
    desk = Desk(ONE)
    desk.commit(**{ONE: 500, neighbour(ONE): 500})
    await desk.plan()
    assert desk.sent == [{ONE: (Phase.B,) * 6}]
    records = [r for r in desk.tape.records if isinstance(r, PhaseRecord)]
    assert [r.operations for r in records] == [1, 0, 0, 0, 0, 0]
    assert all(r.phases == ((ONE, Phase.B),) for r in records)
    # F = (3, 3, 0), mean 2: J = 1 + 1 + 4
    assert [r.imbalance_kw2 for r in records] == [pytest.approx(6.0)] * 6
    assert desk.planner.planned(ONE, HOUR + 5 * SLOT) is Phase.B
    assert desk.planner.planned(TWO, HOUR) is None


async def test_feeders_are_balanced_one_by_one() -> None:
    """What loads feeder 2 does not move a home of feeder 1."""
    desk = Desk(ONE, TWO)
    desk.commit(**{ONE: 500, TWO: 500, neighbour(TWO): 500})
    await desk.plan()
    assert desk.sent == [{ONE: (Phase.A,) * 6, TWO: (Phase.B,) * 6}]
    alone = allocate((3.0, 0.0, 0.0), [3.0], [Phase.A], 0.25)
    assert alone.phases == (Phase.B,)


async def test_nothing_is_planned_without_switches_or_commitments() -> None:
    bare = Desk()
    bare.commit(**{ONE: 500})
    await bare.plan()
    silent = Desk(ONE)
    await silent.plan()
    await silent.again(1)
    assert bare.sent == silent.sent == []
    assert bare.tape.records == silent.tape.records == []


async def test_the_same_answer_is_not_sent_again() -> None:
    desk = Desk(ONE)
    desk.commit(**{ONE: 500, neighbour(ONE): 500})
    await desk.plan()
    desk.exchange.confirmed = {ONE: Phase.B}
    for k in range(1, 6):
        await desk.again(k)
    assert len(desk.sent) == 1


async def test_a_new_answer_changes_intervals_to_come_only() -> None:
    desk = Desk(ONE)
    desk.commit(**{ONE: 500, neighbour(ONE): 500})
    await desk.plan()
    desk.exchange.confirmed = {ONE: Phase.B}
    # Now the neighbour's load is gone and another home loads phase B
    desk.commit(**{ONE: 500, ON_B: 500})
    await desk.again(3)
    assert desk.sent[1:] == [{ONE: (Phase.B,) * 3 + (Phase.A,) * 3}]
    assert desk.planner.planned(ONE, HOUR + 2 * SLOT) is Phase.B
    assert desk.planner.planned(ONE, HOUR + 3 * SLOT) is Phase.A


async def test_a_switch_that_did_not_move_is_commanded_from_where_it_is() -> None:
    """Planned on B, confirmed on A: small gains do not pay for an operation any more, so it may stay."""
    desk = Desk(ONE)
    desk.commit(**{ONE: 500, neighbour(ONE): 500})
    await desk.plan()
    assert desk.planner.planned(ONE, HOUR) is Phase.B
    desk.exchange.confirmed = {ONE: Phase.A}
    # 0.06 kW each: J falls by 2 * 0.06^2 kW2 at best, less than one operation costs
    desk.commit(**{ONE: 10, neighbour(ONE): 10})
    await desk.again(2)
    assert desk.sent[1:] == [{ONE: (Phase.B,) * 2 + (Phase.A,) * 4}]


async def test_an_unconfirmed_switch_counts_the_operation_again() -> None:
    desk = Desk(ONE)
    desk.commit(**{ONE: 500, neighbour(ONE): 500})
    await desk.plan()
    desk.tape.records.clear()
    await desk.again(1)
    records = [r for r in desk.tape.records if isinstance(r, PhaseRecord)]
    assert [r.operations for r in records] == [1, 0, 0, 0, 0]
    assert len(desk.sent) == 1, "the command stands, no need to repeat it"


async def test_a_home_that_opted_out_stays_and_counts_where_it_is() -> None:
    desk = Desk(ONE, ON_B)
    desk.commit(**{ONE: 500, ON_B: 500, neighbour(ONE): 500})
    await desk.plan()
    assert desk.sent[0][ONE] in ((Phase.B,) * 6, (Phase.C,) * 6)
    desk.exchange.opted_out = frozenset({ONE})
    await desk.again(1)
    assert all(ONE not in plan for plan in desk.sent[1:])
    assert desk.planner.planned(ONE, HOUR + SLOT) is None, "control must not believe it moved"


async def test_an_absent_home_is_not_commanded() -> None:
    desk = Desk(ONE)
    desk.commit(**{ONE: 500, neighbour(ONE): 500})
    desk.exchange.away = frozenset({ONE})
    await desk.plan()
    assert desk.sent == []
    desk.exchange.away = frozenset()
    await desk.again(2)
    assert desk.sent == [{ONE: (Phase.A,) * 2 + (Phase.B,) * 4}], "back, from the next interval on"


async def test_confirmed_phases_come_before_the_wiring() -> None:
    desk = Desk(ONE)
    desk.exchange.confirmed = {ONE: Phase.C}
    phases = await desk.planner.confirmed(HOUR)
    assert phases[ONE] is Phase.C
    assert all(phases[h.id] == h.phase for h in HOMES if h.id != ONE)
