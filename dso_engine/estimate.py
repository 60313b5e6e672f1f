"""State of the network from what the engine may know: commitments, confirmed phases and feeder-head meters.

The meters say how far each PCC is from plan, not which home is. Two rules say who:

1. With no price running the deviation is forecast error. It is added to the homes in proportion to
   ``error_weight``, by default to the size of their planned exchange plus a small constant: with homes all
   exporting this scales them as one, with imports and exports that cancel it stays finite.
2. While a price runs, the change since the reading at u = 0 is the homes' answer, and only flexible homes
   answer: it goes to them in proportion to what they declared in that direction, at most all of it. What is
   beyond that is forecast error again.

Losses belong to the head flow, so the rules are iterated with a power flow until the heads agree.

Source: mechanisms.md 9, "State estimate"; rule 2 is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dso_engine.errors import StaleMeasurement
from dso_engine.feeder import Network
from dso_engine.model import FloatArray, IntArray, PccReading
from dso_engine.powerflow import GridState, Injections, PowerFlow
from dso_engine.verified import verified

_ROUNDS: Final = 8
_SETTLED_KW: Final = 1e-4
_FLOOR_KW: Final = 0.05
"""Weight of a home that plans no exchange: its forecast can be wrong too."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Response:
    """What the homes' answer to a running price can be."""

    baseline_kw: FloatArray
    """Head flows of the reading taken at u = 0 in this slot, (feeder, phase)."""
    up_kw: FloatArray
    """How far each home could raise its import above plan, (home,), >= 0."""
    down_kw: FloatArray
    """How far each home could lower it, (home,), >= 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """The homes as the engine believes they are, and the network that follows."""

    injections: Injections
    state: GridState
    """Of the model of record."""
    residual_kw: FloatArray
    """Measured minus modelled head flow, (feeder, phase); not zero where no home can explain it."""
    residual_kvar: FloatArray
    """The same of reactive power."""
    residual_v: FloatArray
    """Measured minus modelled head voltage, volts, (feeder, phase): nothing is fitted to it, so it shows an
    error of the source or transformer model."""

    @property
    def p_kw(self) -> FloatArray:
        """Net import of each home, (home,)."""
        return self.injections.p_kw

    @property
    def q_kvar(self) -> FloatArray:
        """Reactive net import of each home, (home,)."""
        return self.injections.q_kvar


def estimate_state(
    *,
    search: PowerFlow,
    record: PowerFlow,
    prior: Injections,
    readings: Sequence[PccReading],
    label: str,
    response: Response | None = None,
    error_weight: FloatArray | None = None,
) -> Estimate:
    """The state that explains the feeder-head readings.

    Args:
        search: Fast power flow for the iteration, of the same network as `record`.
        record: The model of record; solved once.
        prior: Planned or last metered exchange per home, on the confirmed phases.
        readings: One per PCC, any order; of several for one PCC the latest counts.
        label: The slot and what for, for error messages.
        response: Given while a price other than zero runs.
        error_weight: Relative share of each home in a forecast error, (home,), >= 0; default as in rule 1.

    Raises:
        StaleMeasurement: if a PCC has no reading.
        PowerFlowDiverged: if a power flow has no solution.
        SolversDisagree: if the two power flows give different states for what was found.

    Source: mechanisms.md 9.
    """
    network = record.network
    p_head, q_head, v_head = _heads(network, readings)
    pcc = network.pcc_of(prior.phase)
    shape = p_head.shape
    q_share = _share(np.abs(prior.q_kvar) + _FLOOR_KW, pcc, p_head.size)
    if error_weight is None:
        error_weight = np.abs(prior.p_kw) + _FLOOR_KW
    error_share = _share(error_weight, pcc, p_head.size)

    answer_kw, answer_share = _answer(response, p_head, pcc)
    found = prior
    for target, p_share in ((p_head.ravel() - answer_kw, error_share), (p_head.ravel(), answer_share)):
        for _ in range(_ROUNDS):
            state = search.solve(found, label)
            p_gap = target - state.pcc_p_kw.ravel()
            q_gap = q_head.ravel() - state.pcc_q_kvar.ravel()
            move_kw, move_kvar = p_gap[pcc] * p_share, q_gap[pcc] * q_share
            if max(np.abs(move_kw).max(initial=0.0), np.abs(move_kvar).max(initial=0.0)) < _SETTLED_KW:
                break
            found = Injections(p_kw=found.p_kw + move_kw, q_kvar=found.q_kvar + move_kvar, phase=found.phase)
    state = verified(search, record, found, label)
    return Estimate(
        injections=found,
        state=state,
        residual_kw=p_head - state.pcc_p_kw.reshape(shape),
        residual_kvar=q_head - state.pcc_q_kvar.reshape(shape),
        residual_v=v_head - state.pcc_v_v.reshape(shape),
    )


def _answer(response: Response | None, p_head: FloatArray, pcc: IntArray) -> tuple[FloatArray, FloatArray]:
    """What flexible homes answer per PCC, (pcc,), and each home's share of it, (home,)."""
    if response is None:
        return np.zeros(p_head.size), np.zeros(len(pcc))
    change = (p_head - response.baseline_kw).ravel()
    flexible = np.where(change[pcc] > 0.0, response.up_kw, response.down_kw)
    room = np.bincount(pcc, weights=flexible, minlength=p_head.size)
    return np.clip(change, -room, room), _share(flexible, pcc, p_head.size)


def _heads(network: Network, readings: Sequence[PccReading]) -> tuple[FloatArray, FloatArray, FloatArray]:
    latest: dict[str, PccReading] = {}
    for reading in readings:
        known = latest.get(reading.pcc.id)
        if known is None or reading.taken_at >= known.taken_at:
            latest[reading.pcc.id] = reading
    if missing := [pcc.id for pcc in network.pccs if pcc.id not in latest]:
        raise StaleMeasurement(f"no reading of {', '.join(missing)}")
    table = np.array(
        [(latest[pcc.id].p_kw, latest[pcc.id].q_kvar, latest[pcc.id].v_v) for pcc in network.pccs]
    ).reshape(len(network.feeders), -1, 3)
    return table[..., 0], table[..., 1], table[..., 2]


def _share(weight: FloatArray, pcc: IntArray, pccs: int) -> FloatArray:
    """Each home's part of its PCC's weight; 0 in a PCC without weight."""
    total = np.bincount(pcc, weights=weight, minlength=pccs)[pcc]
    return np.divide(weight, total, out=np.zeros_like(weight), where=total > 0.0)
