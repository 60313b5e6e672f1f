"""What an OpenDSS element says about itself, asked for by name; what nobody asked for is an error."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

from dso_engine.model import FloatArray
from dso_engine.opendss_text import Option, Place

__all__ = ["METRES_PER_UNIT", "Bus", "Options", "bus_of"]

METRES_PER_UNIT: Final = {
    "none": 1.0,
    "m": 1.0,
    "km": 1000.0,
    "cm": 0.01,
    "mm": 0.001,
    "mi": 1609.344,
    "kft": 304.8,
    "ft": 0.3048,
    "in": 0.0254,
}
_YES_NO: Final = {"y": True, "yes": True, "t": True, "true": True, "n": False, "no": False, "f": False} | {
    "false": False
}

Bus = tuple[str, tuple[int, ...]]
"""Name as written and nodes, which may be none."""


class Options:
    """The options of one element; of several with one name the last counts, as in OpenDSS.

    Args:
        name: The element as written, ``Line.l1``.
        options: In the order of the script.
        at: Where the element begins.
    """

    def __init__(self, name: str, options: Iterable[Option], at: Place) -> None:
        self.name = name
        self.at = at
        self._given: dict[str, Option] = {}
        for option in options:
            if not option.name:
                raise option.at.error(f"{name}: {option.value} stands alone; only name=value is understood")
            self._given.pop(option.name, None)  # so that the order is that of the last mention
            self._given[option.name] = option
        self._asked: set[str] = set()
        self._ignored: list[str] = []
        self._assumed: list[str] = []

    def text(self, name: str) -> str | None:
        """The value of an option, or None."""
        self._asked.add(name)
        option = self._given.get(name)
        return None if option is None else option.value

    def place(self, name: str) -> Place:
        """Where an option stands; the element if it is not given."""
        option = self._given.get(name)
        return self.at if option is None else option.at

    def comes_after(self, later: str, earlier: str) -> bool:
        """Whether both are given, in this order."""
        order = list(self._given)
        return later in order and earlier in order and order.index(later) > order.index(earlier)

    def required(self, name: str, why: str = "") -> str:
        """The value of an option that must be there.

        Raises:
            InvalidScript: if it is not.
        """
        value = self.text(name)
        if value is None:
            raise self.at.error(f"{self.name}: {name} is not given{why and '; ' + why}")
        return value

    def number(self, name: str, default: float | None = None, why: str = "") -> float:
        """The number of an option; without a default it must be there.

        Raises:
            InvalidScript: if it is missing or not a finite number.
        """
        value = self.text(name) if default is not None else self.required(name, why)
        return default if value is None and default is not None else self._float(name, str(value))

    def positive(self, name: str, default: float | None = None) -> float:
        """A number greater than zero.

        Raises:
            InvalidScript: as `number`, or if it is not.
        """
        found = self.number(name, default)
        if found <= 0.0:
            raise self.place(name).error(f"{self.name}: {name}={found:g}, which must be greater than 0")
        return found

    def maybe(self, name: str) -> float | None:
        """The number of an option, or None.

        Raises:
            InvalidScript: if it is not a finite number.
        """
        value = self.text(name)
        return None if value is None else self._float(name, value)

    def flag(self, name: str, *, default: bool) -> bool:
        """The yes or no of an option.

        Raises:
            InvalidScript: if it is neither.
        """
        value = self.text(name)
        if value is None:
            return default
        if value.lower() not in _YES_NO:
            raise self.place(name).error(f"{self.name}: {name}={value} is neither yes nor no")
        return _YES_NO[value.lower()]

    def numbers(self, name: str, count: int) -> tuple[float, ...] | None:
        """So many numbers, or None if not given.

        Raises:
            InvalidScript: if they are others or more or fewer.
        """
        value = self.text(name)
        if value is None:
            return None
        found = tuple(self._float(name, word) for word in value.replace(",", " ").split())
        if len(found) != count:
            raise self.place(name).error(f"{self.name}: {name} has {len(found)} numbers, not {count}")
        return found

    def matrix(self, name: str, size: int) -> FloatArray | None:
        """A symmetric matrix, written whole or as its lower triangle; None if not given.

        Raises:
            InvalidScript: if it is neither.
        """
        value = self.text(name)
        if value is None:
            return None
        rows = [
            [self._float(name, word) for word in row.replace(",", " ").split()]
            for row in value.split("|")
            if row.strip()
        ]
        lengths = [len(row) for row in rows]
        if lengths == list(range(1, size + 1)):
            matrix = np.zeros((size, size))
            for k, row in enumerate(rows):
                matrix[k, : k + 1] = matrix[: k + 1, k] = row
            return matrix
        if lengths != [size] * size:
            raise self.place(name).error(f"{self.name}: {name} is not {size}x{size}")
        whole = np.array(rows)
        if not np.allclose(whole, whole.T, rtol=1e-9, atol=0.0):
            raise self.place(name).error(f"{self.name}: {name} is not symmetric")
        return whole

    def one_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """Which of these are given."""
        return tuple(name for name in names if name in self._given)

    def without_effect(self, names: Iterable[str]) -> None:
        """Take note of options that do not change a snapshot."""
        given = [name for name in names if name in self._given]
        self._asked.update(given)
        self._ignored += given

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of the options that were given and have no effect."""
        return tuple(self._ignored)

    def last_of(self, names: Iterable[str]) -> str | None:
        """Which of these was mentioned last, or None."""
        wanted = set(names)
        return next((name for name in reversed(self._given) if name in wanted), None)

    def assume(self, what: str) -> None:
        """Take note of a value that OpenDSS assumes where nobody says anything, so that we do, too."""
        self._assumed.append(what)

    @property
    def assumed(self) -> tuple[str, ...]:
        """What was not given and taken as OpenDSS would, with file and line."""
        return tuple(f"{self.at}: {self.name}: {what}, as OpenDSS takes it" for what in self._assumed)

    def finish(self) -> None:
        """Say that everything that is understood has been asked for.

        Raises:
            InvalidScript: if an option is left; the message names it, the place is its own.
        """
        for name, option in self._given.items():
            if name not in self._asked:
                raise option.at.error(f"{self.name}: option {name} is not understood")

    def _float(self, name: str, word: str) -> float:
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.place(name).error(f"{self.name}: {name}={word} is not a number")
        return number


def bus_of(text: str, at: Place) -> Bus:
    """Name and nodes of ``bus.1.2.3.4``.

    Raises:
        InvalidScript: if it has no name or a node is not a number.
    """
    name, *nodes = text.split(".")
    if not name or any(not node.isdigit() for node in nodes):
        raise at.error(f"{text!r} is not a bus with nodes")
    return name, tuple(int(node) for node in nodes)
