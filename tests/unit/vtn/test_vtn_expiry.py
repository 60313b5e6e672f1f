"""When events are over, and when they leave memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vtn.rig import ALICE, SETTINGS, START, MemoryStore, Rig, draft
from vtn_server.expiry import Expiry

HOUR = timedelta(hours=1)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def test_what_is_over_is_told_once_in_the_order_of_the_ends() -> None:
    expiry = Expiry()
    for event_id, minutes in (("late", 30), ("early", 10), ("later", 60)):
        expiry.put(event_id, at(minutes))
    expiry.put("never", None)
    assert list(expiry.ended(at(9))) == []
    assert list(expiry.ended(at(30))) == ["early", "late"]
    assert list(expiry.ended(at(30))) == []
    assert expiry.over == 2
    assert list(expiry.ended(at(600))) == ["later"]


def test_an_end_that_is_put_off_counts_as_it_is_now() -> None:
    expiry = Expiry()
    expiry.put("e", at(10))
    expiry.put("e", at(20))
    assert list(expiry.ended(at(15))) == []
    expiry.put("e", None)
    assert list(expiry.ended(at(50))) == []
    expiry.put("e", at(60))
    assert list(expiry.ended(at(60))) == ["e"]


def test_what_is_over_leaves_by_its_age() -> None:
    expiry = Expiry()
    for k in range(3):
        expiry.put(f"e{k}", at(10 * k))
    assert len(list(expiry.ended(at(100)))) == 3
    assert list(expiry.forgotten(at(10))) == ["e0", "e1"]
    assert list(expiry.forgotten(at(10))) == []
    assert expiry.over == 1
    assert expiry.crowded_out == 0


def test_beyond_the_bound_the_first_leave_early() -> None:
    expiry = Expiry(most_over=2)
    for k in range(5):
        expiry.put(f"e{k}", at(k))
    assert len(list(expiry.ended(at(100)))) == 5
    assert list(expiry.forgotten(at(-1))) == ["e0", "e1", "e2"]
    assert expiry.over == 2
    assert expiry.crowded_out == 3


def test_deliveries_are_of_interest_for_an_hour() -> None:
    expiry = Expiry()
    expiry.put("e", at(0))
    assert list(expiry.ended(at(0))) == ["e"]
    assert list(expiry.undelivered(at(59))) == []
    assert list(expiry.undelivered(at(60))) == ["e"]
    assert list(expiry.undelivered(at(600))) == []


@given(
    ends=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=30),
    looks=st.lists(st.integers(0, 25), max_size=5),
)
def test_nothing_is_told_early_or_twice(ends: list[tuple[int, int]], looks: list[int]) -> None:
    expiry, last = Expiry(), dict[str, int]()
    for number, minutes in ends:
        last[f"e{number}"] = minutes
        expiry.put(f"e{number}", at(minutes))
    told: list[str] = []
    for look in sorted(looks):
        found = list(expiry.ended(at(look)))
        assert all(last[each] <= look for each in found)
        told += found
        assert {each for each, minutes in last.items() if minutes <= look} == set(told)
    assert len(told) == len(set(told))


async def test_the_vtn_forgets_but_the_store_does_not() -> None:
    rig = await Rig(MemoryStore(), replace(SETTINGS, keep_completed=HOUR)).start()
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("e1")])
    memory = rig.service.memory
    record = memory.event("e1")
    assert record is not None
    assert record.over_at is not None
    assert [each.event_id for each in memory.events_of(ALICE)] == ["e1"]
    memory.forget_over(record.over_at, record.over_at - HOUR)
    assert memory.events_of(ALICE) == ()
    assert memory.event("e1") is record
    assert memory.open_events() == 0
    memory.forget_over(record.over_at + HOUR, record.over_at)
    assert memory.event("e1") is None
    assert await rig.service.store.known_events(["e1"]) == {"e1"}
