"""The newest good reading of every PCC, and what was refused. Pure.

Rules:

1. A reading counts only if it is complete: a known meter, an instant with its offset from UTC, three finite
   numbers inside what is plausible. Anything else is counted by its fault and is never used, not even partly.
2. Its time is the meter's, never that of its arrival: a value that was kept somewhere on the way stays as old
   as it is. One from the future beyond a clock's tolerance is refused, because it would never grow stale.
3. Of readings of one PCC the newest by its own time is kept; older ones that arrive later are counted and
   dropped, the same one again is no fault.
4. Nothing is filled in. A PCC without a new reading keeps its old one, with its old time.

Which quantity and unit a number has says the name it comes under: ``p_kw`` or ``p_w``, ``q_kvar`` or
``q_var``, ``v_v`` or ``v_kv``. Any other name is a fault of the source, not a guess. Import is positive.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from dso_engine.model import Pcc, PccReading

__all__ = ["Board", "Fault", "Plausible", "TelemetryState", "is_complete"]

_NAMES: Final[Mapping[str, tuple[tuple[str, float], ...]]] = {
    "p": (("p_kw", 1.0), ("p_w", 1e-3)),
    "q": (("q_kvar", 1.0), ("q_var", 1e-3)),
    "v": (("v_v", 1.0), ("v_kv", 1e3)),
}


class Fault(StrEnum):
    """Why a reading was refused."""

    UNREADABLE = "unreadable"
    """No row, no JSON object, or a name is missing."""
    UNKNOWN_PCC = "unknown pcc"
    NO_TIME = "no time"
    """Not an ISO 8601 instant with an offset."""
    NO_NUMBER = "no number"
    """Not a finite number."""
    ABSURD = "absurd"
    """Outside of what is plausible."""
    FUTURE = "future"
    LATE = "late"
    """Older than the one that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plausible:
    """What a meter at a feeder head can show.

    Attributes:
        max_kw: Largest active power either way, kW.
        max_kvar: Largest reactive power either way, kvar.
        v_low_v: Lowest voltage, volts; a phase without voltage is no state the engine can work with.
        v_high_v: Highest voltage, volts.
        ahead: How far a meter's clock may be ahead of ours.
    """

    max_kw: float
    max_kvar: float
    v_low_v: float
    v_high_v: float
    ahead: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryState:
    """What a source has seen so far.

    Attributes:
        taken: Readings that were used.
        refused: How many were not, by fault, where there were any.
        newest: When the newest reading of each PCC was taken; None where there has been none.
    """

    taken: int
    refused: tuple[tuple[Fault, int], ...]
    newest: tuple[tuple[Pcc, datetime | None], ...]


class Board:
    """Keeps the newest good reading of every PCC.

    Args:
        meters: The PCC behind each name a source uses.
        plausible: What is believed.
    """

    def __init__(self, meters: Mapping[str, Pcc], plausible: Plausible) -> None:
        self._meters = dict(meters)
        self._plausible = plausible
        self._newest: dict[Pcc, PccReading] = {}
        self._refused: Counter[Fault] = Counter()
        self._taken = 0

    def put(self, cells: Mapping[str, object], now: datetime) -> Fault | None:
        """Take what a meter said, by name; return why not, None if it was taken or is known already."""
        found = self._reading(cells, now)
        if isinstance(found, PccReading):
            known = self._newest.get(found.pcc)
            if known is None or found.taken_at > known.taken_at:
                self._newest[found.pcc] = found
                self._taken += 1
                return None
            if found.taken_at == known.taken_at:
                return None
            found = Fault.LATE
        return self.refuse(found)

    def refuse(self, fault: Fault) -> Fault:
        """Count something that does not even have names; return the fault."""
        self._refused[fault] += 1
        return fault

    def newest(self) -> tuple[PccReading, ...]:
        """Return the newest reading of every PCC that has one."""
        return tuple(self._newest[pcc] for pcc in self._meters.values() if pcc in self._newest)

    def state(self) -> TelemetryState:
        """Return the counts and ages."""
        return TelemetryState(
            taken=self._taken,
            refused=tuple(sorted(self._refused.items())),
            newest=tuple(
                (pcc, self._newest[pcc].taken_at if pcc in self._newest else None)
                for pcc in self._meters.values()
            ),
        )

    def _reading(self, cells: Mapping[str, object], now: datetime) -> PccReading | Fault:
        if not is_complete(frozenset(cells)):
            return Fault.UNREADABLE
        pcc = self._meters.get(str(cells["pcc"]).strip())
        if pcc is None:
            return Fault.UNKNOWN_PCC
        taken_at = _instant(cells["time"])
        if taken_at is None:
            return Fault.NO_TIME
        numbers = [_number(cells, quantity) for quantity in ("p", "q", "v")]
        if not all(map(math.isfinite, numbers)):
            return Fault.NO_NUMBER
        p_kw, q_kvar, v_v = numbers
        limits = self._plausible
        if abs(p_kw) > limits.max_kw or abs(q_kvar) > limits.max_kvar:
            return Fault.ABSURD
        if not limits.v_low_v <= v_v <= limits.v_high_v:
            return Fault.ABSURD
        if taken_at > now + limits.ahead:
            return Fault.FUTURE
        return PccReading(pcc=pcc, p_kw=p_kw, q_kvar=q_kvar, v_v=v_v, taken_at=taken_at)


def is_complete(names: frozenset[str]) -> bool:
    """Return whether the names a source uses say all that is needed, each quantity in exactly one unit."""
    return {"time", "pcc"} <= names and all(
        len(names.intersection(name for name, _ in units)) == 1 for units in _NAMES.values()
    )


def _instant(value: object) -> datetime | None:
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        return found.astimezone(UTC) if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _number(cells: Mapping[str, object], quantity: str) -> float:
    """Return a quantity in the unit we work in; not finite where there is no number."""
    name, factor = next((name, factor) for name, factor in _NAMES[quantity] if name in cells)
    value = cells[name]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return math.nan
    if isinstance(value, str) and not value.isascii():
        return math.nan
    try:
        return float(value) * factor
    except (ValueError, OverflowError):
        return math.nan
