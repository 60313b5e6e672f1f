"""What a home is told by the network, in the home's own terms. Nothing here knows OpenADR."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

__all__ = [
    "MILLIONTHS",
    "Change",
    "DayAheadResult",
    "ExportBound",
    "Instruction",
    "Instructions",
    "MarketResult",
    "PhasePlan",
    "PricePath",
    "Programme",
    "ProgrammeKind",
    "Programmes",
    "Span",
    "Step",
]

MILLIONTHS: Final = 1_000_000
"""Multipliers are whole millionths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time, half open; ``end`` None is open-ended."""

    start: datetime
    end: datetime | None

    def overlaps(self, start: datetime, end: datetime) -> bool:
        """Whether the span and [start, end) share an instant."""
        return self.start < end and (self.end is None or start < self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A whole number that holds from ``start`` up to and without ``end``; its meaning is its owner's."""

    start: datetime
    end: datetime
    value: int

    def holds(self, when: datetime) -> bool:
        """Whether the value holds at an instant."""
        return self.start <= when < self.end

    def without(self, span: Span) -> tuple[Step, ...]:
        """Return what is left of the step outside a span: none, one or two steps."""
        if not span.overlaps(self.start, self.end):
            return (self,)
        left = (replace(self, end=span.start),) if self.start < span.start else ()
        right = (replace(self, start=span.end),) if span.end is not None and span.end < self.end else ()
        return left + right


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketResult:
    """What came of a home's offer for one hour."""

    hour: datetime
    price_millicent: tuple[int, ...]
    """Clearing price of the home's side per slot, 1e-5 EUR/kWh."""
    volume_wh: tuple[int, ...]
    """Traded energy per slot, Wh, + bought, - sold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAheadResult:
    """What came of a home's offer for the hourly blocks of a day."""

    day: datetime
    """Start of the local day."""
    price_millicent: tuple[int, ...]
    """Clearing price of the home's side per block, 1e-5 EUR/kWh."""
    volume_wh: tuple[int, ...]
    """Traded energy of each of the six slots of the block, Wh, + bought, - sold."""


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


class ProgrammeKind(StrEnum):
    """What a standard programme is about."""

    SHED = "shed"
    """Consume less, by configured levels 0 to 3."""
    TARIFF = "tariff"
    """The supplier's price, 1e-5 EUR/kWh."""
    EXCHANGE = "exchange"
    """The exchange with the grid, W, + import."""
    CHARGE = "charge"
    """The stored energy, Wh."""
    PEAK = "peak"
    """The price of the highest import, 1e-5 EUR/kW."""


class Change(StrEnum):
    """What a programme's value does to the quantity; a multiplier is in millionths."""

    SET = "set"
    ADD = "add"
    MULTIPLY = "multiply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """One signal of a standard programme."""

    kind: ProgrammeKind
    change: Change
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Programmes:
    """All signals of one event of a standard programme."""

    parts: tuple[Programme, ...]


Instruction = MarketResult | DayAheadResult | PhasePlan | PricePath | ExportBound | Programmes


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """Everything that holds or will hold for a home."""

    results: tuple[MarketResult, ...] = ()
    blocks: tuple[DayAheadResult, ...] = ()
    phases: tuple[Step, ...] = ()
    prices: tuple[Step, ...] = ()
    bounds: tuple[Step, ...] = ()
    programmes: tuple[Programme, ...] = ()

    @classmethod
    def of(cls, instructions: Iterable[Instruction]) -> Instructions:
        """Return single instructions put together."""
        found = tuple(instructions)
        return cls(
            results=tuple(one for one in found if isinstance(one, MarketResult)),
            blocks=tuple(one for one in found if isinstance(one, DayAheadResult)),
            phases=tuple(step for one in found if isinstance(one, PhasePlan) for step in one.steps),
            prices=tuple(step for one in found if isinstance(one, PricePath) for step in one.steps),
            bounds=tuple(step for one in found if isinstance(one, ExportBound) for step in one.steps),
            programmes=tuple(part for one in found if isinstance(one, Programmes) for part in one.parts),
        )

    def without(self, spans: Iterable[Span]) -> Instructions:
        """Return what holds outside some spans of time.

        Export bounds hold inside them too: they are the network's last resort. Market results that were
        accepted stand.
        """
        cut = self
        for span in spans:
            cut = replace(
                cut,
                phases=_without(cut.phases, span),
                prices=_without(cut.prices, span),
                programmes=tuple(replace(one, steps=_without(one.steps, span)) for one in cut.programmes),
            )
        return cut

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

    def counts_from(self, start: datetime) -> bool:
        """Whether a programme has an interval that starts at an instant."""
        return any(step.start == start for one in self.programmes for step in one.steps)

    def next_change(self, now: datetime) -> datetime | None:
        """Return the next instant at which a price, a bound or a programme's value starts or ends."""
        steps = (*self.prices, *self.bounds, *(step for one in self.programmes for step in one.steps))
        return min((edge for step in steps for edge in (step.start, step.end) if edge > now), default=None)


def _without(steps: tuple[Step, ...], span: Span) -> tuple[Step, ...]:
    return tuple(left for step in steps for left in step.without(span))
