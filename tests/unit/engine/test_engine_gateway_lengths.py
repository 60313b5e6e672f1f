"""Reports with intervals of other lengths than a slot: what the gateway makes of them, here and over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias

import pytest

from dso_engine.gateway_desk import LocalDesk, Said
from dso_engine.metering import MeterOutcome
from dso_engine.model import SLOT
from dso_engine.resettlement import LateReading, MeterFault
from schemas.oadr20b.model import ResourceStatus
from tests.unit.engine.gateway_rig import HOUR, A, B, Desk, desk
from tests.unit.vtn.rig import ALICE, BOB, START

__all__ = ["desk"]  # the fixture

Row: TypeAlias = dict[str, float | ResourceStatus]
MINUTE = timedelta(minutes=1)


def minute(wh: float) -> Row:
    return {"energy": wh}


async def test_energies_of_minutes_are_added_up(desk: Desk) -> None:
    desk.rig.now = START + timedelta(hours=1)
    await desk.report(ALICE, "meter-energy", START, *[minute(3.0)] * 5, step=MINUTE)
    assert await desk.gateway.metered_wh(START) == {}
    desk.rig.wait(60)
    await desk.report(ALICE, "meter-energy", START + 5 * MINUTE, *[minute(4.0)] * 15, step=MINUTE)
    await desk.report(BOB, "meter-energy", START, {"energy": -7.0}, {"energy": -8.0}, step=5 * MINUTE)
    assert await desk.gateway.metered_wh(START) == {A: 35, B: -15}
    assert await desk.gateway.metered_wh(START + SLOT) == {A: 40}
    at = desk.rig.now
    assert await desk.gateway.arrivals(START, START + 2 * SLOT) == (
        LateReading(home=A, slot=START, metered_wh=35, at=at),
        LateReading(home=B, slot=START, metered_wh=-15, at=at),
        LateReading(home=A, slot=START + SLOT, metered_wh=40, at=at),
    )
    assert await desk.gateway.meter_faults(START, START + 2 * SLOT) == ()


async def test_of_several_things_a_meter_says_its_energy_counts() -> None:
    made = Desk()
    texts = ((ALICE, "a-gas", 7.0), (ALICE, "energy", 5.0), (ALICE, "x-gas", 7.0), (BOB, "net", 9.0))
    said = tuple(
        Said(ven_id=v, r_id=r, start=START, end=None, value=wh, set_point=None, received_at=START)
        for v, r, wh in texts
    )

    class Saying(LocalDesk):
        async def readings(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
            return said

    gateway = made._gateway(Saying(lambda: made.rig.operator))
    assert await gateway.metered_wh(START) == {A: 5, B: 9}


async def test_half_an_hour_says_nothing_of_a_slot(desk: Desk) -> None:
    desk.rig.now = START + timedelta(hours=1)
    await desk.report(ALICE, "meter-energy", START, {"energy": 90.0}, step=30 * MINUTE)
    await desk.report(BOB, "meter-energy", START + SLOT, {"energy": 5.0}, step=4 * MINUTE)
    for k in range(3):
        assert await desk.gateway.metered_wh(START + k * SLOT) == {}
    assert await desk.gateway.arrivals(START, START + 3 * SLOT) == ()
    assert await desk.gateway.meter_faults(START + SLOT, START + 4 * SLOT) == (
        MeterFault(home=A, slot=START + SLOT, outcome=MeterOutcome.STRADDLES),
        MeterFault(home=B, slot=START + SLOT, outcome=MeterOutcome.GAPS),
        MeterFault(home=A, slot=START + 2 * SLOT, outcome=MeterOutcome.STRADDLES),
    )


@pytest.mark.parametrize("step", [5 * MINUTE, 30 * MINUTE, 60 * MINUTE])
async def test_offers_and_commitments_are_those_of_slots(desk: Desk, step: timedelta) -> None:
    order: Row = {"volume": 100.0, "limit-price": 0.12}
    await desk.report(ALICE, "offer", HOUR, order, step=step)
    await desk.report(ALICE, "commitment", HOUR, {"grid-energy": 100.0}, step=step)
    assert await desk.gateway.orders(HOUR) == ()
    assert await desk.gateway.commitments(HOUR) == ()


async def test_a_block_is_that_of_an_hour(desk: Desk) -> None:
    block: Row = {"block-volume": 600.0, "block-limit-price": 0.12}
    midnight = START.replace(hour=23) + timedelta(days=1)
    await desk.report(ALICE, "day-ahead-offer", midnight, block, step=SLOT)
    assert await desk.days.day_ahead_orders(midnight) == ()
    await desk.report(BOB, "day-ahead-offer", midnight, block, step=timedelta(hours=1))
    assert [each.arrival.order.home for each in await desk.days.day_ahead_orders(midnight)] == [B]
