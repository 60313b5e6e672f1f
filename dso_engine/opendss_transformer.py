"""The ``Transformer`` of an OpenDSS script: two windings, delta above, wye below, star point earthed or not.

Source: grid-model.md 1 (core loss at the low-voltage winding, Z0 = Z1), OpenDSS manual.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from dso_engine.opendss_options import Options, bus_of
from dso_engine.opendss_text import Option, Place

__all__ = ["TransformerElement", "read_transformer"]

_ARRAYS: Final = {"buses": "bus", "conns": "conn", "kvs": "kv", "kvas": "kva", "taps": "tap", "%rs": "%r"}
_OF_WINDING: Final = frozenset(
    {"bus", "conn", "kv", "kva", "tap", "%r", "rneut", "xneut", "numtaps", "maxtap", "mintap"}
)
_DELTA: Final = frozenset({"delta", "d", "ll"})
_WYE: Final = frozenset({"wye", "y", "w", "ln"})
_XHL: Final = 7.0
_R: Final = 0.2
_NO_EFFECT: Final = (
    *("normhkva", "emerghkva", "ppm_antifloat", "sub", "enabled", "subname", "bank", "core", "rdcohms"),
    *("thermal", "n", "m", "flrise", "hsrise", "xrconst", "xht", "xlt", "seasons", "ratings", "faultrate"),
    *("normamps", "emergamps", "pctperm", "repair"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerElement:
    """``Transformer``, delta above, wye below."""

    name: str
    at: Place
    hv_bus: str
    lv_bus: str
    star_point_earthed: bool
    """Whether the transformer itself earths the star point."""
    lv_node: int
    """The node of the star point at the low-voltage bus, 0 or 4."""
    s_rated_kva: float
    v_hv_ll_kv: float
    v_lv_ll_kv: float
    clock_number: int
    vk_percent: float
    vkr_percent: float
    pfe_kw: float
    hv_tap: float
    lv_tap: float


def read_transformer(options: Iterable[Option], name: str, at: Place) -> tuple[TransformerElement, Options]:
    """A transformer, and its options for what was given and has no effect.

    Raises:
        InvalidScript: if an option is missing, wrong or not understood.
    """
    own = Options(f"Transformer.{name}", _by_winding(name, options), at)
    if own.number("phases", 3.0) != 3.0 or own.number("windings", 2.0) != 2.0:
        raise at.error(f"{own.name}: only three phases and two windings are understood")
    for winding, wanted in ((1, _DELTA), (2, _WYE)):
        connection = own.required(f"conn {winding}").lower()
        if connection not in wanted:
            raise own.place(f"conn {winding}").error(f"{own.name}: only delta-wye is understood")
    clock_number = _clock_number(own)
    if own.number("%imag", 0.0) != 0.0:
        raise own.place("%imag").error(f"{own.name}: a magnetising current is not modelled, only core loss")
    first_kva = own.positive("kva 1")
    kva = [first_kva, own.positive("kva 2", first_kva)]  # the rating of winding 1 is that of all
    if kva[0] != kva[1]:
        raise own.place("kva 2").error(f"{own.name}: windings of different rating are not understood")
    vkr, vkx = _resistance(own), own.positive("xhl", _XHL)
    if not own.one_of(("xhl",)):
        own.assume(f"xhl={_XHL:g}")
    hv_bus, hv_nodes = bus_of(own.required("bus 1"), own.place("bus 1"))
    lv_bus, lv_nodes = bus_of(own.required("bus 2"), own.place("bus 2"))
    if hv_nodes not in ((), (1, 2, 3)):
        raise own.place("bus 1").error(f"{own.name}: nodes other than 1.2.3 are not understood")
    if lv_nodes not in ((), (1, 2, 3), (1, 2, 3, 0), (1, 2, 3, 4)):
        raise own.place("bus 2").error(f"{own.name}: nodes other than 1.2.3 and 0 or 4 are not understood")
    lv_node = 4 if lv_nodes[3:] == (4,) else 0
    found = TransformerElement(
        name=name,
        at=at,
        hv_bus=hv_bus,
        lv_bus=lv_bus,
        star_point_earthed=_earthed(own) or lv_node == 0,
        lv_node=lv_node,
        s_rated_kva=kva[0],
        v_hv_ll_kv=own.positive("kv 1"),
        v_lv_ll_kv=own.positive("kv 2"),
        clock_number=clock_number,
        vk_percent=math.hypot(vkr, vkx),
        vkr_percent=vkr,
        pfe_kw=own.number("%noloadloss", 0.0) / 100.0 * kva[0],
        hv_tap=own.positive("tap 1", 1.0),
        lv_tap=own.positive("tap 2", 1.0),
    )
    limits = [f"{key} {winding}" for key in ("numtaps", "maxtap", "mintap") for winding in (1, 2)]
    own.without_effect((*limits, *_NO_EFFECT))
    own.finish()
    return found, own


def _clock_number(own: Options) -> int:
    leadlag = (own.text("leadlag") or "lag").lower()
    if leadlag not in ("lag", "ansi", "lead", "euro"):
        raise own.place("leadlag").error(f"{own.name}: leadlag={leadlag} is not understood")
    return 1 if leadlag in ("lag", "ansi") else 11


def _resistance(own: Options) -> float:
    """Of both windings; what is said last holds, and %loadloss is one half of it in each winding."""
    loss = own.maybe("%loadloss")
    found = []
    for key in ("%r 1", "%r 2"):
        of_winding = own.maybe(key)
        if of_winding is None or own.comes_after("%loadloss", key):
            of_winding = None if loss is None else loss / 2.0
        if of_winding is None:
            own.assume(f"{key}={_R:g}")
            of_winding = _R
        found.append(of_winding)
    return sum(found)


def _earthed(own: Options) -> bool:
    """Whether there is an impedance from star point to earth; how much does not move a phase voltage."""
    r_ohm, x_ohm = own.number("rneut 2", -1.0), own.number("xneut 2", 0.0)
    return r_ohm >= 0.0 or x_ohm > 0.0


def _by_winding(name: str, options: Iterable[Option]) -> Iterator[Option]:
    """Options with the winding in their name: ``kvs=(20 0.4)`` and ``wdg=2 kv=0.4`` both become ``kv 2``."""
    winding = 1
    for option in options:
        if option.name == "wdg":
            if option.value not in ("1", "2"):
                raise option.at.error(f"Transformer.{name}: wdg={option.value}; only 1 and 2 are understood")
            winding = int(option.value)
        elif option.name in _ARRAYS:
            values = option.value.replace(",", " ").split()
            if len(values) != 2:
                raise option.at.error(f"Transformer.{name}: {option.name} needs two values")
            winding = 2  # as OpenDSS leaves it: a single tap= or %r= after a list is of the last winding
            for number, value in enumerate(values, start=1):
                yield replace(option, name=f"{_ARRAYS[option.name]} {number}", value=value)
        elif option.name in _OF_WINDING:
            yield replace(option, name=f"{option.name} {winding}")
        else:
            yield option
