"""What feeds the transformer in an OpenDSS script: the source, the lines before the transformer, earth.

Lines between source and transformer become part of the source: seen from a delta winding they are their
Thevenin equivalent in the positive sequence, exactly.

Source: OpenDSS manual (Vsource, Reactor), grid-model.md 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from dso_engine.feeder_file import SourcePart
from dso_engine.opendss_elements import CodeElement, LineElement
from dso_engine.opendss_options import METRES_PER_UNIT, Bus, Options, bus_of
from dso_engine.opendss_text import Place

__all__ = ["EarthElement", "SourceElement", "SupplyChain", "read_earth", "read_source", "supply_chain"]

_MVA3, _MVA1, _X1_R1, _X0_R0 = 2000.0, 2100.0, 4.0, 3.0
"""What OpenDSS takes where nobody says anything."""
_NO_EFFECT: Final = (
    *("angle", "basemva", "enabled", "scantype", "sequence", "z2", "spectrum", "yearly", "daily", "duty"),
)
_SHORT_CIRCUIT: Final = ("z1", "r1", "x1", "mvasc3", "isc3")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceElement:
    """``Circuit`` or ``Vsource``."""

    name: str
    at: Place
    bus: str
    v_ll_kv: float
    z1_ohm: complex
    z0_ohm: complex


@dataclass(frozen=True, slots=True, kw_only=True)
class EarthElement:
    """``Reactor`` of one phase from a neutral to earth."""

    name: str
    at: Place
    bus: str
    z_ohm: complex


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SupplyChain:
    """The source as the transformer sees it, and what it is not made of."""

    part: SourcePart
    lines: tuple[LineElement, ...]
    """Those behind the transformer."""
    notes: tuple[str, ...]


def read_source(options: Options, name: str) -> SourceElement:
    """A source.

    Raises:
        InvalidScript: if an option is missing, wrong or not understood.
    """
    if options.number("phases", 3.0) != 3.0:
        raise options.place("phases").error(f"{options.name}: only sources of three phases are understood")
    bus, nodes = bus_of(options.text("bus1") or "sourcebus", options.place("bus1"))
    if nodes not in ((), (1, 2, 3), (1, 2, 3, 0)):
        raise options.place("bus1").error(f"{options.name}: nodes other than 1.2.3 are not understood")
    if (model := (options.text("model") or "thevenin").lower()) != "thevenin":
        raise options.place("model").error(f"{options.name}: model={model} is not understood")
    kv, pu = options.positive("basekv"), options.positive("pu", 1.0)
    z1, z0 = _impedance(options, kv)
    options.without_effect(_NO_EFFECT)
    options.finish()
    return SourceElement(name=name, at=options.at, bus=bus, v_ll_kv=kv * pu, z1_ohm=z1, z0_ohm=z0)


def _impedance(options: Options, kv: float) -> tuple[complex, complex]:
    """Z1 and Z0 from ohms, short-circuit power or current, whichever was said last.

    The delta winding keeps the zero sequence out, so where it is not said, or cannot be, it is Z1.
    """
    last = options.last_of(_SHORT_CIRCUIT)
    if last == "z1":
        z1, z0 = options.numbers("z1", 2), options.numbers("z0", 2)
        assert z1 is not None
        _skip(options, ("r1", "x1", "r0", "x0", *_POWERS))
        return complex(*z1), complex(*(z0 or z1))
    if last in ("r1", "x1"):
        z1_ohm = complex(options.number("r1"), options.number("x1"))
        r0, x0 = options.maybe("r0"), options.maybe("x0")
        _skip(options, ("z1", "z0", *_POWERS))
        return z1_ohm, z1_ohm if r0 is None or x0 is None else complex(r0, x0)
    _skip(options, ("z1", "z0", "r1", "x1", "r0", "x0"))
    if last is None:
        options.assume(f"a short-circuit power of {_MVA3:g} MVA")
    mva_per_amp = math.sqrt(3.0) * kv / 1e3
    mva3, isc3 = options.number("mvasc3", _MVA3), options.number("isc3", 0.0)
    mva1, isc1 = options.maybe("mvasc1"), options.maybe("isc1")
    mva3 = isc3 * mva_per_amp if last == "isc3" else mva3
    if options.last_of(("mvasc1", "isc1")) == "isc1" and isc1 is not None:
        mva1 = isc1 * mva_per_amp
    x1_r1, x0_r0 = options.number("x1r1", _X1_R1), options.number("x0r0", _X0_R0)
    if mva3 <= 0.0:
        raise options.place(last or "mvasc3").error(f"{options.name}: a short-circuit power of {mva3:g} MVA")
    r1 = kv**2 / mva3 / math.hypot(1.0, x1_r1)
    z1_ohm = complex(r1, r1 * x1_r1)
    return z1_ohm, _zero_sequence(z1_ohm, kv, mva1 or (_MVA1 if last is None else None), x0_r0)


_POWERS: Final = ("mvasc3", "mvasc1", "isc3", "isc1", "x1r1", "x0r0")


def _skip(options: Options, names: tuple[str, ...]) -> None:
    options.without_effect(names)


def _zero_sequence(z1_ohm: complex, kv: float, mva1: float | None, x0_r0: float) -> complex:
    """Solves |2 Z1 + R0 (1 + j X0/R0)| = 3 kv^2 / MVA1, what a short circuit of one phase sees."""
    if mva1 is None or mva1 <= 0.0:
        return z1_ohm
    a, b = 1.0 + x0_r0**2, 4.0 * (z1_ohm.real + z1_ohm.imag * x0_r0)
    c = 4.0 * abs(z1_ohm) ** 2 - (3.0 * kv**2 / mva1) ** 2
    root = b**2 - 4.0 * a * c
    if root < 0.0 or (r0 := (-b + math.sqrt(root)) / (2.0 * a)) < 0.0:
        return z1_ohm
    return complex(r0, r0 * x0_r0)


def read_earth(options: Options, name: str) -> EarthElement:
    """A reactor from a neutral to earth; any other reactor is refused.

    Raises:
        InvalidScript: if it is another, or an option is wrong or not understood.
    """
    bus, nodes = bus_of(options.required("bus1"), options.place("bus1"))
    other, to = bus_of(options.text("bus2") or f"{bus}.0", options.place("bus2"))
    if options.number("phases", 3.0) != 1.0 or (nodes, to) != ((4,), (0,)) or other.lower() != bus.lower():
        raise options.at.error(
            f"{options.name}: only a reactor of one phase from the neutral of a bus to earth is understood "
            f"(phases=1 bus1={bus}.4 bus2={bus}.0)"
        )
    z = options.numbers("z", 2)
    z_ohm = complex(*z) if z is not None else complex(options.number("r", 0.0), options.number("x", 0.0))
    if z is None and not options.one_of(("r", "x")):
        raise options.at.error(f"{options.name}: needs r and x, or z")
    options.without_effect(
        ("kv", "conn", "normamps", "emergamps", "faultrate", "pctperm", "repair", "enabled")
    )
    options.finish()
    return EarthElement(name=name, at=options.at, bus=bus, z_ohm=z_ohm)


def supply_chain(
    sources: tuple[SourceElement, ...],
    lines: tuple[LineElement, ...],
    codes: Mapping[str, CodeElement],
    hv_bus: Bus,
    at: Place,
    hz: float,
) -> SupplyChain:
    """The source of the transformer, with the lines before it, and the lines behind it.

    Args:
        sources: All sources; one that feeds nothing is noted.
        lines: All lines.
        codes: Line codes by their names in lower case.
        hv_bus: Of the transformer.
        at: Of the transformer.
        hz: Frequency of the circuit.

    Raises:
        InvalidScript: if there is not one source with one way to the transformer.
    """
    touching: dict[str, list[LineElement]] = {}
    for line in lines:
        for end, _ in (line.bus1, line.bus2):
            touching.setdefault(end.lower(), []).append(line)
    source, before = _way_up({source.bus.lower(): source for source in sources}, touching, hv_bus[0], at)
    bus = source.bus.lower()
    if beside := [line for line in touching.get(bus, ()) if line not in before]:
        raise beside[0].at.error(f"Line.{beside[0].name} branches off before the transformer")
    if twice := [each for each in sources if each is not source and each.bus.lower() == bus]:
        raise twice[0].at.error(f"two sources at {source.bus}; exactly one is understood")
    notes = []
    for each in sources:
        if each is not source:
            if each.bus.lower() in touching:
                raise each.at.error(f"a source at {each.bus}; only the transformer may feed the lines")
            notes.append(f"{each.at}: source {each.name} at {each.bus} feeds nothing")
    v_kv, z_ohm = complex(source.v_ll_kv), source.z1_ohm
    for line in reversed(before):
        z_line, y_half = _positive_sequence(line, codes, hz)
        v_kv, z_ohm = _shunted(v_kv, z_ohm, y_half)
        v_kv, z_ohm = _shunted(v_kv, z_ohm + z_line, y_half)
        notes.append(f"{line.at}: Line.{line.name} is before the transformer and part of the source")
    z0_ohm = z_ohm if before else source.z0_ohm
    part = SourcePart(
        bus=hv_bus[0],
        v_ll_kv=abs(v_kv),
        r1_ohm=z_ohm.real,
        x1_ohm=z_ohm.imag,
        r0_ohm=z0_ohm.real,
        x0_ohm=z0_ohm.imag,
    )
    behind = tuple(line for line in lines if line not in before)
    return SupplyChain(part=part, lines=behind, notes=tuple(notes))


def _way_up(
    by_bus: Mapping[str, SourceElement], touching: Mapping[str, list[LineElement]], hv_bus: str, at: Place
) -> tuple[SourceElement, list[LineElement]]:
    """The source, and the lines between it and the transformer, from the transformer upwards."""
    before: list[LineElement] = []
    bus = hv_bus.lower()
    while bus not in by_bus:
        onward = [line for line in touching.get(bus, ()) if line not in before]
        if len(onward) != 1:
            raise at.error(f"no source at {hv_bus}, and not one way of lines from there to a source")
        (line,) = onward
        before.append(line)
        bus = line.bus2[0].lower() if line.bus1[0].lower() == bus else line.bus1[0].lower()
    return by_bus[bus], before


def _shunted(v_kv: complex, z_ohm: complex, y: complex) -> tuple[complex, complex]:
    return v_kv / (1.0 + z_ohm * y), z_ohm / (1.0 + z_ohm * y)


def _positive_sequence(
    line: LineElement, codes: Mapping[str, CodeElement], hz: float
) -> tuple[complex, complex]:
    """Series impedance, ohm, and half of the shunt admittance, S."""
    if line.switch:
        return line.switch_z_ohm, 0j
    code = line.own or codes.get(line.code or "")
    if code is None:
        raise line.at.error(f"Line.{line.name}: there is no LineCode {line.code}")
    if code.conductors != 3 or any(nodes not in ((), (1, 2, 3)) for _, nodes in (line.bus1, line.bus2)):
        raise line.at.error(
            f"Line.{line.name}: before the transformer only lines of three phases are understood"
        )
    metres = line.length * METRES_PER_UNIT[code.unit if line.unit == "none" else line.unit]
    per = METRES_PER_UNIT[line.unit if code.unit == "none" else code.unit]
    own, mutual = np.eye(3) / 3.0, (np.ones((3, 3)) - np.eye(3)) / 6.0
    z = complex(((own - mutual) * (code.r + 1j * code.x)).sum())
    c_nf = float(((own - mutual) * code.c_nf).sum())
    return z * metres / per, 1j * math.pi * hz * c_nf * 1e-9 * metres / per
