"""Bounds on the PCC flows that keep the network inside its limits.

For a direction of risk the homes are moved along a path that says what will physically happen: first what
they declared flexible is used, then what remains of the exports (or imports) is scaled down; backwards from
today's state exports (or imports) grow as one. Along the path the search finds the point of the largest
exchange at which every limit minus its guard band holds:

1. all PCCs together (one position on the path for all);
2. another candidate where only PCCs with a broken limit of their own move, together, the others staying at
   today's state; a PCC that gets beyond a limit on the way joins;
3. in both, each PCC in turn goes back towards today's state alone as far as all limits hold, the others held:
   export on one phase can lower the voltage of another, so the common factor is not tight;
4. the candidate that moves less in total is taken; PCCs that limit nothing and could export (or import) more
   then share the room that is left beyond today's state. Both points, before and after this, are solved once
   more by the model of record.

Source: mechanisms.md 9, "Bounds"; the path through the declared flexibility is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dso_engine.errors import PowerFlowDiverged
from dso_engine.feeder import Network
from dso_engine.fixed_point import BatchState, FixedPoint
from dso_engine.model import FloatArray, IntArray, Limits, Pcc
from dso_engine.powerflow import GridState, Injections, PowerFlow
from dso_engine.verified import verified

_GRID: Final = 17
_REFINEMENTS: Final = 4
_GROWTH: Final = -1.0
"""Start of the path: exports (or imports) twice today's."""
_GROWTH_STEP: Final = 0.05
_PASSES: Final = 4
_SETTLED: Final = 1e-3
_SEARCH_MARGIN: Final = 2e-5
"""Kept from every limit in the search, per unit, so that the model of record agrees on which side we are."""


_Beyond = Callable[[FloatArray], FloatArray]


class Direction(IntEnum):
    """Which exchange is too large; the value is the sign of the relief in net import."""

    EXPORT = 1
    IMPORT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class PccBound:
    """Range in which the head flow of a PCC is to stay; None where there is no risk."""

    pcc: Pcc
    c_lo_kw: float | None
    """Most export, as net import: negative while the PCC may export."""
    c_hi_kw: float | None
    """Most import."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relief:
    """The accepted point of one direction."""

    direction: Direction
    flow_kw: FloatArray
    """The bounds: head flows of the model of record, all PCCs at their largest exchange, (feeder, phase)."""
    feasible: bool
    """False if no point of the path keeps the limits; then this is the least bad one."""
    injections: Injections
    """With PCCs that limit at their bounds and the others at today's state where that is less."""
    state: GridState
    """Of the model of record, for these injections."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """Bounds of every PCC, in the order of `Network.pccs`, and how they came about."""

    bounds: tuple[PccBound, ...]
    reliefs: tuple[Relief, ...]
    """One per direction at risk."""

    @property
    def feasible(self) -> bool:
        """Whether the limits can be kept in every direction at risk."""
        return all(relief.feasible for relief in self.reliefs)


def directions_at_risk(network: Network, state: GridState, limits: Limits) -> tuple[Direction, ...]:
    """Directions in which the state has reached the arming thresholds.

    High voltage is a risk of export, low voltage of import; a loaded line or transformer is one of the
    direction its power flows in.

    Source: mechanisms.md 9, "Trigger".
    """
    at_risk: set[Direction] = set()
    v_pu = state.v_v / limits.v_nominal_v - 1.0
    if v_pu.max() >= limits.arm_v:
        at_risk.add(Direction.EXPORT)
    if v_pu.min() <= -limits.arm_v:
        at_risk.add(Direction.IMPORT)
    if state.transformer_loading_pct >= 100.0 * limits.arm_i:
        at_risk.add(_towards(float(state.transformer_p_kw.sum())))
    for k, segment in enumerate(network.segments):
        feeder = network.feeders.index(segment.feeder)
        for phase in np.flatnonzero(state.i_a[k] >= limits.arm_i * segment.rated_current_a):
            at_risk.add(_towards(float(state.pcc_p_kw[feeder, phase])))
        if state.i_n_a[k] >= limits.arm_i * segment.rated_neutral_current_a:
            at_risk.add(_towards(float(state.pcc_p_kw[feeder].sum())))
    return tuple(sorted(at_risk, reverse=True))


def find_bounds(
    *,
    search: FixedPoint,
    record: PowerFlow,
    injections: Injections,
    limits: Limits,
    directions: tuple[Direction, ...],
    label: str,
    up_kw: FloatArray | None = None,
    down_kw: FloatArray | None = None,
) -> Bounds:
    """Bounds of all PCCs for the directions at risk.

    Args:
        search: Fast power flow, of the same network as `record`.
        record: Solves each accepted point once more.
        injections: Today's state, usually an `Estimate`'s.
        limits: Limits and guard bands.
        directions: From `directions_at_risk`, or held from earlier while the price is armed; none, no bounds.
        label: The slot and what for, for error messages.
        up_kw: What each home can add to its import, (home,); without it exports are scaled as one.
        down_kw: What each home can take off, (home,); without it imports are scaled as one.

    Raises:
        SolversDisagree: if the two power flows differ by more than 1 mV or 10 mA at an accepted point.
        PowerFlowDiverged: if a power flow has no solution.
    """
    reliefs = tuple(
        _relieve(search, record, injections, limits, direction, label, moves)
        for direction, moves in ((Direction.EXPORT, up_kw), (Direction.IMPORT, down_kw))
        if direction in directions
    )
    flows = {relief.direction: relief.flow_kw.ravel() for relief in reliefs}
    low, high = flows.get(Direction.EXPORT), flows.get(Direction.IMPORT)
    return Bounds(
        bounds=tuple(
            PccBound(
                pcc=pcc,
                c_lo_kw=None if low is None else float(low[k]),
                c_hi_kw=None if high is None else float(high[k]),
            )
            for k, pcc in enumerate(record.network.pccs)
        ),
        reliefs=reliefs,
    )


def clip_to_reachable(
    bound: PccBound, *, flow_kw: float, up_kw: float, down_kw: float
) -> tuple[PccBound, bool]:
    """The bound as far as the homes can go, and whether that cut it (saturated).

    Args:
        bound: What the network needs.
        flow_kw: Head flow now, without price.
        up_kw: Sum of what the PCC's homes can add to it, >= 0.
        down_kw: Sum of what they can take off, >= 0.

    Source: mechanisms.md 9, "Clip to the reachable set".
    """
    low, high, saturated = bound.c_lo_kw, bound.c_hi_kw, False
    if low is not None and low > flow_kw + up_kw:
        low, saturated = flow_kw + up_kw, True
    if high is not None and high < flow_kw - down_kw:
        high, saturated = flow_kw - down_kw, True
    return PccBound(pcc=bound.pcc, c_lo_kw=low, c_hi_kw=high), saturated


def overshoot(network: Network, batch: BatchState, limits: Limits) -> FloatArray:
    """How far the elements of each PCC are beyond their limits minus guard bands; negative inside.

    A bus phase and a line phase belong to the PCC of that feeder and phase, a neutral to the three of its
    feeder, a phase of busbar and transformer to that phase of every feeder.

    Returns:
        Per unit of nominal voltage or rating, the worst of all, shape (batch, pcc).
    """
    band, share = limits.v_band - limits.guard_v, 1.0 - limits.guard_i
    v = np.abs(batch.v_v / limits.v_nominal_v - 1.0) - band
    rated_a = np.array([segment.rated_current_a for segment in network.segments])
    rated_n_a = np.array([segment.rated_neutral_current_a for segment in network.segments])
    line = np.maximum(batch.i_a / rated_a[:, None], (batch.i_n_a / rated_n_a)[..., None]) - share
    element = np.maximum(v[:, 1:], line)
    feeder_of = np.array([segment.feeder for segment in network.segments])
    shared = np.maximum(v[:, 0], batch.transformer_loading - share)
    worst = [np.maximum(element[:, feeder_of == feeder].max(axis=1), shared) for feeder in network.feeders]
    return np.concatenate(worst, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Path:
    """Where every home is when its PCC stands at t: 0 today, `end` all relief used, -1 exchange doubled."""

    start: Injections
    direction: Direction
    growth: FloatArray
    stages: tuple[FloatArray, ...]

    @property
    def end(self) -> float:
        return float(len(self.stages))

    def p_kw(self, t: FloatArray) -> FloatArray:
        """Net import for positions of shape (batch, home)."""
        moved = np.minimum(t, 0.0) * self.growth
        for k, stage in enumerate(self.stages):
            moved = moved + np.clip(t - k, 0.0, 1.0) * stage
        return np.asarray(self.start.p_kw + int(self.direction) * moved, dtype=np.float64)

    def moved_kw(self, t: FloatArray) -> float:
        """Sum of what the homes move at positions (home,)."""
        return float(np.abs(self.p_kw(t[None])[0] - self.start.p_kw).sum())


def _path(injections: Injections, direction: Direction, moves: FloatArray | None) -> _Path:
    sign = int(direction)
    exchange = np.maximum(-sign * injections.p_kw, 0.0)
    if moves is None:
        return _Path(start=injections, direction=direction, growth=exchange, stages=(exchange,))
    rest = np.maximum(-sign * injections.p_kw - moves, 0.0)
    return _Path(start=injections, direction=direction, growth=exchange, stages=(moves, rest))


def _relieve(
    search: FixedPoint,
    record: PowerFlow,
    injections: Injections,
    limits: Limits,
    direction: Direction,
    label: str,
    moves: FloatArray | None,
) -> Relief:
    network = search.network
    path = _path(injections, direction, moves)
    pcc = network.pcc_of(injections.phase)
    pccs = len(network.pccs)

    def beyond(t: FloatArray) -> FloatArray:
        """Overshoot, (batch, pcc), with the PCCs at positions t, (batch, pcc)."""
        p_kw = path.p_kw(t[:, pcc])
        q_kvar = np.broadcast_to(injections.q_kvar, p_kw.shape)
        try:
            batch = search.solve_batch(p_kw, q_kvar, injections.phase, label)
        except PowerFlowDiverged:
            # Far along the path there may be no solution; that is beyond every limit, not an error.
            if len(t) == 1:
                return np.full((1, pccs), np.inf)
            return np.concatenate([beyond(row[None]) for row in t])
        return overshoot(network, batch, limits) + _SEARCH_MARGIN

    accepted, loosest, feasible = _positions(beyond, path, pcc, pccs)
    solved, state = _verified(search, record, path, accepted[pcc], label)
    _, at_bounds = _verified(search, record, path, loosest[pcc], label)
    return Relief(
        direction=direction,
        flow_kw=at_bounds.pcc_p_kw,
        feasible=feasible,
        injections=solved,
        state=state,
    )


def _positions(beyond: _Beyond, path: _Path, pcc: IntArray, pccs: int) -> tuple[FloatArray, FloatArray, bool]:
    """Positions with what limits relieved, the same with the room that is left shared out, and success."""

    def all_at(t: FloatArray) -> FloatArray:
        return np.asarray(beyond(np.repeat(t[:, None], pccs, axis=1)).max(axis=1), dtype=np.float64)

    together, before = _first(all_at, _GROWTH, path.end)
    accepted = np.full(pccs, together)
    if beyond(accepted[None]).max() > 0.0:
        # Where one phase exports too much and another imports too much, less export everywhere breaks the
        # lower limit: the PCCs that are beyond may still do it alone.
        alone = _only_those_beyond(beyond, pccs, path.end)
        return (accepted, accepted, False) if beyond(alone[None]).max() > 0.0 else (alone, alone, True)
    limiting = beyond(np.full((1, pccs), before))[0] > 0.0
    if together > 0.0:
        candidates = [
            _go_back(beyond, t)
            for t in (accepted, _only_those_beyond(beyond, pccs, path.end))
            if beyond(t[None]).max() <= 0.0
        ]
        accepted = min(candidates, key=lambda t: path.moved_kw(t[pcc]))
        limiting = accepted > 0.0
    return accepted, _grow(beyond, accepted, ~limiting), True


def _verified(
    search: FixedPoint, record: PowerFlow, path: _Path, t: FloatArray, label: str
) -> tuple[Injections, GridState]:
    start = path.start
    solved = Injections(p_kw=path.p_kw(t[None])[0], q_kvar=start.q_kvar, phase=start.phase)
    return solved, verified(search, record, solved, f"{label}, accepted bounds")


def _first(beyond: _Beyond, low: float, high: float) -> tuple[float, float]:
    """The smallest position that breaks nothing and the one tried before it, which does.

    Both are `low` if nothing is broken there; where everything breaks something, both are the least bad.
    """
    for _ in range(_REFINEMENTS):
        t = np.linspace(low, high, _GRID)
        worst = beyond(t)
        inside = np.flatnonzero(worst <= 0.0)
        if not inside.size:
            best = float(t[np.argmin(worst)])
            return best, best
        if inside[0] == 0:
            return low, low
        low, high = float(t[inside[0] - 1]), float(t[inside[0]])
    return high, low


def _go_back(beyond: _Beyond, start: FloatArray) -> FloatArray:
    """Positions after each PCC in turn went back towards today's state as far as all limits hold.

    Again until nobody moves any more: a PCC that goes back can make room for another.
    """
    t = start.copy()
    for _ in range(_PASSES):
        before = t.copy()
        for k in np.flatnonzero(t > 0.0):

            def others_held(s: FloatArray, k: int = int(k)) -> FloatArray:
                held = np.repeat(t[None], len(s), axis=0)
                held[:, k] = s
                return np.asarray(beyond(held).max(axis=1), dtype=np.float64)

            t[k] = _first(others_held, 0.0, float(t[k]))[0]
        if np.abs(before - t).max() < _SETTLED:
            break
    return t


def _grow(beyond: _Beyond, start: FloatArray, who: NDArray[np.bool_]) -> FloatArray:
    """Positions after those of them that alone could exchange more did so together as far as limits hold."""
    trials = np.where(np.eye(len(start), dtype=np.bool_), start - _GROWTH_STEP, start)
    free = who & (beyond(trials).max(axis=1) <= 0.0)

    def grown(s: FloatArray) -> FloatArray:
        return np.asarray(beyond(np.where(free, s[:, None], start)).max(axis=1), dtype=np.float64)

    if not free.any():
        return start
    base = float(start[free][0])
    return np.where(free, _first(grown, min(_GROWTH, base), base)[0], start)


def _only_those_beyond(beyond: _Beyond, pccs: int, end: float) -> FloatArray:
    """Positions when only PCCs with a broken limit of their own move; not always enough for all limits."""
    t = np.zeros(pccs)
    moving = np.zeros(pccs, dtype=np.bool_)
    for _ in range(pccs):
        over = beyond(t[None])[0] > 0.0
        if not np.any(over & ~moving):
            break
        moving |= over

        def moved_to(s: FloatArray, moving: NDArray[np.bool_] = moving) -> FloatArray:
            trial = np.where(moving, s[:, None], 0.0)
            return np.asarray(beyond(trial)[:, moving].max(axis=1), dtype=np.float64)

        t = np.where(moving, _first(moved_to, 0.0, end)[0], 0.0)
    return t


def _towards(flow_kw: float) -> Direction:
    return Direction.EXPORT if flow_kw < 0.0 else Direction.IMPORT
