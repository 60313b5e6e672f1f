"""Batched current-injection power flow in numpy: the fast solver for searches.

The network is linear apart from the homes, so ``V = V0 + Z I(V)`` with the impedance matrix of all
(bus, phase) nodes behind the transformer, and the iteration is one matrix product for a whole batch. The
neutral is eliminated exactly (it is earthed at the star point only); source and transformer are their
Thevenin equivalent.

Source: grid-model.md 3 (method), 2 (neutral-return reduction).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from dso_engine.errors import PowerFlowDiverged
from dso_engine.feeder import Network
from dso_engine.model import ComplexArray, FloatArray, IntArray
from dso_engine.powerflow import GridState, Injections, Phasors, grid_state, transformer_loading

_TOLERANCE_V: Final = 1e-9
_ROUNDS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchState:
    """The screening part of many solved states."""

    v_v: FloatArray
    """Phase-to-neutral voltage, volts, (batch, bus, phase)."""
    i_a: FloatArray
    """Phase current, amperes, (batch, line, phase)."""
    i_n_a: FloatArray
    """Neutral current, amperes, (batch, line)."""
    transformer_s_kva: FloatArray
    """Sum of the phases' apparent power, (batch,)."""
    transformer_loading: FloatArray
    """Loading over rating; the largest of a row is `GridState.transformer_loading_pct`; (batch, phase)."""
    pcc_p_kw: FloatArray
    """Net import at the feeder heads, (batch, feeder, phase)."""


def neutral_return(z4: ComplexArray) -> ComplexArray:
    """Three-wire equivalent of a four-wire segment whose neutral carries the whole return current.

    Args:
        z4: Series impedance, (4, 4), order a b c n.

    Returns:
        Z_ij - Z_in - Z_nj + Z_nn, shape (3, 3).

    Source: grid-model.md 2, "Star-point earth only".
    """
    return np.asarray(z4[:3, :3] - z4[:3, 3:] - z4[3:, :3] + z4[3, 3], dtype=np.complex128)


def _circulant(z1: complex, z0: complex) -> ComplexArray:
    own, mutual = (z0 + 2.0 * z1) / 3.0, (z0 - z1) / 3.0
    return np.full((3, 3), mutual, dtype=np.complex128) + (own - mutual) * np.eye(3, dtype=np.complex128)


class FixedPoint:
    """Power flow by fixed-point iteration on the impedance matrix; stateless after construction.

    Args:
        network: The network to solve.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        transformer, source = network.transformer, network.source
        base = transformer.v_lv_ll_kv**2 * 1e3 / transformer.s_rated_kva / 100.0
        self._z_transformer = _circulant(
            _short_circuit(transformer.vk_percent, transformer.vkr_percent) * base,
            _short_circuit(transformer.vk0_percent, transformer.vkr0_percent) * base,
        )
        ratio = transformer.v_lv_ll_kv / transformer.v_hv_ll_kv
        # The delta winding keeps the zero sequence of the source out.
        y_supply = np.linalg.inv(self._z_transformer + _circulant(ratio**2 * source.z1_ohm, 0.0))
        turns = np.exp(-2j * np.pi / 3.0 * np.arange(3))
        v_open = source.v_ll_kv * 1e3 / 3.0**0.5 * ratio * turns
        self._g_iron = transformer.pfe_kw / transformer.v_lv_ll_kv**2 / 1e3

        nodes = 3 * len(network.buses)
        y = np.zeros((nodes, nodes), dtype=np.complex128)
        y[:3, :3] = y_supply + self._g_iron * np.eye(3)
        self._y_shunt = np.zeros((len(network.buses), 3, 3), dtype=np.complex128)
        omega = 2.0 * np.pi * network.frequency_hz
        for k, segment in enumerate(network.segments):
            start, end = int(network.segment_from[k]), k + 1
            half = 0.5j * omega * 1e-9 * segment.c_nf
            self._y_shunt[start] += half
            self._y_shunt[end] += half
            series = np.linalg.inv(neutral_return(segment.z_ohm))
            a, b = slice(3 * start, 3 * start + 3), slice(3 * end, 3 * end + 3)
            y[a, a] += series
            y[b, b] += series
            y[a, b] -= series
            y[b, a] -= series
        for bus, shunt in enumerate(self._y_shunt):
            y[3 * bus : 3 * bus + 3, 3 * bus : 3 * bus + 3] += shunt
        z = np.linalg.inv(y)
        self._v_idle = z[:, :3] @ (y_supply @ v_open)
        self._z_t = np.ascontiguousarray(z.T)
        self._nodes = nodes

    @property
    def network(self) -> Network:
        """The network that is solved."""
        return self._network

    def solve(self, injections: Injections, label: str) -> GridState:
        """The state of the network; see `dso_engine.powerflow.PowerFlow`.

        Raises:
            PowerFlowDiverged: if the iteration does not settle.
        """
        found = self._iterate(
            injections.p_kw[None], injections.q_kvar[None], injections.phase[None], label, str(injections)
        )
        phasors = Phasors(v=found.v[0], i=found.i[0], i_transformer=found.i_transformer[0])
        i_supply = phasors.i_transformer + self._g_iron * phasors.v[0]
        copper_w = float(np.real(np.conj(i_supply) @ self._z_transformer @ i_supply))
        iron_w = self._g_iron * float((np.abs(phasors.v[0]) ** 2).sum())
        return grid_state(self._network, phasors, (copper_w + iron_w) / 1e3)

    def solve_batch(self, p_kw: FloatArray, q_kvar: FloatArray, phase: IntArray, label: str) -> BatchState:
        """Voltages, currents and flows of many injections at once.

        Args:
            p_kw: Net import, (batch, home).
            q_kvar: Reactive net import, (batch, home).
            phase: Phase of each home, (batch, home) or (home,).
            label: What is being solved, for the error message.

        Raises:
            PowerFlowDiverged: if any of them does not settle.
        """
        phase = np.broadcast_to(phase, p_kw.shape)
        state = f"batch of {len(p_kw)}, {p_kw.min():.3f} to {p_kw.max():.3f} kW a home"
        found = self._iterate(p_kw, q_kvar, phase, label, state)
        heads = self._network.head_segments
        busbar = found.v[:, 0]
        return BatchState(
            v_v=np.abs(found.v),
            i_a=np.abs(found.i),
            i_n_a=np.abs(found.i.sum(axis=-1)),
            transformer_s_kva=np.abs(busbar * found.i_transformer).sum(axis=-1) / 1e3,
            transformer_loading=transformer_loading(self._network, busbar, found.i_transformer),
            pcc_p_kw=np.real(found.v[:, heads + 1] * np.conj(found.i[:, heads])) / 1e3,
        )

    def _iterate(
        self, p_kw: FloatArray, q_kvar: FloatArray, phase: IntArray, label: str, state: str
    ) -> Phasors:
        batch = len(p_kw)
        cell = (np.arange(batch)[:, None] * self._nodes + 3 * self._network.home_bus + phase).ravel()
        size = batch * self._nodes
        s_conj = 1e3 * (
            np.bincount(cell, weights=p_kw.ravel(), minlength=size)
            - 1j * np.bincount(cell, weights=q_kvar.ravel(), minlength=size)
        ).reshape(batch, self._nodes)
        v = np.broadcast_to(self._v_idle, s_conj.shape)
        with np.errstate(all="ignore"):
            for _ in range(_ROUNDS):
                following = self._v_idle - (s_conj / np.conj(v)) @ self._z_t
                change = np.abs(following - v).max(initial=0.0)
                v = following
                if not change >= _TOLERANCE_V:
                    break
        if not change < _TOLERANCE_V:
            raise PowerFlowDiverged(label, state)
        i_load = (s_conj / np.conj(v)).reshape(batch, -1, 3)
        v = v.reshape(batch, -1, 3)
        i_bus = i_load + np.einsum("bij,xbj->xbi", self._y_shunt, v)
        # Drawn through the transformer: all the buses' currents, the iron loss apart.
        return Phasors(v=v, i=self._network.downstream @ i_bus, i_transformer=i_bus.sum(axis=1))


def _short_circuit(vk_percent: float, vkr_percent: float) -> complex:
    return complex(vkr_percent, (vk_percent**2 - vkr_percent**2) ** 0.5)
