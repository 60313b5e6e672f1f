"""Simple values to text and back, by declared type and never by the look of the text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, Generic, TypeVar

from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.xmltypes import Duration, format_datetime, parse_datetime

__all__ = ["TOKEN", "Leaf", "collapse", "leaf_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Leaf(Generic[T]):
    """How one simple type is read from text and written as text."""

    read: Callable[[str], T]
    write: Callable[[T], str]


_SPACES: Final = re.compile(r"[ \t\n\r]+")


def collapse(text: str) -> str:
    """Return a text as XML Schema's white space facet ``collapse`` reads it."""
    return _SPACES.sub(" ", text).strip(" ")


def _read_bool(text: str) -> bool:
    match text.strip():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise InvalidValue(f"not a boolean: {text!r}")


def _write_bool(value: bool) -> str:
    return "true" if value else "false"


def _read_int(text: str) -> int:
    stripped = text.strip()
    if len(stripped) > 20:
        raise InvalidValue("integer with more than 20 digits")
    try:
        value = int(stripped)
    except ValueError as err:
        raise InvalidValue(f"not an integer: {stripped!r}") from err
    if not 0 <= value <= 0xFFFFFFFF:
        raise InvalidValue(f"not an unsigned 32-bit integer: {stripped!r}")
    return value


def _write_int(value: int) -> str:
    if not 0 <= value <= 0xFFFFFFFF:
        raise InvalidValue(f"not an unsigned 32-bit integer: {value}")
    return str(value)


def _read_float(text: str) -> float:
    try:
        return float(text.strip())
    except ValueError as err:
        raise InvalidValue(f"not a number: {text[:40]!r}") from err


def _write_float(value: float) -> str:
    if math.isinf(value):
        return "INF" if value > 0 else "-INF"
    return "NaN" if math.isnan(value) else repr(float(value))


def _read_decimal(text: str) -> Decimal:
    try:
        return Decimal(text.strip())
    except ArithmeticError as err:
        raise InvalidValue(f"not a decimal: {text[:40]!r}") from err


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise InvalidValue(f"not a decimal: {value}")
    return format(value, "f")


def _text(value: str) -> str:
    return value


TOKEN: Final = Leaf(collapse, _text)
"""Text whose white space does not count."""

_LEAVES: dict[type, Leaf[object]] = {}


def _register(kind: type[T], read: Callable[[str], T], write: Callable[[T], str]) -> None:
    _LEAVES[kind] = Leaf(read, write)  # type: ignore[arg-type]  # keyed by the very type T


_register(str, _text, _text)
_register(bool, _read_bool, _write_bool)
_register(int, _read_int, _write_int)
_register(float, _read_float, _write_float)
_register(Decimal, _read_decimal, _write_decimal)
_register(datetime, parse_datetime, format_datetime)
_register(Duration, Duration.parse, str)


def _enum_leaf(kind: type[StrEnum]) -> Leaf[object]:
    members = {member.value: member for member in kind}

    def read(text: str) -> object:
        try:
            return members[text.strip()]
        except KeyError as err:
            raise InvalidValue(f"not one of {kind.__name__}: {text[:40]!r}") from err

    return Leaf(read, lambda value: str(value))


def leaf_of(kind: type) -> Leaf[object] | None:
    """Return how a simple type is read and written; None if the type is not simple."""
    if issubclass(kind, StrEnum):
        return _enum_leaf(kind)
    return _LEAVES.get(kind)
