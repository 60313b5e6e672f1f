"""Pandapower's unbalanced power flow of one or many networks in one case; no other file runs it.

The recipe of grid-model.md 2, each line of it worth volts: source impedance as a line of 1 km, Dyn
transformer without magnetising branch and its iron loss as a shunt at the busbar, zero-sequence impedances
reduced as the neutral is earthed, one asymmetric load per home.

Networks in one case have nothing in common but the call: a solve of fifty costs little more than one of one,
because what costs is Python and tables, not algebra (grid-model.md 4). The number of iterations is common,
too, so a network's state depends on its neighbours in the last digits (1e-8 per unit).

Repeated solves reuse pandapower's internal case (``recycle``), which refreshes only P and Q: that is all that
ever changes here, a change of phase moves P and Q to another column. Every solve starts flat, so the answer
depends on the injections alone and not, not even in the last bit, on what was solved before.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandapower as pp
import pandas as pd
from pandapower.pypower.idx_bus import VA, VM
from scipy.sparse.linalg import MatrixRankWarning

from dso_engine.errors import InvalidFeeder
from dso_engine.model import ComplexArray, FloatArray, IntArray
from dso_engine.network import Network
from dso_engine.powerflow import Injections, Phasors, TransformerFlow

__all__ = ["BlockDiverged", "PandapowerBlock", "Solved"]

_RECYCLE: Final = {"bus_pq": True, "gen": False, "trafo": False, "Ybus": True}
_CASES: Final = ("_ppc0", "_ppc1", "_ppc2")
_NO_LIMIT_KA: Final = 1e3
_STIFF_MVA: Final = 1e7


class BlockDiverged(Exception):
    """Pandapower gave up, or says converged and hands out NaN; the block is fit for the next solve."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solved:
    """What was found for one network; `dso_engine.powerflow.grid_state` makes the rest of it."""

    phasors: Phasors
    transformer: TransformerFlow


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """Where one network is in the tables of the case."""

    infeed: int
    high: int
    """High-voltage side of the transformer."""
    bus: IntArray
    """Of each low-voltage bus, (bus,)."""
    line: slice
    """Of the segments."""


class PandapowerBlock:
    """One case that holds all of some networks. Not for use from several threads.

    Args:
        networks: At least one, all of one frequency.

    Raises:
        InvalidFeeder: if a cable is not symmetric in its phases; sequence impedances cannot express that. Or
            if frequencies differ.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        if len({network.frequency_hz for network in self._networks}) != 1:
            raise InvalidFeeder("the networks of a block must have one and the same frequency")
        self._net = pp.create_empty_network(sn_mva=1.0, f_hz=self._networks[0].frequency_hz)
        self._rows = self._buses()
        self._supplies()
        self._segments()
        self._loads()
        omega = 2.0 * np.pi * self._networks[0].frequency_hz
        self._y_near = [
            0.5j * omega * 1e-9 * np.array([segment.c_nf for segment in network.segments])
            for network in self._networks
        ]
        self._warm_up()

    def solve(self, injections: Sequence[Injections]) -> tuple[Solved, ...]:
        """The states of all networks, in their order.

        Args:
            injections: Of every network.

        Raises:
            BlockDiverged: if pandapower gives up, or says it converged and any result is not a number.
        """
        self._set_loads(injections)
        try:
            self._run()
            self._refuse_nan()
        except (pp.LoadflowNotConverged, BlockDiverged) as err:
            # The internal case now holds nonsense that the next solve would start from.
            self._forget()
            raise BlockDiverged(str(err)) from err
        return self._found()

    def _buses(self) -> tuple[_Rows, ...]:
        """Make all buses, of each network its infeed, the other side of the source line, then its own."""
        kv = [
            [network.source.v_ll_kv] * 2 + [network.transformer.v_lv_ll_kv] * len(network.buses)
            for network in self._networks
        ]
        made = pp.create_buses(self._net, sum(map(len, kv)), vn_kv=np.concatenate(kv))
        ends = np.cumsum([len(each) for each in kv])
        found: list[_Rows] = []
        line = len(self._networks)
        for network, own in zip(self._networks, np.split(np.array(made, np.int64), ends[:-1]), strict=True):
            found.append(
                _Rows(
                    infeed=int(own[0]),
                    high=int(own[1]),
                    bus=own[2:],
                    line=slice(line, line + len(network.segments)),
                )
            )
            line += len(network.segments)
        return tuple(found)

    def _supplies(self) -> None:
        net = self._net
        sources = [network.source for network in self._networks]
        transformers = [network.transformer for network in self._networks]
        busbars = np.array([rows.bus[0] for rows in self._rows], dtype=np.int64)
        infeeds = np.array([rows.infeed for rows in self._rows], dtype=np.int64)
        hv = np.array([rows.high for rows in self._rows], dtype=np.int64)
        for infeed in infeeds:
            pp.create_ext_grid(
                net,
                infeed,
                vm_pu=1.0,
                s_sc_max_mva=_STIFF_MVA,
                s_sc_min_mva=_STIFF_MVA,
                rx_max=0.1,
                rx_min=0.1,
                r0x0_max=0.1,
                x0x_max=1.0,
            )
        # The impedance of an ext_grid is missing from the positive sequence and scaled by 1.1 in the others.
        none = np.zeros(len(sources))
        z1 = np.array([source.z1_ohm for source in sources], dtype=np.complex128)
        z0 = np.array([source.z0_ohm for source in sources], dtype=np.complex128)
        self._create_lines(infeeds, hv, 1.0, z1, z0, none, none)
        pp.create_transformers_from_parameters(
            net,
            hv,
            busbars,
            sn_mva=[each.s_rated_kva / 1e3 for each in transformers],
            vn_hv_kv=[each.v_hv_ll_kv for each in transformers],
            vn_lv_kv=[each.v_lv_ll_kv for each in transformers],
            vk_percent=[each.vk_percent for each in transformers],
            vkr_percent=[each.vkr_percent for each in transformers],
            vk0_percent=[each.vk0_percent for each in transformers],
            vkr0_percent=[each.vkr0_percent for each in transformers],
            pfe_kw=0.0,
            i0_percent=0.0,
            # Even the delta's zero sequence is shunted by a magnetising branch: make it negligible.
            mag0_percent=1e7,
            mag0_rx=0.0,
            si0_hv_partial=0.5,
            shift_degree=[each.shift_degree for each in transformers],
            vector_group="Dyn",
        )
        pp.create_shunts(
            net,
            busbars,
            p_mw=[each.pfe_kw / 1e3 for each in transformers],
            q_mvar=0.0,
            vn_kv=[each.v_lv_ll_kv for each in transformers],
        )

    def _segments(self) -> None:
        """Links and lines, each a metre long: its impedances are per segment."""
        z: list[tuple[complex, complex]] = []
        c: list[tuple[complex, complex]] = []
        start, end = [], []
        for network, rows in zip(self._networks, self._rows, strict=True):
            z.extend(_sequence(s.id, z3) for s, z3 in zip(network.segments, network.z3_ohm, strict=True))
            c.extend(_sequence(s.id, s.c_nf.astype(np.complex128)) for s in network.segments)
            start.append(rows.bus[network.segment_from])
            end.append(rows.bus[1:])
        z1, z0 = 1e3 * np.array(z).T
        c1_nf, c0_nf = 1e3 * np.array(c).real.T
        self._create_lines(np.concatenate(start), np.concatenate(end), 1e-3, z1, z0, c1_nf, c0_nf)

    def _create_lines(
        self,
        start: IntArray,
        end: IntArray,
        km: float,
        z1: ComplexArray,
        z0: ComplexArray,
        c1_nf: FloatArray,
        c0_nf: FloatArray,
    ) -> None:
        """Lines from impedances and capacitances per kilometre."""
        pp.create_lines_from_parameters(
            self._net,
            start,
            end,
            length_km=km,
            r_ohm_per_km=z1.real,
            x_ohm_per_km=z1.imag,
            c_nf_per_km=c1_nf,
            r0_ohm_per_km=z0.real,
            x0_ohm_per_km=z0.imag,
            c0_nf_per_km=c0_nf,
            max_i_ka=_NO_LIMIT_KA,
        )

    def _loads(self) -> None:
        """One load per home: a first one of pandapower's making, and the rest as copies of its row."""
        at = np.concatenate(
            [rows.bus[network.home_bus] for network, rows in zip(self._networks, self._rows, strict=True)]
        )
        pp.create_asymmetric_load(self._net, at[0], type="wye")
        table = self._net.asymmetric_load
        copies = pd.concat([table] * len(at), ignore_index=True)
        copies["bus"] = at.astype(table["bus"].dtype)
        self._net.asymmetric_load = copies

    def _warm_up(self) -> None:
        # The first solve builds the case and the second is the first to reuse it; from then on all are alike.
        for _ in range(2):
            self._run()

    def _forget(self) -> None:
        for case in _CASES:
            self._net[case] = None
        self._set_loads([_nothing(network) for network in self._networks])
        self._warm_up()

    def _set_loads(self, injections: Sequence[Injections]) -> None:
        table = self._net.asymmetric_load
        homes = np.arange(len(table))
        phase = np.concatenate([each.phase for each in injections])
        p_mw = np.concatenate([each.p_kw for each in injections]) / 1e3
        q_mvar = np.concatenate([each.q_kvar for each in injections]) / 1e3
        for name, values in (("p_{}_mw", p_mw), ("q_{}_mvar", q_mvar)):
            columns = np.zeros((3, len(homes)))
            columns[phase, homes] = values
            for letter, column in zip("abc", columns, strict=True):
                table[name.format(letter)] = column

    def _run(self) -> None:
        for case in _CASES:
            if self._net[case] is not None:
                self._net[case]["bus"][:, VM] = 1.0
                self._net[case]["bus"][:, VA] = 0.0
        # A diverging solve overflows on its way; what comes of it is judged by NaN, not by warnings.
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", MatrixRankWarning)
            pp.runpp_3ph(self._net, init="flat", recycle=_RECYCLE)

    def _refuse_nan(self) -> None:
        net = self._net
        for table in (net.res_bus_3ph, net.res_line_3ph, net.res_trafo_3ph, net.res_ext_grid_3ph):
            if not np.isfinite(table.to_numpy(dtype=np.float64)).all():
                raise BlockDiverged("a result is not a number")

    def _found(self) -> tuple[Solved, ...]:
        net = self._net
        magnitude, angle = _columns(net.res_bus_3ph, "vm_{}_pu"), _columns(net.res_bus_3ph, "va_{}_degree")
        v_pu = magnitude * np.exp(1j * np.deg2rad(angle))
        s_line = _complex(net.res_line_3ph, "p_{}_from_mw", "q_{}_from_mvar")
        s_lv = _complex(net.res_trafo_3ph, "p_{}_lv_mw", "q_{}_lv_mvar")
        s_hv = _complex(net.res_trafo_3ph, "p_{}_hv_mw", "q_{}_hv_mvar")
        copper_mw = _columns(net.res_trafo_3ph, "pl_{}_mw").sum(axis=1)
        found: list[Solved] = []
        for k, (network, rows, y_near) in enumerate(
            zip(self._networks, self._rows, self._y_near, strict=True)
        ):
            v = v_pu[rows.bus] * network.transformer.v_lv_ll_kv * 1e3 / 3.0**0.5
            near = v[network.segment_from]
            # Half of the cable's capacitance is at its near end: its current does not flow in the impedance.
            i = np.conj(1e6 * s_line[rows.line] / near) - np.einsum("kij,kj->ki", y_near, near)
            # The table counts power into the transformer and knows nothing of the iron shunt beside it.
            iron_w = network.transformer.pfe_kw * 1e3 / 3.0 * magnitude[rows.bus[0]] ** 2
            i_transformer = np.conj((-1e6 * s_lv[k] - iron_w) / v[0])
            loss_kw = 1e3 * float(copper_mw[k]) + float(iron_w.sum()) / 1e3
            found.append(
                Solved(
                    phasors=Phasors(v=v, i=i, i_transformer=i_transformer),
                    transformer=TransformerFlow(loss_kw=loss_kw, hv_s_kva=1e3 * s_hv[k]),
                )
            )
        return tuple(found)


def _nothing(network: Network) -> Injections:
    idle = np.zeros(len(network.homes))
    return Injections(p_kw=idle, q_kvar=idle, phase=network.home_phase)


def _columns(table: pd.DataFrame, name: str) -> FloatArray:
    """One quantity of a result table for phases A, B, C, shape (row, phase); rows are numbered from 0."""
    return np.stack([table[name.format(letter)].to_numpy(dtype=np.float64) for letter in "abc"], axis=1)


def _complex(table: pd.DataFrame, real: str, imaginary: str) -> ComplexArray:
    return np.asarray(_columns(table, real) + 1j * _columns(table, imaginary), dtype=np.complex128)


def _sequence(name: str, matrix: ComplexArray) -> tuple[complex, complex]:
    own, mutual = complex(np.trace(matrix)) / 3.0, complex(matrix.sum() - np.trace(matrix)) / 6.0
    circulant = np.full((3, 3), mutual) + (own - mutual) * np.eye(3)
    if not np.allclose(matrix, circulant, rtol=0.0, atol=1e-6 * abs(own)):
        raise InvalidFeeder(f"{name} is not symmetric in its phases, which pandapower cannot express")
    return own - mutual, own + 2.0 * mutual
