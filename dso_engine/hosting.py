"""How much more each home could export, or import, before a limit of the network breaks.

One question per home, the others staying as they are in each of some states, usually the slots of a day: what
a DSO asks before a PV system, a charger or a heat pump is connected. States times homes times steps are many
candidates, and only one state binds a home: sensitivities say which, and about where. That is solved exactly,
the answer is tried in all other states, and verified by the model of record in the one that binds.

Source: grid-model.md 3 ("linear for search and screening, exact for the accepted point").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dso_engine.bounds import Direction, overshoot
from dso_engine.errors import PowerFlowDiverged
from dso_engine.fixed_point import FixedPoint
from dso_engine.model import ComplexArray, FloatArray, HomeId, IntArray, Limits
from dso_engine.powerflow import Injections, LimitKind, PowerFlow, violations
from dso_engine.verified import verified

__all__ = ["HostingQuestion", "Room", "room_of_homes"]

_BRACKET: Final = 0.03
"""How far beside the linear answer the first trial is, relative to it."""
_WIDER: Final = 4.0
_MARGIN: Final = 2e-5
"""Kept from every limit, per unit, so that the model of record agrees on which side we are."""

_Beyond = Callable[[IntArray, FloatArray], FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HostingQuestion:
    """What is asked."""

    states: Sequence[Injections]
    """What everybody else does; the answer holds in each of them."""
    limits: Limits
    """Limits and guard bands; both are kept."""
    direction: Direction
    """More export or more import, at unity power factor."""
    most_kw: float = 50.0
    """Where the search ends."""
    step_kw: float = 0.05
    """How exact the answer is."""

    def moved(self, state: int, home: int, room_kw: float) -> Injections:
        """A state with the step of a home."""
        start = self.states[state]
        p_kw = start.p_kw.copy()
        p_kw[home] -= float(self.direction) * room_kw
        return Injections(p_kw=p_kw, q_kvar=start.q_kvar, phase=start.phase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a home could do more."""

    home: HomeId
    room_kw: float
    """The largest step that breaks nothing; that of the search's end if nothing breaks at all."""
    state: int
    """Which of the states binds."""
    first: LimitKind | None
    """What breaks just above it; None where the search ended before anything did."""
    element: str | None
    """Where."""


def room_of_homes(
    search: FixedPoint, record: PowerFlow, asked: HostingQuestion, *, screened: bool = True
) -> tuple[Room, ...]:
    """The room of every home, alone.

    Args:
        search: Fast power flow, of the same network as `record`.
        record: Verifies what is accepted.
        asked: The question.
        screened: Whether sensitivities choose what is solved; without them the answer is the same.

    Returns:
        In the order of `Network.homes`; 0 for all if a state breaks a limit already.

    Raises:
        SolversDisagree: if the two power flows differ at an accepted point.
        PowerFlowDiverged: if a state, or an accepted point, has no solution.
    """
    homes = len(search.network.homes)
    if screened:
        guess_kw = np.array([_linear_rooms(search, start, asked) for start in asked.states])
    else:
        guess_kw = np.full((len(asked.states), homes), asked.most_kw)
    binds, span_share = guess_kw.argmin(axis=0), _BRACKET if screened else 1.0
    room_kw = np.full(homes, asked.most_kw)
    tried = np.zeros(guess_kw.shape, dtype=np.bool_)
    rows = np.arange(homes)
    while rows.size:
        # Narrow in the state that is thought to bind, then see whether the step fits everywhere else.
        for state in np.unique(binds[rows]):
            here = rows[binds[rows] == state]
            start = np.minimum(guess_kw[state, here], room_kw[here])
            room_kw[here] = _narrowed(search, asked, int(state), here, start, span_share)
            tried[state, here] = True
        worst = np.zeros(homes)
        for state in range(len(asked.states)):
            here = rows[~tried[state, rows]]
            over = _overshoot(search, asked, state, here, room_kw[here])
            worse = over > worst[here]
            worst[here] = np.maximum(over, worst[here])
            binds[here[worse]] = state
        rows = rows[worst[rows] > 0.0]
    return tuple(_room(search, record, asked, k, int(binds[k]), float(room_kw[k])) for k in range(homes))


def _narrowed(
    search: FixedPoint,
    asked: HostingQuestion,
    state: int,
    homes: IntArray,
    guess_kw: FloatArray,
    span_share: float,
) -> FloatArray:
    """The largest steps of some homes that break nothing in one state, kW, (row,)."""

    def beyond(rows: IntArray, room_kw: FloatArray) -> FloatArray:
        return _overshoot(search, asked, state, homes[rows], room_kw)

    span_kw = np.maximum(span_share * guess_kw, asked.step_kw)
    low, high = _bracket(beyond, guess_kw, span_kw, asked.most_kw)
    while (rows := np.flatnonzero(high - low > asked.step_kw)).size:
        middle = (low[rows] + high[rows]) / 2.0
        inside = beyond(rows, middle) <= 0.0
        low[rows], high[rows] = np.where(inside, middle, low[rows]), np.where(inside, high[rows], middle)
    return low


def _overshoot(
    search: FixedPoint, asked: HostingQuestion, state: int, homes: IntArray, room_kw: FloatArray
) -> FloatArray:
    """Exact overshoot where some homes make their step, each alone, (row,)."""
    start = asked.states[state]
    p_kw = np.repeat(start.p_kw[None], len(homes), axis=0)
    p_kw[np.arange(len(homes)), homes] -= float(asked.direction) * room_kw
    return _exact(search, p_kw, start, asked.limits) if len(homes) else np.zeros(0)


def _exact(search: FixedPoint, p_kw: FloatArray, start: Injections, limits: Limits) -> FloatArray:
    q_kvar = np.broadcast_to(start.q_kvar, p_kw.shape)
    try:
        batch = search.solve_batch(p_kw, q_kvar, start.phase, "hosting")
    except PowerFlowDiverged:
        if len(p_kw) == 1:
            return np.array([np.inf])  # no solution is beyond every limit
        return np.concatenate([_exact(search, row[None], start, limits) for row in p_kw])
    return np.asarray(overshoot(search.network, batch, limits).max(axis=1) + _MARGIN, dtype=np.float64)


def _room(
    search: FixedPoint, record: PowerFlow, asked: HostingQuestion, k: int, state: int, room_kw: float
) -> Room:
    """The answer for a home, verified, with what breaks above it."""
    network, home = search.network, search.network.homes[k].id
    verified(search, record, asked.moved(state, k, room_kw), f"hosting, {home}")
    if room_kw >= asked.most_kw:
        return Room(home=home, room_kw=room_kw, state=state, first=None, element=None)
    more_kw = 2.0 * asked.step_kw
    while more_kw <= asked.most_kw:
        # A step may move less than the margin that was kept: then what comes first is a little further on.
        above = search.solve(asked.moved(state, k, room_kw + more_kw), f"hosting, {home}")
        if broken := violations(network, above, asked.limits, guard=True):
            first = broken[0]
            return Room(home=home, room_kw=room_kw, state=state, first=first.kind, element=first.element)
        more_kw *= 2.0
    return Room(home=home, room_kw=room_kw, state=state, first=None, element=None)


def _linear_rooms(search: FixedPoint, start: Injections, asked: HostingQuestion) -> FloatArray:
    """Where the first limit breaks if phasors were linear in the step, kW, (home,): roots, not a search."""
    linear, limits = search.linearise(start, "hosting"), asked.limits
    network, at, per_kw = linear.network, linear.at, linear.per_kw
    sign = -float(asked.direction)
    band, share = limits.v_band - limits.guard_v, 1.0 - limits.guard_i
    share_of = network.neutral_share
    rated_a = np.array([[segment.rated_current_a] * 3 for segment in network.segments])
    rated_n_a = np.array([segment.rated_neutral_current_a for segment in network.segments])
    rated = network.transformer
    v, i, i_t = at.v[0], at.i[0], at.i_transformer[0]
    dv, di, di_t = (sign * part for part in (per_kw.v, per_kw.i, per_kw.i_transformer))
    i_n, di_n = np.einsum("kj,kj->k", share_of, i), np.einsum("kj,hkj->hk", share_of, di)
    # |S| of a phase is not a phasor of the step; its tangent will do.
    s, ds = np.abs(v[0] * i_t), np.real(np.conj(v[0] * i_t) * (dv[:, 0] * i_t + v[0] * di_t))
    slope = (ds / np.maximum(s, 1.0)).sum(axis=1)
    spare = max(share * 1e3 * rated.s_rated_kva - float(s.sum()), 0.0)
    found = (
        _grows_to((1.0 + band) * limits.v_nominal_v, v, dv),
        _falls_to((1.0 - band) * limits.v_nominal_v, v, dv),
        _grows_to(share * rated_a, i, di),
        _grows_to(share * rated_n_a, i_n, di_n),
        _grows_to(share * rated.i_rated_a, i_t, di_t),
        np.divide(spare, slope, out=np.full_like(slope, np.inf), where=slope > 0.0),
    )
    return np.asarray(np.minimum(np.min(found, axis=0), asked.most_kw), dtype=np.float64)


def _grows_to(limit: FloatArray | float, z: ComplexArray, dz: ComplexArray) -> FloatArray:
    """The first step at which any |z + step dz| reaches its limit from below, (home,)."""
    a, b, c = _quadratic(limit, z, dz)
    with np.errstate(invalid="ignore"):
        step = np.where(c >= 0.0, 0.0, (np.sqrt(np.maximum(b**2 - a * c, 0.0)) - b) / a)
    return _earliest(np.where(np.isfinite(c), step, np.inf))


def _falls_to(limit: FloatArray | float, z: ComplexArray, dz: ComplexArray) -> FloatArray:
    """The first step at which any |z + step dz| reaches its limit from above, (home,)."""
    a, b, c = _quadratic(limit, z, dz)
    root = b**2 - a * c
    meets = (b < 0.0) & (root >= 0.0)
    step = np.where(meets, (-b - np.sqrt(np.maximum(root, 0.0))) / a, np.inf)
    return _earliest(np.where(c <= 0.0, 0.0, step))


def _quadratic(
    limit: FloatArray | float, z: ComplexArray, dz: ComplexArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coefficients of |z + x dz|^2 - limit^2 = a x^2 + 2 b x + c."""
    a = np.maximum(np.abs(dz) ** 2, 1e-18)
    return a, np.real(np.conj(z) * dz), np.broadcast_to(np.abs(z) ** 2 - limit**2, dz.shape)


def _earliest(step: FloatArray) -> FloatArray:
    return np.asarray(step.reshape(len(step), -1).min(axis=1), dtype=np.float64)


def _bracket(
    beyond: _Beyond,
    guess_kw: FloatArray,
    span_kw: FloatArray,
    most_kw: float,
) -> tuple[FloatArray, FloatArray]:
    """A step that breaks nothing and one that does, near a guess, for every home.

    They are equal where already no step breaks a limit, or none up to the search's end.
    """
    every = np.arange(len(guess_kw))
    inside = beyond(every, guess_kw) <= 0.0
    low, high = np.where(inside, guess_kw, -1.0), np.where(inside, np.inf, guess_kw)
    span = span_kw.copy()
    while (rows := np.flatnonzero((low < 0.0) & (high > 0.0))).size:
        trial = np.maximum(high[rows] - span[rows], 0.0)
        fits = beyond(rows, trial) <= 0.0
        low[rows], high[rows] = np.where(fits, trial, -1.0), np.where(fits, high[rows], trial)
        span[rows] *= _WIDER
    low = np.maximum(low, 0.0)
    high = np.where(np.isinf(high) & (low >= most_kw), most_kw, high)
    span = span_kw.copy()
    while (rows := np.flatnonzero(np.isinf(high))).size:
        trial = np.minimum(low[rows] + span[rows], most_kw)
        fits = beyond(rows, trial) <= 0.0
        low[rows] = np.where(fits, trial, low[rows])
        high[rows] = np.where(fits, np.where(trial >= most_kw, most_kw, np.inf), trial)
        span[rows] *= _WIDER
    return low, high
