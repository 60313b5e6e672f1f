"""A pandapower net with single-phase loads becomes a network file's content.

pandapower's unbalanced power flow ignores some elements without a word, and others make it wrong
(grid-model.md 2, "Bugs/limits"): what it would not honour and what the model does not cover is refused here.
Lines have sequence impedances only, so the return path is earth and there is no neutral current to speak of.

Source: grid-model.md 2 and 6 (the IEEE European low-voltage feeder).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pandapower as pp
import pandapower.networks
import pandas as pd
from pandapower import pandapowerNet
from pandapower.toolbox import pp_elements

from dso_engine.errors import InvalidFeeder
from dso_engine.feeder_file import NetworkFile
from dso_engine.model import FloatArray
from dso_engine.opendss_elements import CodeElement, LineElement
from dso_engine.opendss_feeder import Parts, assemble
from dso_engine.opendss_supply import SourceElement
from dso_engine.opendss_text import Place
from dso_engine.opendss_transformer import TransformerElement
from dso_engine.opendss_units import UnitElement

__all__ = [
    "bundled_ieee_european_lv",
    "is_pandapower_file",
    "pandapower_network",
    "read_pandapower_file",
]

_COVERED: Final = frozenset({"bus", "ext_grid", "trafo", "line", "asymmetric_load", "asymmetric_sgen"})
_HEAD: Final = 4096
_LETTERS: Final = ("a", "b", "c")


def is_pandapower_file(path: Path) -> bool:
    """Whether a file begins as a net that pandapower wrote; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            return b'"pandapowerNet"' in file.read(_HEAD)
    except OSError:
        return False


def read_pandapower_file(path: Path) -> NetworkFile:
    """The content of a net written by ``pandapower.to_json``.

    Raises:
        InvalidFeeder: if the file cannot be read, or as `pandapower_network`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files from earlier versions, which it converts
            net = pp.from_json(str(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserWarning) as err:
        raise InvalidFeeder(f"{path.name}: not a net pandapower can read: {err}") from err
    return pandapower_network(net, path.stem)


def bundled_ieee_european_lv(scenario: str = "on_peak_566") -> NetworkFile:
    """The IEEE European low-voltage feeder as pandapower bundles it, 906 buses and 55 homes.

    Args:
        scenario: ``on_peak_566``, ``off_peak_1`` or ``off_peak_1440``, minutes of its day.

    Source: grid-model.md 6.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        net = pandapower.networks.ieee_european_lv_asymmetric(scenario)
    return pandapower_network(net, "ieee_european_lv")


def pandapower_network(net: pandapowerNet, name: str) -> NetworkFile:
    """The content of a network file.

    Args:
        net: One source, one Dyn transformer, lines with zero-sequence values, asymmetric loads and sgens.
        name: Of the network.

    Raises:
        InvalidFeeder: if there is anything else, or out of service, or not single-phase-able.
    """
    for table in sorted(pp_elements(res_elements=False)):
        if table in net and len(net[table]) and table not in _COVERED:
            raise InvalidFeeder(f"{table}: {len(net[table])} elements, which the three-phase solver ignores")
    for table in ("ext_grid", "trafo"):
        if len(net[table]) != 1:
            raise InvalidFeeder(f"{table}: {len(net[table])} elements, not one")
    for table in sorted(_COVERED):
        for index in net[table].index[~net[table].in_service.astype(bool)]:
            raise _at(table, index).error("out of service; remove it")
    buses = {index: f"bus_{index}" for index in net.bus.index}
    file, _ = assemble(
        Parts(
            name=name,
            at=Place(file=name, line=0),
            frequency_hz=float(net.f_hz),
            sources=(_source(net, buses),),
            transformers=(_transformer(net, buses),),
            codes=(),
            lines=tuple(_lines(net, buses)),
            loads=tuple(_units(net, "asymmetric_load", buses)),
            generators=tuple(_units(net, "asymmetric_sgen", buses)),
        )
    )
    return file


def _at(table: str, index: object) -> Place:
    return Place(file=table, line=int(str(index)))


def _source(net: pandapowerNet, buses: dict[int, str]) -> SourceElement:
    """The voltage behind the impedance of its short-circuit power, without pandapower's factor of 1.1."""
    row = net.ext_grid.iloc[0]
    vn_kv = float(net.bus.vn_kv[row.bus])
    z_ohm = vn_kv**2 / float(row.s_sc_max_mva)
    x_ohm = z_ohm / (1.0 + float(row.rx_max) ** 2) ** 0.5
    z1 = complex(float(row.rx_max) * x_ohm, x_ohm)
    x0_ohm = float(row.x0x_max) * x_ohm
    return SourceElement(
        name="ext_grid",
        at=_at("ext_grid", row.name),
        bus=buses[int(row.bus)],
        v_ll_kv=float(row.vm_pu) * vn_kv,
        z1_ohm=z1,
        z0_ohm=complex(float(row.r0x0_max) * x0_ohm, x0_ohm),
    )


def _transformer(net: pandapowerNet, buses: dict[int, str]) -> TransformerElement:
    row = net.trafo.iloc[0]
    at = _at("trafo", row.name)
    if row.vector_group != "Dyn":
        raise at.error(f"vector group {row.vector_group}; only Dyn is understood")
    if int(row.parallel) != 1:
        raise at.error("parallel transformers are not understood")
    if (float(row.vk0_percent), float(row.vkr0_percent)) != (float(row.vk_percent), float(row.vkr_percent)):
        raise at.error("a zero sequence other than the positive sequence is not understood")
    clock, rest = divmod(float(row.shift_degree), 30.0)
    if rest:
        raise at.error(f"a shift of {row.shift_degree} degrees is not a vector group")
    steps = float(row.tap_pos) - float(row.tap_neutral)
    tap = 1.0 + steps * float(row.tap_step_percent) / 100.0 if np.isfinite(steps) and steps else 1.0
    return TransformerElement(
        name=str(row["name"] or "trafo"),
        at=at,
        hv_bus=buses[int(row.hv_bus)],
        lv_bus=buses[int(row.lv_bus)],
        star_point_earthed=True,
        lv_node=0,
        s_rated_kva=1e3 * float(row.sn_mva),
        v_hv_ll_kv=float(row.vn_hv_kv),
        v_lv_ll_kv=float(row.vn_lv_kv),
        clock_number=int(clock),
        vk_percent=float(row.vk_percent),
        vkr_percent=float(row.vkr_percent),
        pfe_kw=float(row.pfe_kw),
        hv_tap=tap if row.tap_side == "hv" else 1.0,
        lv_tap=tap if row.tap_side == "lv" else 1.0,
    )


def _lines(net: pandapowerNet, buses: dict[int, str]) -> Iterator[LineElement]:
    columns = (
        "r_ohm_per_km",
        "r0_ohm_per_km",
        "x_ohm_per_km",
        "x0_ohm_per_km",
        "c_nf_per_km",
        "c0_nf_per_km",
    )
    codes: dict[tuple[float, ...], str] = {}
    for index, row in net.line.iterrows():
        at = _at("line", index)
        per_km = tuple(float(row[column]) if column in row else np.nan for column in columns)
        if not np.isfinite(per_km).all():
            raise at.error("has no zero-sequence values")
        if float(row.g_us_per_km) or int(row.parallel) != 1:
            raise at.error("leakage conductance and parallel lines are not understood")
        code = codes.setdefault(per_km, f"code_{len(codes) + 1}")
        yield LineElement(
            name=f"line_{index}",
            at=at,
            phases=3,
            bus1=(buses[int(row.from_bus)], ()),
            bus2=(buses[int(row.to_bus)], ()),
            switch=False,
            code=None,
            own=CodeElement(
                name=code,
                at=at,
                conductors=3,
                r=_phases(per_km[0], per_km[1]),
                x=_phases(per_km[2], per_km[3]),
                c_nf=_phases(per_km[4], per_km[5]),
                unit="km",
                rated_current_a=1e3 * float(row.max_i_ka) * float(row.df),
            ),
            switch_z_ohm=0j,
            length=float(row.length_km),
            unit="km",
            rated_current_a=None,
        )


def _phases(one: float, zero: float) -> FloatArray:
    return np.full((3, 3), (zero - one) / 3.0) + one * np.eye(3)


def _units(net: pandapowerNet, table: str, buses: dict[int, str]) -> Iterator[UnitElement]:
    """One for each phase that carries something; a load of several phases becomes several homes."""
    for index, row in net[table].iterrows():
        at = _at(table, index)
        if row.type != "wye":
            raise at.error(f"connection {row.type}, which the three-phase solver ignores; only wye")
        powers = [_power(row, letter) for letter in _LETTERS]
        used = [k for k, power in enumerate(powers) if power]
        if not used:
            raise at.error("without power on any phase: nothing says which one it is on")
        for k in used:
            suffix = f"_{_LETTERS[k]}" if len(used) > 1 else ""
            yield UnitElement(
                name=f"{row['name'] or f'{table}_{index}'}{suffix}",
                at=at,
                bus=buses[int(row.bus)],
                node=k + 1,
                neutral=0,
                p_kw=powers[k].real,
                q_kvar=powers[k].imag,
            )


def _power(row: pd.Series, letter: str) -> complex:
    """Of a phase, kW and kvar."""
    scaled = 1e3 * float(row.scaling)
    return complex(scaled * float(row[f"p_{letter}_mw"]), scaled * float(row[f"q_{letter}_mvar"]))
