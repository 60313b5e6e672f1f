"""Simple types of the schema: date-time and duration, with the arithmetic the standard needs.

Source: XSD oadr_xcal_20b.xsd DateTimeType and DurationValueType; rules 1 and 47.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Self

from schemas.oadr20b.errors import InvalidValue

__all__ = ["Duration", "format_datetime", "parse_datetime"]

_DATETIME: Final = re.compile(r"\+?(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d*)?Z?", re.ASCII)
_USUAL: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_DURATION: Final = re.compile(
    r"([+-])?P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?|(\d+)W",
    re.ASCII,
)
_MAX_DIGITS: Final = 9
"""More digits than this in one component is beyond any calendar; the bound keeps arithmetic finite."""


_SHORT: Final = 32
"""Durations up to this length are remembered; an ordinary one has fewer than ten characters."""


def parse_datetime(text: str) -> datetime:
    """Return the instant of an XSD DateTimeType, aware, in UTC, whole seconds.

    A fraction is accepted and dropped, a missing ``Z`` is read as UTC (rule 1; the check of the rule itself
    is a separate matter).

    Raises:
        InvalidValue: if the text is no date-time or lies outside the years 1 to 9999.
    """
    if _USUAL.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass  # hour 24 perhaps: the long way has the last word
    match = _DATETIME.fullmatch(text.strip())
    if match is None:
        raise InvalidValue(f"not a UTC date-time: {text[:40]!r}")
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        if hour == 24 and minute == second == 0:  # XML Schema's way to write midnight at the end of a day
            return datetime(year, month, day, tzinfo=UTC) + timedelta(days=1)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except (ValueError, OverflowError) as err:
        raise InvalidValue(f"not a date-time we can represent: {text[:40]!r}") from err


def format_datetime(when: datetime) -> str:
    """Return an aware instant as ``2018-05-16T10:20:00Z``; sub-second parts are dropped (rule 1).

    Raises:
        InvalidValue: if the instant has no time zone, or lies outside the years 1 to 9999 in UTC.
    """
    if when.tzinfo is None:
        raise InvalidValue(f"naive date-time: {when!r}")
    try:
        utc = when.astimezone(UTC)
    except OverflowError as err:
        raise InvalidValue(f"outside the calendar in UTC: {when!r}") from err
    return utc.replace(tzinfo=None, microsecond=0).isoformat() + "Z"


def _number(digits: str) -> int:
    significant = digits.lstrip("0")  # before int(), which refuses 4300 digits even if they are zeros
    if len(significant) > _MAX_DIGITS:
        raise InvalidValue(f"duration with a part of {len(significant)} digits")
    return int(significant or "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """An ISO 8601 duration with its calendar parts kept apart, so that months stay months.

    Source: XSD DurationValueType; all parts are whole numbers (rule 1).
    """

    negative: bool = False
    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0
    minutes: int = 0
    seconds: int = 0

    def __post_init__(self) -> None:
        parts = (self.years, self.months, self.days, self.hours, self.minutes, self.seconds)
        if min(parts) < 0 or max(parts) >= 10**_MAX_DIGITS:
            raise InvalidValue(f"a part of the duration is out of range: {parts}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the duration a text stands for.

        Raises:
            InvalidValue: if the text is no duration or a part has more than nine digits.
        """
        return cls._parse_short(text) if len(text) <= _SHORT else cls._parse(text)

    @classmethod
    @lru_cache(maxsize=1024)
    def _parse_short(cls, text: str) -> Self:
        """Parse; the same few durations come again and again."""
        return cls._parse(text)

    @classmethod
    def _parse(cls, text: str) -> Self:
        match = _DURATION.fullmatch(text.strip())
        if match is None:
            raise InvalidValue(f"not a duration: {text[:40]!r}")
        sign, *parts = match.groups("")
        years, months, days, hours, minutes, seconds, weeks = map(_number, parts)
        length = cls(
            years=years, months=months, days=days + 7 * weeks, hours=hours, minutes=minutes, seconds=seconds
        )
        return replace(length, negative=True) if sign == "-" and not length.is_zero else length

    @classmethod
    def of(cls, delta: timedelta) -> Self:
        """Return the duration of a timedelta in days, hours, minutes and seconds.

        Raises:
            InvalidValue: if the timedelta has a part below one second.
        """
        if delta.microseconds:
            raise InvalidValue(f"durations are whole seconds: {delta!r}")
        total = abs(delta)
        minutes, seconds = divmod(total.seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return cls(
            negative=delta < timedelta(0), days=total.days, hours=hours, minutes=minutes, seconds=seconds
        )

    @property
    def is_zero(self) -> bool:
        """Whether the duration is zero, which in an active period means open-ended (rule 47)."""
        return not (self.years or self.months or self.days or self.hours or self.minutes or self.seconds)

    def timedelta(self) -> timedelta:
        """Return the exact length.

        Raises:
            InvalidValue: if the duration has years or months, whose length depends on the date.
        """
        if self.years or self.months:
            raise InvalidValue(f"{self} has no fixed length")
        try:
            length = timedelta(self.days, 3600 * self.hours + 60 * self.minutes + self.seconds)
        except OverflowError as err:
            raise InvalidValue(f"{self} is too long") from err
        return -length if self.negative else length

    def after(self, start: datetime) -> datetime:
        """Return the instant that lies this duration after ``start``, by calendar arithmetic.

        Raises:
            InvalidValue: if the result lies outside the years 1 to 9999.
        """
        sign = -1 if self.negative else 1
        try:
            if not (self.years or self.months):
                return start + self.timedelta()
            month0 = start.year * 12 + start.month - 1 + sign * (self.years * 12 + self.months)
            year, month = divmod(month0, 12)
            day = min(start.day, calendar.monthrange(year, month + 1)[1])
            moved = start.replace(year=year, month=month + 1, day=day)
            rest = timedelta(days=self.days, hours=self.hours, minutes=self.minutes, seconds=self.seconds)
            return moved + sign * rest
        except (ValueError, OverflowError) as err:
            raise InvalidValue(f"{start.isoformat()} plus {self} is outside the calendar") from err

    def __str__(self) -> str:
        date = "".join(f"{n}{u}" for n, u in ((self.years, "Y"), (self.months, "M"), (self.days, "D")) if n)
        time = "".join(
            f"{n}{u}" for n, u in ((self.hours, "H"), (self.minutes, "M"), (self.seconds, "S")) if n
        )
        if not date and not time:
            return "PT0S"
        return f"{'-' if self.negative else ''}P{date}{'T' + time if time else ''}"
