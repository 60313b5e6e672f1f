"""What an engine that starts anew can learn of the VTN, and what may be asked twice."""

from __future__ import annotations

from datetime import timedelta

from dso_engine.model import SLOT, Phase
from dso_engine.ports import Delivery, HourResult, OpenPrice
from tests.unit.engine.gateway_rig import HOUR, OTHER, PCC, SLOT0, A, B, Desk, desk
from tests.unit.vtn.rig import (
    ALICE,
    BOB,
)

__all__ = ["desk"]  # the fixture


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
