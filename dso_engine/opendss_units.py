"""The loads and generators of an OpenDSS script: constant power, each phase against the neutral.

Three-phase wye units are three equal ones, which is what OpenDSS computes, too. What they consume is fixed by
the order in which it is said, as in OpenDSS; where that leaves a default of OpenDSS, the value must be given.

Source: OpenDSS manual (Load, Generator); the orders were tried in OpenDSS 9 (DSS C-API 0.14.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from dso_engine.opendss_options import Options, bus_of
from dso_engine.opendss_text import Place

__all__ = ["UnitElement", "VoltageBand", "read_units"]

_EXTRAS: Final = (
    *(
        "class",
        "numcust",
        "status",
        "xfkva",
        "growth",
        "enabled",
        "relweight",
        "%mean",
        "%stddev",
        "cvrcurve",
    ),
    *("daily", "yearly", "duty", "minkvar", "maxkvar", "spectrum", "vminnorm", "vminemerg", "%seriesrl"),
    *("puxharm", "xrharm", "cvrwatts", "cvrvars", "dispmode", "dispvalue", "vpu", "pvfactor", "mva", "xd"),
    *("xdp", "xdpp", "h", "d", "dutystart", "debugtrace", "xrdp", "balanced"),
)
"""What changes nothing while the power is constant and time stands still."""
_LETTERS: Final = "abc"
_KV: Final = 12.47
"""What OpenDSS takes where nobody says anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitElement:
    """One phase of a ``Load`` or ``Generator``; production and injection are + for the latter."""

    name: str
    at: Place
    bus: str
    node: int
    neutral: int
    p_kw: float
    q_kvar: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VoltageBand:
    """Where OpenDSS keeps the power of a load constant; beyond it is a constant impedance there, not here."""

    unit: str
    """Name of the unit of one phase."""
    low_v: float
    high_v: float


def read_units(
    options: Options, name: str, *, generator: bool
) -> tuple[tuple[UnitElement, ...], tuple[VoltageBand, ...]]:
    """The single-phase units of a load or a generator, and the band of each.

    Raises:
        InvalidScript: if an option is missing, wrong or not understood.
    """
    if (connection := (options.text("conn") or "wye").lower()) not in ("wye", "y", "w", "ln"):
        raise options.place("conn").error(
            f"{options.name}: conn={connection} is not understood; a home is between a phase and the neutral"
        )
    if options.number("model", 1.0) != 1.0:
        raise options.place("model").error(f"{options.name}: only model=1, constant power, is understood")
    bus, nodes, neutral = _nodes(options)
    kvar_or_pf = _generator_power if generator else _load_power
    p_kw, q_kvar = kvar_or_pf(options)
    kv = options.number("kv", _KV) / (math.sqrt(3.0) if len(nodes) == 3 else 1.0)
    low, high = (0.90, 1.10) if generator else (0.95, 1.05)
    low_v, high_v = 1e3 * kv * options.number("vminpu", low), 1e3 * kv * options.number("vmaxpu", high)
    options.number("vlowpu", 0.5)
    if generator:
        options.without_effect(("kva",))
    options.without_effect(_EXTRAS)
    options.finish()
    units = tuple(
        UnitElement(
            name=name if len(nodes) == 1 else f"{name}_{_LETTERS[node - 1]}",
            at=options.at,
            bus=bus,
            node=node,
            neutral=neutral,
            p_kw=p_kw / len(nodes),
            q_kvar=q_kvar / len(nodes),
        )
        for node in nodes
    )
    return units, tuple(VoltageBand(unit=unit.name, low_v=low_v, high_v=high_v) for unit in units)


def _nodes(options: Options) -> tuple[str, tuple[int, ...], int]:
    """Bus, nodes of the phases and of the neutral."""
    phases = options.maybe("phases")
    bus, nodes = bus_of(options.required("bus1"), options.place("bus1"))
    if phases is None and len(nodes) in (1, 2):
        raise options.at.error(
            f"{options.name}: phases is not given, and OpenDSS would take 3 at {bus}.1.2.3; say phases=1"
        )
    if phases == 1.0:
        node, neutral = (*nodes, 0)[:2] if nodes else (1, 0)
        if len(nodes) > 2 or node not in (1, 2, 3) or neutral not in (0, 4):
            raise options.place("bus1").error(f"{options.name}: not one phase against the neutral")
        return bus, (node,), neutral
    if phases not in (None, 3.0):
        raise options.place("phases").error(f"{options.name}: only one phase or three are understood")
    if nodes[:3] not in ((), (1, 2, 3)) or len(nodes) > 4 or (*nodes, 0, 0, 0, 0)[3] not in (0, 4):
        raise options.place("bus1").error(f"{options.name}: not three phases against the neutral")
    return bus, (1, 2, 3), nodes[3] if len(nodes) == 4 else 0


def _load_power(options: Options) -> tuple[float, float]:
    """Of kw, kvar and kva the last decides, with the one it goes with; kvar goes before pf."""
    p_kw, kvar, kva, pf = (options.maybe(key) for key in ("kw", "kvar", "kva", "pf"))
    last = options.last_of(("kw", "kvar", "kva"))
    if last == "kvar" and options.last_of(("kw", "kva")) == "kva":
        raise options.place("kva").error(f"{options.name}: kva and then kvar; give kw and kvar")
    if last == "kva":
        if pf is None:
            raise options.at.error(f"{options.name}: needs pf beside kva")
        assert kva is not None
        p_kw = kva * abs(_power_factor(options, pf))
    elif p_kw is None:
        raise options.at.error(f"{options.name}: kw is not given, nor kva with pf")
    elif last == "kvar":
        assert kvar is not None
        return p_kw, kvar
    elif kvar is not None:
        raise _stale(options)
    if pf is None:
        raise options.at.error(f"{options.name}: needs kvar or pf")
    return p_kw, _reactive(p_kw, _power_factor(options, pf))


def _generator_power(options: Options) -> tuple[float, float]:
    """Of kvar and pf the last holds."""
    p_kw, kvar, pf = options.number("kw"), options.maybe("kvar"), options.maybe("pf")
    last = options.last_of(("kvar", "pf"))
    if last == "pf":
        assert pf is not None
        return p_kw, _reactive(p_kw, _power_factor(options, pf))
    if kvar is None:
        raise options.at.error(f"{options.name}: needs kvar or pf")
    if options.comes_after("kw", "kvar"):
        raise _stale(options)
    return p_kw, kvar


def _stale(options: Options) -> Exception:
    return options.place("kw").error(
        f"{options.name}: kw after kvar, where OpenDSS keeps a power factor; repeat kvar after it"
    )


def _power_factor(options: Options, pf: float) -> float:
    if not 0.0 < abs(pf) <= 1.0:
        raise options.place("pf").error(f"{options.name}: pf={pf}")
    return pf


def _reactive(p_kw: float, pf: float) -> float:
    return p_kw * math.tan(math.acos(abs(pf))) * math.copysign(1.0, pf)
