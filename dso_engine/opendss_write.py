"""A network as an OpenDSS script that OpenDSS solves to the same state, and that `opendss_read` takes back.

What makes the two agree (grid-model.md 1): the base frequency is set before anything else, links are switches
of 1 mohm + j1 mohm, the neutral is earthed by node 0, homes keep constant power at any voltage, and the
transformer has no artificial impedance to earth.

Two things have no place in OpenDSS: the rating of a neutral, which becomes a comment, and a transformer tap,
which is in the voltages already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import replace
from typing import Final

import numpy as np

from dso_engine.errors import InvalidFeeder
from dso_engine.model import FloatArray, Phase
from dso_engine.network import LINK_Z_OHM, Earthing, Linecode, Network, Segment
from dso_engine.powerflow import Injections

__all__ = ["opendss_script"]

_NAME: Final = re.compile(r"[A-Za-z0-9_\-]+")
_LEADLAG: Final = {30.0: "lag", 330.0: "lead"}
_ANY_VOLTAGE: Final = "conn=wye model=1 vminpu=0.5 vmaxpu=1.5"


def opendss_script(network: Network, injections: Injections | None = None) -> str:
    """The script.

    Args:
        network: The network.
        injections: Net import of every home, on the phase it is on now, as the loads of the script; without
            them the loads and generators of the network's file.

    Raises:
        InvalidFeeder: if the network has what OpenDSS does not: an id with other characters than letters,
            digits, ``_`` and ``-``, two ids that differ in case only, a zero sequence of the transformer that
            is not its positive sequence, a vector group other than Dyn1 and Dyn11.
    """
    _check_names(network)
    lines = [
        "Clear",
        f"Set DefaultBaseFrequency={network.frequency_hz!r}",
        *_supply(network),
        *(line for code in _codes(network) for line in _code(code)),
        *_lateral_codes(network),
        *(_segment(segment, network) for segment in network.segments),
        *(_file_case(network) if injections is None else _homes(network, injections)),
        f"Set VoltageBases=[{network.source.v_ll_kv!r} {network.transformer.v_lv_ll_kv!r}]",
        "CalcVoltageBases",
        "Solve",
    ]
    return "\n".join(lines) + "\n"


def _check_names(network: Network) -> None:
    kinds = {
        "network": (network.name,),
        "transformer": (network.transformer.id,),
        "bus": network.buses,
        "linecode": tuple({segment.linecode.id: 0 for segment in network.segments if segment.linecode}),
        "segment": tuple(segment.id for segment in network.segments),
        "home": tuple(str(home.id) for home in network.homes),
        "generator": tuple(unit.id for unit in network.generators),
    }
    for kind, names in kinds.items():
        for name in names:
            if not _NAME.fullmatch(name):
                raise InvalidFeeder(f"{kind} {name!r} cannot be a name in OpenDSS")
        if len({name.lower() for name in names}) != len(names):
            raise InvalidFeeder(f"two ids of a {kind} differ in case only, which OpenDSS does not see")


def _supply(network: Network) -> Iterator[str]:
    source, transformer = network.source, network.transformer
    if (transformer.vk0_percent, transformer.vkr0_percent) != (
        transformer.vk_percent,
        transformer.vkr_percent,
    ):
        raise InvalidFeeder("OpenDSS has no zero sequence of a transformer other than its positive sequence")
    if transformer.shift_degree not in _LEADLAG:
        raise InvalidFeeder(f"a vector group of {transformer.shift_degree} degrees, OpenDSS has 30 and 330")
    busbar = network.buses[0]
    supply = "supply"
    while any(supply == bus.lower() for bus in network.buses):
        supply += "_"
    kva, hv, lv = transformer.s_rated_kva, transformer.v_hv_ll_kv, transformer.v_lv_ll_kv
    x_percent = (transformer.vk_percent**2 - transformer.vkr_percent**2) ** 0.5
    yield (
        f"New Circuit.{network.name} bus1={supply} basekv={source.v_ll_kv!r} pu=1 angle=0 phases=3 "
        f"Z1=[{source.z1_ohm.real!r} {source.z1_ohm.imag!r}] "
        f"Z0=[{source.z0_ohm.real!r} {source.z0_ohm.imag!r}]"
    )
    yield (
        f"New Transformer.{transformer.id} phases=3 windings=2 buses=[{supply}.1.2.3 {busbar}.1.2.3.0] "
        f"conns=[delta wye] kvs=[{hv!r} {lv!r}] kvas=[{kva!r} {kva!r}] xhl={x_percent!r} "
        f"%loadloss={transformer.vkr_percent!r} %noloadloss={100.0 * transformer.pfe_kw / kva!r} %imag=0 "
        f"leadlag={_LEADLAG[transformer.shift_degree]} ppm_antifloat=0"
    )


def _codes(network: Network) -> tuple[Linecode, ...]:
    """Of lines with three phases."""
    whole = (segment for segment in network.segments if segment.phase is None)
    return tuple({code.id: code for segment in whole if (code := segment.linecode)}.values())


def _lateral_codes(network: Network) -> Iterator[str]:
    """Of a phase and the neutral, each once."""
    whole = {code.id.lower() for code in _codes(network)}
    done: set[str] = set()
    for segment in network.segments:
        code, phase = segment.linecode, segment.phase
        if code is None or phase is None or (name := _lateral_code(code, phase, whole)) in done:
            continue
        done.add(name)
        if name.lower() in whole:
            raise InvalidFeeder(f"two line codes would be called {name}")
        two = np.ix_([phase, 3], [phase, 3])
        yield from _code(
            replace(
                code,
                id=name,
                r_ohm_per_m=code.r_ohm_per_m[two],
                x_ohm_per_m=code.x_ohm_per_m[two],
                c_nf_per_m=code.c_nf_per_m[two],
            )
        )


def _lateral_code(code: Linecode, phase: Phase, whole: Set[str]) -> str:
    """Its own name where no other line needs it and its phases are alike, so that it reads back the same."""
    alike = all(
        np.array_equal(matrix, _alike(matrix))
        for matrix in (code.r_ohm_per_m, code.x_ohm_per_m, code.c_nf_per_m)
    )
    return code.id if alike and code.id.lower() not in whole else f"{code.id}_{phase.name}"


def _alike(matrix: FloatArray) -> FloatArray:
    whole = np.full((4, 4), matrix[0, 3])
    whole[[0, 1, 2, 3], [0, 1, 2, 3]] = matrix[0, 0], matrix[0, 0], matrix[0, 0], matrix[3, 3]
    return whole


def _code(code: Linecode) -> Iterator[str]:
    if code.rated_neutral_current_a is not None:
        yield f"! {code.id}: neutral rated {code.rated_neutral_current_a!r} A, which OpenDSS has no word for"
    yield (
        f"New LineCode.{code.id} nphases={len(code.r_ohm_per_m)} units=m rmatrix={_matrix(code.r_ohm_per_m)} "
        f"xmatrix={_matrix(code.x_ohm_per_m)} cmatrix={_matrix(code.c_nf_per_m)} "
        f"normamps={code.rated_current_a!r}"
    )


def _matrix(matrix: FloatArray) -> str:
    return "[" + " | ".join(" ".join(repr(x) for x in row) for row in matrix.tolist()) + "]"


def _segment(segment: Segment, network: Network) -> str:
    everywhere = network.earthing is Earthing.EVERY_BUS
    start = "0" if everywhere or segment.from_bus == network.buses[0] else "4"
    phases = "1.2.3" if segment.phase is None else str(segment.phase + 1)
    count, end = 4 if segment.phase is None else 2, "0" if everywhere else "4"
    head = (
        f"New Line.{segment.id} phases={count} bus1={segment.from_bus}.{phases}.{start} "
        f"bus2={segment.to_bus}.{phases}.{end}"
    )
    if segment.linecode is not None:
        code = segment.linecode.id
        if segment.phase is not None:
            code = _lateral_code(
                segment.linecode, segment.phase, {each.id.lower() for each in _codes(network)}
            )
        return f"{head} linecode={code} length={segment.length_m!r} units=m"
    if segment.link_z_ohm == LINK_Z_OHM:
        return f"{head} switch=y"
    r, x = segment.link_z_ohm.real, segment.link_z_ohm.imag
    return f"{head} switch=y r1={r!r} x1={x!r} r0={r!r} x0={x!r} c1=0 c0=0 length=1"


def _file_case(network: Network) -> Iterator[str]:
    at = {home.id: home for home in network.homes}
    for home in network.homes:
        yield _unit(network, f"Load.{home.id}", home.bus, home.phase, home.p_kw, home.q_kvar)
    for unit in network.generators:
        home = at[unit.home]
        yield _unit(network, f"Generator.{unit.id}", home.bus, home.phase, unit.p_kw, unit.q_kvar)


def _homes(network: Network, injections: Injections) -> Iterator[str]:
    for k, home in enumerate(network.homes):
        p_kw, q_kvar = float(injections.p_kw[k]), float(injections.q_kvar[k])
        yield _unit(network, f"Load.{home.id}", home.bus, int(injections.phase[k]), p_kw, q_kvar)


def _unit(network: Network, name: str, bus: str, phase: int, p_kw: float, q_kvar: float) -> str:
    neutral = 0 if network.earthing is Earthing.EVERY_BUS else 4
    kv = network.transformer.v_lv_ll_kv / 3.0**0.5
    at = f"bus1={bus}.{phase + 1}.{neutral} kv={kv!r}"
    return f"New {name} phases=1 {at} kw={p_kw!r} kvar={q_kvar!r} {_ANY_VOLTAGE}"
