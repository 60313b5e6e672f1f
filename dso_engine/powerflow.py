"""What a power flow is asked and what it answers, whichever solver does the work.

A solver finds phasors; `grid_state` turns them into everything a caller wants, the same way for all.
Voltages are phase to *local* neutral, power at a point is voltage to local neutral times conjugate current,
currents and flows are positive away from the transformer. `violations` and `stress` hold a state against the
limits.

Source: grid-model.md 2 (neutral-return reduction, neutral recovery), mechanisms.md 9 (limits, trigger).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from dso_engine.model import ComplexArray, FloatArray, IntArray, Limits, Phase
from dso_engine.network import Earthing, Network

_A: complex = complex(-0.5, 0.75**0.5)
TO_SEQUENCE: ComplexArray = np.array(
    [[1.0, 1.0, 1.0], [1.0, _A, _A**2], [1.0, _A**2, _A]], dtype=np.complex128
) / np.float64(3.0)
"""Phase phasors to zero, positive and negative sequence."""
FROM_SEQUENCE: ComplexArray = np.array([[1.0, 1.0, 1.0], [1.0, _A**2, _A], [1.0, _A, _A**2]])
"""And back."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Injections:
    """Net import of every home, in the order of `Network.homes`; export is negative."""

    p_kw: FloatArray
    """Shape (home,)."""
    q_kvar: FloatArray
    """Shape (home,)."""
    phase: IntArray
    """The phase each home is on now, 0 to 2; shape (home,)."""

    def __str__(self) -> str:
        """The total and the largest injection, for an error message."""
        if not self.p_kw.size:
            return "no homes"
        worst = int(np.argmax(np.abs(self.p_kw)))
        return (
            f"{self.p_kw.size} homes, {float(self.p_kw.sum()):.3f} kW {float(self.q_kvar.sum()):.3f} kvar, "
            f"largest {float(self.p_kw[worst]):.3f} kW at home {worst + 1}"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GridState:
    """A solved network.

    Axes: bus as `bus_ids`, line as `line_ids`, phase A B C, feeder as `Network.feeders`.
    """

    bus_ids: tuple[str, ...]
    """Low-voltage buses, busbar first."""
    line_ids: tuple[str, ...]
    """Feeder-head links and cable segments."""
    v_v: FloatArray
    """Phase-to-neutral voltage magnitude, volts, (bus, phase); of a phase that does not reach a bus that
    of the bus where the lateral begins, so that no extreme is changed."""
    v_n_v: FloatArray
    """Voltage between the local neutral and the star point, volts, (bus,)."""
    vuf_pct: FloatArray
    """100 * |V2| / |V1|, (bus,); on a lateral that of the bus where it begins."""
    i_a: FloatArray
    """Phase current magnitude, amperes, (line, phase)."""
    i_n_a: FloatArray
    """Neutral current magnitude, amperes, (line,)."""
    line_loss_kw: float
    """Active loss of all lines, links included, in all four conductors."""
    neutral_loss_kw: float
    """The neutral's share as Re(conj(In) (Z4 I)_n). Where conductors couple resistively the share is a
    matter of definition; only the sum with the phases is not."""
    neutral_loss_r_kw: float
    """The neutral's share as R_nn |In|^2, the other usual definition (grid-model.md 1)."""
    transformer_loss_kw: float
    """Copper and iron."""
    transformer_p_kw: FloatArray
    """Active power delivered by the low-voltage terminals, + towards the homes, (phase,)."""
    transformer_q_kvar: FloatArray
    """Reactive power delivered by the low-voltage terminals, (phase,)."""
    transformer_s_kva: float
    """Sum over the phases of the apparent power at the low-voltage terminals."""
    transformer_loading_pct: float
    """The larger of that sum over the rating and the highest winding current over its rated current."""
    transformer_i_n_a: float
    """Current in the transformer's neutral, amperes."""
    transformer_hv_p_kw: FloatArray
    """Active power into the high-voltage terminals, (phase,). The delta mixes the phases: only the sum less
    that of `transformer_p_kw` is a loss."""
    transformer_hv_q_kvar: FloatArray
    """Reactive power into the high-voltage terminals, (phase,)."""
    pcc_p_kw: FloatArray
    """Net import at the feeder head: homes plus losses of the feeder without its link; (feeder, phase)."""
    pcc_q_kvar: FloatArray
    """Reactive net import at the feeder head, (feeder, phase)."""
    pcc_v_v: FloatArray
    """Voltage at the feeder head, volts, (feeder, phase): on the far side of the link; the busbar's where a
    feeder begins with a line."""


def base_case(network: Network, *, load: float = 1.0, generation: float = 1.0) -> Injections:
    """The loads and generators of the network's file, each kind scaled, on the phases they were built on.

    Args:
        network: The network.
        load: Factor on the loads.
        generation: Factor on the generators.
    """
    row = {home.id: k for k, home in enumerate(network.homes)}
    p_kw = load * np.array([home.p_kw for home in network.homes])
    q_kvar = load * np.array([home.q_kvar for home in network.homes])
    for unit in network.generators:
        p_kw[row[unit.home]] -= generation * unit.p_kw
        q_kvar[row[unit.home]] -= generation * unit.q_kvar
    return Injections(p_kw=p_kw, q_kvar=q_kvar, phase=network.home_phase)


class PowerFlow(Protocol):
    """Solves the network for given injections."""

    @property
    def network(self) -> Network:
        """The network that is solved."""
        ...

    def solve(self, injections: Injections, label: str) -> GridState:
        """The state of the network.

        Args:
            injections: Net import of every home.
            label: What is being solved, for the error message: the slot and who asks.

        Raises:
            PowerFlowDiverged: if there is no usable solution.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phasors:
    """What a solver found, volts and amperes; leading axes are free."""

    v: ComplexArray
    """Phase to local neutral, (..., bus, phase)."""
    i: ComplexArray
    """In the series impedance of each segment, away from the transformer, (..., segment, phase)."""
    i_transformer: ComplexArray
    """Out of the low-voltage terminals, (..., phase)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TransformerFlow:
    """What a solver says about the transformer."""

    loss_kw: float
    """Copper and iron."""
    hv_s_kva: ComplexArray
    """Complex power into the high-voltage terminals, (phase,)."""


class LimitKind(StrEnum):
    """What a violation breaks."""

    VOLTAGE_HIGH = "voltage-high"
    VOLTAGE_LOW = "voltage-low"
    LINE = "line-current"
    NEUTRAL = "neutral-current"
    TRANSFORMER = "transformer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One limit that a state breaks."""

    kind: LimitKind
    element: str
    """Id of the bus, the line or the transformer."""
    phase: Phase | None
    value: float
    """Volts, amperes, or per cent of the rating for the transformer."""
    limit: float
    """In the unit of `value`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """How near a state is to its limits."""

    v_high_pu: float
    """Highest phase voltage of any bus over nominal, minus one; signed."""
    v_low_pu: float
    """Lowest phase voltage of any bus over nominal, minus one; signed."""
    line_loading: float
    """Highest phase or neutral current over its rating."""
    transformer_loading: float
    """Loading over rating."""

    @property
    def v_dev_max(self) -> float:
        """Largest deviation from nominal in either direction, per unit."""
        return max(abs(self.v_high_pu), abs(self.v_low_pu))

    @property
    def thermal(self) -> float:
        """Highest loading of line or transformer over its rating."""
        return max(self.line_loading, self.transformer_loading)


def vuf_pct(v: ComplexArray) -> FloatArray:
    """Voltage unbalance factor, per cent.

    Args:
        v: Phase phasors, shape (..., 3); phase to neutral or to ground give the same.

    Returns:
        100 * |V2| / |V1|, shape (...).

    Source: grid-model.md 2.
    """
    sequence = np.abs(v @ TO_SEQUENCE.T)
    return np.asarray(100.0 * sequence[..., 2] / sequence[..., 1], dtype=np.float64)


def transformer_loading(network: Network, v_busbar: ComplexArray, i: ComplexArray) -> FloatArray:
    """Loading of the transformer over its rating, seen from each phase.

    Args:
        network: Holds the ratings.
        v_busbar: Busbar phasors, volts, (..., phase).
        i: Current out of the terminals, amperes, (..., phase).

    Returns:
        The larger of sum |S| over the rating and of the phase's winding current over rated current,
        shape (..., phase).
    """
    rating = network.transformer
    s_kva = np.abs(v_busbar * i).sum(axis=-1, keepdims=True) / 1e3
    winding = np.abs(i) / rating.i_rated_a
    return np.asarray(np.maximum(s_kva / rating.s_rated_kva, winding), dtype=np.float64)


def grid_state(network: Network, phasors: Phasors, transformer: TransformerFlow) -> GridState:
    """Everything a caller may ask about a solved network.

    Args:
        network: The network.
        phasors: Voltages and currents, without leading axes.
        transformer: Its losses and high-voltage side, from the solver.

    Source: grid-model.md 2, "Neutral recovery (exact)".
    """
    v, i, z4 = phasors.v, phasors.i, network.z4_ohm
    i_n = np.einsum("kj,kj->k", network.neutral_share, i)
    i4 = np.concatenate([i, i_n[:, None]], axis=1)
    drop4 = np.einsum("kij,kj->ki", z4, i4)
    loss4_w = np.real(np.conj(i4) * drop4)
    v_n = np.zeros(len(network.buses), dtype=np.complex128)
    if network.earthing is Earthing.STAR_POINT:
        for k, start in enumerate(network.segment_from):
            v_n[k + 1] = v_n[start] - drop4[k, 3]
    meters = network.head_buses
    s_head = v[meters] * np.conj(i[network.head_segments]) / 1e3
    s_transformer = v[0] * np.conj(phasors.i_transformer) / 1e3
    loading = transformer_loading(network, v[0], phasors.i_transformer)
    return GridState(
        bus_ids=network.buses,
        line_ids=tuple(segment.id for segment in network.segments),
        v_v=np.abs(v),
        v_n_v=np.abs(v_n),
        vuf_pct=vuf_pct(v[network.three_phase_bus]),
        i_a=np.abs(i),
        i_n_a=np.abs(i4[:, 3]),
        line_loss_kw=float(loss4_w.sum()) / 1e3,
        neutral_loss_kw=float(loss4_w[:, 3].sum()) / 1e3,
        neutral_loss_r_kw=float((z4[:, 3, 3].real * np.abs(i4[:, 3]) ** 2).sum()) / 1e3,
        transformer_loss_kw=transformer.loss_kw,
        transformer_p_kw=s_transformer.real,
        transformer_q_kvar=s_transformer.imag,
        transformer_s_kva=float(np.abs(s_transformer).sum()),
        transformer_loading_pct=100.0 * float(loading.max()),
        transformer_i_n_a=float(np.abs(phasors.i_transformer.sum())),
        transformer_hv_p_kw=transformer.hv_s_kva.real,
        transformer_hv_q_kvar=transformer.hv_s_kva.imag,
        pcc_p_kw=s_head.real,
        pcc_q_kvar=s_head.imag,
        pcc_v_v=np.abs(v[meters]),
    )


def stress(network: Network, state: GridState, limits: Limits) -> Stress:
    """How near the state is to voltage and thermal limits.

    Source: mechanisms.md 9, "Trigger".
    """
    v_pu = state.v_v / limits.v_nominal_v - 1.0
    rated_a, rated_n_a = _ratings(network)
    return Stress(
        v_high_pu=float(v_pu.max()),
        v_low_pu=float(v_pu.min()),
        line_loading=max(float((state.i_a / rated_a[:, None]).max()), float((state.i_n_a / rated_n_a).max())),
        transformer_loading=state.transformer_loading_pct / 100.0,
    )


def violations(network: Network, state: GridState, limits: Limits, *, guard: bool) -> tuple[Violation, ...]:
    """Every limit the state breaks, voltages first.

    Args:
        network: Holds the ratings.
        state: The state to judge.
        limits: Band and guard bands.
        guard: Judge against the limits minus the guard bands.

    Source: mechanisms.md 9.
    """
    band = limits.v_band - (limits.guard_v if guard else 0.0)
    share = 1.0 - (limits.guard_i if guard else 0.0)
    high_v, low_v = limits.v_nominal_v * (1.0 + band), limits.v_nominal_v * (1.0 - band)
    rated_a, rated_n_a = (rating * share for rating in _ratings(network))
    found: list[Violation] = []

    def add(kind: LimitKind, element: str, phase: int | None, value: float, limit: float) -> None:
        on = None if phase is None else Phase(phase)
        found.append(Violation(kind=kind, element=element, phase=on, value=float(value), limit=float(limit)))

    for bus, phase in np.argwhere((state.v_v > high_v) & network.has_phase):
        add(LimitKind.VOLTAGE_HIGH, state.bus_ids[bus], phase, state.v_v[bus, phase], high_v)
    for bus, phase in np.argwhere((state.v_v < low_v) & network.has_phase):
        add(LimitKind.VOLTAGE_LOW, state.bus_ids[bus], phase, state.v_v[bus, phase], low_v)
    for line, phase in np.argwhere(state.i_a > rated_a[:, None]):
        add(LimitKind.LINE, state.line_ids[line], phase, state.i_a[line, phase], rated_a[line])
    for line in np.flatnonzero(state.i_n_a > rated_n_a):
        add(LimitKind.NEUTRAL, state.line_ids[line], None, state.i_n_a[line], rated_n_a[line])
    if state.transformer_loading_pct > 100.0 * share:
        add(
            LimitKind.TRANSFORMER,
            network.transformer.id,
            None,
            state.transformer_loading_pct,
            100.0 * share,
        )
    return tuple(found)


def _ratings(network: Network) -> tuple[FloatArray, FloatArray]:
    return (
        np.array([segment.rated_current_a for segment in network.segments]),
        np.array([segment.rated_neutral_current_a for segment in network.segments]),
    )
