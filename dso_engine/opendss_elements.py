"""The elements of an OpenDSS script that the model covers, one reader for each class.

A default of OpenDSS is used where it is the plain case (a tap of 1, a dyn transformer of group 1); where a
default would quietly be a wrong feeder (10 kW per load, 3.4 nF per unit length, 400 A) the value must be
given. Everything else is an error with file and line.

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

__all__ = [
    "CodeElement",
    "LineElement",
    "SourceElement",
    "UnitElement",
    "read_code",
    "read_line",
    "read_source",
    "read_unit",
]

SWITCH_LENGTH: Final = 1e-3
"""Of a closed switch, whatever its line code says (grid-model.md 1, trap 2)."""
_SEQUENCE: Final = ("r1", "x1", "r0", "x0")
_RATINGS: Final = ("emergamps", "faultrate", "pctperm", "repair", "enabled")
_UNIT_EXTRAS: Final = (
    *("kv", "kva", "vminpu", "vmaxpu", "class", "numcust", "status", "xfkva", "growth", "enabled"),
    *("daily", "yearly", "duty", "minkvar", "maxkvar", "spectrum"),
)
"""What changes nothing while the power is constant and time stands still."""
_NO_DEFAULT_C: Final = "OpenDSS would take 3.4 and 1.6 nF per unit of length"
_NO_DEFAULT_A: Final = "the limits need it, OpenDSS would take 400 A"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceElement:
    """``Circuit`` or ``Vsource``."""

    name: str
    at: Place
    bus: str
    v_ll_kv: float
    z1_ohm: complex | None
    z0_ohm: complex | None


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
    phases: int
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


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitElement:
    """``Load`` or ``Generator``: one phase against the neutral; production and injection + for the latter."""

    name: str
    at: Place
    bus: str
    node: int
    neutral: int
    p_kw: float
    q_kvar: float


def read_source(options: Options, name: str, *, circuit: bool) -> SourceElement:
    """A source; that of the circuit may be one that feeds nothing, so its impedance may be missing.

    Raises:
        InvalidScript: if an option is missing, wrong or not understood.
    """
    if options.number("phases", 3.0) != 3.0:
        raise options.place("phases").error(f"{options.name}: only sources of three phases are understood")
    bus, nodes = bus_of(options.text("bus1") or "sourcebus", options.place("bus1"))
    if nodes not in ((), (1, 2, 3)):
        raise options.place("bus1").error(f"{options.name}: nodes other than 1.2.3 are not understood")
    v_ll_kv = options.number("basekv") * options.number("pu", 1.0)
    options.without_effect(("angle", "basemva", "enabled"))
    z1, z0 = _source_impedance(options)
    options.finish()
    if z1 is None and not circuit:
        raise options.at.error(f"{options.name}: no impedance is given")
    return SourceElement(name=name, at=options.at, bus=bus, v_ll_kv=v_ll_kv, z1_ohm=z1, z0_ohm=z0)


def _source_impedance(options: Options) -> tuple[complex | None, complex | None]:
    """Z1 and Z0 from ohms or from the short-circuit power, which both then come with ratios X/R."""
    if (z1 := options.numbers("z1", 2)) is not None:
        z0 = options.numbers("z0", 2)
        if z0 is None:
            raise options.at.error(f"{options.name}: z0 is not given")
        return complex(*z1), complex(*z0)
    if options.one_of(_SEQUENCE):
        r1, x1, r0, x0 = (options.number(name) for name in _SEQUENCE)
        return complex(r1, x1), complex(r0, x0)
    mva3 = options.maybe("mvasc3")
    if mva3 is None:
        return None, None
    kv = options.number("basekv")
    mva1, x1_r1, x0_r0 = options.number("mvasc1"), options.number("x1r1", 4.0), options.number("x0r0", 3.0)
    r1 = kv**2 / mva3 / math.hypot(1.0, x1_r1)
    z1_ohm = complex(r1, r1 * x1_r1)
    # A short circuit of one phase sees 2 Z1 + Z0 in series: solve |2 Z1 + R0 (1 + j X0/R0)| = 3 kv^2 / MVA1.
    a, b = 1.0 + x0_r0**2, 4.0 * (z1_ohm.real + z1_ohm.imag * x0_r0)
    c = 4.0 * abs(z1_ohm) ** 2 - (3.0 * kv**2 / mva1) ** 2
    root = b**2 - 4.0 * a * c
    if root < 0.0 or (r0 := (-b + math.sqrt(root)) / (2.0 * a)) < 0.0:
        raise options.place("mvasc1").error(f"{options.name}: no zero sequence fits mvasc1 and x0r0")
    return z1_ohm, complex(r0, r0 * x0_r0)


def read_code(options: Options, name: str, conductors: int, unit: str) -> CodeElement:
    """Impedances per unit of length, as matrices or as sequence values; the caller finishes the options.

    Raises:
        InvalidScript: if they are missing or wrong.
    """
    if conductors not in (3, 4):
        raise options.at.error(f"{options.name}: {conductors} conductors; only 3 or 4 are understood")
    if unit not in METRES_PER_UNIT:
        raise options.place("units").error(f"{options.name}: unit {unit} is not understood")
    given = options.one_of(("rmatrix", "xmatrix", "cmatrix", *_SEQUENCE, "c1", "c0"))
    if {"rmatrix", "xmatrix", "cmatrix"} & set(given) and {*_SEQUENCE, "c1", "c0"} & set(given):
        raise options.at.error(f"{options.name}: matrices and sequence values; give one kind")
    if options.one_of(("rmatrix", "xmatrix", "cmatrix")):
        matrices = [options.matrix(key, conductors) for key in ("rmatrix", "xmatrix", "cmatrix")]
        for key, matrix in zip(("rmatrix", "xmatrix", "cmatrix"), matrices, strict=True):
            if matrix is None:
                why = f"; {_NO_DEFAULT_C}" if key == "cmatrix" else ""
                raise options.at.error(f"{options.name}: {key} is not given{why}")
        r, x, c = (matrix for matrix in matrices if matrix is not None)
    else:
        r = _phases(options.number("r1"), options.number("r0"), conductors)
        x = _phases(options.number("x1"), options.number("x0"), conductors)
        c = _phases(
            options.number("c1", why=_NO_DEFAULT_C), options.number("c0", why=_NO_DEFAULT_C), conductors
        )
    return CodeElement(
        name=name,
        at=options.at,
        conductors=conductors,
        r=r,
        x=x,
        c_nf=c,
        unit=unit,
        rated_current_a=options.maybe("normamps"),
    )


def _phases(one: float, zero: float, size: int) -> FloatArray:
    own, mutual = (2.0 * one + zero) / 3.0, (zero - one) / 3.0
    return np.full((size, size), mutual) + (own - mutual) * np.eye(size)


def read_line(options: Options, name: str) -> LineElement:
    """A line or a switch.

    Raises:
        InvalidScript: if an option is missing, wrong or not understood.
    """
    code = options.text("linecode")
    own = options.one_of(("rmatrix", "xmatrix", "cmatrix", *_SEQUENCE, "c1", "c0"))
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
    phases = options.number("phases", 3.0)
    ends = [bus_of(options.required(key), options.place(key)) for key in ("bus1", "bus2")]
    inline = read_code(options, name, int(phases), unit) if code is None and not switch else None
    element = LineElement(
        name=name,
        at=options.at,
        phases=int(phases),
        bus1=ends[0],
        bus2=ends[1],
        switch=switch,
        code=None if code is None else code.lower(),
        own=inline,
        switch_z_ohm=_switch_impedance(options) if switch else 0j,
        length=options.number("length", 1.0),
        unit=unit,
        rated_current_a=options.maybe("normamps"),
    )
    options.without_effect(_RATINGS)
    options.finish()
    if not switch and element.length <= 0.0:
        raise options.place("length").error(f"{options.name}: a length of {element.length}")
    return element


def _switch_impedance(options: Options) -> complex:
    """What is said after switch=yes, else 1 ohm + j1 ohm over a length of 0.001."""
    ohms = {key: options.number(key, 1.0) for key in _SEQUENCE}
    for key in ("rmatrix", "xmatrix", "cmatrix"):
        if options.one_of((key,)):
            raise options.place(key).error(f"{options.name}: {key} beside switch=yes is not understood")
    if ohms["r1"] != ohms["r0"] or ohms["x1"] != ohms["x0"]:
        raise options.at.error(f"{options.name}: a switch with coupled conductors is not understood")
    options.without_effect(("c1", "c0"))
    length = (
        options.number("length", SWITCH_LENGTH) if options.comes_after("length", "switch") else SWITCH_LENGTH
    )
    return complex(ohms["r1"], ohms["x1"]) * length


def read_unit(options: Options, name: str) -> UnitElement:
    """A load or a generator of one phase with constant power.

    Raises:
        InvalidScript: if an option is missing, wrong or not understood.
    """
    if options.number("phases", 3.0) != 1.0:
        raise options.place("phases").error(f"{options.name}: only phases=1 is understood; split it")
    if (connection := (options.text("conn") or "wye").lower()) not in ("wye", "y", "w", "ln"):
        raise options.place("conn").error(f"{options.name}: conn={connection} is not understood")
    if options.number("model", 1.0) != 1.0:
        raise options.place("model").error(f"{options.name}: only model=1, constant power, is understood")
    bus, nodes = bus_of(options.required("bus1"), options.place("bus1"))
    node, neutral = (*nodes, 0)[:2] if nodes else (1, 0)
    if len(nodes) > 2 or node not in (1, 2, 3) or neutral not in (0, 4):
        raise options.place("bus1").error(f"{options.name}: not one phase against the neutral")
    p_kw = options.number("kw")
    power_factor, kvar = options.maybe("pf"), options.maybe("kvar")
    if (power_factor is None) == (kvar is None):
        raise options.at.error(f"{options.name}: needs kvar or pf, one of them")
    if options.comes_after("kw", "kvar"):
        raise options.place("kw").error(
            f"{options.name}: kw after kvar, where OpenDSS keeps a power factor; repeat kvar after it"
        )
    if kvar is None:
        assert power_factor is not None
        if not 0.0 < abs(power_factor) <= 1.0:
            raise options.place("pf").error(f"{options.name}: pf={power_factor}")
        kvar = p_kw * math.tan(math.acos(abs(power_factor))) * math.copysign(1.0, power_factor)
    options.without_effect(_UNIT_EXTRAS)
    options.finish()
    return UnitElement(name=name, at=options.at, bus=bus, node=node, neutral=neutral, p_kw=p_kw, q_kvar=kvar)
