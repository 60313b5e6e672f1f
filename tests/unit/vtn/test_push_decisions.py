"""What goes to a push VEN next, and what its answer means: the pure part."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ResponseRequired, ServiceName
from schemas.oadr20b.errors import InvalidData, InvalidId
from tests.unit.vtn.rig import ALICE, START, MemoryStore, Rig, draft, metadata, said, wanted
from vtn_server import pushing
from vtn_server.decision import Context, Distribution, SaveVen
from vtn_server.push_targets import check_address
from vtn_server.pushing import Link, Outcome
from vtn_server.settings import Identity, VtnSettings
from vtn_server.state import ItemState, PeerIdentity, Ven

SETTINGS = VtnSettings(
    vtn_id="vtn-1", identity=Identity.CLAIMED, validate_outgoing=True, push=True, max_push_deliveries=3
)
ADDRESS = "http://alice.example:8080/oadr"


@pytest.fixture
async def rig() -> Rig:
    return await Rig(MemoryStore(), SETTINGS).start()


def context(rig: Rig) -> Context:
    return rig.service.context(PeerIdentity(connection=pushing.CONNECTION))


def alice(rig: Rig) -> Ven:
    ven = rig.service.memory.ven(ALICE)
    assert ven is not None
    return ven


def push(address: str | None = ADDRESS) -> m.CreatePartyRegistration:
    return m.CreatePartyRegistration(
        request_id="r0", ven_name="alice", http_pull_model=False, transport_address=address
    )


async def register(rig: Rig, *, announce: bool = True) -> None:
    await rig.send(push(), m.CreatedPartyRegistration)
    if announce:
        message = m.RegisterReport(request_id="r1", reports=(metadata(),), ven_id=ALICE)
        await rig.send(message, m.RegisteredReport)


async def taken(rig: Rig, *, events_first: bool = False) -> pushing.Parcel:
    """Take the next parcel and make it durable, as the shell does."""
    ven = alice(rig)
    rig.service.memory.set_delivery(ALICE, pushing.settled(rig.service.memory.delivery(ALICE)))
    parcel = pushing.parcel(ven, rig.service.memory, context(rig), events_first=events_first)
    if parcel.delivery is not None:
        rig.service.memory.set_delivery(ALICE, parcel.delivery)
    if parcel.ven is not ven:
        await save(rig, parcel.ven)
    return parcel


async def save(rig: Rig, ven: Ven) -> None:
    await rig.service.books.write((SaveVen(ven=replace(ven, version=alice(rig).version + 1)),))


# --- addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["http://h", "http://h/", "http://h//"])
def test_exactly_one_slash(base: str) -> None:
    assert pushing.url_of(base, ServiceName.EI_EVENT) == "http://h/OpenADR2/Simple/2.0b/EiEvent"


def test_a_prefix_is_kept() -> None:
    assert pushing.url_of("https://h:1/a/b/", ServiceName.EI_REPORT) == (
        "https://h:1/a/b/OpenADR2/Simple/2.0b/EiReport"
    )


@pytest.mark.parametrize(
    "address",
    ["ftp://h/", "h:80", "http://", "http:///x", "None", "http://h/?q=1", "http://h:x/", "http://[/"],
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(InvalidData):
        check_address(address)


# --- registration -------------------------------------------------------------------------------------------


async def test_r402_a_push_ven_says_its_address(rig: Rig) -> None:
    await rig.send(push(None), m.CreatedPartyRegistration, "459")
    await rig.send(push("mailto:alice"), m.CreatedPartyRegistration, "454")
    reply = await rig.send(push(), m.CreatedPartyRegistration)
    assert reply.ven_id == ALICE


async def test_a_vtn_that_does_not_push_says_so() -> None:
    rig = await Rig(MemoryStore(), replace(SETTINGS, push=False)).start()
    await rig.send(push(), m.CreatedPartyRegistration, "469")


async def test_r500_no_polls(rig: Rig) -> None:
    await register(rig)
    reply = await rig.send(m.Poll(ven_id=ALICE), m.Response, "459")
    assert reply.ven_id == ALICE
    assert alice(rig).outbox[0].state is ItemState.QUEUED


# --- what goes next -----------------------------------------------------------------------------------------


async def test_r405_nothing_before_the_metadata_or_some_patience(rig: Rig) -> None:
    await register(rig, announce=False)
    await rig.operator.publish_events([draft("e1")])
    patience = timedelta(seconds=SETTINGS.push_patience_s)
    assert pushing.next_due(alice(rig), rig.service.memory, context(rig)) == START + patience
    assert (await taken(rig)).message is None
    rig.wait(SETTINGS.push_patience_s)
    assert isinstance((await taken(rig)).message, m.RegisterReport)


async def test_the_outbox_then_the_events_then_nothing(rig: Rig) -> None:
    await register(rig)
    await rig.operator.request_reports(ALICE, [wanted()])
    await rig.operator.publish_events([draft("e1", required=ResponseRequired.NEVER)])
    kinds = [type((await taken(rig)).message).__name__ for _ in range(4)]
    assert kinds == ["RegisterReport", "CreateReport", "Distribution", "NoneType"]
    resend = timedelta(seconds=SETTINGS.resend_after_s)
    assert pushing.next_due(alice(rig), rig.service.memory, context(rig)) == START + resend


async def test_after_a_failure_the_events_come_first(rig: Rig) -> None:
    await register(rig)
    await rig.operator.publish_events([draft("e1")])
    assert isinstance((await taken(rig, events_first=True)).message, Distribution)
    assert isinstance((await taken(rig, events_first=True)).message, m.RegisterReport)


async def test_a_pull_ven_is_never_pushed_to(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1")])
    assert pushing.next_due(alice(rig), rig.service.memory, context(rig)) is None
    assert (await taken(rig)).message is None


async def test_an_unanswered_item_goes_out_again_and_is_given_up(rig: Rig) -> None:
    await register(rig)
    for _ in range(3):
        assert isinstance((await taken(rig)).message, m.RegisterReport)
        assert (await taken(rig)).message is None
        rig.wait(SETTINGS.resend_after_s)
    assert (await taken(rig)).message is None
    assert alice(rig).outbox == ()
    assert alice(rig).given_up[0].reason == "no answer to 3 deliveries"


async def test_a_requeued_item_is_due_at_once_and_stays_counted(rig: Rig) -> None:
    await register(rig)
    parcel = await taken(rig)
    await save(rig, pushing.requeued(alice(rig), parcel.item_id))
    assert pushing.next_due(alice(rig), rig.service.memory, context(rig)) == START
    await taken(rig)
    assert alice(rig).outbox[0].deliveries == 2


# --- sets of events -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("required", list(ResponseRequired))
async def test_an_undone_set_is_due_again(rig: Rig, required: ResponseRequired) -> None:
    await register(rig)
    await taken(rig)
    await rig.operator.publish_events([draft("e1", required=required)])
    memory = rig.service.memory
    before = pushing.settled(memory.delivery(ALICE))
    parcel = await taken(rig)
    assert parcel.delivery is not None
    memory.set_delivery(ALICE, pushing.undone_set(memory.delivery(ALICE), before, parcel.delivery))
    again = await taken(rig)
    assert isinstance(again.message, Distribution)
    assert [each.record.event_id for each in again.message.listed] == ["e1"]


async def test_an_undone_set_keeps_what_the_ven_asked_for_meanwhile(rig: Rig) -> None:
    await register(rig)
    await taken(rig)
    await rig.operator.publish_events([draft("e1", required=ResponseRequired.NEVER)])
    memory = rig.service.memory
    before = memory.delivery(ALICE)
    parcel = await taken(rig)
    assert parcel.delivery is not None
    await rig.send(m.RequestEvent(request_id="r2", ven_id=ALICE), m.DistributeEvent)
    memory.set_delivery(ALICE, pushing.undone_set(memory.delivery(ALICE), before, parcel.delivery))
    assert (await taken(rig)).message is None


async def test_a_refused_set_waits_for_a_change(rig: Rig) -> None:
    await register(rig)
    await taken(rig)
    await rig.operator.publish_events([draft("e1"), draft("e2", required=ResponseRequired.NEVER)])
    parcel = await taken(rig)
    assert isinstance(parcel.message, Distribution)
    memory = rig.service.memory
    refused = pushing.refused_set(memory.delivery(ALICE), parcel.message, context(rig), alice(rig))
    memory.set_delivery(ALICE, refused)
    assert (await taken(rig)).message is None
    await save(rig, replace(alice(rig), outbox=()))
    rig.wait(10 * SETTINGS.resend_after_s)
    assert (await taken(rig)).message is None
    assert next(each for each in rig.operator.vens() if each.ven_id == ALICE).unanswered_events == ("e1",)
    await rig.operator.cancel_event("e1")
    assert isinstance((await taken(rig)).message, Distribution)


# --- the way to a VEN ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.TAKEN),
        (204, Outcome.TAKEN),
        (404, Outcome.REFUSED),
        (406, Outcome.REFUSED),
        (501, Outcome.REFUSED),
        (302, Outcome.FAILED),
        (403, Outcome.FAILED),
        (500, Outcome.FAILED),
        (503, Outcome.FAILED),
        (None, Outcome.FAILED),
    ],
)
def test_what_a_status_means(status: int | None, outcome: Outcome) -> None:
    assert pushing.outcome_of(status) is outcome


def test_back_off_doubles_up_to_its_cap() -> None:
    link, now, pauses = Link(), START, []
    for _ in range(8):
        link = link.failed(now, factor=1.0, cap_s=30, at_least=timedelta(0))
        assert link.blocked_until is not None
        pauses.append((link.blocked_until - now).total_seconds())
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert link.answered() == Link()


def test_back_off_has_jitter_and_heeds_the_ven() -> None:
    late = Link().failed(START, factor=1.1, cap_s=30, at_least=timedelta(0))
    assert late.blocked_until == START + timedelta(seconds=1.1)
    later = Link().failed(START, factor=1.1, cap_s=30, at_least=timedelta(seconds=9))
    assert later.blocked_until == START + timedelta(seconds=9)


async def test_a_new_registration_clears_the_way(rig: Rig) -> None:
    await register(rig)
    link = pushing.link_of(Link(), alice(rig)).failed(START, factor=1, cap_s=30, at_least=timedelta(0))
    assert pushing.link_of(link, alice(rig)) is link
    rig.wait(1)
    await register(rig)
    assert pushing.link_of(link, alice(rig)).failures == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("7", 7),
        (" 7 ", 7),
        ("9" * 400, 3600),
        ("Wed, 16 May 2018 10:00:30 GMT", 30),
        ("Wed, 16 May 2018 09:00:30 GMT", 0),
        ("Wed, 16 May 2018 10:00:30", 0),
    ],
)
def test_retry_after(header: str | None, seconds: float) -> None:
    assert pushing.retry_after(header, START) == timedelta(seconds=seconds)


# --- synchronous replies ------------------------------------------------------------------------------------


async def test_a_reply_is_given_the_ids_it_may_leave_out(rig: Rig) -> None:
    await register(rig)
    parcel = await taken(rig)
    (item,) = parcel.ven.outbox
    reply = pushing.adapted(m.RegisteredReport(response=said("mine")), alice(rig), item)
    assert isinstance(reply, m.RegisteredReport)
    assert (reply.ven_id, reply.response.request_id) == (ALICE, getattr(item.message, "request_id", None))
    await rig.service.take_reply(reply, context(rig).peer)
    assert alice(rig).outbox == ()


async def test_a_reply_of_somebody_else(rig: Rig) -> None:
    await register(rig)
    with pytest.raises(InvalidId):
        pushing.adapted(m.RegisteredReport(response=said(""), ven_id="ven-bob"), alice(rig), None)


async def test_whom_a_commit_concerns(rig: Rig) -> None:
    woken: list[str] = []
    rig.service.books.on_work = woken.append
    await register(rig)
    await asyncio.sleep(0)  # the reply leaves
    assert set(woken) == {ALICE}
    woken.clear()
    await rig.operator.publish_events([draft("e1")])
    assert woken == [ALICE]


async def test_work_is_told_of_after_the_reply_that_it_follows_from(rig: Rig) -> None:
    await register(rig, announce=False)
    await asyncio.sleep(0)
    order: list[str] = []
    rig.service.books.on_work = lambda whom: order.append(f"work for {whom}")
    announce = m.RegisterReport(request_id="q", reports=(metadata(),), ven_id=ALICE)
    await rig.send(announce, m.RegisteredReport)
    order.append("reply")
    await asyncio.sleep(0)
    assert order == ["reply", f"work for {ALICE}"]


async def test_work_is_told_of_although_the_caller_has_gone(rig: Rig) -> None:
    await register(rig, announce=False)
    await asyncio.sleep(0)
    told = asyncio.Event()
    rig.service.books.on_work = lambda whom: told.set()
    announce = m.RegisterReport(request_id="q", reports=(metadata(),), ven_id=ALICE)
    request = asyncio.create_task(rig.send(announce, m.RegisteredReport))
    await asyncio.sleep(0)  # it waits for its commit
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    async with asyncio.timeout(5):
        await told.wait()
