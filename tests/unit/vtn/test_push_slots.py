"""Who may be posted to: silent VENs do not hold up the others, and everything is bounded."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtn_server.kept import Kept
from vtn_server.push_http import PushLimits
from vtn_server.push_slots import Slots

NEVER_S = 3600.0
"""A moment that does not come within a test."""


async def passes() -> None:
    """Let timers that are due, and whom they wake, run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_slot_is_waited_for() -> None:
    slots = Slots(sound=1, doubtful=1, slow=0, moment_s=NEVER_S)
    async with slots.slot(doubtful=False):
        other = asyncio.ensure_future(_once(slots, doubtful=False))
        await passes()
        assert not other.done()
        assert (slots.under_way, slots.waited) == (1, 1)
    await asyncio.wait_for(other, 20)
    assert slots.under_way == 0


async def test_silent_vens_hold_a_slot_for_a_moment_only() -> None:
    """Ten that never answer, and two slots: the eleventh still gets its turn."""
    slots = Slots(sound=2, doubtful=1, slow=10, moment_s=0.0)
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await asyncio.wait_for(stack.enter_async_context(slots.slot(doubtful=False)), 20)
            await passes()
        assert slots.slow == 10
        await asyncio.wait_for(_once(slots, doubtful=False), 20)
    assert (slots.under_way, slots.slow, slots.crowded) == (0, 0, 0)


async def test_slow_exchanges_are_bounded_too() -> None:
    slots = Slots(sound=1, doubtful=1, slow=1, moment_s=0.0)
    async with slots.slot(doubtful=False), slots.slot(doubtful=False):
        await passes()
        assert (slots.slow, slots.crowded) == (1, 1)
        other = asyncio.ensure_future(_once(slots, doubtful=False))
        await passes()
        assert not other.done()
    await asyncio.wait_for(other, 20)
    assert (slots.under_way, slots.slow) == (0, 0)


async def test_one_that_failed_last_time_keeps_its_slot_and_nobody_elses() -> None:
    slots = Slots(sound=1, doubtful=1, slow=5, moment_s=0.0)
    async with slots.slot(doubtful=True):
        await passes()
        other = asyncio.ensure_future(_once(slots, doubtful=True))
        await asyncio.wait_for(_once(slots, doubtful=False), 20)
        assert not other.done()
        assert slots.slow == 0
    await asyncio.wait_for(other, 20)


async def test_an_exchange_that_is_cancelled_leaves_its_slot() -> None:
    slots = Slots(sound=1, doubtful=1, slow=0, moment_s=NEVER_S)
    with pytest.raises(RuntimeError, match="gone"):
        async with slots.slot(doubtful=False):
            raise RuntimeError("gone")
    waiting = asyncio.ensure_future(_forever(slots))
    await passes()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(_once(slots, doubtful=False), 20)


async def _once(slots: Slots, *, doubtful: bool) -> None:
    async with slots.slot(doubtful=doubtful):
        pass


async def _forever(slots: Slots) -> None:
    async with slots.slot(doubtful=False):
        await asyncio.Event().wait()


# --- connections that are kept alive -----------------------------------------------------------------------


def test_no_more_are_kept_than_may_be() -> None:
    kept = Kept(most=2, keep_s=30.0)
    assert kept.take(("a", 1), 0.0)
    assert kept.take(("b", 1), 1.0)
    assert not kept.take(("c", 1), 2.0)
    assert kept.take(("a", 1), 3.0)
    assert (len(kept), kept.refused) == (2, 1)


def test_one_that_has_ended_makes_room() -> None:
    kept = Kept(most=2, keep_s=30.0)
    kept.take(("a", 1), 0.0)
    kept.take(("b", 1), 1.0)
    kept.take(("a", 1), 20.0)
    assert kept.take(("c", 1), 31.5)  # b's is 30.5 s old
    assert not kept.take(("b", 1), 32.0)


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(0.0, 20.0)), max_size=50))
def test_the_count_never_exceeds_the_bound(uses: list[tuple[int, float]]) -> None:
    kept, now_s = Kept(most=3, keep_s=30.0), 0.0
    for place, pause_s in uses:
        now_s += pause_s
        kept.take((str(place), 1), now_s)
        assert len(kept) <= 3


@pytest.mark.parametrize(
    "wrong",
    [{"slow_exchanges": -1}, {"kept": -1}, {"slow_s": 0.0}, {"exchanges": 4, "doubtful_exchanges": 4}],
)
def test_bounds_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"negative|positive"):
        PushLimits(**wrong)  # type: ignore[arg-type]  # what is wrong is the point


def test_the_connections_there_may_be() -> None:
    limits = PushLimits(exchanges=10, doubtful_exchanges=2, slow_exchanges=20, kept=30)
    assert limits.connections == 60
