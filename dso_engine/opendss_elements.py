"""The lines, line codes and loads of an OpenDSS script, one reader for each class.

A default of OpenDSS is used where it is the plain case, or can hardly be felt, and is then listed. Where a
default would quietly be a wrong feeder (10 kW per load, 3.4 nF per metre, 400 A) the value must be given.
Everything else is an error with file and line.

Source: grid-model.md 1 (traps), OpenDSS manual (properties and defaults).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from dso_engine.model import FloatArray
from dso_engine.opendss_options import METRES_PER_UNIT, Bus, Options, bus_of
from dso_engine.opendss_text import Place

__all__ = ["CodeElement", "LineElement", "read_code", "read_line"]

SWITCH_LENGTH: Final = 1e-3
"""Of a closed switch, whatever its line code says (grid-model.md 1, trap 2)."""
_SEQUENCE: Final = ("r1", "x1", "r0", "x0")
_CAPACITANCE: Final = ("c1", "c0", "b1", "b0")
_MATRICES: Final = ("rmatrix", "xmatrix", "cmatrix")
_NO_EFFECT: Final = (
    *("emergamps", "faultrate", "pctperm", "repair", "enabled", "seasons", "ratings", "linetype"),
    *("earthmodel", "rg", "xg", "rho"),
)
"""The last three correct the earth return at other frequencies than the base frequency only."""
_C1_NF, _C0_NF = 3.4, 1.6
"""What OpenDSS takes per unit of length, whatever the unit."""
_FELT_FROM: Final = 100.0
"""Metres: per kilometre or thousand feet 3.4 nF are nothing, per metre they are a wrong feeder."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodeElement:
    """``LineCode``, or what a ``Line`` says about its impedance itself; per unit of length."""

    name: str
    at: Place
    conductors: int
    r: FloatArray
    x: FloatArray
    c_nf: FloatArray
    unit: str
    rated_current_a: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LineElement:
    """``Line``."""

    name: str
    at: Place
    phases: int | None
    """Number of conductors as said; without it that of the code, else three."""
    bus1: Bus
    bus2: Bus
    switch: bool
    code: str | None
    """Name of the line code in lower case; of a switch only its rating counts."""
    own: CodeElement | None
    switch_z_ohm: complex
    """Per conductor of a switch."""
    length: float
    unit: str
    rated_current_a: float | None


def read_code(options: Options, name: str, conductors: int, unit: str, hz: float) -> CodeElement:
    """Impedances per unit of length, as matrices or as sequence values; the caller finishes the options.

    Args:
        options: Of the line code, or of a line without one.
        name: Of the code.
        conductors: How many the impedances are for.
        unit: Unit of length, in lower case.
        hz: Frequency of the circuit, for susceptances.

    Raises:
        InvalidScript: if they are missing or wrong.
    """
    _check_code(options, conductors, unit)
    if options.one_of(_MATRICES):
        r, x, maybe_c = (options.matrix(key, conductors) for key in _MATRICES)
        for key, matrix in zip(_MATRICES, (r, x), strict=False):
            if matrix is None:
                raise options.at.error(f"{options.name}: {key} is not given")
        assert r is not None
        assert x is not None
        c = _default_c(options, conductors, unit) if maybe_c is None else maybe_c
    else:
        ohms = [options.number(key) for key in _SEQUENCE]
        if conductors == 1 and ohms[:2] != ohms[2:]:
            raise options.at.error(
                f"{options.name}: one conductor with r0, x0 other than r1, x1; give matrices"
            )
        r, x = (_phases(ohms[k], ohms[k + 2], conductors) for k in (0, 1))
        c = _capacitance(options, conductors, unit, hz)
    options.without_effect(("neutral",))
    if np.any(np.diag(r) <= 0.0):
        raise options.at.error(f"{options.name}: a conductor without resistance")
    return CodeElement(
        name=name,
        at=options.at,
        conductors=conductors,
        r=r,
        x=x,
        c_nf=c,
        unit=unit,
        rated_current_a=_rating(options),
    )


def _check_code(options: Options, conductors: int, unit: str) -> None:
    if not 1 <= conductors <= 4:
        raise options.at.error(f"{options.name}: {conductors} conductors; only 1 to 4 are understood")
    if unit not in METRES_PER_UNIT:
        raise options.place("units").error(f"{options.name}: unit {unit} is not understood")
    if options.flag("kron", default=False):
        raise options.place("kron").error(
            f"{options.name}: kron=yes is not understood; give the reduced matrix"
        )
    given = options.one_of((*_MATRICES, *_SEQUENCE, *_CAPACITANCE))
    if set(_MATRICES) & set(given) and {*_SEQUENCE, *_CAPACITANCE} & set(given):
        raise options.at.error(f"{options.name}: matrices and sequence values; give one kind")


def _rating(options: Options) -> float | None:
    return options.positive("normamps") if options.one_of(("normamps",)) else options.maybe("normamps")


def _capacitance(options: Options, conductors: int, unit: str, hz: float) -> FloatArray:
    """From c1 and c0 in nF, or b1 and b0 in microsiemens."""
    found = []
    for key in ("1", "0"):
        c_nf, b_us = options.maybe(f"c{key}"), options.maybe(f"b{key}")
        if c_nf is not None and b_us is not None:
            raise options.place(f"b{key}").error(f"{options.name}: c{key} and b{key}; give one")
        found.append(b_us * 1e3 / (2.0 * math.pi * hz) if b_us is not None else c_nf)
    c1_nf, c0_nf = found
    if c1_nf is None or c0_nf is None:
        if (c1_nf, c0_nf) != (None, None):
            raise options.at.error(f"{options.name}: capacitances of both sequences go together")
        return _default_c(options, conductors, unit)
    return _phases(c1_nf, c0_nf, conductors)


def _default_c(options: Options, conductors: int, unit: str) -> FloatArray:
    said = f"a capacitance of {_C1_NF} and {_C0_NF} nF per {unit}"
    if METRES_PER_UNIT[unit] < _FELT_FROM:
        raise options.at.error(f"{options.name}: its capacitance is not given; OpenDSS would take {said}")
    options.assume(said)
    return _phases(_C1_NF, _C0_NF, conductors)


def _phases(one: float, zero: float, size: int) -> FloatArray:
    own, mutual = (2.0 * one + zero) / 3.0, (zero - one) / 3.0
    return np.full((size, size), mutual) + (own - mutual) * np.eye(size)


def read_line(options: Options, name: str, hz: float) -> LineElement:
    """A line or a switch.

    Args:
        options: Of the line.
        name: As written.
        hz: Frequency of the circuit.

    Raises:
        InvalidScript: if an option is missing, wrong or not understood.
    """
    code = options.text("linecode")
    own = options.one_of((*_MATRICES, *_SEQUENCE, *_CAPACITANCE))
    switch = options.flag("switch", default=False)
    if switch and code is not None and options.comes_after("linecode", "switch"):
        raise options.place("linecode").error(f"{options.name}: a linecode after switch=yes overrides it")
    if code is not None and own and not switch:
        raise options.place(own[0]).error(f"{options.name}: {own[0]} beside a linecode; give one")
    for key in own:
        if switch and not options.comes_after(key, "switch"):
            raise options.place(key).error(f"{options.name}: {key} before switch=yes is overridden by it")
    unit = (options.text("units") or "none").lower()
    if unit not in METRES_PER_UNIT:
        raise options.place("units").error(f"{options.name}: unit {unit} is not understood")
    said = options.maybe("phases")
    if said is not None and said not in (1.0, 2.0, 3.0, 4.0):
        raise options.place("phases").error(f"{options.name}: phases={said:g}")
    phases = None if said is None else int(said)
    ends = [bus_of(options.required(key), options.place(key)) for key in ("bus1", "bus2")]
    inline = read_code(options, name, phases or 3, unit, hz) if code is None and not switch else None
    element = LineElement(
        name=name,
        at=options.at,
        phases=phases,
        bus1=ends[0],
        bus2=ends[1],
        switch=switch,
        code=None if code is None else code.lower(),
        own=inline,
        switch_z_ohm=_switch_impedance(options) if switch else 0j,
        length=1.0 if switch else options.positive("length", 1.0),
        unit=unit,
        rated_current_a=_rating(options),
    )
    if switch:
        options.without_effect(("length",))
    options.without_effect(_NO_EFFECT)
    options.finish()
    return element


def _switch_impedance(options: Options) -> complex:
    """What is said after switch=yes, else 1 ohm + j1 ohm over a length of 0.001."""
    ohms = {key: options.number(key, 1.0) for key in _SEQUENCE}
    for key in _MATRICES:
        if options.one_of((key,)):
            raise options.place(key).error(f"{options.name}: {key} beside switch=yes is not understood")
    if ohms["r1"] != ohms["r0"] or ohms["x1"] != ohms["x0"]:
        raise options.at.error(f"{options.name}: a switch with coupled conductors is not understood")
    options.without_effect(_CAPACITANCE)
    length = (
        options.number("length", SWITCH_LENGTH) if options.comes_after("length", "switch") else SWITCH_LENGTH
    )
    return complex(ohms["r1"], ohms["x1"]) * length
