"""Days, counts and changes in words, from what was really played: a quick run says that it is one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from feederloop.study.settings import DAYS

__all__ = ["counted", "days_in_words", "sentence", "signed"]

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def counted(count: int, thing: str) -> str:
    """Return ``one seed``, ``two seeds``, ``12 seeds``."""
    number = _NUMBERS[count] if count < len(_NUMBERS) else str(count)
    return f"{number} {thing}{'' if count == 1 else 's'}"


def days_in_words(days: Iterable[date]) -> str:
    """Return the days that were played; fewer than all of a study are named a quick run.

    Args:
        days: May repeat and be in any order.
    """
    played = sorted(set(days))
    if not played:
        return "no day"
    first, last = (f"{day:%A} {day.day} {day:%B}" for day in (played[0], played[-1]))
    span = first if len(played) == 1 else f"{counted(len(played), 'day')}, {first} to {last}"
    said = f"{span} {played[-1].year}"
    return said if len(played) >= len(DAYS) else f"{said} (a quick run; the study has {len(DAYS)} days)"


def sentence(text: str) -> str:
    """Return a text that begins like a sentence."""
    return text[:1].upper() + text[1:]


def signed(value: float, digits: int = 0) -> str:
    """Return a number with its sign; what rounds to nothing is ``0``, not ``-0``."""
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0.0 else text
