"""Rules of EiOpt (3.3), on the side they bind."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptReason, OptType, ResponseRequired
from schemas.oadr20b.xmltypes import Duration
from tests.unit.ven.ven_fakes import T0, FakeHome, Peer, after, only, operational
from tests.unit.vtn.rig import ALICE, PT1H, START, MemoryStore, Rig, draft, opted, price_signal
from ven_client.opt import OptDraft
from vtn_server.state import Schedule

OUT, IN = OptType.OPT_OUT, OptType.OPT_IN
CONTEXT = "http://feederloop.example/local-market"
PERIOD = m.Period(dtstart=T0, duration=Duration(hours=1))


@pytest.fixture
async def rig() -> Rig:
    made = await Rig(MemoryStore()).start()
    await made.bootstrap("alice")
    return made


@pytest.fixture
def peer() -> Peer:
    return operational(FakeHome(), poll_jitter=0.0)


def schedule(
    opt_id: str,
    *resources: str,
    opt_type: OptType = OUT,
    context: str | None = None,
    length: Duration = PT1H,
    start: datetime = START,
) -> m.CreateOpt:
    return m.CreateOpt(
        opt_id=opt_id,
        opt_type=opt_type,
        opt_reason=OptReason.ECONOMIC,
        market_context=context,
        ven_id=ALICE,
        availability=(m.Period(dtstart=start, duration=length),),
        created_date_time=START,
        request_id=f"q-{opt_id}",
        target=m.Target(ven_ids=(ALICE,), resource_ids=resources),
    )


async def put(rig: Rig, *opts: m.CreateOpt) -> None:
    for each in opts:
        assert (await rig.send(each, m.CreatedOpt)).opt_id == each.opt_id


def held(rig: Rig, at: datetime = START) -> list[Schedule]:
    return sorted(rig.operator.schedules(at).get(ALICE, ()), key=lambda each: each.opt_id)


def of_event(number: int = 0, *resources: str, opt_type: OptType = OUT) -> m.CreateOpt:
    return replace(
        schedule("e", *resources, opt_type=opt_type),
        availability=None,
        qualified_event_id=m.QualifiedEventId(event_id="e", modification_number=number),
    )


def test_rule_200_a_schedule_of_ours_has_start_and_duration_alone(peer: Peer) -> None:
    with pytest.raises(ValueError, match="r200"):
        OptDraft(opt_type=OUT, reason="economic", availability=(replace(PERIOD, ramp_up=PT1H),))
    peer.session.send_opt(OptDraft(opt_type=OUT, reason="economic", availability=(PERIOD,)), T0)
    (sent,) = only(peer.run(T0), m.CreateOpt)
    assert sent.availability == (PERIOD,)


async def test_rule_202_a_target_limits_and_the_ven_alone_is_everything(rig: Rig) -> None:
    await put(rig, schedule("part", "battery-a"), schedule("all", opt_type=IN))
    (part,) = held(rig)
    assert part.target.resource_ids == ("battery-a",)
    await rig.send(schedule("foreign", "somebody's"), m.CreatedOpt, "462")


async def test_rule_203_a_targeted_schedule_supersedes_its_resources_only(rig: Rig) -> None:
    await put(rig, schedule("1", "switch-a", "battery-a"), schedule("2", "battery-a"))
    assert [(each.opt_id, each.target.resource_ids) for each in held(rig)] == [
        ("1", ("switch-a",)),
        ("2", ("battery-a",)),
    ]
    await put(rig, schedule("in", opt_type=IN))
    assert [each.opt_id for each in held(rig)] == ["1", "2"]
    await put(rig, schedule("3"))
    assert [each.opt_id for each in held(rig)] == ["3"]


async def test_rule_204_cancelling_an_opt_id_cancels_all_schedules_with_it(rig: Rig) -> None:
    await put(
        rig, schedule("same", "switch-a"), schedule("same", "battery-a"), schedule("other", context=CONTEXT)
    )
    assert len(held(rig)) == 3
    await rig.send(m.CancelOpt(request_id="c", opt_id="same", ven_id=ALICE), m.CanceledOpt)
    assert [each.opt_id for each in held(rig)] == ["other"]


def test_rule_204_a_ven_always_sends_an_opt_id(peer: Peer) -> None:
    opt_id = peer.session.send_opt(OptDraft(opt_type=OUT, reason="economic", availability=(PERIOD,)), T0)
    (sent,) = only(peer.run(T0), m.CreateOpt)
    assert opt_id
    assert sent.opt_id == opt_id


async def test_rule_205_a_market_context_limits_a_schedule(rig: Rig) -> None:
    await put(rig, schedule("everywhere"), schedule("one", context=CONTEXT))
    assert [(each.opt_id, each.market_context) for each in held(rig)] == [
        ("everywhere", None),
        ("one", CONTEXT),
    ]


async def test_rule_206_an_event_opt_holds_against_later_answers(rig: Rig) -> None:
    await rig.operator.publish_events([draft("e")])
    sent = await rig.poll(ALICE, m.DistributeEvent)
    await rig.send(opted(sent, ALICE, IN), m.Response)
    await put(rig, of_event())
    await rig.send(opted(sent, ALICE, IN), m.Response)
    assert rig.operator.opts("e")[ALICE].opt_type is OUT
    await rig.operator.modify_event("e", signals=(price_signal((0.9, 0.2, 0.3, 0.4, 0.5, 0.6)),))
    await rig.send(opted(await rig.poll(ALICE, m.DistributeEvent), ALICE, IN), m.Response)
    assert rig.operator.opts("e")[ALICE].opt_type is OUT


async def test_rule_206_what_an_event_opt_may_not_be(rig: Rig) -> None:
    limited = replace(draft("e"), target=m.Target(resource_ids=("battery-a",)))
    never = replace(draft("n"), response_required=ResponseRequired.NEVER)
    await rig.operator.publish_events([limited, never])
    await rig.send(replace(of_event(), availability=(PERIOD,)), m.CreatedOpt, "459")
    await rig.send(replace(of_event(), market_context=CONTEXT), m.CreatedOpt, "459")
    await rig.send(of_event(0, "switch-a"), m.CreatedOpt, "462")
    quiet = m.QualifiedEventId(event_id="n", modification_number=0)
    await rig.send(replace(of_event(), qualified_event_id=quiet), m.CreatedOpt, "451")
    await put(rig, of_event(0, "battery-a"))


async def test_rule_207_the_request_id_comes_back(rig: Rig) -> None:
    created = await rig.send(schedule("1"), m.CreatedOpt)
    assert created.response.request_id == "q-1"
    cancelled = await rig.send(m.CancelOpt(request_id="z", opt_id="1", ven_id=ALICE), m.CanceledOpt)
    assert cancelled.response.request_id == "z"


async def test_rule_208_wrong_ids_are_452(rig: Rig) -> None:
    await rig.send(m.CancelOpt(request_id="z", opt_id="none", ven_id=ALICE), m.CanceledOpt, "452")
    await rig.send(replace(schedule("1"), ven_id="nobody"), m.CreatedOpt, "452")
    await rig.send(of_event(), m.CreatedOpt, "452")


def test_rule_208_a_ven_says_both_ids(peer: Peer) -> None:
    peer.session.cancel_opt("mine")
    (sent,) = only(peer.run(T0), m.CancelOpt)
    assert (sent.opt_id, sent.ven_id) == ("mine", "ven-1")


async def test_rule_209_a_device_class_is_kept_as_it_was_sent(rig: Rig) -> None:
    device = m.Target(end_device_assets=("EVSE",))
    await put(rig, replace(schedule("1"), device_class=device))
    assert held(rig)[0].device_class == device


async def test_rule_210_duration_0_is_open_ended(rig: Rig) -> None:
    await put(rig, schedule("1", length=Duration()))
    assert len(held(rig, START + timedelta(days=400))) == 1
    assert held(rig, START - timedelta(seconds=1)) == []


def test_rule_210_a_ven_may_send_one_without_end(peer: Peer) -> None:
    endless = m.Period(dtstart=after(hours=1), duration=Duration())
    peer.session.send_opt(OptDraft(opt_type=OUT, reason="economic", availability=(endless,)), T0)
    (sent,) = only(peer.run(T0), m.CreateOpt)
    assert sent.availability is not None
    assert sent.availability[0].duration.is_zero


async def test_rule_211_cancelling_what_was_superseded_is_no_error(rig: Rig) -> None:
    await put(rig, schedule("old"), schedule("new"))
    await rig.send(m.CancelOpt(request_id="z", opt_id="old", ven_id=ALICE), m.CanceledOpt)
    assert [each.opt_id for each in held(rig)] == ["new"]
    await rig.operator.publish_events([draft("e")])
    await put(rig, of_event())
    await rig.send(m.CancelOpt(request_id="z", opt_id="e", ven_id=ALICE), m.CanceledOpt, "452")
