"""A VEN that never got the reply to its registration registers anew: nothing is doubled by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.oadr20b import model as m
from tests.unit.vtn.rig import ALICE, BOB, SETTINGS, MemoryStore, Rig, draft, ids_of, metadata, opted
from vtn_server.operator import VenId


@pytest.fixture
async def rig() -> Rig:
    return await Rig(MemoryStore()).start()


@pytest.mark.parametrize("lost", [1, 3])
async def test_a_registration_whose_reply_was_lost(rig: Rig, lost: int) -> None:
    await rig.operator.publish_events([draft("e1"), draft("bob's", audience=(BOB,))])
    former = [(await rig.register("alice")).registration_id for _ in range(lost)]
    assert await rig.bootstrap("alice", (metadata(),)) == ALICE
    (ven,) = (each for each in rig.service.memory.vens() if each.registration is not None)
    assert ven.registration is not None
    assert ven.registration.registration_id not in former
    assert ven.outbox == ()  # our metadata waited once, and was answered in the bootstrap
    assert len(rig.operator.vens()) == 2
    sent = await rig.send(m.RequestEvent(request_id="q", ven_id=ALICE), m.DistributeEvent)
    assert ids_of(sent) == ["e1"]
    await rig.send(opted(sent, ALICE), m.Response)
    assert set(rig.operator.opts("e1")) == {ALICE}
    old = m.CancelPartyRegistration(request_id="q", registration_id=former[0] or "", ven_id=ALICE)
    await rig.send(old, m.CanceledPartyRegistration, "452")  # a late message of the lost registration
    await rig.poll(ALICE, m.Response)


async def test_under_open_enrolment_the_name_tells_that_it_is_the_same_ven() -> None:
    rig = await Rig(MemoryStore(), replace(SETTINGS, open_enrolment=True)).start(())
    first = await rig.register("carol")
    second = await rig.register("carol")
    assert first.ven_id == second.ven_id
    assert first.registration_id != second.registration_id
    (view,) = rig.operator.vens()
    assert (view.ven_id, view.registered) == (VenId(second.ven_id or ""), True)
    await rig.poll(view.ven_id, m.RegisterReport)
    await rig.poll(view.ven_id, m.Response)  # one message was waiting, not two


async def test_what_was_asked_in_the_lost_registration_is_gone_with_it(rig: Rig) -> None:
    await rig.bootstrap("alice", (metadata(),))
    before = rig.service.memory.ven(ALICE)
    await rig.register("alice")  # its process died before it had written the first registration down
    after = rig.service.memory.ven(ALICE)
    assert before is not None
    assert after is not None
    assert before.metadata
    assert (after.metadata, after.requests, after.schedules, len(after.outbox)) == ((), (), (), 1)
