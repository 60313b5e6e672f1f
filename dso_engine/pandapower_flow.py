"""The model of record: pandapower's unbalanced power flow, which no other file runs.

The recipe of grid-model.md 2, each line of it worth volts: source impedance as a line of 1 km, Dyn
transformer without magnetising branch and its iron loss as a shunt at the busbar, zero-sequence impedances
reduced as the neutral is earthed, one asymmetric load per home.

Repeated solves reuse pandapower's internal case (``recycle``), which refreshes only P and Q: that is all that
ever changes here, a change of phase moves P and Q to another column. Every solve starts flat, so the answer
depends on the injections alone and not, not even in the last bit, on what was solved before.
"""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
import pandapower as pp
import pandas as pd
from pandapower.pypower.idx_bus import VA, VM
from scipy.sparse.linalg import MatrixRankWarning

from dso_engine.errors import InvalidFeeder, PowerFlowDiverged
from dso_engine.model import ComplexArray, FloatArray, IntArray
from dso_engine.network import Network
from dso_engine.powerflow import GridState, Injections, Phasors, TransformerFlow, grid_state

_RECYCLE: Final = {"bus_pq": True, "gen": False, "trafo": False, "Ybus": True}
_CASES: Final = ("_ppc0", "_ppc1", "_ppc2")
_NO_LIMIT_KA: Final = 1e3
_STIFF_MVA: Final = 1e7


class PandapowerFlow:
    """Power flow by ``runpp_3ph``; keeps the last result.

    Solving the same injections again returns the state already found: while a price is held nothing in the
    network moves, and a solve costs some 20 ms. Not for use from several threads.

    Args:
        network: The network to solve.

    Raises:
        InvalidFeeder: if a cable is not symmetric in its phases; sequence impedances cannot express that.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._net = pp.create_empty_network(sn_mva=1.0, f_hz=network.frequency_hz)
        busbar = self._supply()
        vn_kv = network.transformer.v_lv_ll_kv
        others = pp.create_buses(self._net, len(network.buses) - 1, vn_kv=vn_kv)
        self._bus = np.array([busbar, *others], dtype=np.int64)
        self._line = self._segments()
        omega = 2.0 * np.pi * network.frequency_hz
        self._y_near = 0.5j * omega * 1e-9 * np.array([segment.c_nf for segment in network.segments])
        for row in network.home_bus:
            pp.create_asymmetric_load(self._net, self._bus[row], type="wye")
        self._last: tuple[bytes, GridState] | None = None
        self._warm_up()

    @property
    def network(self) -> Network:
        """The network that is solved."""
        return self._network

    def solve(self, injections: Injections, label: str) -> GridState:
        """The state of the network; see `dso_engine.powerflow.PowerFlow`.

        Raises:
            PowerFlowDiverged: if pandapower gives up, or says it converged and any result is not a number.
        """
        key = b"".join(
            np.ascontiguousarray(part).tobytes()
            for part in (injections.p_kw, injections.q_kvar, injections.phase)
        )
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        self._set_loads(injections)
        try:
            self._run()
            state = self._state()
        except (pp.LoadflowNotConverged, _NotANumber) as err:
            # The internal case now holds nonsense that the next solve would start from.
            self._forget()
            raise PowerFlowDiverged(label, str(injections)) from err
        self._last = (key, state)
        return state

    def _supply(self) -> int:
        net, source, transformer = self._net, self._network.source, self._network.transformer
        infeed = pp.create_bus(net, vn_kv=source.v_ll_kv)
        hv = pp.create_bus(net, vn_kv=source.v_ll_kv)
        lv = pp.create_bus(net, vn_kv=transformer.v_lv_ll_kv)
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
        none = np.zeros(1)
        ends = np.array([infeed], dtype=np.int64), np.array([hv], dtype=np.int64)
        self._create_lines(*ends, 1.0, np.array([source.z1_ohm]), np.array([source.z0_ohm]), none, none)
        pp.create_transformer_from_parameters(
            net,
            hv,
            lv,
            sn_mva=transformer.s_rated_kva / 1e3,
            vn_hv_kv=transformer.v_hv_ll_kv,
            vn_lv_kv=transformer.v_lv_ll_kv,
            vk_percent=transformer.vk_percent,
            vkr_percent=transformer.vkr_percent,
            vk0_percent=transformer.vk0_percent,
            vkr0_percent=transformer.vkr0_percent,
            pfe_kw=0.0,
            i0_percent=0.0,
            # Even the delta's zero sequence is shunted by a magnetising branch: make it negligible.
            mag0_percent=1e7,
            mag0_rx=0.0,
            si0_hv_partial=0.5,
            shift_degree=transformer.shift_degree,
            vector_group="Dyn",
        )
        pp.create_shunt(net, lv, p_mw=transformer.pfe_kw / 1e3, q_mvar=0.0, vn_kv=transformer.v_lv_ll_kv)
        return int(lv)

    def _segments(self) -> IntArray:
        """Links and lines, each a metre long: its impedances are per segment."""
        network = self._network
        z = [_sequence(s.id, z3) for s, z3 in zip(network.segments, network.z3_ohm, strict=True)]
        c = [_sequence(s.id, s.c_nf.astype(np.complex128)) for s in network.segments]
        z1, z0 = 1e3 * np.array(z).T
        c1_nf, c0_nf = 1e3 * np.array(c).real.T
        return self._create_lines(self._bus[network.segment_from], self._bus[1:], 1e-3, z1, z0, c1_nf, c0_nf)

    def _create_lines(
        self,
        start: IntArray,
        end: IntArray,
        km: float,
        z1: ComplexArray,
        z0: ComplexArray,
        c1_nf: FloatArray,
        c0_nf: FloatArray,
    ) -> IntArray:
        """Lines from impedances and capacitances per kilometre; returns their rows."""
        made = pp.create_lines_from_parameters(
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
        return np.array(made, dtype=np.int64)

    def _warm_up(self) -> None:
        # The first solve builds the case and the second is the first to reuse it; from then on all are alike.
        for _ in range(2):
            self._run()

    def _forget(self) -> None:
        self._last = None
        for case in _CASES:
            self._net[case] = None
        self._set_loads(
            Injections(
                p_kw=np.zeros(len(self._network.homes)),
                q_kvar=np.zeros(len(self._network.homes)),
                phase=self._network.home_phase,
            )
        )
        self._warm_up()

    def _set_loads(self, injections: Injections) -> None:
        homes = np.arange(len(self._network.homes))
        table = self._net.asymmetric_load
        for name, values in (("p_{}_mw", injections.p_kw), ("q_{}_mvar", injections.q_kvar)):
            columns = np.zeros((3, len(homes)))
            columns[injections.phase, homes] = values / 1e3
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

    def _state(self) -> GridState:
        net, network = self._net, self._network
        for table in (net.res_bus_3ph, net.res_line_3ph, net.res_trafo_3ph, net.res_ext_grid_3ph):
            if not np.isfinite(table.to_numpy(dtype=np.float64)).all():
                raise _NotANumber
        magnitude = _columns(net.res_bus_3ph, self._bus, "vm_{}_pu")
        angle = _columns(net.res_bus_3ph, self._bus, "va_{}_degree")
        v = magnitude * np.exp(1j * np.deg2rad(angle)) * network.transformer.v_lv_ll_kv * 1e3 / 3.0**0.5
        s = _columns(net.res_line_3ph, self._line, "p_{}_from_mw") + 1j * _columns(
            net.res_line_3ph, self._line, "q_{}_from_mvar"
        )
        # Half of the cable's capacitance is at its near end: its current does not flow in the impedance.
        i = np.conj(1e6 * s / v[network.segment_from]) - np.einsum(
            "kij,kj->ki", self._y_near, v[network.segment_from]
        )
        only = np.zeros(1, dtype=np.int64)
        s_lv = _columns(net.res_trafo_3ph, only, "p_{}_lv_mw") + 1j * _columns(
            net.res_trafo_3ph, only, "q_{}_lv_mvar"
        )
        # The table counts power into the transformer and knows nothing of the iron shunt beside it.
        iron_w = network.transformer.pfe_kw * 1e3 / 3.0 * magnitude[0] ** 2
        i_transformer = np.conj((-1e6 * s_lv[0] - iron_w) / v[0])
        copper_kw = 1e3 * float(_columns(net.res_trafo_3ph, only, "pl_{}_mw").sum())
        s_hv = _columns(net.res_trafo_3ph, only, "p_{}_hv_mw") + 1j * _columns(
            net.res_trafo_3ph, only, "q_{}_hv_mvar"
        )
        return grid_state(
            network,
            Phasors(v=v, i=i, i_transformer=i_transformer),
            TransformerFlow(loss_kw=copper_kw + float(iron_w.sum()) / 1e3, hv_s_kva=1e3 * s_hv[0]),
        )


class _NotANumber(Exception):
    """Pandapower says converged and hands out NaN."""


def _columns(table: pd.DataFrame, rows: IntArray, name: str) -> FloatArray:
    """One quantity of a result table for phases A, B, C, shape (row, phase)."""
    return np.stack([table[name.format(letter)].to_numpy(dtype=np.float64)[rows] for letter in "abc"], axis=1)


def _sequence(name: str, matrix: ComplexArray) -> tuple[complex, complex]:
    own, mutual = complex(np.trace(matrix)) / 3.0, complex(matrix.sum() - np.trace(matrix)) / 6.0
    circulant = np.full((3, 3), mutual) + (own - mutual) * np.eye(3)
    if not np.allclose(matrix, circulant, rtol=0.0, atol=1e-6 * abs(own)):
        raise InvalidFeeder(f"{name} is not symmetric in its phases, which pandapower cannot express")
    return own - mutual, own + 2.0 * mutual
