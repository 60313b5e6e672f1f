"""What a home is told by the network, in the home's own terms. Nothing here knows OpenADR."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

__all__ = ["ExportBound", "Instruction", "Instructions", "MarketResult", "PhasePlan", "PricePath", "Step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A whole number that holds from ``start`` up to and without ``end``; its meaning is its owner's."""

    start: datetime
    end: datetime
    value: int

    def holds(self, when: datetime) -> bool:
        """Whether the value holds at an instant."""
        return self.start <= when < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketResult:
    """What came of a home's offer for one hour."""

    hour: datetime
    price_millicent: tuple[int, ...]
    """Clearing price of the home's side per slot, 1e-5 EUR/kWh."""
    volume_wh: tuple[int, ...]
    """Traded energy per slot, Wh, + bought, - sold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasePlan:
    """Phases to be connected to: 1, 2, 3 are A, B, C. They count at the edges of slots only."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePath:
    """A price added to every kWh imported, 1e-5 EUR/kWh, may be negative."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportBound:
    """The largest net export allowed, W, >= 0."""

    steps: tuple[Step, ...]


Instruction = MarketResult | PhasePlan | PricePath | ExportBound


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """Everything that holds or will hold for a home."""

    results: tuple[MarketResult, ...] = ()
    phases: tuple[Step, ...] = ()
    prices: tuple[Step, ...] = ()
    bounds: tuple[Step, ...] = ()

    @classmethod
    def of(cls, instructions: Iterable[Instruction]) -> Instructions:
        """Return single instructions put together."""
        found = tuple(instructions)
        return cls(
            results=tuple(one for one in found if isinstance(one, MarketResult)),
            phases=tuple(step for one in found if isinstance(one, PhasePlan) for step in one.steps),
            prices=tuple(step for one in found if isinstance(one, PricePath) for step in one.steps),
            bounds=tuple(step for one in found if isinstance(one, ExportBound) for step in one.steps),
        )

    def price_millicent(self, now: datetime) -> int:
        """Return the real-time price in force, 1e-5 EUR/kWh: the sum of those that hold, 0 without any."""
        return sum(step.value for step in self.prices if step.holds(now))

    def bound_w(self, now: datetime) -> int | None:
        """Return the tightest export bound in force, W; None without any."""
        return min((step.value for step in self.bounds if step.holds(now)), default=None)

    def phase(self, slot: datetime) -> int | None:
        """Return the phase commanded for a slot; None if nothing is commanded. The latest command wins."""
        held = [step for step in self.phases if step.holds(slot)]
        return max(held, key=lambda step: step.start).value if held else None

    def next_change(self, now: datetime) -> datetime | None:
        """Return the next instant at which a price or a bound starts or ends."""
        steps = (*self.prices, *self.bounds)
        return min((edge for step in steps for edge in (step.start, step.end) if edge > now), default=None)
