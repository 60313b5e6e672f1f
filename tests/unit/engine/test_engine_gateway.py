"""The gateway over a real VTN on a memory store: what VENs say becomes orders, phases, answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import inf

import pytest

from dso_engine.gateway_desk import LocalDesk, Said
from dso_engine.market import Side, sequence_number
from dso_engine.model import SLOT, Pcc, Phase
from dso_engine.ports import Delivery, HourResult, SlotOrder
from dso_engine.resettlement import LateReading
from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.xmltypes import Duration
from tests.unit.engine.gateway_rig import HOUR, OTHER, PCC, SLOT0, A, B, Desk, desk
from tests.unit.vtn.rig import (
    ALICE,
    BOB,
    START,
)

__all__ = ["desk"]  # the fixture


def brief(orders: Sequence[SlotOrder]) -> list[tuple[str, datetime, Side, int, int]]:
    return [(o.order.home, o.slot, o.order.side, o.order.price_millicent, o.order.volume_wh) for o in orders]


# --- market ------------------------------------------------------------------------------------------------


async def test_orders_come_from_readings(desk: Desk) -> None:
    await desk.offer(ALICE, (120.0, 0.123456), (0.0, 0.2), (-50.0, 0.1))
    await desk.offer(BOB, (-7.0, 0.12345499))
    orders = await desk.gateway.orders(HOUR)
    assert brief(orders) == [
        (A, HOUR, Side.BUY, 12_346, 120),  # rounded to 1e-5 EUR/kWh
        (A, HOUR + 2 * SLOT, Side.SELL, 10_000, 50),  # a slot without volume is no order
        (B, HOUR, Side.SELL, 12_345, 7),
    ]
    assert [o.order.seq for o in orders] == [sequence_number(o.slot, o.order.home, 7) for o in orders]
    assert await desk.gateway.orders(HOUR + timedelta(hours=1)) == ()


async def test_the_last_offer_before_the_gate_counts_and_none_after_it(desk: Desk) -> None:
    await desk.offer(ALICE, (100.0, 0.12))
    await desk.offer(ALICE, (90.0, 0.12))
    desk.rig.now = HOUR - timedelta(minutes=75)
    await desk.offer(ALICE, (80.0, 0.12), code="454")
    await desk.offer(BOB, (80.0, 0.12), code="454")
    assert brief(await desk.gateway.orders(HOUR)) == [(A, HOUR, Side.BUY, 12_000, 90)]


async def test_an_offer_nobody_can_mean_spoils_nothing_for_the_others(desk: Desk) -> None:
    await desk.offer(ALICE, (inf, 0.12), (1e12, 0.12), (10.0, inf), (10.0, 1e12), (-inf, 0.12), (0.4, 0.1))
    await desk.offer(BOB, (5.0, 0.12))
    assert brief(await desk.gateway.orders(HOUR)) == [(B, HOUR, Side.BUY, 12_000, 5)]


async def test_a_volume_without_price_is_no_order(desk: Desk) -> None:
    await desk.report(ALICE, "offer", HOUR, {"volume": 10.0})
    assert await desk.gateway.orders(HOUR) == ()


async def test_results_go_to_their_homes_and_acceptance_counts_before_the_hour_only(desk: Desk) -> None:
    results = [HourResult(home=h, price_millicent=(1,) * 6, volume_wh=(0,) * 6) for h in (A, B)]
    await desk.gateway.publish_results(HOUR, results)
    assert await desk.drain(ALICE) == [f"mkt-20180516T1200Z-{ALICE}"]
    assert await desk.gateway.accepted(HOUR) == {A}
    desk.rig.now = HOUR
    await desk.drain(BOB)
    assert await desk.gateway.accepted(HOUR) == {A}, "silence until the hour starts refuses"


async def test_opt_out_refuses(desk: Desk) -> None:
    await desk.gateway.publish_results(
        HOUR, [HourResult(home=A, price_millicent=(1,) * 6, volume_wh=(0,) * 6)]
    )
    await desk.drain(ALICE, OptType.OPT_OUT)
    assert await desk.gateway.accepted(HOUR) == frozenset()


async def test_no_results_no_message(desk: Desk) -> None:
    await desk.gateway.publish_results(HOUR, [])
    assert desk.rig.operator.events() == ()


async def test_commitments(desk: Desk) -> None:
    full: dict[str, float | m.ResourceStatus] = {
        "grid-energy": -120.0,
        "flexibility-up": 900.4,
        "flexibility-down": -3.0,
    }
    await desk.report(ALICE, "commitment", HOUR, full, {"flexibility-up": 1.0}, {"grid-energy": inf})
    await desk.report(BOB, "commitment", HOUR, {"grid-energy": 5.0})
    found = await desk.gateway.commitments(HOUR)
    assert [(c.home, c.slot, c.grid_energy_wh, c.up_w, c.down_w) for c in found] == [
        (A, HOUR, -120, 900, 0),
        (B, HOUR, 5, 0, 0),
    ]


async def test_a_home_that_cannot_be_told_makes_no_orders(desk: Desk) -> None:
    """Its result would be lost, and the volumes of those who were told would never balance."""
    await desk.offer(ALICE, (100.0, 0.12))
    await desk.offer(BOB, (-100.0, 0.1))
    await desk.rig.operator.remove(BOB)
    assert brief(await desk.gateway.orders(HOUR)) == [(A, HOUR, Side.BUY, 12_000, 100)]


async def test_an_absent_home_makes_no_orders(desk: Desk) -> None:
    await desk.offer(ALICE, (100.0, 0.12))
    schedule = m.CreateOpt(
        opt_id="o1",
        opt_type=OptType.OPT_OUT,
        opt_reason="economic",
        ven_id=ALICE,
        availability=(m.Period(dtstart=HOUR, duration=Duration(hours=1)),),
        created_date_time=desk.rig.now,
        request_id="o",
        target=m.Target(ven_ids=(ALICE,)),
    )
    await desk.rig.send(schedule, m.CreatedOpt)
    assert await desk.gateway.absent(HOUR) == {A}
    assert await desk.gateway.absent(HOUR + timedelta(hours=1)) == frozenset()
    assert await desk.gateway.orders(HOUR) == ()


# --- phases ------------------------------------------------------------------------------------------------


def at_phase(value: float) -> m.ResourceStatus:
    return m.ResourceStatus(
        online=True,
        manual_override=False,
        load_control_state=m.LoadControlState(set_point=m.LoadControlValue(current=value)),
    )


async def test_phases_are_published_once_and_then_modified(desk: Desk) -> None:
    plan = (Phase.B,) * 6
    await desk.gateway.publish_phases(HOUR, {A: plan})
    assert await desk.drain(ALICE) == [f"phase-20180516T1200Z-{ALICE}"]
    await desk.gateway.publish_phases(HOUR, {A: plan})
    event = desk.rig.operator.event(f"phase-20180516T1200Z-{ALICE}")
    assert event is not None
    assert event.modification_number == 0
    desk.rig.now = HOUR + timedelta(minutes=18)
    await desk.gateway.publish_phases(HOUR, {A: (Phase.B,) * 2 + (Phase.C,) * 4})
    event = desk.rig.operator.event(event.event_id)
    assert event is not None
    assert event.modification_number == 1
    assert [i.signal_value for i in event.signals[0].intervals] == [2.0, 2.0, 3.0, 3.0, 3.0, 3.0]


async def test_opting_out_of_a_phase_command(desk: Desk) -> None:
    await desk.gateway.publish_phases(HOUR, {A: (Phase.B,) * 6})
    assert await desk.gateway.phase_opt_outs(HOUR) == frozenset()
    await desk.drain(ALICE, OptType.OPT_OUT)
    assert await desk.gateway.phase_opt_outs(HOUR) == {A}


async def test_the_newest_confirmed_phase_wins(desk: Desk) -> None:
    assert await desk.gateway.confirmed_phases(START) == {}
    await desk.report(ALICE, "switch", START + SLOT, {"phase": at_phase(3.0)})
    await desk.report(ALICE, "switch", START, {"phase": at_phase(2.0)})  # older, sent again later
    now = START + 2 * SLOT
    assert await desk.gateway.confirmed_phases(now) == {A: Phase.C}
    nonsense: list[dict[str, float | m.ResourceStatus]] = [{"phase": at_phase(v)} for v in (0.0, 4.0, inf)]
    await desk.report(ALICE, "switch", now, *nonsense)
    online = m.ResourceStatus(online=True, manual_override=False)
    await desk.report(ALICE, "switch", now + 3 * SLOT, {"phase": online})
    assert await desk.gateway.confirmed_phases(now + 4 * SLOT) == {A: Phase.C}


# --- metering ----------------------------------------------------------------------------------------------


async def test_metered_energy_of_one_slot(desk: Desk) -> None:
    await desk.report(ALICE, "meter-energy", START, {"energy": 10.0}, {"energy": -20.0})
    await desk.report(BOB, "meter-energy", START + SLOT, {"energy": inf})
    assert await desk.gateway.metered_wh(START) == {A: 10}
    assert await desk.gateway.metered_wh(START + SLOT) == {A: -20}


async def test_arrivals_say_when_a_reading_came(desk: Desk) -> None:
    desk.rig.now = START + timedelta(hours=3)
    await desk.report(ALICE, "meter-energy", START, {"energy": 10.4}, {"energy": inf})
    first = desk.rig.now
    desk.rig.wait(60)
    await desk.report(BOB, "meter-energy", START + SLOT, {"energy": -5.0})
    assert await desk.gateway.arrivals(START, START + 2 * SLOT) == (
        LateReading(home=A, slot=START, metered_wh=10, at=first),
        LateReading(home=B, slot=START + SLOT, metered_wh=-5, at=desk.rig.now),
    )
    assert await desk.gateway.arrivals(START, START) == ()


@pytest.mark.parametrize("late", [timedelta(0), timedelta(minutes=49), timedelta(hours=3)])
async def test_a_commitment_can_be_neither_replaced_nor_voided_when_its_time_is_over(
    desk: Desk, late: timedelta
) -> None:
    """Bob sends other numbers when phases are out, or the meter is known; Alice only repeats hers."""
    gate = HOUR - timedelta(minutes=50)
    desk.rig.now = gate - timedelta(seconds=2)
    await desk.report(BOB, "commitment", HOUR, {"grid-energy": 40.0})
    desk.rig.wait(1)
    await desk.report(ALICE, "commitment", HOUR, {"grid-energy": 100.0})
    await desk.report(BOB, "commitment", HOUR, {"grid-energy": 50.0}, {"grid-energy": 60.0})
    desk.rig.now = gate + late
    await desk.report(ALICE, "commitment", HOUR, {"grid-energy": 100.0})
    await desk.report(ALICE, "commitment", HOUR + SLOT, {"grid-energy": 100.0}, code="454")
    await desk.report(BOB, "commitment", HOUR, {"grid-energy": 7.0}, code="454")
    for found in (await desk.gateway.binding_commitments(HOUR), await desk.gateway.commitments(HOUR)):
        assert [(c.home, c.slot, c.grid_energy_wh) for c in found] == [
            (A, HOUR, 100),
            (B, HOUR, 50),
            (B, HOUR + SLOT, 60),
        ]


async def test_what_another_server_took_after_its_time_binds_nobody() -> None:
    """Whose requests know no gate: what counts is when it came."""
    said = [
        Said(ven_id=ven, r_id="grid-energy", start=HOUR, end=None, value=50.0, set_point=None, received_at=at)
        for ven, at in (
            (ALICE, HOUR - timedelta(minutes=50)),
            (BOB, HOUR - timedelta(minutes=50) + timedelta(seconds=1)),
        )
    ]

    class Ungated(LocalDesk):
        async def readings(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
            return tuple(said)

    rig = Desk()
    gateway = rig._gateway(Ungated(lambda: rig.rig.operator))
    assert [c.home for c in await gateway.binding_commitments(HOUR)] == [A]
    assert [c.home for c in await gateway.commitments(HOUR)] == [A, B]


# --- price -------------------------------------------------------------------------------------------------


async def test_delivery_record_follows_the_current_version(desk: Desk) -> None:
    gateway, rig = desk.gateway, desk.rig

    async def delivery() -> Delivery | None:
        return (await gateway.deliveries(SLOT0, (PCC,))).get(PCC)

    assert await delivery() is None
    await gateway.open_prices(SLOT0, {PCC: (A, B), Pcc(feeder=2, phase=Phase.A): ()})
    assert len(rig.operator.events()) == 1, "a PCC without homes has no price"
    opened = rig.now
    assert await delivery() == Delivery(published_at=opened, fetched_by_all_at=None)
    rig.wait(5)
    await desk.drain(ALICE)
    assert await delivery() == Delivery(published_at=opened, fetched_by_all_at=None)
    rig.wait(5)
    await desk.drain(BOB)
    assert await delivery() == Delivery(published_at=opened, fetched_by_all_at=rig.now)
    rig.now = SLOT0 + timedelta(seconds=20)
    await gateway.set_prices(SLOT0, {PCC: -5_000})
    assert await delivery() == Delivery(published_at=rig.now, fetched_by_all_at=None)
    await desk.drain(BOB)
    rig.wait(7)
    await desk.drain(ALICE)
    assert await delivery() == Delivery(
        published_at=rig.now - timedelta(seconds=7), fetched_by_all_at=rig.now
    )


async def test_the_price_at_the_end_is_the_last_version(desk: Desk) -> None:
    gateway, other = desk.gateway, OTHER
    await gateway.open_prices(SLOT0, {PCC: (A,), other: (B,)})
    assert await gateway.price_at_end(SLOT0) == {A: 0, B: 0}
    desk.rig.now = SLOT0 + timedelta(seconds=20)
    for u in (-5_000, -12_345):
        desk.rig.wait(10)
        await gateway.set_prices(SLOT0, {PCC: u})
    assert await gateway.price_at_end(SLOT0) == {A: -12_345, B: 0}
    assert await gateway.price_at_end(SLOT0 + SLOT) == {}


async def test_curtailment_is_one_event_that_is_tightened(desk: Desk) -> None:
    desk.rig.now = SLOT0 + timedelta(seconds=90, microseconds=123_456)  # a wall clock is never round
    await desk.gateway.curtail(SLOT0, PCC, {A: 1_500, B: 1_500})
    desk.rig.wait(20)
    await desk.gateway.curtail(SLOT0, PCC, {A: 1_000, B: 1_000})
    (event,) = desk.rig.operator.events()
    assert event.dtstart == SLOT0 + timedelta(seconds=90)
    assert event.audience == (ALICE, BOB)
    assert event.modification_number == 1
    assert [i.signal_value for i in event.signals[0].intervals] == [1_000.0]
    assert event.dtstart + event.duration.timedelta() == SLOT0 + SLOT
