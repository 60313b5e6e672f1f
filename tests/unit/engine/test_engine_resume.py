"""An engine that starts in the middle of an hour: what it takes up, what it does at once, what it leaves."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from dso_engine.assembly import EngineParts, assemble_engine
from dso_engine.control import ControlSettings
from dso_engine.errors import ExchangeFailed
from dso_engine.guard import Steadfast
from dso_engine.hourly import HourBook, TariffMillicent
from dso_engine.loop import Engine, RunPeriod
from dso_engine.market import Order, Side
from dso_engine.model import SLOT, Commitment, HomeId, Pcc, Phase
from dso_engine.ports import HourResult, OpenPrice, SlotOrder
from dso_engine.records import ArmRecord, FaultRecord, StepRecord
from dso_engine.resumption import slot_of
from dso_engine.secant import SecantLaw
from feederloop.clock import Rank, SimClock
from tests.unit.engine.engine_fakes import (
    HOUR,
    LIMITS,
    FakeExchange,
    Street,
    Tape,
    customers,
    rural,
    sunny,
)

H = rural().homes[0].id


class Everywhere(dict[datetime, TariffMillicent]):
    def __missing__(self, slot: datetime) -> TariffMillicent:
        return TariffMillicent(supplier=15_000, feed_in=10_000)


class Start:
    """An engine that starts at an instant, on simulated time, before homes that say and heard something."""

    def __init__(self, at: datetime, street: Street | None = None) -> None:
        self.clock, self.tape, self.book = SimClock(at), Tape(), HourBook()
        self.street = street or sunny(FakeExchange(), export_kw=1.0, up_kw=1.0)
        self.street.begin(slot_of(at))
        self.exchange = self.street.exchange
        self.exchange.now = at
        self.engine: Engine = assemble_engine(
            EngineParts(
                clock=self.clock,
                exchange=self.exchange,
                telemetry=self.street,
                recorder=self.tape,
                network=rural(),
                customers=customers(switches=frozenset({H})),
                tariff=Everywhere(),
                book=self.book,
                control=ControlSettings(limits=LIMITS, law=SecantLaw(), works_without_meters=True),
                mu_kw2=0.25,
                period=RunPeriod(start=slot_of(at)),
                step=timedelta(seconds=10),
                lead=timedelta(seconds=90),
                guard=Steadfast(self.clock, self.tape),
                resumes=True,
            )
        )

    async def run(self, until: datetime) -> None:
        task = self.clock.spawn(self._run(), "engine")
        await self.clock.run(until)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        """As ``Engine.run``, with timers that hold simulated time."""
        await self.engine.take_up()
        for name, work in self.engine.timers():
            self.clock.spawn(work, name)
        await self.clock.sleep_until(datetime.max.replace(tzinfo=HOUR.tzinfo), Rank.OBSERVER, "end")

    def of(self, kind: type[ArmRecord] | type[StepRecord] | type[FaultRecord]) -> list[object]:
        return [record for record in self.tape.records if isinstance(record, kind)]


def result() -> HourResult:
    return HourResult(home=H, price_millicent=(1,) * 6, volume_wh=(10,) * 6)


def order(slot: datetime, home: HomeId, side: Side) -> SlotOrder:
    price = 16_000 if side is Side.BUY else 9_000
    return SlotOrder(
        slot=slot, order=Order(home=home, side=side, price_millicent=price, volume_wh=100, seq=1)
    )


def commitment(slot: datetime) -> Commitment:
    return Commitment(home=H, slot=slot, grid_energy_wh=5, up_w=0, down_w=0)


async def test_results_commitments_and_phases_are_learned() -> None:
    made = Start(HOUR + timedelta(minutes=13))
    made.exchange.told.append((HOUR, (result(),)))
    made.exchange.heard = (commitment(HOUR + SLOT), commitment(HOUR - SLOT))
    made.exchange.phases.append((HOUR, {H: (Phase.B,) * 6}))
    told, commanded = list(made.exchange.told), list(made.exchange.phases)
    await made.engine.take_up()
    assert made.book.results(HOUR) == (result(),)
    assert made.book.commitment(H, HOUR + SLOT) == commitment(HOUR + SLOT)
    assert made.book.commitment(H, HOUR - SLOT) == commitment(HOUR - SLOT), "the forecast's last metered slot"
    assert made.exchange.told == told
    assert made.exchange.phases == commanded
    assert made.engine._phases.planned(H, HOUR + SLOT) is Phase.B


async def test_an_auction_that_was_missed_is_held_while_answers_can_come() -> None:
    other = rural().homes[1].id
    for minutes, told in ((74, []), (65, [HOUR]), (60, [])):
        made = Start(HOUR - timedelta(minutes=minutes))
        made.exchange.offers = (order(HOUR, H, Side.BUY), order(HOUR, other, Side.SELL))
        await made.engine.take_up()
        assert [hour for hour, results in made.exchange.told if results] == told
        assert len(made.book.results(HOUR)) == (2 if told else 0)


async def test_the_result_of_an_auction_held_late_comes_at_its_moment() -> None:
    made = Start(HOUR - timedelta(minutes=74))
    made.exchange.offers = (order(HOUR, H, Side.BUY),)
    await made.run(HOUR - timedelta(minutes=69))
    assert [(hour, len(results)) for hour, results in made.exchange.told] == [(HOUR, 1)]


async def test_phases_that_were_not_commanded_are_before_the_hour() -> None:
    made = Start(HOUR - timedelta(minutes=20))
    made.exchange.told.append((HOUR, (result(),)))
    made.exchange.heard = tuple(commitment(HOUR + k * SLOT) for k in range(6))
    await made.engine.take_up()
    assert [hour for hour, _ in made.exchange.phases] == [HOUR]


async def test_a_feeder_at_its_limit_gets_a_price_at_once() -> None:
    made = Start(HOUR + timedelta(minutes=2), sunny(FakeExchange(), export_kw=4.8, up_kw=2.5))
    await made.engine.take_up()
    assert [slot for slot, _ in made.exchange.opened] == [HOUR + SLOT]
    assert [r.armed for r in made.of(ArmRecord) if isinstance(r, ArmRecord)] == [True]


def priced(u_millicent: int) -> Start:
    """Two minutes into a slot whose prices another engine opened."""
    exchange = FakeExchange()
    street = sunny(exchange, export_kw=4.8, up_kw=2.5)
    for pcc in rural().pccs:
        homes = tuple(h.id for h in rural().homes if (h.feeder, h.phase) == (pcc.feeder, pcc.phase))
        exchange.audience[HOUR, pcc] = homes
        exchange.versions[HOUR, pcc] = [(HOUR - SLOT, u_millicent)]
    exchange.heard = street.commitments(HOUR)
    return Start(HOUR + timedelta(minutes=2), street)


async def test_a_running_price_at_zero_is_gone_on_with() -> None:
    made = priced(0)
    await made.run(HOUR + timedelta(minutes=5))
    steps = [r for r in made.of(StepRecord) if isinstance(r, StepRecord)]
    assert {step.slot for step in steps} == {HOUR}
    assert any(len(versions) > 1 for versions in made.exchange.versions.values()), "it was stepped"


async def test_a_running_price_that_is_not_zero_stays_to_the_end_of_the_slot() -> None:
    made = priced(-4_000)
    await made.run(HOUR + SLOT - timedelta(seconds=1))
    assert made.of(StepRecord) == []
    running = {pcc: made.exchange.versions[HOUR, pcc] for pcc in rural().pccs}
    assert all(versions == [(HOUR - SLOT, -4_000)] for versions in running.values())
    assert [slot for slot, _ in made.exchange.opened] == [HOUR + SLOT], "and the next one is priced anew"


async def test_a_price_of_the_coming_slot_is_taken_up_and_not_opened_again() -> None:
    made = Start(HOUR + SLOT - timedelta(seconds=50), sunny(FakeExchange(), export_kw=4.8, up_kw=2.5))
    pcc = rural().pccs[0]
    made.exchange.audience[HOUR + SLOT, pcc] = (H,)
    made.exchange.versions[HOUR + SLOT, pcc] = [(HOUR, 0)]
    await made.run(HOUR + SLOT + timedelta(seconds=30))
    assert made.exchange.opened == []
    assert {r.slot for r in made.of(StepRecord) if isinstance(r, StepRecord)} == {HOUR + SLOT}


async def test_a_server_that_is_not_there_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timers go on from when it came, not from when the engine started."""
    made = Start(HOUR + timedelta(minutes=2))
    there = HOUR + timedelta(minutes=23)
    really = made.exchange.prices

    async def prices(slot: datetime) -> dict[Pcc, OpenPrice]:
        if made.clock.now() < there:
            raise ExchangeFailed("no answer")
        return dict(await really(slot))

    monkeypatch.setattr(made.exchange, "prices", prices)
    await made.run(HOUR + timedelta(minutes=31))
    faults = [(r.what, r.error) for r in made.of(FaultRecord) if isinstance(r, FaultRecord)]
    assert faults == [("taking up", "ExchangeFailed")]
    assert [r.slot for r in made.of(ArmRecord) if isinstance(r, ArmRecord)] == [HOUR + 3 * SLOT] * 2


async def test_an_engine_without_end_forgets_what_is_long_over() -> None:
    made = Start(HOUR)
    made.exchange.told = [(HOUR, (result(),))]
    made.exchange.heard = (commitment(HOUR),)
    made.exchange.phases = [(HOUR, {H: (Phase.B,) * 6})]
    await made.engine.take_up()
    made.engine._forget(HOUR)
    assert made.book.results(HOUR) != ()
    made.engine._forget(HOUR + timedelta(seconds=1))
    assert made.book.results(HOUR) == ()
    assert made.book.commitment(H, HOUR) is None
    assert made.engine._phases.planned(H, HOUR) is None
