"""From what a meter says to the energy of a slot, whatever length its readings have.

A reading is the net energy of an interval. Readings whose intervals lie within a slot and cover it without a
gap are added up; of two that overlap the newer one counts. A reading that reaches beyond a slot says how
much was used, not when: no part of it is guessed, so it says nothing of any slot. What is not metered in this
sense gets a substitute (:mod:`dso_engine.substitute`) and the reason is told.

A reading that does not say how long it lasts lasts as long as was asked for, which is a slot. Where another
one starts in the same slot that cannot be, and what they mean is unclear.

Source: docs/signals.md, Metering; docs/mechanisms.md 17.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import fsum
from typing import Final

from dso_engine.model import SLOT

__all__ = ["EnergyReading", "MeterOutcome", "SlotEnergy", "slot_energy"]

_MOST_WH: Final = 1e15
"""More than that is no energy of a home, and more than what can be added up exactly."""


class MeterOutcome(StrEnum):
    """What the readings say of a slot."""

    METERED = "metered"
    MISSING = "missing"
    """Nothing."""
    GAPS = "gaps"
    """Of a part of the slot they say nothing."""
    STRADDLES = "straddles"
    """All there is reaches beyond the slot."""
    UNCLEAR = "unclear"
    """Several readings, and one of them does not say how long it lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReading:
    """The net energy a meter counted in an interval.

    Attributes:
        start: Start of the interval.
        end: End of it, excluded; None where the meter did not say.
        wh: Wh, + import.
        at: When it came.
    """

    start: datetime
    end: datetime | None
    wh: float
    at: datetime

    @property
    def until(self) -> datetime:
        """The end, also where it was not said."""
        return self.start + SLOT if self.end is None else self.end

    def overlaps(self, other: EnergyReading) -> bool:
        """Return whether two intervals have a part in common."""
        return self.start < other.until and other.start < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEnergy:
    """What is known of a slot.

    Attributes:
        wh: Whole Wh, + import; zero unless metered.
        at: When the last of the readings it rests on came; None unless metered.
    """

    outcome: MeterOutcome
    wh: int = 0
    at: datetime | None = None


def slot_energy(slot: datetime, readings: Iterable[EnergyReading]) -> SlotEnergy:
    """Return what the readings of one meter say of a slot.

    Args:
        slot: Start of the slot.
        readings: In any order; those of other times are of no effect.

    Source: docs/mechanisms.md 17.
    """
    end = slot + SLOT
    usable = (each for each in readings if each.start < each.until and abs(each.wh) <= _MOST_WH)
    touching = [each for each in usable if each.start < end and each.until > slot]
    begun = {each.start for each in touching if each.start >= slot}
    if len(begun) > 1 and any(each.end is None and each.start in begun for each in touching):
        return SlotEnergy(outcome=MeterOutcome.UNCLEAR)
    inside = [each for each in touching if each.start >= slot and each.until <= end]
    if not inside:
        outcome = MeterOutcome.STRADDLES if touching else MeterOutcome.MISSING
        return SlotEnergy(outcome=outcome)
    parts = _newest(inside)
    edges = [slot, *(each.until for each in parts)]
    if edges[:-1] != [each.start for each in parts] or edges[-1] != end:
        return SlotEnergy(outcome=MeterOutcome.GAPS)
    return SlotEnergy(
        outcome=MeterOutcome.METERED,
        wh=round(fsum(each.wh for each in parts)),
        at=max(each.at for each in parts),
    )


def _newest(readings: Sequence[EnergyReading]) -> list[EnergyReading]:
    """Return readings that do not overlap, by start: of two that do, the newer; if equally old, the longer.

    What a newer reading replaces in part is not used for the rest: nobody knows what of it lies there.
    """
    kept: list[EnergyReading] = []
    for each in sorted(readings, key=lambda r: (-r.at.timestamp(), r.start - r.until, r.start)):
        if not any(each.overlaps(other) for other in kept):
            kept.append(each)
    return sorted(kept, key=lambda each: each.start)
