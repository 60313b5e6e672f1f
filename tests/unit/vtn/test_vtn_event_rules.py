"""The pure rules of events: status, changes, what a draft must hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.oadr20b.enums import EventStatus
from schemas.oadr20b.errors import InvalidData, InvalidId, NotAllowed, TargetMismatch
from schemas.oadr20b.model import Interval, Target
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import ALICE, PT10M, START, MemoryStore, Rig, draft, price_signal
from vtn_server import event as rules
from vtn_server.records import EventDraft
from vtn_server.settings import Identity, VtnSettings
from vtn_server.state import VenId

MINUTE = timedelta(minutes=1)


def at(record_draft: EventDraft, minutes: float) -> EventStatus:
    record = rules.publish(record_draft, START - timedelta(days=1))
    return rules.status(record, START + minutes * MINUTE)


def test_status_follows_the_clock() -> None:
    event = draft("e", values=(1.0,), start=START, ramp_up=Duration(minutes=4))
    assert [at(event, each) for each in (-4.1, -4, -0.1, 0, 9.9, 10)] == [
        EventStatus.FAR,
        EventStatus.NEAR,
        EventStatus.NEAR,
        EventStatus.ACTIVE,
        EventStatus.ACTIVE,
        EventStatus.COMPLETED,
    ]
    assert at(replace(event, ramp_up=None), -1) == EventStatus.FAR
    assert at(replace(event, ramp_up=Duration(minutes=4, negative=True)), -1) == EventStatus.FAR


def test_an_event_changes_with_its_status() -> None:
    wanted = draft("e", values=(1.0,), start=START, ramp_up=Duration(minutes=4))
    record = rules.publish(wanted, START - 60 * MINUTE)
    changes = [rules.changed_at(record, START + each * MINUTE) for each in (-5, -4, -1, 0, 9, 10, 20)]
    assert changes == [START + each * MINUTE for each in (-60, -4, -4, 0, 0, 10, 10)]
    late = rules.modify(record, (price_signal((2.0,)),), START + 3 * MINUTE)
    assert rules.changed_at(late, START + 5 * MINUTE) == START + 3 * MINUTE


def test_an_open_ended_event_never_completes() -> None:
    event = draft("e", values=(1.0,), length=Duration(), start=START)
    assert at(event, 10**6) == EventStatus.ACTIVE
    record = rules.publish(event, START)
    assert not rules.is_over(record, START + timedelta(days=4000))
    assert rules.cancel(record, START + timedelta(days=1)).cancelled


def test_the_running_value_may_change_and_the_past_may_not() -> None:
    record = rules.publish(draft("e", values=(1.0, 2.0, 3.0), start=START), START - MINUTE)
    now = START + 10 * MINUTE  # the first interval has just elapsed
    changed = rules.modify(record, (price_signal((1.0, 7.0, 8.0)),), now)
    assert (changed.modification_number, changed.modified_at) == (1, now)
    assert [version.at for version in changed.versions] == [START - MINUTE, now]
    assert changed.versions[0].signals == record.signals
    assert rules.modify(changed, changed.signals, now) is changed
    with pytest.raises(NotAllowed):
        rules.modify(record, (price_signal((9.0, 7.0, 8.0)),), now)
    early = rules.modify(record, (price_signal((9.0, 7.0, 8.0)),), now - MINUTE)  # still running then
    assert early.modification_number == 1


def test_nothing_but_values_may_change() -> None:
    record = rules.publish(draft("e", values=(1.0, 2.0), start=START), START)
    good = price_signal((3.0, 4.0))
    moved = replace(
        good,
        intervals=(
            Interval.of_signal(0, Duration(minutes=5), 3.0),
            Interval.of_signal(1, Duration(minutes=15), 4.0),
        ),
    )
    for bad in ((replace(good, signal_id="other"),), (good, replace(good, signal_id="b")), (moved,)):
        with pytest.raises(NotAllowed):
            rules.modify(record, bad, START)
    with pytest.raises(InvalidData):
        rules.modify(record, (price_signal((1.0,)),), START)


def test_what_is_over_or_cancelled_is_final() -> None:
    record = rules.publish(draft("e", values=(1.0,), start=START), START)
    signals = (price_signal((3.0,)),)
    with pytest.raises(NotAllowed):
        rules.modify(record, signals, START + 10 * MINUTE)
    with pytest.raises(NotAllowed):
        rules.cancel(record, START + 10 * MINUTE)
    cancelled = rules.cancel(record, START)
    assert rules.cancel(cancelled, START + MINUTE) is cancelled
    with pytest.raises(NotAllowed):
        rules.modify(cancelled, signals, START)


GOOD = draft("e", values=(1.0, 2.0), start=START)


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, event_id=""),
        replace(GOOD, audience=()),
        replace(GOOD, dtstart=START.replace(tzinfo=None)),
        replace(GOOD, dtstart=START.replace(microsecond=1)),
        replace(GOOD, priority=-1),
        replace(GOOD, duration=PT10M),
        replace(GOOD, target=Target(ven_ids=("a", "b"))),
        replace(GOOD, duration=Duration(years=9000)),
        replace(GOOD, startafter=Duration(years=9000)),
        replace(GOOD, ramp_up=Duration(years=9000)),
        replace(GOOD, signals=(price_signal((1.0, float("nan"))),)),
        replace(GOOD, signals=()),
        replace(GOOD, signals=GOOD.signals * 2),
        replace(GOOD, signals=(replace(GOOD.signals[0], intervals=()),)),
        replace(GOOD, signals=(replace(GOOD.signals[0], intervals=GOOD.signals[0].intervals[::-1]),)),
        replace(
            GOOD,
            signals=(
                replace(GOOD.signals[0], signal_name="SIMPLE", intervals=price_signal((4.0, 0.0)).intervals),
            ),
        ),
    ],
)
def test_drafts_that_break_a_rule(bad: EventDraft) -> None:
    rules.publish(GOOD, START)
    with pytest.raises(InvalidData):
        rules.publish(bad, START)


def test_a_new_event_whose_active_period_is_over_is_refused() -> None:
    event = draft("e", values=(1.0,), start=START)  # ten minutes
    end = START + 10 * MINUTE
    assert rules.status(rules.publish(event, end - MINUTE / 60), START) == EventStatus.ACTIVE
    for late in (event, replace(event, startafter=Duration(hours=1))):
        with pytest.raises(InvalidData, match="would be over"):
            rules.publish(late, end)
    rules.publish(draft("e", values=(1.0,), length=Duration(), start=START), START + timedelta(days=900))


async def test_with_one_event_that_is_over_none_is_published() -> None:
    rig = await Rig(MemoryStore()).start()
    past = draft("past", values=(1.0,), start=START - 10 * MINUTE)
    with pytest.raises(InvalidData, match="past"):
        await rig.operator.publish_events([draft("e"), past])
    assert rig.operator.events() == ()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.lists(st.floats(-1, 1), min_size=3, max_size=3)), max_size=8)
)
def test_any_sequence_of_changes_keeps_the_history(steps: list[tuple[int, list[float]]]) -> None:
    """Numbers rise by one; the value that held in an elapsed interval is the same in every later version."""
    record = rules.publish(draft("e", values=(0.0, 0.0, 0.0), start=START), START)
    for minute, values in sorted(steps, key=lambda each: each[0]):
        now = START + minute * MINUTE
        try:
            record = rules.modify(record, (price_signal(values),), now)
        except NotAllowed:
            continue
    numbers = [version.modification_number for version in record.versions]
    assert numbers == list(range(len(numbers)))
    for former, later in zip(record.versions, record.versions[1:], strict=False):
        elapsed = min(3, max(0, (later.at - START) // (10 * MINUTE)))
        before = former.signals[0].intervals[:elapsed]
        assert later.signals[0].intervals[:elapsed] == before


async def test_the_operator_publishes_all_or_none(rig: Rig) -> None:
    before = rig.store.commits
    with pytest.raises(InvalidData):
        await rig.operator.publish_events([GOOD, replace(GOOD, event_id="bad", signals=())])
    with pytest.raises(InvalidId):
        await rig.operator.publish_events([GOOD, replace(GOOD, event_id="b", audience=(VenId("nobody"),))])
    with pytest.raises(NotAllowed):
        await rig.operator.publish_events([GOOD, GOOD])
    assert rig.operator.events() == ()
    await rig.operator.publish_events([GOOD, replace(GOOD, event_id="second")])
    assert rig.store.commits == before + 1
    with pytest.raises(NotAllowed):
        await rig.operator.publish_events([GOOD])
    with pytest.raises(InvalidId):
        await rig.operator.modify_event("none", signals=GOOD.signals)
    rig.now = START + timedelta(days=5)
    await rig.operator.publish_events([draft("later", start=rig.now)])
    assert [each.event_id for each in rig.operator.events()] == ["later"]
    with pytest.raises(NotAllowed):  # an id stays taken when its event has left memory
        await rig.operator.publish_events([draft("e", start=rig.now)])


async def test_a_change_of_several_events_is_one_transaction(rig: Rig) -> None:
    await rig.operator.publish_events([GOOD, replace(GOOD, event_id="second")])
    before = rig.store.commits
    signals = (price_signal((3.0, 4.0)),)
    records = await rig.operator.modify_events([("e", signals), ("second", signals)])
    assert [each.modification_number for each in records] == [1, 1]
    assert rig.store.commits == before + 1
    with pytest.raises(InvalidId):
        await rig.operator.modify_events([("e", (price_signal((5.0, 6.0)),)), ("none", signals)])
    unchanged = rig.operator.event("e")
    assert unchanged is not None
    assert unchanged.signals == signals


async def test_market_contexts_are_those_of_the_settings() -> None:
    settings_ = VtnSettings(vtn_id="v", identity=Identity.CLAIMED, market_contexts=("http://only.example",))
    rig = await Rig(MemoryStore(), settings_).start()
    with pytest.raises(TargetMismatch):
        await rig.operator.publish_events([draft("e", audience=(ALICE,))])
