"""Registration and the bootstrap, through the service's bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ProfileName, ResponseRequired, ServiceName, TransportName
from schemas.oadr20b.errors import NotAllowed
from tests.unit.vtn.rig import (
    ALICE,
    BOB,
    PROVISIONS,
    START,
    MemoryStore,
    Rig,
    draft,
    ids_of,
    metadata,
    said,
    update,
)
from tests.unit.vtn.test_vtn_opt import schedule
from vtn_server.settings import Identity, VtnSettings
from vtn_server.state import PeerIdentity, VenId


async def test_the_whole_bootstrap_of_a_pull_ven(asking: Rig) -> None:
    await asking.operator.publish_events([draft("e1")])
    query = await asking.send(m.QueryRegistration(request_id="q"), m.CreatedPartyRegistration)
    assert (query.registration_id, query.ven_id, query.vtn_id) == (None, None, "vtn-1")
    created = await asking.register("alice")
    assert created.ven_id == ALICE
    assert created.registration_id
    assert str(created.poll_frequency) == "PT10S"
    announced = m.RegisterReport(request_id="x1", reports=(metadata(),), ven_id=ALICE)
    registered = await asking.send(announced, m.RegisteredReport)
    assert registered.response.request_id == "x1"
    assert registered.requests == ()
    ours = await asking.poll(ALICE, m.RegisterReport)
    assert (ours.reports, ours.report_request_id, ours.ven_id) == ((), None, ALICE)
    await asking.send(m.RegisteredReport(response=said(ours.request_id), ven_id=ALICE), m.Response)
    events = await asking.send(m.RequestEvent(request_id="x2", ven_id=ALICE), m.DistributeEvent)
    assert ids_of(events) == ["e1"]
    assert events.response is not None
    assert events.response.request_id == "x2"
    (request_id,) = await asking.accept_reports(ALICE)
    await asking.poll(ALICE, m.Response)
    (view, other) = asking.operator.vens()
    assert (view.registered, view.pending, view.given_up) == (True, 0, ())
    assert view.requests[0].acknowledged
    assert view.requests[0].report_request_id == request_id
    assert not other.registered
    stats = asking.operator.stats()
    assert stats.rejected == 0
    assert dict(stats.messages_in)["Poll"] == 3


async def test_our_metadata_is_the_first_item_whatever_else_waits(asking: Rig) -> None:
    await asking.operator.publish_events([draft("e1")])
    await asking.register("alice")
    await asking.send(
        m.RegisterReport(request_id="1", reports=(metadata(),), ven_id=ALICE), m.RegisteredReport
    )
    await asking.poll(ALICE, m.RegisterReport)
    await asking.poll(ALICE, m.CreateReport)
    await asking.poll(ALICE, m.DistributeEvent)
    await asking.poll(ALICE, m.Response)


async def test_a_new_registration_wipes(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata(),))
    (request_id,) = await asking.accept_reports(ALICE)
    await asking.send(update(ALICE, request_id, [1.0]), m.UpdatedReport)
    first = asking.service.memory.ven(ALICE)
    created = await asking.register("alice")
    assert created.ven_id == ALICE
    assert first is not None
    assert first.registration is not None
    assert created.registration_id != first.registration.registration_id
    await asking.send(update(ALICE, request_id, [1.0]), m.UpdatedReport, "452")
    await asking.poll(ALICE, m.RegisterReport)
    assert asking.operator.vens()[0].metadata == ()


async def test_a_new_registration_wipes_schedules_and_starts_the_events_afresh(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1", required=ResponseRequired.NEVER)])
    await rig.poll(ALICE, m.DistributeEvent)
    await rig.poll(ALICE, m.Response)
    await rig.send(schedule("a"), m.CreatedOpt)
    await rig.register("alice")
    assert rig.operator.schedules(START) == {}
    await rig.poll(ALICE, m.RegisterReport)
    await rig.poll(ALICE, m.DistributeEvent)


async def test_names_registering_at_once_get_one_ven_each() -> None:
    rig = await Rig(
        MemoryStore(), VtnSettings(vtn_id="v", identity=Identity.CLAIMED, open_enrolment=True)
    ).start(())
    replies = await asyncio.gather(*(rig.register(name) for name in ("carol", "dave", "carol", "carol")))
    assert {each.response.code for each in replies} == {"200"}
    assert replies[0].ven_id == replies[2].ven_id == replies[3].ven_id
    assert len(rig.operator.vens()) == 2


async def test_a_registration_that_waits_for_its_provisioning_takes_the_vens_own_lock(rig: Rig) -> None:
    """The name is unknown when the request comes and known when its turn has come."""
    carol = replace(PROVISIONS[1], ven_id=VenId("ven-carol"), ven_name="carol")
    provisioning = asyncio.create_task(rig.operator.provision([carol]))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(rig.register("carol"))  # its name is unknown still
    await provisioning
    by_id = m.CreatePartyRegistration(request_id="1", ven_id="ven-carol")
    replies = await asyncio.gather(waiting, *(rig.send(by_id, m.CreatedPartyRegistration) for _ in range(3)))
    assert {each.ven_id for each in replies} == {"ven-carol"}
    again = await Rig(rig.store).start()
    assert again.service.memory.vens() == rig.service.memory.vens()


async def test_a_re_registration_changes_nothing_else(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata(),))
    before = asking.service.memory.ven(ALICE)
    assert before is not None
    assert before.registration is not None
    again = m.CreatePartyRegistration(
        request_id="again",
        registration_id=before.registration.registration_id,
        ven_id=ALICE,
        http_pull_model=True,
    )
    created = await asking.send(again, m.CreatedPartyRegistration)
    assert created.registration_id == before.registration.registration_id
    after = asking.service.memory.ven(ALICE)
    assert after is not None
    assert (after.requests, after.metadata, after.outbox) == (before.requests, before.metadata, before.outbox)
    wrong = replace(again, registration_id="somebody else's")
    await asking.send(wrong, m.CreatedPartyRegistration, "452")
    nameless = replace(again, ven_id=None, ven_name="alice")
    await asking.send(nameless, m.CreatedPartyRegistration, "459")


async def test_a_cancelled_ven_is_unregistered_and_may_come_back(rig: Rig) -> None:
    ven_id = await rig.bootstrap("alice")
    ven = rig.service.memory.ven(ven_id)
    assert ven is not None
    assert ven.registration is not None
    cancel = m.CancelPartyRegistration(
        request_id="c", registration_id=ven.registration.registration_id, ven_id=ven_id
    )
    wrong = replace(cancel, registration_id="x")
    await rig.send(wrong, m.CanceledPartyRegistration, "452")
    await rig.send(cancel, m.CanceledPartyRegistration)
    await rig.send(m.Poll(ven_id=ven_id), m.Response, "463")
    await rig.bootstrap("alice")


async def test_the_vtn_cancels_a_registration(rig: Rig) -> None:
    ven_id = await rig.bootstrap("alice")
    await rig.operator.cancel_registration(ven_id)
    ours = await rig.poll(ven_id, m.CancelPartyRegistration)
    answer = m.CanceledPartyRegistration(response=said(ours.request_id), ven_id=ven_id)
    await rig.send(answer, m.Response)
    await rig.send(m.Poll(ven_id=ven_id), m.Response, "463")


async def test_the_vtn_asks_for_a_re_registration(rig: Rig) -> None:
    ven_id = await rig.bootstrap("alice")
    await rig.operator.request_reregistration(ven_id)
    await rig.poll(ven_id, m.RequestReregistration)
    await rig.send(m.Response(response=said(""), ven_id=ven_id), m.Response)
    assert rig.operator.vens()[0].pending == 0


UNREGISTERED: tuple[tuple[Callable[[str], m.AnyMessage], type[m.AnyMessage]], ...] = (
    (lambda ven: m.Poll(ven_id=ven), m.Response),
    (lambda ven: m.RequestEvent(request_id="1", ven_id=ven), m.DistributeEvent),
    (lambda ven: m.CreatedEvent(response=said(""), ven_id=ven), m.Response),
    (lambda ven: m.RegisterReport(request_id="1", ven_id=ven), m.RegisteredReport),
    (lambda ven: update(ven, "r", [1.0]), m.UpdatedReport),
    (lambda ven: m.CancelOpt(request_id="1", opt_id="o", ven_id=ven), m.CanceledOpt),
    (
        lambda ven: m.CancelReport(
            request_id="1", report_request_ids=("x",), report_to_follow=False, ven_id=ven
        ),
        m.CanceledReport,
    ),
    (
        lambda ven: m.CancelPartyRegistration(request_id="1", registration_id="r", ven_id=ven),
        m.CanceledPartyRegistration,
    ),
)


@pytest.mark.parametrize(("message_of", "reply"), UNREGISTERED)
async def test_an_unregistered_ven_gets_463_in_the_right_reply(
    rig: Rig, message_of: Callable[[str], m.AnyMessage], reply: type[m.AnyMessage]
) -> None:
    await rig.send(message_of(BOB), reply, "463")
    await rig.send(message_of("nobody"), reply, "452")
    await rig.send(message_of("VEN-BOB"), reply, "452")  # r512


async def test_who_may_register(rig: Rig) -> None:
    first = m.CreatePartyRegistration(request_id="1", ven_name="carol", http_pull_model=True)
    await rig.send(first, m.CreatedPartyRegistration, "463")
    await rig.send(replace(first, ven_id="nobody"), m.CreatedPartyRegistration, "452")
    reply = await rig.send(replace(first, ven_id=BOB), m.CreatedPartyRegistration)
    assert reply.ven_id == BOB
    alice = replace(first, ven_name="alice")
    await rig.send(replace(alice, profile_name=ProfileName.A), m.CreatedPartyRegistration, "451")
    await rig.send(replace(alice, transport_name=TransportName.XMPP), m.CreatedPartyRegistration, "469")
    await rig.send(replace(alice, http_pull_model=False), m.CreatedPartyRegistration, "469")


async def test_open_enrolment_makes_a_ven_of_its_own_for_each_name() -> None:
    rig = await Rig(
        MemoryStore(), VtnSettings(vtn_id="v", identity=Identity.CLAIMED, open_enrolment=True)
    ).start(())
    carol = await rig.bootstrap("carol")
    dave = await rig.bootstrap("dave")
    assert carol != dave
    assert (await rig.register("carol")).ven_id == carol


async def test_a_certificate_speaks_for_its_own_ven_only() -> None:
    rig = await Rig(MemoryStore()).start((replace(PROVISIONS[0], fingerprint="AA:BB"), PROVISIONS[1]))
    body = wire.write(m.CreatePartyRegistration(request_id="1", ven_name="alice"))
    for fingerprint, code in (("CC:DD", "463"), ("aa:bb", "200")):
        peer = PeerIdentity(fingerprint=fingerprint, connection="c")
        _, reply = await rig.service.handle(body, peer, ServiceName.EI_REGISTER_PARTY)
        message = wire.read(reply)
        assert isinstance(message, m.CreatedPartyRegistration)
        assert message.response.code == code


async def test_two_vtns_share_nothing() -> None:
    one = await Rig(MemoryStore()).start()
    two = await Rig(MemoryStore(), VtnSettings(vtn_id="vtn-2", identity=Identity.CLAIMED)).start()
    await one.bootstrap("alice")
    await one.operator.publish_events([draft("e1")])
    await two.send(m.Poll(ven_id=ALICE), m.Response, "463")
    assert two.operator.events() == ()
    created = await two.register("alice")
    assert created.vtn_id == "vtn-2"
    assert (await one.poll(ALICE, m.DistributeEvent)).vtn_id == "vtn-1"
    assert dict(one.operator.stats().application_errors) == {}
    assert dict(two.operator.stats().application_errors) == {"463": 1}


async def test_provisioning_is_idempotent_and_refuses_a_namesake(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.provision(PROVISIONS)
    assert rig.operator.vens()[0].registered
    with pytest.raises(NotAllowed):
        await rig.operator.provision([replace(PROVISIONS[1], ven_name="alice")])
