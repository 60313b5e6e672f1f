"""Batched current-injection power flow in numpy: the fast solver for searches.

The network is linear apart from the homes, so ``V = V0 + Z I(V)`` with the impedance matrix of all
(bus, phase) nodes behind the transformer, and the iteration is one matrix product for a whole batch. The
neutral is eliminated exactly, as its earthing says; source and transformer are their Thevenin equivalent.

Source: grid-model.md 3 (method), 2 (neutral treatment).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import SuperLU, splu

from dso_engine.errors import PowerFlowDiverged
from dso_engine.model import ComplexArray, FloatArray, IntArray
from dso_engine.network import Network
from dso_engine.powerflow import (
    FROM_SEQUENCE,
    TO_SEQUENCE,
    GridState,
    Injections,
    Phasors,
    TransformerFlow,
    grid_state,
    transformer_loading,
)

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearFlow:
    """A state and its derivatives: a screen for candidates, never the last word (`dso_engine.verified`)."""

    network: Network
    at: Phasors
    """The state, with a leading axis of one."""
    per_kw: Phasors
    """Change of every phasor for one more kW of import of each home, (home, ...)."""

    def moved(self, move_kw: FloatArray) -> BatchState:
        """The states after moves of all homes, as far as they are linear.

        Args:
            move_kw: More import than in the state, (batch, home).
        """
        parts = (self.per_kw.v, self.per_kw.i, self.per_kw.i_transformer)
        dv, di, dt = (np.tensordot(move_kw, part, axes=1) for part in parts)
        moved = Phasors(v=self.at.v + dv, i=self.at.i + di, i_transformer=self.at.i_transformer + dt)
        return batch_state(self.network, moved)


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
        self._ratio = transformer.v_lv_ll_kv / transformer.v_hv_ll_kv
        # The delta winding keeps the zero sequence of the source out.
        z_supply = self._z_transformer + _circulant(self._ratio**2 * source.z1_ohm, 0.0)
        self._y_supply = np.asarray(np.linalg.inv(z_supply), dtype=np.complex128)
        self._g_iron = transformer.pfe_kw / transformer.v_lv_ll_kv**2 / 1e3
        self._y_shunt = self._shunts()
        self._nodes = 3 * len(network.buses)
        # Homes load few of the nodes: only those columns of Z = Y^-1 are ever needed.
        self._loaded_buses = np.unique(network.home_bus)
        self._home_node = 3 * np.searchsorted(self._loaded_buses, network.home_bus)
        loaded = (3 * self._loaded_buses[:, None] + np.arange(3)).ravel()
        factors = splu(self._admittance())
        self._v_idle = self._open_circuit(factors)
        columns = np.zeros((self._nodes, len(loaded)), dtype=np.complex128)
        columns[loaded, np.arange(len(loaded))] = 1.0
        z = np.asarray(factors.solve(columns), dtype=np.complex128)
        self._v_idle_loaded = self._v_idle[loaded]
        self._z_t = np.ascontiguousarray(z.T)
        self._z_loaded_t = np.ascontiguousarray(z[loaded].T)

    def _shunts(self) -> ComplexArray:
        """Admittance to the neutral of every bus: half of the capacitance of each line, (bus, 3, 3)."""
        network = self._network
        found = np.zeros((len(network.buses), 3, 3), dtype=np.complex128)
        omega = 2.0 * np.pi * network.frequency_hz
        for k, segment in enumerate(network.segments):
            half = 0.5j * omega * 1e-9 * segment.c_nf
            found[network.segment_from[k]] += half
            found[k + 1] += half
        return found

    def _admittance(self) -> csc_array:
        network = self._network
        series = np.linalg.inv(network.z3_ohm)
        start, end = network.segment_from, np.arange(len(network.segments)) + 1
        buses = np.arange(len(network.buses))
        at_busbar = self._y_supply + self._g_iron * np.eye(3)
        blocks = np.concatenate([series, series, -series, -series, self._y_shunt, at_busbar[None]])
        row = np.concatenate([start, end, start, end, buses, [0]])
        column = np.concatenate([start, end, end, start, buses, [0]])
        three = np.arange(3)
        rows = np.broadcast_to(3 * row[:, None, None] + three[:, None], blocks.shape)
        columns = np.broadcast_to(3 * column[:, None, None] + three, blocks.shape)
        shape = (self._nodes, self._nodes)
        return csc_array((blocks.ravel(), (rows.ravel(), columns.ravel())), shape=shape)

    def _open_circuit(self, factors: SuperLU) -> ComplexArray:
        """Voltages without homes, (node,)."""
        turns = np.exp(-2j * np.pi / 3.0 * np.arange(3))
        v_open = self._network.source.v_ll_kv * 1e3 / 3.0**0.5 * self._ratio * turns
        injected = np.zeros(self._nodes, dtype=np.complex128)
        injected[:3] = self._y_supply @ v_open
        return np.asarray(factors.solve(injected), dtype=np.complex128)

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
        return grid_state(
            self._network,
            phasors,
            TransformerFlow(loss_kw=(copper_w + iron_w) / 1e3, hv_s_kva=self._high_voltage(i_supply)),
        )

    def _high_voltage(self, i_supply: ComplexArray) -> ComplexArray:
        """Power into the high-voltage terminals, kVA, (phase,), from the current out of the winding.

        The positive sequence of the low-voltage side lags by the vector group, the negative leads by it; the
        delta takes no zero sequence. Voltages here are those of the low-voltage side turned to zero.
        """
        source = self._network.source
        turn = np.exp(1j * np.deg2rad(self._network.transformer.shift_degree))
        _, i1, i2 = self._ratio * (TO_SEQUENCE @ i_supply) * np.array([0.0, turn, 1.0 / turn])
        v1 = source.v_ll_kv * 1e3 / 3.0**0.5 * turn - source.z1_ohm * i1
        v2 = -source.z1_ohm * i2
        v = FROM_SEQUENCE @ np.array([0.0, v1, v2])
        i = FROM_SEQUENCE @ np.array([0.0, i1, i2])
        return np.asarray(v * np.conj(i) / 1e3, dtype=np.complex128)

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
        return batch_state(self._network, self._iterate(p_kw, q_kvar, phase, label, state))

    def linearise(self, injections: Injections, label: str) -> LinearFlow:
        """The state of the network and how it changes with each home's import; constant power throughout.

        Raises:
            PowerFlowDiverged: if the state has no solution.

        Source: grid-model.md 3, "Linear".
        """
        p_kw, q_kvar, phase = injections.p_kw[None], injections.q_kvar[None], injections.phase
        at = self._iterate(p_kw, q_kvar, phase[None], label, str(injections))
        v = at.v[0, self._loaded_buses].ravel()
        s_conj = self._drawn(p_kw, q_kvar, phase[None])[0]
        # I = conj(S) / conj(V): a step in S at constant V, and what the step in V makes of what is drawn.
        step = np.zeros((len(phase), len(v)), dtype=np.complex128)
        step[np.arange(len(phase)), self._home_node + phase] = 1e3
        direct, echo = step / np.conj(v), s_conj / np.conj(v) ** 2
        # dV = -Z (direct - echo conj(dV)) is linear in the real and the imaginary part of dV, not in dV.
        z = self._z_loaded_t.T
        ze, right = z * echo, -direct @ self._z_loaded_t
        one = np.eye(len(v))
        matrix = np.block([[one - ze.real, -ze.imag], [-ze.imag, one + ze.real]])
        parts = np.linalg.solve(matrix, np.concatenate([right.real, right.imag], axis=1).T).T
        dv = parts[:, : len(v)] + 1j * parts[:, len(v) :]
        di = direct - echo * np.conj(dv)
        per_kw = self._phasors(-di @ self._z_t, di)
        return LinearFlow(network=self._network, at=at, per_kw=per_kw)

    def _iterate(
        self, p_kw: FloatArray, q_kvar: FloatArray, phase: IntArray, label: str, state: str
    ) -> Phasors:
        s_conj = self._drawn(p_kw, q_kvar, phase)
        v = np.broadcast_to(self._v_idle_loaded, s_conj.shape)
        with np.errstate(all="ignore"):
            for _ in range(_ROUNDS):
                i_load = s_conj / np.conj(v)
                following = self._v_idle_loaded - i_load @ self._z_loaded_t
                change = np.abs(following - v).max(initial=0.0)
                v = following
                if not change >= _TOLERANCE_V:
                    break
        if not change < _TOLERANCE_V:
            raise PowerFlowDiverged(label, state)
        return self._phasors(self._v_idle - i_load @ self._z_t, i_load)

    def _drawn(self, p_kw: FloatArray, q_kvar: FloatArray, phase: IntArray) -> ComplexArray:
        """Conjugate power drawn at every loaded node, VA, (batch, node)."""
        batch, loaded = len(p_kw), len(self._v_idle_loaded)
        cell = (np.arange(batch)[:, None] * loaded + self._home_node + phase).ravel()
        size = batch * loaded
        p_w = np.bincount(cell, weights=p_kw.ravel(), minlength=size)
        q_var = np.bincount(cell, weights=q_kvar.ravel(), minlength=size)
        return np.asarray(1e3 * (p_w - 1j * q_var).reshape(batch, loaded), dtype=np.complex128)

    def _phasors(self, v_flat: ComplexArray, i_load: ComplexArray) -> Phasors:
        """All phasors from the voltages and what is drawn at the loaded nodes, (batch, node) both."""
        v = v_flat.reshape(len(v_flat), -1, 3)
        i_bus = np.einsum("bij,xbj->xbi", self._y_shunt, v)
        i_bus[:, self._loaded_buses] += i_load.reshape(len(v_flat), -1, 3)
        # Drawn through the transformer: all the buses' currents, the iron loss apart.
        return Phasors(v=v, i=self._network.downstream @ i_bus, i_transformer=i_bus.sum(axis=1))


def batch_state(network: Network, found: Phasors) -> BatchState:
    """What a screen needs of many states, from phasors with one leading axis."""
    heads, meters, busbar = network.head_segments, network.head_buses, found.v[:, 0]
    return BatchState(
        v_v=np.abs(found.v),
        i_a=np.abs(found.i),
        i_n_a=np.abs(np.einsum("kj,bkj->bk", network.neutral_share, found.i)),
        transformer_s_kva=np.abs(busbar * found.i_transformer).sum(axis=-1) / 1e3,
        transformer_loading=transformer_loading(network, busbar, found.i_transformer),
        pcc_p_kw=np.real(found.v[:, meters] * np.conj(found.i[:, heads])) / 1e3,
    )


def _short_circuit(vk_percent: float, vkr_percent: float) -> complex:
    return complex(vkr_percent, (vk_percent**2 - vkr_percent**2) ** 0.5)
