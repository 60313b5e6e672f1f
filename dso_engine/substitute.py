"""What stands in for a meter reading that has not come, so that the accounts of all the others close.

Source: docs/mechanisms.md 17. The commitment is what the home itself has said; without one, the mean power of
its last metered slot goes on for at most an hour; after that nothing is known, and zero leaves the slot to be
settled when the reading comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dso_engine.settlement_model import ReadingSource

__all__ = ["Estimated", "Metered", "substitute"]

_GOES_ON: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """A reading of a home."""

    slot: datetime
    wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """What is settled instead of a reading, and where it comes from."""

    wh: int
    source: ReadingSource


def substitute(slot: datetime, *, committed_wh: int | None, last: Metered | None) -> Estimated:
    """Returns what stands in for the reading of a slot.

    Args:
        slot: Start of the slot.
        committed_wh: What the home committed itself to, if it did; Wh, + import.
        last: Its newest reading before the slot, if there is one.

    Source: docs/mechanisms.md 17.
    """
    if committed_wh is not None:
        return Estimated(wh=committed_wh, source=ReadingSource.COMMITMENT)
    if last is not None and timedelta(0) < slot - last.slot <= _GOES_ON:
        return Estimated(wh=last.wh, source=ReadingSource.LAST_READING)
    return Estimated(wh=0, source=ReadingSource.NONE)
