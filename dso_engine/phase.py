"""Which phase each home with a transfer switch goes to, and which homes get a switch.

The allocation minimises J + mu * operations, J = sum over phases of (F_ph - mean)^2 of the flows of one node
(mechanisms.md 5 and 10, thesis eq. 5.1 with errata 13 to 17). With unity power factor J is two thirds of the
squared negative-sequence current in kW, not the VUF along the feeder. Flows of homes without a switch belong
into the base (errata 17).

**Ties.** Powers are rounded to 0.1 W and mu to 1e-8 kW2 first; from there all comparisons are between
integers. So "equal cost" has one meaning, a tie is the same on every machine, and the optimum is exact for
the rounded powers (whole Wh per slot are multiples of 6 W and are not changed by the rounding).

Up to seven switches all 3^E allocations are enumerated. Above, meet in the middle: J depends on (F_a, F_b)
only and is a squared distance after a linear map, so for each allocation of the first half the best second
half with a given number of operations is a nearest neighbour in the plane. Floating point only proposes
candidates, with a margin far above its error; integers decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dso_engine.errors import InvalidAllocation
from dso_engine.model import FloatArray, HomeId, IntArray, Phase

__all__ = ["MAX_SWITCHES", "Allocation", "HomeFlow", "allocate", "choose_highest_average_flow"]

MAX_SWITCHES: Final = 18
"""Most switches per node the exact method takes; above, a heuristic would be needed (mechanisms.md 5)."""
_ENUMERATED: Final = 7
_UNITS_PER_KW: Final = 10_000
_MAX_TOTAL_KW: Final = 50_000.0
_MAX_MU_KW2: Final = 1e8
"""With the two bounds 3 J + 3 mu * operations stays below 2**63 in units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """An optimal allocation."""

    phases: tuple[Phase, ...]
    """Phase of each switch, in the order of the flows."""
    cost_kw2: float
    """J + mu * operations."""
    imbalance_kw2: float
    """J alone."""
    operations: int
    """Switches that leave their current phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeFlow:
    """How much a home exchanges with the grid on average."""

    home: HomeId
    feeder: int
    mean_abs_flow_kw: float
    """Mean of |P|, kW, >= 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """The problem in integer units of 0.1 W."""

    base: tuple[int, int]
    """Flow on phases A and B before any switch is placed."""
    total: int
    """Sum of everything over the three phases, the same for each allocation."""
    flows: IntArray
    current: IntArray
    mu: int
    """Cost of an operation, units of (0.1 W)^2."""

    def triple_imbalance(self, f_a: IntArray, f_b: IntArray) -> IntArray:
        """3 J of flows on phases A and B: whole, since the mean enters as 3 * mean = total."""
        f_c = self.total - f_a - f_b
        triple: IntArray = 3 * (f_a * f_a + f_b * f_b + f_c * f_c) - self.total * self.total
        return triple


@dataclass(frozen=True, slots=True, kw_only=True)
class _Half:
    """All allocations of some of the switches, in lexicographic order (or a selection of them)."""

    a: IntArray
    """What they put on phase A, units."""
    b: IntArray
    operations: IntArray
    codes: IntArray
    """Allocation number: base-3 digits, first switch most significant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Best:
    """Best allocation so far; total = 3 J + 3 mu * operations."""

    total: int
    operations: int
    code: int


def allocate(
    base_kw: tuple[float, float, float], flows_kw: Sequence[float], current: Sequence[Phase], mu_kw2: float
) -> Allocation:
    """Finds the exact optimum for one node (a feeder) and one slot.

    Args:
        base_kw: Flow per phase of all homes without a switch, kW, + import.
        flows_kw: Flow of each home with a switch, kW, shape (E,), E <= 18.
        current: Confirmed phase of each switch (errata 14: operations count against it), shape (E,).
        mu_kw2: Price of one operation, kW2, >= 0.

    Returns:
        The allocation with the smallest cost; among equals the one with the fewest operations, then the
        lexicographically first.

    Raises:
        InvalidAllocation: if there are more than 18 switches, lengths differ, or a number is not finite, or
            powers sum to more than 50 MW, or mu is negative or above 1e8.

    Source: thesis eq. 5.1; mechanisms.md 1 (errata 13-17), 5 and 10.
    """
    problem = _problem(base_kw, flows_kw, current, mu_kw2)
    best = _enumerate(problem) if len(flows_kw) <= _ENUMERATED else _meet_in_the_middle(problem)
    triple = best.total - 3 * problem.mu * best.operations
    return Allocation(
        phases=tuple(Phase(digit) for digit in _digits_of(best.code, len(flows_kw))),
        cost_kw2=best.total / 3.0 / _UNITS_PER_KW**2,
        imbalance_kw2=triple / 3.0 / _UNITS_PER_KW**2,
        operations=best.operations,
    )


def choose_highest_average_flow(homes: Sequence[HomeFlow], count: int) -> tuple[HomeId, ...]:
    """Chooses the homes that get a switch: highest mean flow, spread evenly over the feeders.

    The feeders take turns, each giving its home with the next highest mean |flow|. If the last turn cannot
    serve all feeders, or a feeder has no home left, the highest flows among the candidates go first. The
    thesis' pre-selection by the phase's mean voltage is not applied: a DSO that meters feeder heads only does
    not know it.

    Args:
        homes: The candidates.
        count: How many to choose.

    Returns:
        The chosen homes in the order of choice; equal flows by id.

    Raises:
        InvalidAllocation: if ``count`` is negative or exceeds the number of homes, an id occurs twice or a
            flow is negative or not finite.

    Source: thesis ch. 5, section 4.2.2 (highest average flow).
    """
    if not 0 <= count <= len(homes):
        raise InvalidAllocation(f"cannot choose {count} of {len(homes)} homes")
    if len({home.home for home in homes}) != len(homes):
        raise InvalidAllocation("a home is named twice")
    for home in homes:
        if not (math.isfinite(home.mean_abs_flow_kw) and home.mean_abs_flow_kw >= 0.0):
            raise InvalidAllocation(f"home {home.home}: mean |flow| {home.mean_abs_flow_kw} kW")

    def rank(home: HomeFlow) -> tuple[float, HomeId]:
        return -home.mean_abs_flow_kw, home.home

    turns: list[tuple[int, float, HomeId]] = []
    for feeder in {home.feeder for home in homes}:
        ranked = sorted((home for home in homes if home.feeder == feeder), key=rank)
        turns.extend((turn, *rank(home)) for turn, home in enumerate(ranked))
    return tuple(home for _, _, home in sorted(turns)[:count])


def _problem(
    base_kw: tuple[float, float, float], flows_kw: Sequence[float], current: Sequence[Phase], mu_kw2: float
) -> _Problem:
    """Checks the input and rounds it to units."""
    if len(flows_kw) != len(current):
        raise InvalidAllocation(f"{len(flows_kw)} flows but {len(current)} current phases")
    if len(flows_kw) > MAX_SWITCHES:
        raise InvalidAllocation(f"{len(flows_kw)} switches at one node; at most {MAX_SWITCHES} are exact")
    powers = (*base_kw, *flows_kw)
    if not all(math.isfinite(p_kw) for p_kw in powers) or sum(map(abs, powers)) > _MAX_TOTAL_KW:
        raise InvalidAllocation(f"a power is not finite or the sum exceeds {_MAX_TOTAL_KW} kW")
    if not 0.0 <= mu_kw2 <= _MAX_MU_KW2:
        raise InvalidAllocation(f"price per operation {mu_kw2} kW2")
    units = [round(p_kw * _UNITS_PER_KW) for p_kw in powers]
    return _Problem(
        base=(units[0], units[1]),
        total=sum(units),
        flows=np.array(units[3:], dtype=np.int64),
        current=np.array(current, dtype=np.int64),
        mu=round(mu_kw2 * _UNITS_PER_KW**2),
    )


def _digits_of(code: int, length: int) -> Iterator[int]:
    """Base-3 digits of an allocation number, first switch first."""
    for power in reversed(range(length)):
        yield code // 3**power % 3


@lru_cache(maxsize=MAX_SWITCHES)
def _digits(length: int) -> IntArray:
    """All allocations of ``length`` switches, shape (3**length, length), lexicographic; read-only."""
    codes = np.arange(3**length, dtype=np.int64)[:, None]
    digits: IntArray = codes // 3 ** np.arange(length - 1, -1, -1, dtype=np.int64)[None, :] % 3
    digits.setflags(write=False)
    return digits


def _half(flows: IntArray, current: IntArray) -> _Half:
    """All allocations of the given switches."""
    digits = _digits(len(flows))
    return _Half(
        a=(digits == Phase.A) @ flows,
        b=(digits == Phase.B) @ flows,
        operations=np.count_nonzero(digits != current, axis=1).astype(np.int64),
        codes=np.arange(len(digits), dtype=np.int64),
    )


def _enumerate(problem: _Problem) -> _Best:
    """The optimum by looking at every allocation."""
    every = _half(problem.flows, problem.current)
    triple = problem.triple_imbalance(problem.base[0] + every.a, problem.base[1] + every.b)
    totals = triple + 3 * problem.mu * every.operations
    # lexsort is stable: among equal totals and operations the first, that is the lexicographically smallest.
    first = int(np.lexsort((every.operations, totals))[0])
    return _Best(
        total=int(totals[first]), operations=int(every.operations[first]), code=int(every.codes[first])
    )


def _meet_in_the_middle(problem: _Problem) -> _Best:
    """The optimum by joining allocations of two halves of the switches.

    Numbers of operations are tried in ascending order and only a better rank replaces what was found; the
    search ends where the operations alone cost as much as the best so far.
    """
    split = len(problem.flows) // 2
    lefts = _by_operations(_half(problem.flows[:split], problem.current[:split]))
    rights = _by_operations(_half(problem.flows[split:], problem.current[split:]))
    plane = _Plane(problem)
    trees = [cKDTree(plane.map(right.a, right.b)) for right in rights]
    scale = 3 ** (len(problem.flows) - split)

    best: _Best | None = None
    for operations in range(len(problem.flows) + 1):
        budget = None if best is None else best.total - 3 * problem.mu * operations
        if budget is not None and budget <= 0:
            break
        for left_count in range(max(0, operations - len(rights) + 1), min(operations, len(lefts) - 1) + 1):
            left, right = lefts[left_count], rights[operations - left_count]
            found = plane.join(left, right, trees[operations - left_count], budget)
            if found is None:
                continue
            triple, left_code, right_code = found
            candidate = _Best(
                total=triple + 3 * problem.mu * operations,
                operations=operations,
                code=left_code * scale + right_code,
            )
            if best is None or _rank(candidate) < _rank(best):
                best = candidate
                budget = triple
    assert best is not None  # zero operations have no budget and always find the current allocation
    return best


def _rank(best: _Best) -> tuple[int, int, int]:
    """What makes one allocation better than another."""
    return best.total, best.operations, best.code


def _by_operations(half: _Half) -> list[_Half]:
    """The half by number of operations, without allocations that a smaller code replaces.

    Two allocations that put the same on A and on B with as many operations are interchangeable; keeping the
    lexicographically first of them keeps the lexicographically first optimum.
    """
    groups = []
    for operations in range(int(half.operations.max()) + 1):
        members = np.flatnonzero(half.operations == operations)
        order = members[np.lexsort((half.b[members], half.a[members]))]
        fresh = np.ones(len(order), dtype=np.bool_)
        fresh[1:] = (np.diff(half.a[order]) != 0) | (np.diff(half.b[order]) != 0)
        # lexsort is stable and members ascend, so the first of each run has the smallest code.
        kept = np.sort(order[fresh])
        groups.append(
            _Half(a=half.a[kept], b=half.b[kept], operations=half.operations[kept], codes=half.codes[kept])
        )
    return groups


class _Plane:
    """The plane in which J is a squared distance.

    With u, v the deviations of F_a and F_b from the mean, J = 2 (u^2 + u v + v^2) = |(sqrt2 (u + v/2),
    sqrt(3/2) v)|^2.
    """

    def __init__(self, problem: _Problem) -> None:
        self._problem = problem
        reach = int(np.abs(problem.flows).sum()) + sum(map(abs, problem.base)) + abs(problem.total)
        # Coordinates are below 3 * reach in size; a few roundings of half a unit in the last place each.
        self._margin = 64.0 * np.finfo(np.float64).eps * (reach + 1.0)

    def map(self, a: NDArray[np.number], b: NDArray[np.number]) -> FloatArray:
        """Points of flows on A and B, shape (n, 2)."""
        points: FloatArray = np.column_stack((math.sqrt(2.0) * (a + 0.5 * b), math.sqrt(1.5) * b))
        return points

    def join(
        self, left: _Half, right: _Half, tree: cKDTree, budget: int | None
    ) -> tuple[int, int, int] | None:
        """Best pair of a left and a right allocation.

        Args:
            left: Allocations of the first switches.
            right: Allocations of the others.
            tree: Points of ``right``.
            budget: 3 J that must not be exceeded, None for no bound.

        Returns:
            (3 J, left code, right code), exact and lexicographically first, or None if nothing is within
            the budget.
        """
        problem = self._problem
        mean = problem.total / 3.0
        wanted = self.map(mean - problem.base[0] - left.a, mean - problem.base[1] - left.b)
        bound = math.inf if budget is None else math.sqrt(budget / 3.0) + 4.0 * self._margin
        distances = np.asarray(tree.query(wanted, distance_upper_bound=bound)[0], dtype=np.float64)
        nearest = float(distances.min())
        if not math.isfinite(nearest):
            return None
        # Float distances are off by at most the margin, so every pair that could be the exact optimum, or tie
        # with it, is within this radius.
        radius = nearest + 4.0 * self._margin
        close = np.flatnonzero(distances <= radius)
        found = tree.query_ball_point(wanted[close], radius, return_sorted=True)
        balls = [np.array(ball, dtype=np.int64) for ball in cast("Sequence[list[int]]", found)]
        i = np.repeat(close, [len(ball) for ball in balls])
        j = np.concatenate(balls)
        triples = problem.triple_imbalance(
            problem.base[0] + left.a[i] + right.a[j], problem.base[1] + left.b[i] + right.b[j]
        )
        # Codes ascend with position and i, j ascend, so the first minimum is the lexicographically first.
        first = int(np.argmin(triples))
        return int(triples[first]), int(left.codes[i[first]]), int(right.codes[j[first]])
