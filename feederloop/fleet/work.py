"""Runs a fleet: hands out blocks slot by slot and keeps the state of each between slots.

A block's next slot is ordered as soon as its last one is in; blocks do not wait for each other. The state in
the last outcome is the checkpoint: whoever gets the next order goes on from there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from dso_engine.model import SLOT
from feederloop.fleet.block import BlockOrder, BlockOutcome, play_block
from feederloop.fleet.generate import Fleet
from feederloop.fleet.result import FleetRun, SlotResult

__all__ = ["Crew", "FleetError", "FleetPlan", "Here", "run_fleet"]

Tell = Callable[[int, int], None]
"""Called with how many of how many block slots are done."""


class FleetError(Exception):
    """A fleet cannot be run; the text says why and what helps."""


class Crew(Protocol):
    """Whoever plays blocks."""

    @property
    def moves(self) -> int:
        """How often a block was played by another process than its last slot was."""
        ...

    def submit(self, order: BlockOrder) -> None:
        """Take an order; it is played some time."""
        ...

    def next_outcome(self) -> BlockOutcome:
        """Return the outcome of one of the orders, whichever is ready.

        Raises:
            FleetError: if no outcome will come.
        """
        ...


class Here:
    """This process plays all blocks, in the order they were submitted; a `Crew`."""

    moves = 0
    """There is nobody else."""

    def __init__(self) -> None:
        self._orders: deque[BlockOrder] = deque()

    def submit(self, order: BlockOrder) -> None:
        """See `Crew`."""
        self._orders.append(order)

    def next_outcome(self) -> BlockOutcome:
        """See `Crew`.

        Raises:
            FleetError: if there is no order.
        """
        if not self._orders:
            raise FleetError("no block is under way")
        return play_block(self._orders.popleft())


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """What to run.

    Attributes:
        fleet: What the feeders are drawn from.
        feeders: How many, numbers 0 to feeders - 1.
        start: Start of the first slot, aware.
        slots: How many.
        per_block: Feeders of a block; 50 to 100 cost least per feeder (grid-model.md 4).
    """

    fleet: Fleet
    feeders: int
    start: datetime
    slots: int
    per_block: int = 50

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: if a number is not positive, or the start is naive or no slot edge.
        """
        if min(self.feeders, self.slots, self.per_block) < 1:
            raise ValueError("feeders, slots and feeders per block must be positive")
        if self.start.utcoffset() is None or self.start.timestamp() % SLOT.total_seconds():
            raise ValueError("the start must be a slot edge with a time zone")

    @property
    def last(self) -> datetime:
        """Start of the last slot."""
        return self.start + (self.slots - 1) * SLOT

    def orders(self) -> tuple[BlockOrder, ...]:
        """Return the orders of the first slot, one per block."""
        return tuple(
            BlockOrder(
                fleet=self.fleet,
                first=first,
                count=min(self.per_block, self.feeders - first),
                slot=self.start.astimezone(UTC),
                state=None,
            )
            for first in range(0, self.feeders, self.per_block)
        )

    def following(self, outcome: BlockOutcome) -> BlockOrder | None:
        """Return the order that follows an outcome; None after the last slot."""
        if outcome.slot >= self.last:
            return None
        return BlockOrder(
            fleet=self.fleet,
            first=outcome.first,
            count=len(outcome.state.feeders),
            slot=outcome.slot + SLOT,
            state=outcome.state,
        )


def run_fleet(plan: FleetPlan, crew: Crew, tell: Tell) -> FleetRun:
    """Play all slots of all feeders.

    Args:
        plan: What to run.
        crew: Who plays the blocks.
        tell: Hears of the progress.

    Raises:
        FleetError: if the crew cannot go on.
        InvalidFeeder: if a reference network cannot be used.
        ProfileError: if a slot lies outside the profiles' year.
    """
    begun = time.perf_counter()
    orders = plan.orders()
    for order in orders:
        crew.submit(order)
    results: list[SlotResult] = []
    setup_s, slot_s, moves = 0.0, 0.0, crew.moves
    total = len(orders) * plan.slots
    tell(0, total)
    for done in range(1, total + 1):
        outcome = crew.next_outcome()
        following = plan.following(outcome)
        if following is not None:
            crew.submit(following)
        results.extend(outcome.results)
        setup_s, slot_s = setup_s + outcome.setup_cpu_s, slot_s + outcome.slot_cpu_s
        tell(done, total)
    return FleetRun(
        results=tuple(sorted(results, key=lambda each: (each.slot, each.feeder))),
        setup_cpu_s=setup_s,
        slot_cpu_s=slot_s,
        wall_s=time.perf_counter() - begun,
        moved=crew.moves - moves,
    )
