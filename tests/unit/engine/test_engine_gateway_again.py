"""What an engine that starts anew can learn of the VTN, and what may be asked twice."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dso_engine.accounts import settle_run
from dso_engine.errors import ExchangeFailed
from dso_engine.hourly import HourBook, TariffMillicent, hour_slots
from dso_engine.model import SLOT, Phase
from dso_engine.ports import DayResult, Delivery, HourResult, OpenPrice
from dso_engine.settlement import RewardTerms
from schemas.oadr20b.model import ResourceStatus
from tests.unit.engine.gateway_rig import HOUR, OTHER, PCC, SLOT0, A, B, Desk, desk
from tests.unit.vtn.rig import ALICE, BOB, START

__all__ = ["desk"]  # the fixture


def said(r_id: str, value: float) -> dict[str, float | ResourceStatus]:
    return {r_id: value}


async def test_what_was_said_can_be_learned(desk: Desk) -> None:
    result = HourResult(home=A, price_millicent=(12_346, 0, -1, 99, 60_000, 1), volume_wh=(5, -5, 0, 1, 2, 3))
    other = HourResult(home=B, price_millicent=(1,) * 6, volume_wh=(0,) * 6)
    plan = (Phase.A, Phase.B, Phase.C, Phase.C, Phase.B, Phase.A)
    assert await desk.gateway.results(HOUR) == ()
    assert await desk.gateway.phase_plans(HOUR) == {}
    await desk.gateway.publish_results(HOUR, [other, result])
    await desk.gateway.publish_phases(HOUR, {A: plan})
    await desk.gateway.open_prices(SLOT0, {PCC: (A,), OTHER: (B,)})
    assert await desk.gateway.results(HOUR) == (result, other)
    assert await desk.gateway.phase_plans(HOUR) == {A: plan}
    await desk.gateway.set_prices(SLOT0, {PCC: 777})
    desk.rig.now = SLOT0 + timedelta(seconds=30)
    await desk.gateway.curtail(SLOT0, OTHER, {B: 500})
    assert await desk.gateway.prices(SLOT0) == {
        PCC: OpenPrice(homes=(A,), u_millicent=777, curtailed=False),
        OTHER: OpenPrice(homes=(B,), u_millicent=0, curtailed=True),
    }
    assert await desk.gateway.prices(SLOT0 + SLOT) == {}


async def test_what_is_published_already_is_not_published_again(desk: Desk) -> None:
    """The reply of the first try was lost."""
    result = HourResult(home=A, price_millicent=(1,) * 6, volume_wh=(0,) * 6)
    for _ in range(2):
        await desk.gateway.publish_results(HOUR, [result])
        await desk.gateway.open_prices(SLOT0, {PCC: (A, B)})
    assert len(desk.rig.operator.events()) == 2
    assert all(event.modification_number == 0 for event in desk.rig.operator.events())


async def test_what_is_over_is_not_published_and_keeps_back_nothing_else(desk: Desk) -> None:
    """Asked for again too late: a VTN refuses an event that is over, and all that comes with it."""
    result = HourResult(home=A, price_millicent=(1,) * 6, volume_wh=(0,) * 6)
    desk.rig.now = SLOT0 + SLOT
    await desk.gateway.open_prices(SLOT0, {PCC: (A, B)})
    await desk.gateway.curtail(SLOT0, PCC, {A: 100})
    assert desk.rig.operator.events() == ()
    desk.rig.now = HOUR + timedelta(minutes=59)
    await desk.gateway.publish_results(HOUR, [result])
    assert len(desk.rig.operator.events()) == 1


async def test_a_ven_that_was_removed_keeps_nobody_else_from_a_price(desk: Desk) -> None:
    await desk.rig.operator.remove(BOB)
    await desk.gateway.open_prices(SLOT0, {PCC: (A, B), OTHER: (B,)})
    (event,) = desk.rig.operator.events()
    assert event.audience == (ALICE,)


async def test_what_the_vtn_forgot_is_found_in_its_store(desk: Desk) -> None:
    """Memory forgets events that have been over for two days; accounts may be drawn later."""
    await desk.gateway.publish_results(
        HOUR, [HourResult(home=A, price_millicent=(1,) * 6, volume_wh=(0,) * 6)]
    )
    await desk.gateway.open_prices(SLOT0, {PCC: (A, B)})
    await desk.drain(ALICE)
    desk.rig.now = SLOT0 + timedelta(seconds=5)
    await desk.gateway.set_prices(SLOT0, {PCC: -333})
    desk.rig.now = HOUR + timedelta(days=4)
    await desk.gateway.open_prices(desk.rig.now + SLOT, {PCC: (A,)})  # the VTN forgets when it publishes
    assert [event.dtstart for event in desk.rig.operator.events()] == [desk.rig.now + SLOT]
    assert await desk.gateway.accepted(HOUR) == {A}
    assert await desk.gateway.price_at_end(SLOT0) == {A: -333, B: -333}
    assert await desk.gateway.deliveries(SLOT0, (PCC,)) == {
        PCC: Delivery(published_at=SLOT0 + timedelta(seconds=5), fetched_by_all_at=None)
    }


async def test_results_go_to_all_or_nobody(desk: Desk) -> None:
    """The volumes of those who are left would not balance, and the hour would never settle."""
    results = [
        HourResult(home=h, price_millicent=(1,) * 6, volume_wh=(wh,) * 6) for h, wh in ((A, 5), (B, -5))
    ]
    await desk.offer(ALICE, (5.0, 0.12))
    await desk.offer(BOB, (-5.0, 0.1))
    assert [each.order.home for each in await desk.gateway.orders(HOUR)] == [A, B]
    assert await desk.gateway.reachable() == {A, B}
    await desk.rig.operator.remove(BOB)
    with pytest.raises(ExchangeFailed, match=f"the VTN does not know {BOB}"):
        await desk.gateway.publish_results(HOUR, results)
    assert await desk.gateway.results(HOUR) == ()
    assert await desk.gateway.reachable() == {A}
    assert [each.order.home for each in await desk.gateway.orders(HOUR)] == [A]
    of = frozenset({A, B})
    assert [each.order.home for each in await desk.gateway.orders(HOUR, of=of)] == [A, B]


async def test_what_a_ven_was_told_before_it_was_removed_stays_to_be_settled(desk: Desk) -> None:
    results = [
        HourResult(home=h, price_millicent=(1,) * 6, volume_wh=(wh,) * 6) for h, wh in ((A, 5), (B, -5))
    ]
    await desk.gateway.publish_results(HOUR, results)
    await desk.rig.operator.remove(BOB)
    assert list(await desk.gateway.results(HOUR)) == results
    assert await desk.gateway.accepted(HOUR) == frozenset()
    await desk.gateway.publish_results(HOUR, results)


async def test_the_hour_of_a_ven_that_was_removed_is_settled(desk: Desk) -> None:
    """Bob said yes to his sale and committed to it; then he is removed, and his meter is silent."""
    results = [
        HourResult(home=h, price_millicent=(12_000,) * 6, volume_wh=(wh,) * 6)
        for h, wh in ((A, 50), (B, -50))
    ]
    await desk.gateway.publish_results(HOUR, results)
    for ven, wh in ((ALICE, 50.0), (BOB, -50.0)):
        await desk.drain(ven)
        await desk.report(ven, "commitment", HOUR, *[said("grid-energy", wh)] * 6)
    await desk.rig.operator.remove(BOB)
    desk.rig.now = HOUR + timedelta(minutes=75)
    await desk.report(ALICE, "meter-energy", HOUR, *[said("energy", 50.0)] * 6)
    book = HourBook()
    book.keep_results(HOUR, await desk.gateway.results(HOUR))
    book.keep_commitments(await desk.gateway.binding_commitments(HOUR))
    accounts = await settle_run(
        source=desk.gateway,
        book=book,
        homes=(A, B),
        slots=hour_slots(HOUR),
        tariff=dict.fromkeys(hour_slots(HOUR), TariffMillicent(supplier=15_000, feed_in=10_000)),
        rebate_millicent={},
        terms=RewardTerms(),
    )
    assert [{s.facts.source.value for s in home.slots} for home in accounts.homes] == [
        {"metered"},
        {"commitment"},
    ]
    assert [home.lines.market for home in accounts.homes] == [300 * 12_000, -300 * 12_000]
    assert [home.lines.refusal for home in accounts.homes] == [0, 0]
    assert accounts.balance == 0


async def test_day_ahead_results_go_to_all_or_nobody(desk: Desk) -> None:
    midnight = START.replace(hour=23) + timedelta(days=1)
    row: dict[str, float | ResourceStatus] = {"block-volume": 600.0, "block-limit-price": 0.12}
    for ven in (ALICE, BOB):
        await desk.report(ven, "day-ahead-offer", midnight, row, step=timedelta(hours=1))
    results = [
        DayResult(home=h, price_millicent=(1,) * 24, volume_wh=(wh,) * 24) for h, wh in ((A, 6), (B, -6))
    ]
    await desk.rig.operator.remove(BOB)
    with pytest.raises(ExchangeFailed):
        await desk.days.publish_day_ahead(midnight, results)
    assert await desk.days.day_ahead_results(midnight) == ()
    orders = await desk.days.day_ahead_orders(midnight)
    assert [each.arrival.order.home for each in orders] == [A]
    orders = await desk.days.day_ahead_orders(midnight, of=frozenset({A, B}))
    assert [each.arrival.order.home for each in orders] == [A, B]
