"""Days that somebody types on a command line."""

from __future__ import annotations

from datetime import date
from typing import Final

__all__ = ["day_of"]

_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9998


def day_of(text: str) -> date:
    """Return a day.

    Raises:
        ValueError: saying why, if it is none that a clock, in any time zone, could say.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError as err:
        raise ValueError(f"{text!r} is no day such as 2026-05-16 (YYYY-MM-DD)") from err
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError(f"{text!r}: the year is none of {_FIRST_YEAR} to {_LAST_YEAR}")
    return day
