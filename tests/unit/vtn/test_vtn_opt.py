"""EiOpt: schedules and event opts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptType, ResponseRequired
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import ALICE, PROVISIONS, START, Rig, draft, opted, price_signal

HOUR = timedelta(hours=1)


def schedule(
    opt_id: str,
    start: datetime = START,
    hours: int = 1,
    opt_type: OptType = OptType.OPT_OUT,
    resources: tuple[str, ...] = (),
    context: str | None = None,
) -> m.CreateOpt:
    return m.CreateOpt(
        opt_id=opt_id,
        opt_type=opt_type,
        opt_reason="economic",
        market_context=context,
        ven_id=ALICE,
        availability=(m.Period(dtstart=start, duration=Duration(hours=hours)),),
        created_date_time=START,
        request_id="o",
        target=m.Target(ven_ids=(ALICE,), resource_ids=resources),
    )


def in_force(rig: Rig, at: datetime) -> list[str]:
    return [each.opt_id for each in rig.operator.schedules(at).get(ALICE, ())]


async def test_a_schedule_holds_for_its_time(rig: Rig) -> None:
    await rig.bootstrap("alice")
    reply = await rig.send(schedule("a"), m.CreatedOpt)
    assert (reply.opt_id, reply.response.request_id) == ("a", "o")
    assert in_force(rig, START - timedelta(seconds=1)) == []
    assert in_force(rig, START) == ["a"]
    assert in_force(rig, START + HOUR) == []
    await rig.send(schedule("for ever", hours=0), m.CreatedOpt)
    assert in_force(rig, START + 1000 * HOUR) == ["for ever"]


async def test_a_schedule_of_a_market_that_is_not_the_vens(rig: Rig) -> None:
    await rig.operator.provision([replace(PROVISIONS[0], market_contexts=("http://X.example",))])
    await rig.bootstrap("alice")
    await rig.send(schedule("other", context="http://y.example"), m.CreatedOpt, "462")
    await rig.send(schedule("own", context="http://x.example/"), m.CreatedOpt)
    await rig.send(schedule("all"), m.CreatedOpt)
    assert in_force(rig, START) == ["own", "all"]


async def test_supersession(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.send(schedule("whole"), m.CreatedOpt)
    await rig.send(schedule("in", opt_type=OptType.OPT_IN), m.CreatedOpt)
    assert in_force(rig, START) == ["whole"]  # optIn and optOut do not touch
    await rig.send(schedule("both", resources=("switch-a", "battery-a")), m.CreatedOpt)
    await rig.send(schedule("one", resources=("switch-a",)), m.CreatedOpt)
    assert in_force(rig, START) == ["whole", "both", "one"]
    both = rig.operator.schedules(START)[ALICE][1]
    assert both.target.resource_ids == ("battery-a",)
    await rig.send(schedule("elsewhere", context="http://x.example"), m.CreatedOpt)
    await rig.send(schedule("new"), m.CreatedOpt)
    assert in_force(rig, START) == ["elsewhere", "new"]
    await rig.send(m.CancelOpt(request_id="1", opt_id="whole", ven_id=ALICE), m.CanceledOpt)  # r211
    await rig.send(m.CancelOpt(request_id="1", opt_id="new", ven_id=ALICE), m.CanceledOpt)
    assert in_force(rig, START) == ["elsewhere"]
    await rig.send(m.CancelOpt(request_id="1", opt_id="unknown", ven_id=ALICE), m.CanceledOpt, "452")


async def test_an_event_opt_wins_over_later_answers(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1"), draft("price", required=ResponseRequired.NEVER)])
    base = schedule("q")
    qualify = replace(
        base,
        availability=None,
        qualified_event_id=m.QualifiedEventId(event_id="e1", modification_number=0),
    )
    await rig.send(qualify, m.CreatedOpt)
    sent = await rig.poll(ALICE, m.DistributeEvent)
    await rig.send(opted(sent, ALICE, OptType.OPT_IN), m.Response)
    assert rig.operator.opts("e1")[ALICE].opt_type == OptType.OPT_OUT
    await rig.operator.modify_event("e1", signals=(price_signal([1.0] * 6),))
    await rig.send(opted(await rig.poll(ALICE, m.DistributeEvent), ALICE, OptType.OPT_IN), m.Response)
    opt = rig.operator.opts("e1")[ALICE]
    assert (opt.opt_type, opt.modification_number) == (OptType.OPT_OUT, 1)
    for event_id, number, code in (("none", 0, "452"), ("e1", 0, "450"), ("price", 0, "451")):
        wrong = m.QualifiedEventId(event_id=event_id, modification_number=number)
        await rig.send(replace(qualify, qualified_event_id=wrong), m.CreatedOpt, code)


async def test_what_is_neither_or_both(rig: Rig) -> None:
    await rig.bootstrap("alice")
    base = schedule("x")
    event = m.QualifiedEventId(event_id="e1", modification_number=0)
    await rig.send(replace(base, availability=None), m.CreatedOpt, "459")
    await rig.send(replace(base, qualified_event_id=event), m.CreatedOpt, "459")
    endless = m.Period(dtstart=START, duration=Duration(days=999_999_999))
    backwards = m.Period(dtstart=START, duration=Duration(hours=1, negative=True))
    for period in (endless, backwards):
        await rig.send(replace(base, availability=(period,)), m.CreatedOpt, "454")
    assert rig.operator.schedules(START) == {}
    await rig.send(schedule("y", resources=("somebody else's",)), m.CreatedOpt, "462")


async def test_a_repeated_opt_is_written_once(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.send(schedule("a"), m.CreatedOpt)
    before = rig.store.commits
    await rig.send(schedule("a"), m.CreatedOpt)
    assert rig.store.commits == before
