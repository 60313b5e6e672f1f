"""How events reach a VEN: sets, order, repetition, acknowledgement."""

from __future__ import annotations

from datetime import timedelta

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import EventStatus, OptType, ResponseRequired
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import (
    ALICE,
    BOB,
    PT10M,
    START,
    Rig,
    draft,
    ids_of,
    opted,
    price_signal,
    said,
)

NEVER = ResponseRequired.NEVER


async def test_a_set_is_complete_and_sent_once(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1"), draft("e2"), draft("bob's", audience=(BOB,))])
    sent = await rig.poll(ALICE, m.DistributeEvent)
    assert sorted(ids_of(sent)) == ["e1", "e2"]
    assert sent.request_id
    assert sent.response is not None
    for each in sent.events:
        assert each.event.active_period.notification is not None  # r105
        assert [i.uid for i in each.event.signals.signals[0].intervals] == [str(i) for i in range(6)]
        assert all(i.duration == PT10M for i in each.event.signals.signals[0].intervals)
    await rig.poll(ALICE, m.Response)
    await rig.send(opted(sent, ALICE), m.Response)
    rig.wait(300)
    await rig.poll(ALICE, m.Response)
    opts = rig.operator.opts("e1")
    assert (opts[ALICE].opt_type, opts[ALICE].code) == (OptType.OPT_IN, "200")
    assert rig.operator.fetched("e1")[ALICE].modification_number == 0
    assert rig.operator.fetched("bob's") == {}
    rig.now = START + timedelta(hours=2)
    await rig.operator.publish_events([draft("e3", start=rig.now + timedelta(hours=1))])
    assert ids_of(await rig.poll(ALICE, m.DistributeEvent)) == ["e3"]  # the others are over


async def test_the_order_of_r15(rig: Rig) -> None:
    await rig.bootstrap("alice")
    now, hour = START, timedelta(hours=1)
    minute = timedelta(minutes=1)
    rig.now = START - hour
    await rig.operator.publish_events(
        [
            draft("pending-late", start=now + 2 * hour),
            draft("pending-soon", start=now + hour, priority=9),
            draft("active-0", start=now - minute, priority=0),
            draft("active-2", start=now - minute, priority=2),
            draft("active-1-late", start=now - minute, priority=1),
            draft("active-1-early", start=now - 2 * minute, priority=1),
        ]
    )
    rig.now = START
    expected = [
        "active-1-early",
        "active-1-late",
        "active-2",
        "active-0",
        "pending-soon",
        "pending-late",
    ]
    sent = await rig.poll(ALICE, m.DistributeEvent)
    assert ids_of(sent) == expected
    created = {each.event.descriptor.created_date_time for each in sent.events}
    assert created == {now - minute}  # r115: one value, renewed by the newest change of status
    await rig.send(opted(sent, ALICE), m.Response)
    await rig.operator.cancel_event("active-2")
    cancelled = await rig.poll(ALICE, m.DistributeEvent)
    assert ids_of(cancelled) == expected  # a cancelled event keeps its place
    limited = await rig.send(m.RequestEvent(request_id="1", ven_id=ALICE, reply_limit=2), m.DistributeEvent)
    assert ids_of(limited) == expected[:2]


async def test_cancelled_until_acknowledged(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1"), draft("e2")])
    await rig.send(opted(await rig.poll(ALICE, m.DistributeEvent), ALICE), m.Response)
    record = await rig.operator.cancel_event("e1")
    assert (record.modification_number, record.cancelled) == (1, True)
    for _ in range(2):
        sent = await rig.poll(ALICE, m.DistributeEvent)
        status = {each.event.descriptor.event_id: each.event.descriptor.event_status for each in sent.events}
        assert status == {"e1": EventStatus.CANCELLED, "e2": EventStatus.FAR}
        await rig.poll(ALICE, m.Response)
        rig.wait(30)
    await rig.send(opted(sent, ALICE), m.Response)
    again = await rig.send(m.RequestEvent(request_id="1", ven_id=ALICE), m.DistributeEvent)
    assert ids_of(again) == ["e2"]


async def test_an_event_nobody_answers_is_given_up_and_shows(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1")])
    sent = 0
    for _ in range(40):
        status, body = await rig.post(m.Poll(ven_id=ALICE))
        assert status == 200
        sent += b"oadrDistributeEvent" in body
        rig.wait(10)
    assert sent == 5
    assert rig.operator.vens()[0].unanswered_events == ("e1",)
    late = m.CreatedEvent(
        response=said(""),
        event_responses=(
            m.EventResponse(
                code="200",
                request_id="x",
                qualified_event_id=m.QualifiedEventId(event_id="e1", modification_number=0),
                opt_type=OptType.OPT_OUT,
            ),
        ),
        ven_id=ALICE,
    )
    await rig.send(late, m.Response)
    assert rig.operator.vens()[0].unanswered_events == ()
    assert rig.operator.opts("e1")[ALICE].opt_type == OptType.OPT_OUT


async def test_changes_to_others_do_not_use_up_the_deliveries_of_an_unanswered_event(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("waits"), draft("price", required=NEVER)])
    await rig.poll(ALICE, m.DistributeEvent)
    for value in range(1, 9):
        rig.wait(1)
        await rig.operator.modify_event("price", signals=(price_signal([float(value)] * 6),))
        assert "waits" in ids_of(await rig.poll(ALICE, m.DistributeEvent))
    assert rig.operator.vens()[0].unanswered_events == ()
    rig.wait(30)
    assert "waits" in ids_of(await rig.poll(ALICE, m.DistributeEvent))


async def test_a_lost_reply_with_never_events_is_sent_once_more_on_another_connection(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1", required=NEVER)])
    await rig.poll(ALICE, m.DistributeEvent, "first")  # lost
    await rig.poll(ALICE, m.DistributeEvent, "second")
    await rig.poll(ALICE, m.Response, "third")
    await rig.operator.modify_event("e1", signals=(price_signal([1.0] * 6),))
    sent = await rig.poll(ALICE, m.DistributeEvent, "third")
    assert sent.events[0].event.descriptor.modification_number == 1
    await rig.poll(ALICE, m.Response, "third")
    await rig.poll(ALICE, m.Response, "fourth")
    assert rig.operator.fetched("e1")[ALICE].modification_number == 1


async def test_a_lost_reply_with_always_events_is_sent_again_and_answered_once(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1")])
    await rig.poll(ALICE, m.DistributeEvent)  # lost
    await rig.poll(ALICE, m.Response)
    rig.wait(30)
    sent = await rig.poll(ALICE, m.DistributeEvent)
    before = rig.store.commits
    await rig.send(opted(sent, ALICE), m.Response)
    await rig.send(opted(sent, ALICE), m.Response)  # its answer was lost as well
    assert rig.store.commits == before + 1
    assert rig.operator.fetched("e1")[ALICE].at == START


async def test_a_cancelled_never_event_is_told_once_and_goes(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1", required=NEVER), draft("e2", required=NEVER)])
    await rig.poll(ALICE, m.DistributeEvent)
    await rig.operator.cancel_event("e1")
    assert sorted(ids_of(await rig.poll(ALICE, m.DistributeEvent))) == ["e1", "e2"]
    await rig.poll(ALICE, m.Response)
    again = await rig.send(m.RequestEvent(request_id="1", ven_id=ALICE), m.DistributeEvent)
    assert ids_of(again) == ["e2"]


async def test_an_event_with_a_start_tolerance_lingers_as_completed(rig: Rig) -> None:
    await rig.bootstrap("alice")
    event = draft("e1", values=(1.0,), start=START, startafter=Duration(minutes=5), required=NEVER)
    await rig.operator.publish_events([event])
    rig.now = START + timedelta(minutes=12)
    request = m.RequestEvent(request_id="1", ven_id=ALICE)
    sent = await rig.send(request, m.DistributeEvent)
    assert sent.events[0].event.descriptor.event_status == EventStatus.COMPLETED
    rig.now = START + timedelta(minutes=15)
    assert (await rig.send(request, m.DistributeEvent)).events == ()


async def test_wrong_answers(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events(
        [draft("mine"), draft("price", required=NEVER), draft("bob's", audience=(BOB,))]
    )

    def answer(event_id: str, number: int) -> m.EventResponse:
        return m.EventResponse(
            code="200",
            request_id="1",
            qualified_event_id=m.QualifiedEventId(event_id=event_id, modification_number=number),
            opt_type=OptType.OPT_IN,
        )

    for answers, code in (
        ((answer("none", 0),), "452"),
        ((answer("bob's", 0),), "452"),
        ((answer("mine", 1),), "450"),
        ((answer("price", 7),), "200"),
    ):
        message = m.CreatedEvent(response=said(""), event_responses=answers, ven_id=ALICE)
        await rig.send(message, m.Response, code)
    assert rig.operator.opts("mine") == {}
    assert rig.operator.opts("price") == {}
    mixed = m.CreatedEvent(
        response=said(""), event_responses=(answer("none", 0), answer("mine", 0)), ven_id=ALICE
    )
    await rig.send(mixed, m.Response, "452")
    assert ALICE in rig.operator.opts("mine")  # the good one counts
    await rig.operator.modify_event("mine", signals=(price_signal([2.0] * 6),))
    ignored = m.CreatedEvent(response=said("", "469"), event_responses=(answer("none", 0),), ven_id=ALICE)
    await rig.send(ignored, m.Response)  # r25
    assert dict(rig.operator.stats().peer_errors) == {"469": 1}


async def test_what_a_reply_limit_left_out_is_still_due(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1", required=NEVER), draft("e2", required=NEVER)])
    request = m.RequestEvent(request_id="1", ven_id=ALICE, reply_limit=1)
    assert ids_of(await rig.send(request, m.DistributeEvent)) == ["e1"]
    assert rig.operator.fetched("e2") == {}
    assert sorted(ids_of(await rig.poll(ALICE, m.DistributeEvent))) == ["e1", "e2"]
    await rig.poll(ALICE, m.Response)


async def test_an_event_that_was_given_up_does_not_keep_others_from_being_sent_once_more(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("ignored"), draft("price", required=NEVER)])
    for _ in range(6):
        await rig.post(m.Poll(ven_id=ALICE))
        rig.wait(30)
    assert rig.operator.vens()[0].unanswered_events == ("ignored",)
    await rig.operator.modify_event("price", signals=(price_signal([1.0] * 6),))
    await rig.poll(ALICE, m.DistributeEvent, "first")  # lost
    await rig.poll(ALICE, m.DistributeEvent, "second")
    await rig.poll(ALICE, m.Response, "second")
