"""Settling again what was settled on a substitute, when the reading comes after all.

Each home and slot closes by itself, so a correction changes the bill of one home and the accounts of supplier
and DSO by the same amount, and nothing else.

Source: docs/mechanisms.md 17.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from dso_engine.metering import MeterOutcome
from dso_engine.model import SLOT, HomeId
from dso_engine.settlement import settle_day
from dso_engine.settlement_model import DayAccounts, ReadingSource, RewardTerms, SlotInput, SlotStatement

__all__ = [
    "WINDOW",
    "Correction",
    "CorrectionNote",
    "LateOutcome",
    "LateReading",
    "MeterFault",
    "Resettlement",
    "settle_again",
]

WINDOW: Final = timedelta(days=2)
"""How long after the end of a slot its reading is still taken."""


class LateOutcome(StrEnum):
    """What became of a late reading."""

    SETTLED_AGAIN = "settled_again"
    TOO_LATE = "too_late"
    """The window is over; the substitute stands."""
    METERED = "metered"
    """The slot was settled on a reading, which stands."""
    UNKNOWN = "unknown"
    """There is no statement of this home and slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateReading:
    """A reading that came after the accounts were drawn."""

    home: HomeId
    slot: datetime
    metered_wh: int
    at: datetime
    """When it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterFault:
    """Readings came, and yet the slot is not metered."""

    home: HomeId
    slot: datetime
    outcome: MeterOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A statement as it was and as it is now."""

    before: SlotStatement
    after: SlotStatement

    @property
    def bill(self) -> int:
        """What the home pays more than it was told, units."""
        return self.after.lines.bill - self.before.lines.bill


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionNote:
    """A correction with its dates: what is sent after a bill that stays as it was."""

    correction: Correction
    stated_at: datetime
    """When the statement before it was made."""
    corrected_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Resettlement:
    """The accounts with all late readings in them."""

    accounts: DayAccounts
    outcomes: tuple[tuple[LateReading, LateOutcome], ...]
    """In the order of the readings; of two of one home and slot the first counts."""
    corrections: tuple[Correction, ...]


def settle_again(
    accounts: DayAccounts, readings: Iterable[LateReading], terms: RewardTerms, *, window: timedelta = WINDOW
) -> Resettlement:
    """Takes late readings into the accounts.

    Args:
        accounts: As they were drawn.
        readings: What has come since, in any order.
        terms: Reward parameters, the same as before.
        window: How long after the end of its slot a reading is taken.

    Raises:
        InvalidSettlement: if a reading is no whole number.

    Source: docs/mechanisms.md 17.
    """
    facts = {(s.home, s.slot): s.facts for home in accounts.homes for s in home.slots}
    before = {(s.home, s.slot): s for home in accounts.homes for s in home.slots}
    outcomes: list[tuple[LateReading, LateOutcome]] = []
    changed: list[tuple[HomeId, datetime]] = []
    for reading in readings:
        key = (reading.home, reading.slot)
        outcome = _outcome(reading, facts.get(key), window)
        outcomes.append((reading, outcome))
        if outcome is LateOutcome.SETTLED_AGAIN:
            facts[key] = replace(facts[key], metered_wh=reading.metered_wh, source=ReadingSource.METERED)
            changed.append(key)
    again = settle_day(facts.values(), terms)
    after = {(s.home, s.slot): s for home in again.homes for s in home.slots}
    return Resettlement(
        accounts=again,
        outcomes=tuple(outcomes),
        corrections=tuple(Correction(before=before[key], after=after[key]) for key in sorted(changed)),
    )


def _outcome(reading: LateReading, known: SlotInput | None, window: timedelta) -> LateOutcome:
    if known is None:
        return LateOutcome.UNKNOWN
    if known.source is ReadingSource.METERED:
        return LateOutcome.METERED
    if reading.at > reading.slot + SLOT + window:
        return LateOutcome.TOO_LATE
    return LateOutcome.SETTLED_AGAIN
