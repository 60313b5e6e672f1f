"""The real-time price on a rough day: late meters, a server that fails in between, absurd numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from dso_engine.control import ControlSettings
from dso_engine.errors import ExchangeFailed, StaleMeasurement
from dso_engine.hourly import HourBook
from dso_engine.knowledge import Knowledge
from dso_engine.model import SLOT, Commitment, HomeId, Pcc, PccReading
from dso_engine.nowcast import Nowcast
from dso_engine.records import ArmRecord, FaultRecord
from dso_engine.secant import SecantLaw
from tests.unit.engine.engine_fakes import HOUR, LIMITS, FakeExchange, customers, flow, rural, sunny
from tests.unit.engine.test_engine_control import SLOT1, Desk, desk


async def test_a_reading_from_before_the_slot_is_no_baseline() -> None:
    """Meters that are 15 s behind: at + 10 s they still show the slot before."""
    made = desk()
    await made.prepare(SLOT1)
    made.street.age = timedelta(seconds=15)
    await made.play(SLOT1, ticks=1)
    assert made.steps(SLOT1) == []
    made.street.begin(SLOT1)
    for _ in range(2):
        await made.price.tick(made.street.advance(10))
    assert {step.at for step in made.steps(SLOT1)} == {SLOT1 + timedelta(seconds=20)}


async def test_a_meter_that_is_missing_is_named() -> None:
    made = desk()
    really = made.street.read

    async def read(now: object) -> tuple[PccReading, ...]:
        del now
        return (await really(made.exchange.now))[1:]

    made.street.read = read  # type: ignore[method-assign]  # one meter is not there
    with pytest.raises(StaleMeasurement, match="no reading of F1-A"):
        await made.prepare(SLOT1)


async def test_prices_that_did_not_get_through_are_sent_before_the_next_measurement() -> None:
    """Else the law would take flows under the old price for the answer to the new one."""
    made = desk()
    await made.prepare(SLOT1)
    sent: list[dict[Pcc, int]] = []
    failing = True
    really = made.exchange.set_prices

    async def set_prices(slot: object, prices: Mapping[Pcc, int]) -> None:
        sent.append(dict(prices))
        if failing:
            raise ExchangeFailed("no answer")
        await really(SLOT1, prices)

    made.exchange.set_prices = set_prices  # type: ignore[method-assign,assignment]  # a line that fails
    made.street.begin(SLOT1)
    made.price.begin(SLOT1)
    while not sent:
        with suppress(ExchangeFailed):
            await made.price.tick(made.street.advance(10))
    steps = len(made.steps(SLOT1))
    with pytest.raises(ExchangeFailed):
        await made.price.tick(made.street.advance(10))
    assert len(made.steps(SLOT1)) == steps, "nothing is measured while a price is on its way"
    failing = False
    await made.price.tick(made.street.advance(10))
    assert sent[0] == sent[1] == sent[2] != {}
    assert {pcc: made.exchange.versions[SLOT1, pcc][-1][1] for pcc in sent[0]} == sent[0]
    assert not any(s.stepped for s in made.steps(SLOT1)[steps:] if s.pcc in sent[0]), "and now it is waited"


async def test_a_look_ahead_that_failed_is_done_again_as_if_nothing_had_been() -> None:
    made = desk()
    really = made.exchange.open_prices

    async def fails(slot: object, audience: Mapping[Pcc, Sequence[HomeId]]) -> None:
        raise ExchangeFailed("no answer")

    made.exchange.open_prices = fails  # type: ignore[method-assign]  # likewise
    with pytest.raises(ExchangeFailed):
        await made.prepare(SLOT1)
    assert made.of(ArmRecord) == []
    made.exchange.open_prices = really  # type: ignore[method-assign]  # and back
    await made.prepare(SLOT1)
    await made.prepare(SLOT1)
    assert len(made.exchange.opened) == len(made.of(ArmRecord)) == 1


async def test_without_meters_the_forecast_decides_where_that_is_allowed() -> None:
    made = desk()
    made.street.age = timedelta(seconds=31)
    with pytest.raises(StaleMeasurement):
        await made.prepare(SLOT1)
    made.price._settings = replace(made.price._settings, works_without_meters=True)
    await made.prepare(SLOT1)
    (record,) = made.of(ArmRecord)
    assert isinstance(record, ArmRecord)
    assert record.armed
    assert record.v_dev_estimate is None
    (fault,) = made.of(FaultRecord)
    assert isinstance(fault, FaultRecord)
    assert (fault.slot, fault.what, fault.error) == (SLOT1, "estimate", "StaleMeasurement")


async def test_homes_without_a_ven_are_nobodys_audience() -> None:
    made = desk()
    silent = rural().homes[3].id
    who = [replace(c, participates=c.home != silent) for c in customers()]
    made.price._deaf = frozenset(c.home for c in who if not c.participates)
    await made.prepare(SLOT1)
    ((_, audience),) = made.exchange.opened
    assert all(silent not in homes for homes in audience.values())


# --- absurd numbers ----------------------------------------------------------------------------------------

A, B = rural().homes[0].id, rural().homes[1].id
SAID = Commitment(home=A, slot=SLOT1, grid_energy_wh=10**30, up_w=10**30, down_w=10**30)


async def test_what_is_expected_of_a_home_stays_inside_its_contract() -> None:
    exchange, book = FakeExchange(), HourBook()
    book.keep_commitments([SAID])
    exchange.meters[HOUR - SLOT] = {B: -(10**30)}
    who = [replace(c, contract_kva=9.0) for c in customers()]
    expected = await Nowcast(exchange=exchange, book=book, customers=who).expected_kw(SLOT1, HOUR)
    assert expected == {A: 9.0, B: -9.0}
    unbounded = await Nowcast(exchange=exchange, book=book).expected_kw(SLOT1, HOUR)
    assert unbounded[A] > 1e20
    book.keep_commitments([replace(SAID, slot=HOUR - SLOT), replace(SAID, grid_energy_wh=200)])
    exchange.meters[HOUR - SLOT] = {A: 100}
    expected = await Nowcast(exchange=exchange, book=book, customers=who).expected_kw(SLOT1, HOUR)
    assert expected == {A: 0.6}, "the forecast error of an absurd commitment is none"


async def test_absurd_commitments_do_not_reach_the_power_flow() -> None:
    street = sunny(FakeExchange(), export_kw=1.0, up_kw=1.0)
    book, who = HourBook(), [replace(c, contract_kva=9.0) for c in customers()]
    book.keep_commitments([SAID])
    nowcast = Nowcast(exchange=street.exchange, book=book, customers=who)
    knowledge = Knowledge(
        record=flow(),
        search=flow(),
        customers=who,
        exchange=street.exchange,
        telemetry=street,
        book=book,
        nowcast=nowcast,
    )
    up_kw, down_kw = await knowledge.flexibility(SLOT1)
    assert (up_kw[0], down_kw[0]) == (18.0, 18.0)
    phases = {home.id: home.phase for home in rural().homes}
    stress = await knowledge.forecast(SLOT1, phases, HOUR, LIMITS)
    assert stress is not None
    assert np.isfinite(stress.v_dev)


async def test_a_street_with_one_absurd_home_is_still_looked_after() -> None:
    made = Desk(sunny(FakeExchange(), export_kw=4.8, up_kw=2.5))
    made.commit(HOUR, SLOT1)
    for nowcast in (made.planner._nowcast, made.price._knowledge._nowcast):
        nowcast._contract_kw = {home.id: 9.0 for home in rural().homes}
    made.price._knowledge._contract_kw = np.full(len(rural().homes), 9.0)
    made.book.keep_commitments([SAID])
    made.price._settings = ControlSettings(limits=LIMITS, law=SecantLaw())
    await made.prepare(SLOT1)
    await made.play(SLOT1)
    assert made.street.broken() == ()
