"""Rules of events that bind a VTN (3.1, 3.2), played against the service in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import EventStatus, OptType, ResponseRequired, ServiceName, SignalType
from schemas.oadr20b.errors import InvalidData, NotAllowed
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import (
    ALICE,
    BOB,
    PT10M,
    START,
    MemoryStore,
    Rig,
    draft,
    ids_of,
    opted,
    price_signal,
    said,
)
from vtn_server.records import EventDraft
from vtn_server.state import PeerIdentity


@pytest.fixture
async def rig() -> Rig:
    made = await Rig(MemoryStore()).start()
    await made.bootstrap("alice")
    return made


async def events(rig: Rig, limit: int | None = None) -> m.DistributeEvent:
    message = m.RequestEvent(request_id="q", ven_id=ALICE, reply_limit=limit)
    return await rig.send(message, m.DistributeEvent)


async def only(rig: Rig) -> m.EiEvent:
    (one,) = (await events(rig)).events
    return one.event


def simple(values: tuple[float, ...], kind: SignalType = SignalType.LEVEL) -> m.EventSignal:
    return replace(
        price_signal(values), signal_name="SIMPLE", signal_type=kind, item_base=None, signal_id="simple"
    )


async def test_rule_001_fractions_of_a_second_are_accepted_and_dropped(rig: Rig) -> None:
    body = wire.write(opt_out()).replace(b"10:00:00Z", b"10:00:00.999Z")
    assert body.count(b".999Z") == 2
    status, reply = await rig.service.handle(body, PeerIdentity(), ServiceName.EI_OPT)
    assert status == 200
    assert b">200<" in reply
    (schedule,) = rig.operator.schedules(START)[ALICE]
    assert schedule.availability[0].dtstart == START


def opt_out() -> m.CreateOpt:
    return m.CreateOpt(
        opt_id="o",
        opt_type=OptType.OPT_OUT,
        opt_reason="economic",
        ven_id=ALICE,
        availability=(m.Period(dtstart=START, duration=PT10M),),
        created_date_time=START,
        request_id="q",
    )


async def test_rule_001_a_utc_offset_is_refused(rig: Rig) -> None:
    for offset in (b"+00:00", b"+02:00"):
        body = wire.write(opt_out()).replace(b"10:00:00Z", b"10:00:00" + offset)
        status, _ = await rig.service.handle(body, PeerIdentity(), ServiceName.EI_OPT)
        assert status == 406


async def test_rule_003_priority_0_comes_last(rig: Rig) -> None:
    drafts = [draft(f"p{number}", start=START, priority=number) for number in (0, 3, 1)]
    await rig.operator.publish_events(drafts)
    assert ids_of(await events(rig)) == ["p1", "p3", "p0"]


async def test_rule_004_a_new_event_has_number_0(rig: Rig) -> None:
    await rig.operator.publish_events([draft("e")])
    assert (await only(rig)).descriptor.modification_number == 0


async def test_rule_005_the_number_counts_changes_and_nothing_else(rig: Rig) -> None:
    await rig.operator.publish_events([draft("e", start=START + timedelta(minutes=1))])
    rig.wait(90)
    running = await only(rig)
    assert running.descriptor.event_status is EventStatus.ACTIVE
    assert running.descriptor.modification_number == 0
    same = (price_signal((0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),)
    await rig.operator.modify_event("e", signals=same)
    assert (await only(rig)).descriptor.modification_number == 0
    await rig.operator.modify_event("e", signals=(price_signal((0.1, 0.2, 0.3, 0.4, 0.5, 9.0)),))
    assert (await only(rig)).descriptor.modification_number == 1


async def test_rule_010_a_cancellation_is_a_new_version(rig: Rig) -> None:
    await rig.operator.publish_events([draft("e")])
    await rig.operator.cancel_event("e")
    descriptor = (await only(rig)).descriptor
    assert (descriptor.event_status, descriptor.modification_number) == (EventStatus.CANCELLED, 1)


async def test_rule_013_near_exists_only_with_a_ramp_up(rig: Rig) -> None:
    start = START + timedelta(minutes=10)
    await rig.operator.publish_events(
        [draft("r", start=start, ramp_up=Duration(minutes=4)), draft("s", start=start)]
    )

    async def statuses() -> list[str]:
        return [each.event.descriptor.event_status for each in (await events(rig)).events]

    assert await statuses() == ["far", "far"]
    rig.wait(359)
    assert await statuses() == ["far", "far"]
    rig.wait(1)
    assert await statuses() == ["near", "far"]
    rig.wait(239)
    assert await statuses() == ["near", "far"]
    rig.wait(1)
    assert await statuses() == ["active", "active"]


async def test_rule_015_active_events_first_then_pending_by_start(rig: Rig) -> None:
    await rig.operator.publish_events(
        [
            draft("later", start=START + timedelta(hours=3)),
            draft("sooner", start=START + timedelta(hours=2), priority=9),
            draft("low", start=START, priority=2),
            draft("high", start=START, priority=1),
            draft("old", start=START - timedelta(minutes=5), priority=2),
        ]
    )
    assert ids_of(await events(rig)) == ["high", "old", "low", "sooner", "later"]
    assert ids_of(await events(rig, 2)) == ["high", "old"]


async def test_rule_014_rule_029_a_fixed_current_value_is_not_published(rig: Rig) -> None:
    fixed = replace(price_signal((1.0,)), current_value=1.0)
    with pytest.raises(InvalidData):
        await rig.operator.publish_events([replace(draft("e", values=(1.0,)), signals=(fixed,))])
    assert rig.operator.event("e") is None


async def test_rule_016_and_rule_017_opts_are_recorded_however_late(rig: Rig) -> None:
    await rig.operator.publish_events([draft("e")])
    sent = await rig.poll(ALICE, m.DistributeEvent)
    await rig.send(opted(sent, ALICE), m.Response)
    assert rig.operator.opts("e")[ALICE].opt_type is OptType.OPT_IN
    rig.wait(1800)
    await rig.send(opted(sent, ALICE, OptType.OPT_OUT), m.Response)
    assert rig.operator.opts("e")[ALICE].opt_type is OptType.OPT_OUT


async def test_rule_018_starts_are_inclusive_and_ends_exclusive(rig: Rig) -> None:
    await rig.operator.publish_events(
        [
            draft("a", start=START, values=(1.0,)),
            draft("b", start=START + timedelta(minutes=10), values=(1.0,)),
        ]
    )
    rig.wait(600)
    (one,) = (await events(rig)).events
    assert (one.event.descriptor.event_id, one.event.descriptor.event_status) == ("b", EventStatus.ACTIVE)


async def test_rule_020_the_past_may_not_change(rig: Rig) -> None:
    await rig.operator.publish_events([draft("e", start=START, values=(1.0, 2.0, 3.0))])
    rig.wait(900)
    with pytest.raises(NotAllowed):
        await rig.operator.modify_event("e", signals=(price_signal((9.0, 2.0, 3.0)),))
    await rig.operator.modify_event("e", signals=(price_signal((1.0, 8.0, 9.0)),))
    assert (await only(rig)).descriptor.modification_number == 1


async def test_rule_021_unknown_ids_are_refused(rig: Rig) -> None:
    await rig.send(m.RequestEvent(request_id="q", ven_id="nobody"), m.DistributeEvent, "452")
    await rig.operator.publish_events([draft("e")])
    sent = await rig.poll(ALICE, m.DistributeEvent)
    answer = opted(sent, ALICE)
    assert answer.event_responses
    unknown = m.QualifiedEventId(event_id="E", modification_number=0)
    wrong = replace(answer.event_responses[0], qualified_event_id=unknown)
    await rig.send(replace(answer, event_responses=(wrong,)), m.Response, "452")


async def test_rule_023_a_vtn_takes_request_event_and_refuses_what_is_its_own_to_send(rig: Rig) -> None:
    assert (await events(rig)).events == ()
    own = m.DistributeEvent(request_id="q", vtn_id="vtn-1")
    status, _ = await rig.post(own)
    assert status == 200
    await rig.send(own, m.Response, "453")


async def test_rule_025_answers_beside_an_error_are_ignored(rig: Rig) -> None:
    await rig.operator.publish_events([draft("e")])
    answer = opted(await rig.poll(ALICE, m.DistributeEvent), ALICE)
    await rig.send(replace(answer, response=said("x", "459")), m.Response)
    assert ALICE not in rig.operator.opts("e")
    await rig.send(answer, m.Response)
    assert ALICE in rig.operator.opts("e")


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (2, 2), (0, 0), (9, 3), (None, 3)])
async def test_rule_027_the_reply_limit_caps(rig: Rig, limit: int | None, count: int) -> None:
    await rig.operator.publish_events([draft(f"e{number}") for number in range(3)])
    assert len((await events(rig, limit)).events) == count


async def test_rule_033_rule_048_a_vtn_says_what_is_wrong_by_code(rig: Rig) -> None:
    await rig.send(m.RegisterReport(request_id="q"), m.RegisteredReport, "459")
    await rig.send(m.Poll(ven_id="nobody"), m.Response, "452")
    await rig.operator.publish_events([draft("e")])
    answer = opted(await rig.poll(ALICE, m.DistributeEvent), ALICE)
    assert answer.event_responses
    stale = m.QualifiedEventId(event_id="e", modification_number=3)
    wrong = replace(answer.event_responses[0], qualified_event_id=stale)
    await rig.send(replace(answer, event_responses=(wrong,)), m.Response, "450")


async def test_rule_046_empty_optional_elements_count_as_absent(rig: Rig) -> None:
    created = await rig.send(
        m.CreatePartyRegistration(request_id="q", ven_name="bob", http_pull_model=True, transport_address=""),
        m.CreatedPartyRegistration,
    )
    assert created.ven_id == BOB
    answer = m.CreatedEvent(response=said(""), event_responses=(), ven_id=BOB)
    await rig.send(answer, m.Response)


async def test_rule_047_an_open_ended_event_never_completes(rig: Rig) -> None:
    endless = replace(draft("e", start=START, values=(1.0,)), duration=Duration())
    endless = replace(endless, signals=(price_signal((1.0,), Duration()),))
    await rig.operator.publish_events([endless])
    rig.wait(30 * 86400)
    assert (await only(rig)).descriptor.event_status is EventStatus.ACTIVE
    await rig.operator.cancel_event("e")
    assert (await only(rig)).descriptor.event_status is EventStatus.CANCELLED


async def test_rule_050_every_set_is_complete_and_drops_what_was_acknowledged(rig: Rig) -> None:
    await rig.operator.publish_events([draft("a"), draft("b")])
    await rig.send(opted(await rig.poll(ALICE, m.DistributeEvent), ALICE), m.Response)
    await rig.operator.cancel_event("a")
    sent = await rig.poll(ALICE, m.DistributeEvent)
    assert ids_of(sent) == ["a", "b"]
    await rig.send(opted(sent, ALICE), m.Response)
    assert ids_of(await events(rig)) == ["b"]


async def test_rule_052_a_cancellation_is_repeated_until_it_is_acknowledged(rig: Rig) -> None:
    await rig.operator.publish_events([draft("e")])
    await rig.send(opted(await rig.poll(ALICE, m.DistributeEvent), ALICE), m.Response)
    await rig.operator.cancel_event("e")
    for _ in range(2):
        sent = await rig.poll(ALICE, m.DistributeEvent)
        assert sent.events[0].event.descriptor.event_status is EventStatus.CANCELLED
        rig.wait(31)
    await rig.send(opted(sent, ALICE), m.Response)
    rig.wait(31)
    await rig.poll(ALICE, m.Response)


async def test_rule_063_one_ven_per_target(rig: Rig) -> None:
    two = replace(draft("e"), target=m.Target(ven_ids=(ALICE, BOB)))
    with pytest.raises(InvalidData):
        await rig.operator.publish_events([two])
    await rig.operator.publish_events([replace(two, target=m.Target(ven_ids=(ALICE,)))])


async def test_rule_066_an_event_with_a_start_tolerance_is_listed_to_its_last_end(rig: Rig) -> None:
    await rig.operator.publish_events(
        [draft("e", start=START, values=(1.0,), startafter=Duration(minutes=5))]
    )
    rig.wait(899)
    assert (await only(rig)).descriptor.event_status is EventStatus.COMPLETED
    rig.wait(1)
    assert (await events(rig)).events == ()


async def test_rule_070_ids_are_unique(rig: Rig) -> None:
    bob = await rig.bootstrap("bob")
    assert bob != ALICE
    await rig.operator.publish_events([draft("e")])
    with pytest.raises(NotAllowed):
        await rig.operator.publish_events([draft("e", audience=(BOB,))])


# --- 3.2 ---------------------------------------------------------------------------------------------------


def _bad(change: str) -> EventDraft:
    good, signal = draft("e"), price_signal((1.0,))
    first = signal.intervals[0]
    status = m.SignalPayload(payload=m.ResourceStatus(online=True, manual_override=False))
    wrong = {
        "uid": replace(signal, intervals=(replace(first, uid="1"),)),
        "payload": replace(signal, intervals=(replace(first, payloads=(status,)),)),
        "duration": replace(signal, intervals=(replace(first, duration=None),)),
        "dtstart": replace(signal, intervals=(replace(first, dtstart=START),)),
        "sum": replace(signal, intervals=(replace(first, duration=Duration(minutes=9)),)),
        "level": simple((4.0,)),
    }
    return replace(good, duration=PT10M, signals=(wrong[change],))


@pytest.mark.parametrize(
    "change",
    ["uid", "payload", "duration", "dtstart", "sum", "level"],
    ids=["rule_002", "rule_100", "rule_102", "rule_103", "rule_008", "rule_009"],
)
async def test_a_vtn_does_not_publish(rig: Rig, change: str) -> None:
    with pytest.raises(InvalidData):
        await rig.operator.publish_events([_bad(change)])
    assert rig.operator.event("e") is None


async def test_rule_106_rule_107_simple_goes_beside_others_with_an_id_of_its_own(rig: Rig) -> None:
    signals = (price_signal((1.0,)), simple((2.0,)))
    await rig.operator.publish_events([replace(draft("e", values=(1.0,)), signals=signals)])
    sent = (await only(rig)).signals.signals
    assert [each.signal_name for each in sent] == ["ELECTRICITY_PRICE", "SIMPLE"]
    twice = (signals[0], replace(signals[1], signal_id=signals[0].signal_id))
    with pytest.raises(InvalidData):
        await rig.operator.publish_events([replace(draft("f", values=(1.0,)), signals=twice)])


async def test_rule_115_created_date_time_moves_with_every_change(rig: Rig) -> None:
    await rig.operator.publish_events([draft("a", start=START + timedelta(minutes=1)), draft("b")])
    seen = {each.event.descriptor.created_date_time for each in (await events(rig)).events}
    assert seen == {START}
    rig.wait(10)
    await rig.operator.modify_event("b", signals=(price_signal((0.0, 0.2, 0.3, 0.4, 0.5, 0.6)),))
    seen = {each.event.descriptor.created_date_time for each in (await events(rig)).events}
    assert seen == {START + timedelta(seconds=10)}
    rig.wait(60)  # the status of the other one has changed meanwhile
    sent = (await events(rig)).events
    assert sent[0].event.descriptor.event_status is EventStatus.ACTIVE
    assert {each.event.descriptor.created_date_time for each in sent} == {START + timedelta(minutes=1)}


async def test_rule_502_changes_are_told_and_transitions_are_not(rig: Rig) -> None:
    start = START + timedelta(minutes=1)
    await rig.operator.publish_events([draft("a", start=start, required=ResponseRequired.NEVER)])
    await rig.poll(ALICE, m.DistributeEvent)
    await rig.poll(ALICE, m.Response)
    rig.wait(120)
    await rig.poll(ALICE, m.Response)
    await rig.operator.publish_events([draft("b", required=ResponseRequired.NEVER)])
    assert ids_of(await rig.poll(ALICE, m.DistributeEvent)) == ["a", "b"]
