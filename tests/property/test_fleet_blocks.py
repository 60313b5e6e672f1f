"""A fleet is the same however it is cut into blocks, played in whatever order, and built again in between."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from feederloop.fleet.block import BlockOrder, BlockOutcome, BlockState, forget_blocks, play_block
from feederloop.fleet.result import Condition, SlotResult
from feederloop.fleet.work import FleetPlan, Here, run_fleet
from tests.unit.fleet.fleet_rig import slot, small_fleet, small_plan

FEEDERS = 6
SLOTS = 2


@cache
def expected() -> tuple[SlotResult, ...]:
    """All in one block."""
    return run_fleet(small_plan(feeders=FEEDERS, slots=SLOTS, per_block=FEEDERS), Here(), _silent).results


def _silent(done: int, total: int) -> None:
    assert done <= total


class AnyOrder:
    """A `Crew` that plays its orders in any order and may lose all models at any time."""

    moves = 0

    def __init__(self, rng: random.Random, *, forgetful: bool) -> None:
        self._rng = rng
        self._forgetful = forgetful
        self._orders: list[BlockOrder] = []

    def submit(self, order: BlockOrder) -> None:
        self._orders.append(order)

    def next_outcome(self) -> BlockOutcome:
        if self._forgetful and self._rng.random() < 0.2:
            forget_blocks()
        return play_block(self._orders.pop(self._rng.randrange(len(self._orders))))


class Cut(FleetPlan):
    """A plan with blocks of any sizes."""

    __slots__ = ("cuts",)
    cuts: tuple[int, ...]

    def orders(self) -> tuple[BlockOrder, ...]:
        edges = (0, *self.cuts, self.feeders)
        return tuple(
            BlockOrder(fleet=self.fleet, first=a, count=b - a, slot=self.start, state=None)
            for a, b in pairwise(edges)
        )


def cut_plan(cuts: frozenset[int]) -> Cut:
    plan = Cut(fleet=small_fleet(), feeders=FEEDERS, start=slot(0), slots=SLOTS)
    object.__setattr__(plan, "cuts", tuple(sorted(cuts)))
    return plan


def test_the_example_has_something_of_everything() -> None:
    found = expected()
    assert len(found) == FEEDERS * SLOTS
    assert {each.condition for each in found} == {Condition.CALM, Condition.NEAR}
    assert any(each.prices_set for each in found)
    assert any(each.curtailed_kw > 0.0 for each in found)
    assert any(each.broken_before and not each.broken_after for each in found)
    assert any(each.traded_wh for each in found)
    assert any(each.switch_operations for each in found)
    assert all(each.verified and each.fault is None for each in found)


@settings(max_examples=4, deadline=None)
@given(cuts=st.frozensets(st.integers(1, FEEDERS - 1)), seed=st.integers(0, 1000), forgetful=st.booleans())
def test_any_partition_in_any_order_gives_the_same_results(
    cuts: frozenset[int], seed: int, forgetful: bool
) -> None:
    run = run_fleet(cut_plan(cuts), AnyOrder(random.Random(seed), forgetful=forgetful), _silent)
    assert run.results == expected()


def test_a_block_goes_on_from_the_state_in_the_order_and_from_nothing_else() -> None:
    def play(number: int, state: BlockState | None) -> BlockOutcome:
        return play_block(BlockOrder(fleet=small_fleet(), first=0, count=2, slot=slot(number), state=state))

    first = play(0, None)
    second = play(1, first.state)
    forget_blocks()
    again = play(1, first.state)
    assert again.built
    assert not second.built
    assert again.state == second.state
    assert again.results == second.results
    assert second.state != first.state
    assert play(1, None).results != second.results
