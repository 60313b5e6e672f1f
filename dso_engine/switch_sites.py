"""Which homes get a transfer switch, and the fixed reallocation that dynamic switching is compared with.

Four ways to choose (thesis ch. 5, section 4.2; the last is ours):

* **mean-based**: the homes that a DSO would move for good, by a static reallocation of the mean flows;
* **highest average flow**: homes with PV on the phase with the highest mean voltage and homes without PV on
  the others, the one with the lowest voltage first; among them the highest mean flow;
* **hybrid**: the mean-based choice pre-selects, the highest average flow decides;
* **greedy**: one home after the other, each time the one with which the simulated peak is lowest.

The static reallocation moves a given number of homes for the whole day: the move, or the two together, that
lower J most; after each, one or two moves are exchanged for better ones as long as there are any. For up to
two moves that is the exact optimum, above a heuristic.

J is the sum over feeders and phases of (F_ph - mean)^2 of mean flows, kW2 (mechanisms.md 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np

from dso_engine.errors import InvalidAllocation
from dso_engine.model import FloatArray, HomeId, Phase

__all__ = [
    "FeederVoltage",
    "SiteHome",
    "choose_greedily",
    "choose_hybrid",
    "choose_mean_based",
    "choose_with_voltage",
    "mean_imbalance_kw2",
    "reallocate",
]

_LEAST_GAIN_KW2: Final = 1e-9
"""A move that lowers J by less is none: rounding must not send a technician."""
_DIGITS: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteHome:
    """A home as a DSO knows it in the long run.

    Attributes:
        phase: The phase it is connected to.
        mean_import_kw: Mean over the period of what it takes, kW, >= 0.
        mean_export_kw: Mean over the period of what it gives, kW, >= 0.
        eligible: Whether it may be moved or get a switch; the others are static flows (errata 17).
    """

    home: HomeId
    feeder: int
    phase: Phase
    has_pv: bool
    mean_import_kw: float
    mean_export_kw: float
    eligible: bool = True

    @property
    def mean_kw(self) -> float:
        """Mean net import, kW."""
        return self.mean_import_kw - self.mean_export_kw


@dataclass(frozen=True, slots=True, kw_only=True)
class FeederVoltage:
    """Mean voltage of the phases of a feeder over the period, any common unit."""

    feeder: int
    mean_v: tuple[float, float, float]

    def ascending(self) -> tuple[Phase, Phase, Phase]:
        """Return the phases by rising voltage, equal ones alphabetically."""
        low, middle, high = sorted(Phase, key=lambda phase: (self.mean_v[phase], phase))
        return low, middle, high


def reallocate(homes: Sequence[SiteHome], transfers: int) -> tuple[Phase, ...]:
    """One fixed allocation for the whole period: at most so many homes moved for good.

    Args:
        homes: All homes of all feeders, also those that cannot be moved.
        transfers: Most homes moved, over all feeders.

    Returns:
        The phase of each home, in the order given. Fewer are moved where no move lowers J any more.

    Raises:
        InvalidAllocation: if a flow is negative or not finite, an id occurs twice, or ``transfers`` is
            negative.

    Source: thesis ch. 5, section 4.2.1 and the static approach of section 5.4; mechanisms.md 5.
    """
    _check(homes, transfers)
    board = _Board(homes)
    while board.moved_count < transfers:
        found = board.best(transfers - board.moved_count)
        if found.gain_kw2 < _LEAST_GAIN_KW2:
            break
        board.make(found)
        board.exchange()
    return tuple(board.phases)


def choose_mean_based(homes: Sequence[SiteHome], count: int) -> tuple[HomeId, ...]:
    """The homes that the static reallocation would move; filled up with the highest mean flows.

    Args:
        homes: All homes.
        count: How many to choose.

    Returns:
        The chosen homes: those that would be moved, by id, then the others by flow.

    Raises:
        InvalidAllocation: as `reallocate`, or if fewer than ``count`` homes are eligible.

    Source: thesis ch. 5, section 4.2.1.
    """
    _check_count(homes, count)
    moved = _moved(homes, reallocate(homes, count))
    return _filled(sorted(moved), homes, count)


def choose_with_voltage(
    homes: Sequence[SiteHome], voltages: Sequence[FeederVoltage], count: int
) -> tuple[HomeId, ...]:
    """Highest average flow among the homes that the mean voltages pre-select.

    Homes with PV count by what they inject and come from the phase with the highest mean voltage of their
    feeder; homes without PV count by what they consume and come from the phase with the lowest, then from the
    one between. If these are not enough, the highest mean flows of the rest follow.

    Args:
        homes: All homes.
        voltages: Of every feeder with homes.
        count: How many to choose.

    Returns:
        The chosen homes in the order of choice; equal flows by id.

    Raises:
        InvalidAllocation: as `reallocate`, if fewer than ``count`` homes are eligible, or a feeder's
            voltages are missing.

    Source: thesis ch. 5, section 4.2.2.
    """
    _check_count(homes, count)
    order = {each.feeder: each.ascending() for each in voltages}
    if missing := {home.feeder for home in homes} - set(order):
        raise InvalidAllocation(f"no mean voltages of feeder {min(missing)}")

    def rank(home: SiteHome) -> tuple[int, float, HomeId]:
        lowest, middle, highest = order[home.feeder]
        if home.has_pv:
            return (0 if home.phase == highest else 2), -home.mean_export_kw, home.home
        group = {lowest: 0, middle: 1, highest: 2}[home.phase]
        return group, -home.mean_import_kw, home.home

    return tuple(home.home for home in sorted(filter(_eligible, homes), key=rank)[:count])


def choose_hybrid(
    homes: Sequence[SiteHome],
    voltages: Sequence[FeederVoltage],
    count: int,
    *,
    preselected: int | None = None,
) -> tuple[HomeId, ...]:
    """The mean-based choice pre-selects, the highest average flow decides among those.

    Args:
        homes: All homes.
        voltages: Of every feeder with homes.
        count: How many to choose.
        preselected: How many homes the static reallocation may move; None is twice ``count``.

    Returns:
        The chosen homes in the order of choice; filled up from the others if too few would be moved.

    Raises:
        InvalidAllocation: as `choose_with_voltage`.

    Source: thesis ch. 5, section 4.2.3; how many are pre-selected is ours (the thesis does not say).
    """
    _check_count(homes, count)
    wanted = 2 * count if preselected is None else preselected
    moved = _moved(homes, reallocate(homes, wanted))
    few = [replace(home, eligible=home.home in moved) for home in homes]
    first = choose_with_voltage(few, voltages, min(count, len(moved)))
    others = choose_with_voltage(homes, voltages, sum(map(_eligible, homes)))
    return (*first, *(home for home in others if home not in first))[:count]


def choose_greedily(
    candidates: Sequence[HomeId], count: int, peak: Callable[[tuple[HomeId, ...]], float]
) -> tuple[HomeId, ...]:
    """One home after the other, each time the one with which the simulated peak is lowest.

    Args:
        candidates: Homes that may get a switch.
        count: How many to choose.
        peak: The peak (of the VUF, say) of a simulated day on which these homes, in this order, have a
            switch. Called about ``count`` times per candidate.

    Returns:
        The chosen homes in the order of choice; equal peaks by id.

    Raises:
        InvalidAllocation: if there are fewer candidates than ``count``, or an id occurs twice.

    Source: mechanisms.md 6 (greedy on the simulated peak; ours).
    """
    if not 0 <= count <= len(candidates) or len(set(candidates)) != len(candidates):
        raise InvalidAllocation(f"cannot choose {count} of {len(candidates)} candidates")
    chosen: tuple[HomeId, ...] = ()
    for _ in range(count):
        rest = sorted(home for home in candidates if home not in chosen)
        so_far = chosen
        chosen = (*so_far, min(rest, key=lambda home: peak((*so_far, home))))
    return chosen


def mean_imbalance_kw2(homes: Sequence[SiteHome], phases: Sequence[Phase]) -> float:
    """J of the mean flows for an allocation, summed over feeders, kW2.

    Args:
        homes: All homes.
        phases: Phase of each home, in the same order.
    """
    flows = {home.feeder: np.zeros(3) for home in homes}
    for home, phase in zip(homes, phases, strict=True):
        flows[home.feeder][phase] += home.mean_kw
    return float(sum(_imbalances_kw2(per_phase) for per_phase in flows.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moves:
    """One or two moves made together."""

    gain_kw2: float
    moves: tuple[tuple[int, Phase], ...]
    """Position of the home and the phase it goes to."""


class _Board:
    """Where the homes stand while they are moved."""

    def __init__(self, homes: Sequence[SiteHome]) -> None:
        self._homes = homes
        self.phases = [home.phase for home in homes]
        self._flows = {home.feeder: np.zeros(3) for home in homes}
        for home in homes:
            self._flows[home.feeder][home.phase] += home.mean_kw

    @property
    def moved_count(self) -> int:
        return len(self._moved())

    def make(self, found: _Moves) -> None:
        for index, phase in found.moves:
            self._put(index, phase)

    def best(self, most: int) -> _Moves:
        """The one move, or the two where two are allowed, that lower J most; equal ones by position."""
        options = [
            (k, phase)
            for k, home in enumerate(self._homes)
            if home.eligible and self.phases[k] == home.phase
            for phase in Phase
            if phase != home.phase
        ]
        if not options or most < 1:
            return _Moves(gain_kw2=0.0, moves=())
        shifts = np.zeros((len(options), 3))
        for row, (k, phase) in enumerate(options):
            shifts[row, phase] += self._homes[k].mean_kw
            shifts[row, self.phases[k]] -= self._homes[k].mean_kw
        home = np.array([k for k, _ in options])
        feeder = np.array([self._homes[k].feeder for k, _ in options])
        flows = np.array([self._flows[each] for each in feeder])
        before = _imbalances_kw2(flows)
        single = before - _imbalances_kw2(flows + shifts)
        first = int(np.argmax(np.round(single, _DIGITS)))
        found = _Moves(gain_kw2=float(single[first]), moves=(options[first],))
        if most < 2:
            return found
        together = before[:, None] - _imbalances_kw2((flows + shifts)[:, None] + shifts[None])
        pair = np.where(feeder[:, None] == feeder, together, single[:, None] + single)
        pair = np.where(home[:, None] == home, -np.inf, pair)
        i, j = np.unravel_index(int(np.argmax(np.round(pair, _DIGITS))), pair.shape)
        if pair[i, j] > found.gain_kw2 + _LEAST_GAIN_KW2:
            found = _Moves(gain_kw2=float(pair[i, j]), moves=(options[i], options[j]))
        return found

    def exchange(self) -> None:
        """Take back one or two moves and make better ones instead, as long as that lowers J."""
        while any(self._replaced(back) for count in (1, 2) for back in combinations(self._moved(), count)):
            pass

    def _replaced(self, back: tuple[int, ...]) -> bool:
        """Whether there is something better than these moves; it is then made."""
        before = self._total_kw2()
        there = [self.phases[k] for k in back]
        for k in back:
            self._put(k, self._homes[k].phase)
        cost_kw2 = self._total_kw2() - before
        found = self.best(len(back))
        if found.gain_kw2 - cost_kw2 > _LEAST_GAIN_KW2:
            self.make(found)
            return True
        for k, phase in zip(back, there, strict=True):
            self._put(k, phase)
        return False

    def _put(self, index: int, phase: Phase) -> None:
        home = self._homes[index]
        self._flows[home.feeder][self.phases[index]] -= home.mean_kw
        self._flows[home.feeder][phase] += home.mean_kw
        self.phases[index] = phase

    def _moved(self) -> list[int]:
        return [k for k, home in enumerate(self._homes) if self.phases[k] != home.phase]

    def _total_kw2(self) -> float:
        return float(sum(_imbalances_kw2(flows) for flows in self._flows.values()))


def _imbalances_kw2(flows_kw: FloatArray) -> FloatArray:
    """J of the last axis."""
    return np.asarray(((flows_kw - flows_kw.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))


def _eligible(home: SiteHome) -> bool:
    return home.eligible


def _moved(homes: Sequence[SiteHome], phases: Sequence[Phase]) -> frozenset[HomeId]:
    return frozenset(home.home for home, phase in zip(homes, phases, strict=True) if home.phase != phase)


def _filled(first: Sequence[HomeId], homes: Sequence[SiteHome], count: int) -> tuple[HomeId, ...]:
    """The first, and after them the eligible homes with the highest mean flow."""
    others = sorted(
        (home for home in homes if home.eligible and home.home not in first),
        key=lambda home: (-(home.mean_import_kw + home.mean_export_kw), home.home),
    )
    return (*first, *(home.home for home in others))[:count]


def _check(homes: Sequence[SiteHome], transfers: int) -> None:
    if transfers < 0:
        raise InvalidAllocation(f"{transfers} transfers")
    if len({home.home for home in homes}) != len(homes):
        raise InvalidAllocation("a home is named twice")
    for home in homes:
        flows = (home.mean_import_kw, home.mean_export_kw)
        if not all(math.isfinite(kw) and kw >= 0.0 for kw in flows):
            raise InvalidAllocation(f"home {home.home}: mean flows {flows} kW")


def _check_count(homes: Sequence[SiteHome], count: int) -> None:
    _check(homes, 0)
    if not 0 <= count <= sum(map(_eligible, homes)):
        raise InvalidAllocation(f"cannot choose {count} of {sum(map(_eligible, homes))} eligible homes")
