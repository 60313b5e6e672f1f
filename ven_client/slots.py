"""The time grid of a home: slots of ten minutes, hours and days of local time, which is fixed UTC+1."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = [
    "DAY",
    "HOUR",
    "LOCAL_OFFSET",
    "SLOT",
    "SLOTS_PER_DAY",
    "complete_slots",
    "day_start",
    "hour_start",
    "slot_of_day",
    "slot_start",
    "slots_from",
]

SLOT: Final = timedelta(minutes=10)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
SLOTS_PER_DAY: Final = 144
LOCAL_OFFSET: Final = timedelta(hours=1)
"""Local time minus UTC, the same all year (signals.md, the market hour)."""

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


def slot_start(when: datetime) -> datetime:
    """Return the start of the slot an instant lies in."""
    return when - (when - _EPOCH) % SLOT


def hour_start(when: datetime) -> datetime:
    """Return the start of the hour an instant lies in, the same in local time and UTC."""
    return when - (when - _EPOCH) % HOUR


def day_start(when: datetime) -> datetime:
    """Return the instant at which the local day of an instant began."""
    return when - (when - _EPOCH + LOCAL_OFFSET) % DAY


def slot_of_day(when: datetime) -> int:
    """Return the index of an instant's slot in its local day, 0 to 143."""
    return ((when - _EPOCH + LOCAL_OFFSET) % DAY) // SLOT


def complete_slots(start: datetime, end: datetime, length: timedelta = SLOT) -> tuple[datetime, ...]:
    """Return the starts of the slots (or minutes) that end after ``start`` and not after ``end``.

    Stretches that follow each other, wherever they are cut, have each slot once.
    """
    first, last = (when - (when - _EPOCH) % length for when in (start, end))
    return tuple(first + k * length for k in range(max(0, (last - first) // length)))


def slots_from(start: datetime, end: datetime) -> tuple[datetime, ...]:
    """Return the starts of the slots from ``start`` (a slot's start) up to and without ``end``."""
    return tuple(start + k * SLOT for k in range(max(0, -((start - end) // SLOT))))
