"""The day-ahead market over a real VTN: reports become orders, results become events, the gate holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import inf, nan

import pytest

from dso_engine.gateway_day_ahead import day_event, day_id
from dso_engine.gateway_messages import Contexts, report_requests
from dso_engine.intake import OrderOutcome, admit
from dso_engine.market import Side, sequence_number
from dso_engine.model import HomeId
from dso_engine.ports import BlockOrder, DayResult
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import EventStatus, OptReason, OptType, ResponseRequired
from schemas.oadr20b.units import EUR_PER_KWH, WATT_HOUR
from schemas.oadr20b.xmltypes import Duration
from tests.unit.engine.gateway_rig import A, B, Desk, desk
from tests.unit.vtn.rig import ALICE, BOB, START, metadata
from ven_client.instructions import DayAheadResult
from ven_client.signals import understand
from vtn_server import event as rules
from vtn_server.state import VenId

__all__ = ["desk"]  # the fixture

HOUR = timedelta(hours=1)
MIDNIGHT = datetime(2018, 5, 17, 23, tzinfo=UTC)
GATE = MIDNIGHT - timedelta(hours=13)
RESULT = DayResult(
    home=A,
    price_millicent=tuple(10_000 + 137 * h for h in range(24)),
    volume_wh=tuple(range(-12, 12)),
)


def brief(orders: Sequence[BlockOrder]) -> list[tuple[HomeId, datetime, Side, int, int]]:
    """Every order as (home, hour, side, price, volume of a slot)."""
    return [
        (o.order.home, each.hour, o.order.side, o.order.price_millicent, o.order.volume_wh)
        for each in orders
        for o in (each.arrival,)
    ]


# --- results -----------------------------------------------------------------------------------------------


def test_a_result_crosses_the_wire_to_the_home() -> None:
    """What the engine says per slot, the event says per hour, and the home reads per slot again."""
    draft = day_event(MIDNIGHT, VenId("ven-H01"), RESULT, Contexts())
    record = rules.publish(draft, GATE)
    sent = m.DistributeEvent(
        request_id="r", vtn_id="vtn", events=(rules.wire_event(record, EventStatus.FAR, GATE),)
    )
    body = wire.write(sent)
    wire.parse(body)  # the official schema
    got = wire.read(body)
    assert isinstance(got, m.DistributeEvent)
    event = got.events[0]
    assert event.response_required is ResponseRequired.ALWAYS
    assert event.event.descriptor.event_id == "day-20180517T2300Z-ven-H01"
    assert event.event.descriptor.market_context == "http://feederloop.example/day-ahead-market"
    assert event.event.active_period.dtstart == MIDNIGHT
    price, energy = event.event.signals.signals
    assert (price.signal_name, price.item_base) == ("ELECTRICITY_PRICE", EUR_PER_KWH)
    assert (energy.signal_name, energy.item_base) == ("x-COMMITTED_BLOCK", WATT_HOUR)
    assert [each.duration for each in energy.intervals] == [Duration(hours=1)] * 24
    assert [each.signal_value for each in energy.intervals] == [6.0 * wh for wh in range(-12, 12)]
    assert understand(event.event) == DayAheadResult(
        day=MIDNIGHT, price_millicent=RESULT.price_millicent, volume_wh=RESULT.volume_wh
    )


async def test_results_are_told_once_and_remembered(desk: Desk) -> None:
    other = DayResult(home=B, price_millicent=(15_000,) * 24, volume_wh=(0,) * 24)
    await desk.days.publish_day_ahead(MIDNIGHT, (RESULT, other))
    assert await desk.drain(ALICE) == [day_id(MIDNIGHT, ALICE)]
    changed = DayResult(home=A, price_millicent=(1,) * 24, volume_wh=(1,) * 24)
    await desk.days.publish_day_ahead(MIDNIGHT, (changed, other))
    await desk.rig.poll(ALICE, m.Response)  # nothing new for anybody
    assert await desk.days.day_ahead_results(MIDNIGHT) == (RESULT, other)
    assert await desk.days.day_ahead_results(MIDNIGHT + timedelta(days=1)) == ()
    desk.rig.now = MIDNIGHT + timedelta(days=3)
    assert await desk.days.day_ahead_results(MIDNIGHT) == (RESULT, other), "settlement asks much later"


# --- offers ------------------------------------------------------------------------------------------------


async def test_orders_come_from_the_report(desk: Desk) -> None:
    await desk.offer_blocks(ALICE, (600.0, 0.123456), (0.0, 0.2), (-36.0, 0.1), first=MIDNIGHT)
    await desk.offer_blocks(BOB, (-6.0, 0.09), first=MIDNIGHT)
    orders = await desk.days.day_ahead_orders(MIDNIGHT)
    assert brief(orders) == [
        (A, MIDNIGHT, Side.BUY, 12_346, 100),  # 600 Wh in the hour are 100 in each slot
        (B, MIDNIGHT, Side.SELL, 9_000, 1),
        (A, MIDNIGHT + 2 * HOUR, Side.SELL, 10_000, 6),
    ]
    assert [o.arrival.order.seq for o in orders] == [
        sequence_number(o.hour, o.arrival.order.home, 7) for o in orders
    ]
    assert {o.arrival.at for o in orders} == {START}
    assert await desk.days.day_ahead_orders(MIDNIGHT + timedelta(days=1)) == ()


async def test_the_last_offer_before_the_gate_counts(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """What comes later has an answer with a code, a line in the VTN's log, and is counted."""
    caplog.set_level(logging.INFO, "vtn_server")
    await desk.offer_blocks(ALICE, (600.0, 0.12), first=MIDNIGHT)
    await desk.offer_blocks(ALICE, (540.0, 0.12), first=MIDNIGHT)
    desk.rig.now = GATE
    await desk.offer_blocks(ALICE, (540.0, 0.12), first=MIDNIGHT)  # a repeat is answered at any time
    await desk.offer_blocks(ALICE, (6.0, 0.12), first=MIDNIGHT, code="454")
    await desk.offer_blocks(BOB, (6.0, 0.12), first=MIDNIGHT, code="454")
    assert brief(await desk.days.day_ahead_orders(MIDNIGHT)) == [(A, MIDNIGHT, Side.BUY, 12_000, 90)]
    assert ("454", 2) in desk.rig.operator.stats().application_errors
    assert caplog.text.count(f"the gate for {MIDNIGHT.isoformat()} is closed") == 2


async def test_who_leaves_out_the_first_hours_has_no_later_gate(desk: Desk) -> None:
    """The report's first block begins at 20:00, thirteen hours before which it is 07:00 of the day."""
    evening = MIDNIGHT + 20 * HOUR
    await desk.offer_blocks(ALICE, (600.0, 0.12), first=evening)
    desk.rig.now = GATE
    await desk.offer_blocks(ALICE, (-600.0, 0.12), first=evening, code="454")
    await desk.offer_blocks(BOB, (-600.0, 0.12), first=evening, code="454")
    assert brief(await desk.days.day_ahead_orders(MIDNIGHT)) == [(A, evening, Side.BUY, 12_000, 100)]
    desk.rig.now = GATE - timedelta(seconds=1)
    await desk.offer_blocks(BOB, (-600.0, 0.12), first=evening)


async def test_the_same_holds_within_an_hour_of_the_intraday_market(desk: Desk) -> None:
    hour = START + timedelta(hours=2)
    desk.rig.now = hour - timedelta(minutes=75)
    await desk.offer(ALICE, (10.0, 0.12), hour=hour + timedelta(minutes=50), code="454")
    desk.rig.now -= timedelta(seconds=1)
    await desk.offer(ALICE, (10.0, 0.12), hour=hour + timedelta(minutes=50))


async def test_numbers_nobody_can_mean(desk: Desk) -> None:
    """What is a number goes on record with its reason, what is none is left out; nothing spoils the rest."""
    rows = ((601.0, 0.12), (inf, 0.12), (6.0, inf), (6.0, 1e12), (nan, 0.1), (6e12, 0.1), (6.0, 0.12))
    await desk.offer_blocks(ALICE, *rows, first=MIDNIGHT)
    orders = await desk.days.day_ahead_orders(MIDNIGHT)
    outcomes = {
        (each.hour - MIDNIGHT) // HOUR: admit([each.arrival], GATE).decisions[0].outcome for each in orders
    }
    assert outcomes == {
        0: OrderOutcome.BAD_VOLUME,  # not the same whole Wh in each slot
        3: OrderOutcome.BAD_PRICE,
        5: OrderOutcome.BAD_VOLUME,
        6: OrderOutcome.COUNTED,
    }


async def test_a_volume_without_price_is_no_order(desk: Desk) -> None:
    await desk.report(ALICE, "day-ahead-offer", MIDNIGHT, {"block-volume": 60.0}, step=HOUR)
    assert await desk.days.day_ahead_orders(MIDNIGHT) == ()


async def test_a_home_that_is_away_has_no_order_for_that_time(desk: Desk) -> None:
    await desk.offer_blocks(ALICE, (60.0, 0.12), (60.0, 0.12), (60.0, 0.12), first=MIDNIGHT)
    away = m.CreateOpt(
        request_id="o",
        opt_id="opt-1",
        opt_type=OptType.OPT_OUT,
        opt_reason=OptReason.NOT_PARTICIPATING,
        ven_id=ALICE,
        created_date_time=START,
        availability=(m.Period(dtstart=MIDNIGHT + HOUR, duration=Duration(hours=1)),),
        target=m.Target(ven_ids=(ALICE,)),
    )
    await desk.rig.send(away, m.CreatedOpt)
    hours = [each.hour for each in await desk.days.day_ahead_orders(MIDNIGHT)]
    assert hours == [MIDNIGHT, MIDNIGHT + 2 * HOUR]


async def test_a_home_that_cannot_be_told_does_not_trade(desk: Desk) -> None:
    await desk.offer_blocks(ALICE, (60.0, 0.12), first=MIDNIGHT)
    await desk.offer_blocks(BOB, (60.0, 0.12), first=MIDNIGHT)
    await desk.rig.operator.remove(BOB)
    assert [each.arrival.order.home for each in await desk.days.day_ahead_orders(MIDNIGHT)] == [A]


# --- what is asked for -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [datetime(2018, 5, 16, 22, 50, tzinfo=UTC), datetime(2018, 5, 15, 23, tzinfo=UTC), START],
)
def test_the_offer_is_asked_for_every_day_five_minutes_before_the_gate(start: datetime) -> None:
    reports = [metadata("day-ahead-offer", ("block-volume", "block-limit-price"))]
    (draft,) = report_requests(reports, start)
    assert draft.report_back_duration == Duration(days=1)
    assert draft.granularity == Duration(hours=1)
    assert draft.duration.is_zero  # for ever
    assert draft.gate == timedelta(hours=13)
    assert draft.start < start
    assert (draft.start.hour, draft.start.minute) == (9, 55)  # 10:55 local
    assert draft.start <= start - timedelta(days=1), "the first one is due before anybody could miss it"
