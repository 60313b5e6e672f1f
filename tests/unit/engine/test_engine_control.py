"""The real-time price against homes in closed form: arm, wait, step, hold, curtail, forget."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from dso_engine.control import ControlSettings, RealtimePrice
from dso_engine.errors import StaleMeasurement
from dso_engine.game import Law
from dso_engine.hourly import HourBook
from dso_engine.knowledge import Knowledge
from dso_engine.model import SLOT, HomeId, Pcc, Phase
from dso_engine.nowcast import Nowcast
from dso_engine.phase_planner import PhasePlanner
from dso_engine.records import ArmRecord, CurtailRecord, EngineRecord, GridRecord, StepRecord
from dso_engine.secant import SecantLaw
from dso_engine.thesis_law import ThesisLaw
from tests.unit.engine.engine_fakes import (
    HOUR,
    LIMITS,
    FakeExchange,
    Street,
    Tape,
    customers,
    flow,
    rural,
    sunny,
)

LEAD = timedelta(seconds=90)
SLOT1 = HOUR + SLOT


class Desk:
    """A street, and the price that is to keep it inside its limits."""

    def __init__(
        self,
        street: Street,
        law: Law | None = None,
        switches: frozenset[HomeId] = frozenset(),
    ) -> None:
        self.street, self.exchange, self.tape, book = street, street.exchange, Tape(), HourBook()
        self.book = book
        who = customers(switches=switches)
        nowcast = Nowcast(exchange=self.exchange, book=book)
        self.planner = PhasePlanner(
            network=rural(),
            customers=who,
            exchange=self.exchange,
            book=book,
            nowcast=nowcast,
            recorder=self.tape,
            mu_kw2=0.25,
        )
        self.price = RealtimePrice(
            knowledge=Knowledge(
                record=flow(),
                search=flow(),
                customers=who,
                exchange=self.exchange,
                telemetry=street,
                book=book,
                nowcast=nowcast,
            ),
            customers=who,
            exchange=self.exchange,
            planner=self.planner,
            recorder=self.tape,
            settings=ControlSettings(limits=LIMITS, law=law or SecantLaw()),
        )

    def commit(self, *slots: datetime) -> None:
        for slot in slots:
            self.book.keep_commitments(self.street.commitments(slot))

    async def prepare(self, slot: datetime) -> None:
        self.exchange.now = slot - LEAD
        await self.price.prepare(slot, self.exchange.now)

    async def play(
        self, slot: datetime, ticks: int = 59, each: Callable[[datetime], None] | None = None
    ) -> None:
        """Begin a slot and tick every ten seconds; after the last, go to the end of the slot."""
        self.street.begin(slot)
        self.price.begin(slot)
        for _ in range(ticks):
            now = self.street.advance(10)
            await self.price.tick(now)
            if each is not None:
                each(now)
        self.street.advance(9)

    def steps(self, slot: datetime) -> list[StepRecord]:
        return [r for r in self.tape.records if isinstance(r, StepRecord) and r.slot == slot]

    def of(self, kind: type[EngineRecord]) -> list[EngineRecord]:
        return [r for r in self.tape.records if isinstance(r, kind)]

    def published(self, slot: datetime) -> dict[str, list[int]]:
        return {pcc.id: [u for _, u in v] for (s, pcc), v in self.exchange.versions.items() if s == slot}


def desk(
    *,
    export_kw: float = 4.8,
    up_kw: float = 2.5,
    law: Law | None = None,
    switches: frozenset[HomeId] = frozenset(),
) -> Desk:
    made = Desk(sunny(FakeExchange(), export_kw=export_kw, up_kw=up_kw), law, switches)
    made.commit(HOUR, SLOT1)
    return made


def projected_state_is_safe(made: Desk) -> None:
    broken = made.street.broken()
    assert broken == (), broken


# --- arming ------------------------------------------------------------------------------------------------


async def test_arming_publishes_zero_to_everybody_behind_each_pcc() -> None:
    made = desk()
    await made.prepare(SLOT1)
    ((slot, audience),) = made.exchange.opened
    assert slot == SLOT1
    assert set(audience) == set(rural().pccs)
    for pcc, homes in audience.items():
        assert homes == tuple(h.id for h in rural().homes if (h.feeder, h.phase) == (pcc.feeder, pcc.phase))
    assert set(map(tuple, made.published(SLOT1).values())) == {(0,)}
    (record,) = made.of(ArmRecord)
    assert isinstance(record, ArmRecord)
    assert record.armed
    assert record.v_dev_forecast is not None
    assert record.v_dev_forecast > LIMITS.arm_v


async def test_the_network_is_noted_down_once_a_slot_as_the_meters_show_it() -> None:
    made = desk(export_kw=1.0)
    await made.prepare(SLOT1)
    (record,) = made.of(GridRecord)
    assert isinstance(record, GridRecord)
    assert record.slot == HOUR
    metered_kw = sum(each.p_kw for each in await made.street.read(made.exchange.now))
    assert metered_kw < 0.0
    assert sum(record.figures.transformer_p_kw) == pytest.approx(metered_kw, abs=0.05)
    assert max(record.figures.v_max_v) > LIMITS.v_nominal_v, "who exports raises the voltage"


async def test_a_calm_street_is_left_alone() -> None:
    made = desk(export_kw=1.0)
    await made.prepare(SLOT1)
    assert made.exchange.opened == []
    made.price.begin(SLOT1)
    assert not made.price.running
    made.exchange.now = SLOT1 + timedelta(seconds=10)
    await made.price.tick(made.exchange.now)
    assert made.steps(SLOT1) == []
    (record,) = made.of(ArmRecord)
    assert isinstance(record, ArmRecord)
    assert not record.armed


async def test_the_forecast_alone_arms() -> None:
    """The street is calm now and plans too much for the coming slot."""
    made = desk(export_kw=1.0)
    louder = sunny(FakeExchange(), export_kw=4.8, up_kw=2.0)
    made.book.keep_commitments(louder.commitments(SLOT1))
    await made.prepare(SLOT1)
    assert len(made.exchange.opened) == 1
    (record,) = made.of(ArmRecord)
    assert isinstance(record, ArmRecord)
    assert record.v_dev_estimate is not None
    assert record.v_dev_forecast is not None
    assert record.v_dev_estimate < LIMITS.release_v < LIMITS.arm_v < record.v_dev_forecast


async def test_without_commitments_the_estimate_decides() -> None:
    made = Desk(sunny(FakeExchange(), export_kw=4.8, up_kw=2.0))
    await made.prepare(SLOT1)
    (record,) = made.of(ArmRecord)
    assert isinstance(record, ArmRecord)
    assert record.v_dev_forecast is None
    assert record.armed


async def test_absent_homes_are_left_out() -> None:
    made = desk()
    away = rural().homes[0].id
    made.exchange.away = frozenset({away})
    await made.prepare(SLOT1)
    ((_, audience),) = made.exchange.opened
    assert all(away not in homes for homes in audience.values())
    assert sum(len(homes) for homes in audience.values()) == len(rural().homes) - 1


async def test_the_audience_follows_the_phases_commanded_for_the_slot() -> None:
    """A home commanded to A, B or C is behind that PCC; one that has no command is where it confirmed."""
    on_b = next(h for h in rural().homes if h.phase == Phase.B)
    for phase in (Phase.A, Phase.C):
        made = desk(switches=frozenset({on_b.id}))
        made.planner._plans[HOUR] = {on_b.id: (phase,) * 6}
        await made.prepare(SLOT1)
        ((_, audience),) = made.exchange.opened
        assert on_b.id in audience[Pcc(feeder=on_b.feeder, phase=phase)]
        assert on_b.id not in audience[Pcc(feeder=on_b.feeder, phase=Phase.B)]
    made = desk(switches=frozenset({on_b.id}))
    made.exchange.confirmed = {on_b.id: Phase.A}
    await made.prepare(SLOT1)
    ((_, audience),) = made.exchange.opened
    assert on_b.id in audience[Pcc(feeder=on_b.feeder, phase=Phase.A)]


async def test_stale_meters_are_named() -> None:
    made = desk()
    made.street.age = timedelta(seconds=31)
    with pytest.raises(StaleMeasurement, match="F1-A, F1-B, F1-C, F2-A, F2-B, F2-C"):
        await made.prepare(SLOT1)
    made.street.age = timedelta(seconds=30)
    await made.prepare(SLOT1)


# --- stepping ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [SecantLaw(), ThesisLaw()], ids=["secant", "thesis"])
async def test_the_limits_hold_at_the_end_of_the_slot(law: Law) -> None:
    made = desk(law=law)
    assert made.street.broken(), "the street would break a limit"
    await made.prepare(SLOT1)
    await made.play(SLOT1)
    projected_state_is_safe(made)
    assert made.exchange.bounds == [], "the price is enough"
    assert any(u < 0 for prices in made.published(SLOT1).values() for u in prices)
    assert all(u <= 0 for prices in made.published(SLOT1).values() for u in prices)


async def test_the_price_stays_zero_where_nothing_is_at_risk() -> None:
    """Armed by the forecast, but the sun does not come: nobody is asked for anything."""
    made = desk()
    made.street.error_kw = np.where(made.street.up_kwh > 0, 4.0, 0.0)
    made.exchange.meters.clear()
    await made.prepare(SLOT1)
    assert len(made.exchange.opened) == 1
    await made.play(SLOT1)
    assert set(map(tuple, made.published(SLOT1).values())) == {(0,)}
    assert all(r.c_lo_kw is None and r.c_hi_kw is None for r in made.steps(SLOT1))


async def test_no_step_before_everybody_has_the_current_version() -> None:
    made = desk()
    made.exchange.delay = timedelta(seconds=15)
    await made.prepare(SLOT1)
    await made.play(SLOT1, ticks=20)
    for pcc in rural().pccs:
        versions = [at for at, _ in made.exchange.versions[SLOT1, pcc]]
        stepped = [r.at for r in made.steps(SLOT1) if r.pcc == pcc and r.stepped]
        for at in stepped:
            current = max(v for v in versions if v < at)
            assert at > current + timedelta(seconds=15)
    changes = [u for u in made.published(SLOT1).values() if len(u) > 2]
    assert changes, "there was something to wait for"


async def test_homes_that_never_fetch_are_waited_for_20_seconds() -> None:
    made = desk()
    made.exchange.delay = None
    await made.prepare(SLOT1)
    await made.play(SLOT1, ticks=12)
    for pcc in rural().pccs:
        times = [at for at, _ in made.exchange.versions[SLOT1, pcc]][1:]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert all(gap >= timedelta(seconds=20) for gap in gaps)
    assert any(len(u) > 2 for u in made.published(SLOT1).values())


async def test_a_reading_older_than_the_price_is_no_answer_to_it() -> None:
    """Meters are 8 s old and homes fetch at once: a tick 10 s after a price sees it 2 s after the fetch."""
    made = desk()
    made.exchange.delay = timedelta(seconds=5)
    made.street.age = timedelta(seconds=8)
    await made.prepare(SLOT1)
    await made.play(SLOT1, ticks=20)
    for pcc in rural().pccs:
        versions = [at for at, _ in made.exchange.versions[SLOT1, pcc]]
        for record in made.steps(SLOT1):
            if record.pcc == pcc and record.stepped:
                current = max(v for v in versions if v < record.at)
                assert record.at - timedelta(seconds=8) > current + timedelta(seconds=5)


async def test_energy_is_counted_over_the_time_it_was_measured_in() -> None:
    """A steady flow projects to itself, however old the readings are."""
    made = desk(export_kw=4.3)
    made.street.age = timedelta(seconds=8)
    await made.prepare(SLOT1)
    made.exchange.delay = None  # nobody answers
    await made.play(SLOT1, ticks=3)
    for record in made.steps(SLOT1):
        assert record.projected_kw == pytest.approx(record.p_kw, rel=1e-6)


# --- last resort -------------------------------------------------------------------------------------------


async def test_a_saturated_price_curtails_and_the_meter_corrects_the_bound() -> None:
    """Nobody has anything to give: exports are bounded, and the limits hold all the same."""
    made = desk(up_kw=0.0)
    await made.prepare(SLOT1)
    await made.play(SLOT1)
    assert made.exchange.bounds
    projected_state_is_safe(made)
    records = made.of(CurtailRecord)
    assert len(records) == len(made.exchange.bounds)
    pv = {h.home for h in customers() if h.pv_kwp > 0}
    for slot, _, pcc, bounds in made.exchange.bounds:
        assert slot == SLOT1
        assert set(bounds) == pv & set(made.exchange.audience[SLOT1, pcc])
        assert len(set(bounds.values())) == 1
    by_pcc = {pcc for _, _, pcc, _ in made.exchange.bounds}
    for pcc in by_pcc:
        times = [at for _, at, p, _ in made.exchange.bounds if p == pcc]
        assert all(b - a >= timedelta(seconds=20) for a, b in itertools.pairwise(times))


async def test_homes_that_cannot_reach_the_bound_are_helped_by_curtailment() -> None:
    """0.2 kW a home is not enough. The price gets what there is, the rest is curtailed: limits hold."""
    made = desk(up_kw=0.2)
    await made.prepare(SLOT1)
    await made.play(SLOT1)
    assert made.exchange.bounds
    projected_state_is_safe(made)


async def test_a_bound_that_cut_too_much_is_loosened() -> None:
    """A cloud comes after the first bound: the exports fall, the shortage turns into room."""
    made = desk(up_kw=0.0)
    await made.prepare(SLOT1)

    def cloud(now: datetime) -> None:
        if now - SLOT1 == timedelta(seconds=300):
            made.street.error_kw = np.where(np.arange(50) % 5 == 0, 3.0, 0.0)

    await made.play(SLOT1, each=cloud)
    loosened = 0
    for pcc in rural().pccs:
        bounds = [next(iter(w.values())) for _, _, p, w in made.exchange.bounds if p == pcc]
        loosened += any(b > a for a, b in itertools.pairwise(bounds))
    assert loosened


# --- the next slot -----------------------------------------------------------------------------------------


async def test_memory_of_the_search_ends_with_the_slot() -> None:
    made = desk()
    third = SLOT1 + SLOT
    made.commit(third)
    await made.prepare(SLOT1)
    await made.play(SLOT1)
    assert any(prices[-1] != 0 for prices in made.published(SLOT1).values())
    made.exchange.now = third - LEAD
    await made.price.prepare(third, made.exchange.now)
    await made.play(third, ticks=1)
    assert all(prices[0] == 0 for prices in made.published(third).values())
    first = made.steps(third)
    uncontrolled = desk()
    uncontrolled.commit(third)
    await uncontrolled.prepare(third)
    await uncontrolled.play(third, ticks=1)
    fresh = uncontrolled.steps(third)
    assert [(r.pcc, r.u_millicent, r.mode) for r in first] == [(r.pcc, r.u_millicent, r.mode) for r in fresh]


async def test_a_controlled_street_stays_armed_although_it_looks_calm() -> None:
    """While a price holds the limits, a calm estimate must not release it; the forecast says why."""
    made = desk()
    third = SLOT1 + SLOT
    made.commit(third)
    await made.prepare(SLOT1)
    await made.play(SLOT1, ticks=50)
    await made.price.prepare(third, third - LEAD)
    records = made.of(ArmRecord)
    last = records[-1]
    assert isinstance(last, ArmRecord)
    assert last.armed


async def test_a_slot_that_was_not_prepared_is_not_run() -> None:
    made = desk()
    await made.prepare(SLOT1)
    made.price.begin(SLOT1 + SLOT)
    assert not made.price.running


def test_settings_are_values() -> None:
    settings = ControlSettings(limits=LIMITS, law=SecantLaw())
    assert replace(settings, law=SecantLaw()) == settings
