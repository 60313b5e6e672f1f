"""Signals of standard demand-response programmes as instructions to a home (2.0b Table 1).

======================================  ==========================  =========================================
signal                                  unit                        programme
======================================  ==========================  =========================================
SIMPLE/level 0..3                       none                        SHED: configured steps
ELECTRICITY_PRICE, ENERGY_PRICE
  price, priceRelative                  currencyPerKWh EUR          TARIFF: replaced, added to
  priceMultiplier                       none                        TARIFF: multiplied
DEMAND_CHARGE price, priceRelative      currencyPerKW EUR           PEAK: a price on the highest import
DEMAND_CHARGE priceMultiplier           none                        PEAK: of the contract's own charge
LOAD_DISPATCH setpoint, delta           powerReal W                 EXCHANGE: set, moved from the plan
LOAD_DISPATCH multiplier                none                        EXCHANGE: the plan multiplied
CHARGE_STATE setpoint, delta            energyReal Wh               CHARGE: stored energy, set or moved
CHARGE_STATE multiplier                 none, 0..1                  CHARGE: share of the capacity
======================================  ==========================  =========================================

Not in the table: BID_* (a market that clears elsewhere), LOAD_CONTROL and LOAD_DISPATCH/level (levels of a
particular appliance). They are answered with 460.

Source: 2.0b rules 104, 116; signals.md, "Standard events from an operator".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.oadr20b.enums import SignalName, SignalType
from schemas.oadr20b.errors import InvalidData
from schemas.oadr20b.units import ItemKind
from ven_client.instructions import MILLIONTHS, Change, Programme, ProgrammeKind, Step

__all__ = ["PROGRAMMES", "Reading", "checked"]

MILLICENT_PER_EUR: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the values of one signal are read: unit (None is none) and whole units per plain unit."""

    kind: ProgrammeKind
    change: Change
    unit: ItemKind | None
    units: str
    factor: float


_P, _T = ProgrammeKind, SignalType


def _of(kind: ProgrammeKind, unit: ItemKind, units: str, factor: float) -> tuple[Reading, Reading, Reading]:
    set_to, moved_by = (
        Reading(kind=kind, change=change, unit=unit, units=units, factor=factor)
        for change in (Change.SET, Change.ADD)
    )
    times = Reading(kind=kind, change=Change.MULTIPLY, unit=None, units="", factor=MILLIONTHS)
    return set_to, moved_by, times


_PRICES: Final = (_T.PRICE, _T.PRICE_RELATIVE, _T.PRICE_MULTIPLIER)
_POINTS: Final = (_T.SETPOINT, _T.DELTA, _T.MULTIPLIER)
_TARIFF: Final = _of(_P.TARIFF, ItemKind.CURRENCY_PER_KWH, "EUR", MILLICENT_PER_EUR)
_PEAK: Final = _of(_P.PEAK, ItemKind.CURRENCY_PER_KW, "EUR", MILLICENT_PER_EUR)
_EXCHANGE: Final = _of(_P.EXCHANGE, ItemKind.POWER_REAL, "W", 1.0)
_CHARGE: Final = _of(_P.CHARGE, ItemKind.ENERGY_REAL, "Wh", 1.0)
_SHED: Final = Reading(kind=_P.SHED, change=Change.SET, unit=None, units="", factor=1.0)

PROGRAMMES: Final[dict[tuple[str, SignalType], Reading]] = {
    (SignalName.SIMPLE, _T.LEVEL): _SHED,
    (SignalName.SIMPLE_LOWER, _T.LEVEL): _SHED,
    **{(SignalName.ELECTRICITY_PRICE, of): how for of, how in zip(_PRICES, _TARIFF, strict=True)},
    **{(SignalName.ENERGY_PRICE, of): how for of, how in zip(_PRICES, _TARIFF, strict=True)},
    **{(SignalName.DEMAND_CHARGE, of): how for of, how in zip(_PRICES, _PEAK, strict=True)},
    **{(SignalName.LOAD_DISPATCH, of): how for of, how in zip(_POINTS, _EXCHANGE, strict=True)},
    **{(SignalName.CHARGE_STATE, of): how for of, how in zip(_POINTS, _CHARGE, strict=True)},
}
"""Every signal a home can act on, whatever it owns."""


def checked(how: Reading, steps: tuple[Step, ...]) -> Programme:
    """Return the programme that steps make.

    Raises:
        InvalidData: if a value lies outside its range.
    """
    values = [step.value for step in steps]
    if how.kind is ProgrammeKind.SHED and any(value not in (0, 1, 2, 3) for value in values):
        raise InvalidData("a level of SIMPLE is 0, 1, 2 or 3")
    if how.kind is ProgrammeKind.CHARGE and how.change is not Change.ADD:
        highest = MILLIONTHS if how.change is Change.MULTIPLY else float("inf")
        if not all(0 <= value <= highest for value in values):
            raise InvalidData("a state of charge lies between empty and full")
    if how.kind is ProgrammeKind.PEAK and how.change is Change.SET and min(values) < 0:
        raise InvalidData("a demand charge is not negative")
    return Programme(kind=how.kind, change=how.change, steps=steps)
