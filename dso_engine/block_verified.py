"""Accepted set points of many networks, verified in one solve of the model of record.

`dso_engine.verified` solves one set point of one network; a fleet has thousands, and what a solve of
pandapower costs is the call, not the network. So a search is given a `PromisedRecord` in the place of the
model of record: it answers with the fast power flow and writes down what it was asked. Then `BlockRecord`
solves what all networks wrote down together, and holds it to the very tolerances of `dso_engine.verified`.

Nothing may be published before that. It is then as safe as the direct way: the same points are solved by the
same model of record and compared with the same fast solution; only the order is another. A network whose
promise fails is told so (a value, not an error) and does not touch the others.

Source: grid-model.md 4 (blocks of 50 to 100 feeders, verification of accepted set points).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dso_engine.fixed_point import FixedPoint
from dso_engine.network import Network
from dso_engine.pandapower_block import BlockDiverged, PandapowerBlock, Solved
from dso_engine.powerflow import GridState, Injections
from dso_engine.verified import disagreement

__all__ = ["BlockRecord", "Promise", "PromisedRecord"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Promise:
    """A set point whose state the model of record has still to confirm."""

    injections: Injections
    state: GridState
    """Of the fast power flow."""
    label: str


class PromisedRecord:
    """Stands in for the model of record and keeps what has to be verified; a `PowerFlow`.

    Args:
        search: The fast power flow.
    """

    def __init__(self, search: FixedPoint) -> None:
        self._search = search
        self._promises: list[Promise] = []

    @property
    def network(self) -> Network:
        """The network that is solved."""
        return self._search.network

    @property
    def promises(self) -> tuple[Promise, ...]:
        """What was asked so far."""
        return tuple(self._promises)

    def solve(self, injections: Injections, label: str) -> GridState:
        """The state by the fast power flow; see `dso_engine.powerflow.PowerFlow`.

        Raises:
            PowerFlowDiverged: if it has no solution.
        """
        state = self._search.solve(injections, label)
        self._promises.append(Promise(injections=injections, state=state, label=label))
        return state


class BlockRecord:
    """The model of record of a block of networks.

    Args:
        networks: At least one, all of one frequency.

    Raises:
        InvalidFeeder: if pandapower cannot express one of them.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._idle = tuple(_idle(network) for network in networks)
        self._block = PandapowerBlock(networks)

    def faults(self, promises: Sequence[Sequence[Promise]]) -> tuple[str | None, ...]:
        """Verify all promises of all networks.

        Args:
            promises: Of each network, in the order of the networks; any number each.

        Returns:
            For each network None, or the first promise that does not hold and why.
        """
        found: list[str | None] = [None] * len(self._idle)
        for turn in range(max(map(len, promises), default=0)):
            points = {
                k: each[turn] for k, each in enumerate(promises) if turn < len(each) and found[k] is None
            }
            for k, fault in self._turn(points).items():
                found[k] = fault
        return tuple(found)

    def _turn(self, points: dict[int, Promise]) -> dict[int, str]:
        """Faults of one point of some networks; the others stay without load."""
        if not points:
            return {}
        injections = [points[k].injections if k in points else idle for k, idle in enumerate(self._idle)]
        try:
            solved = self._block.solve(injections)
        except BlockDiverged as err:
            if len(points) == 1:
                return {k: f"{point.label}: no solution in pandapower: {err}" for k, point in points.items()}
            # Somewhere in there is one without a solution: halves, until it is alone.
            keys = sorted(points)
            first, rest = keys[: len(keys) // 2], keys[len(keys) // 2 :]
            return self._turn({k: points[k] for k in first}) | self._turn({k: points[k] for k in rest})
        return {k: fault for k, point in points.items() if (fault := _fault(solved[k], point)) is not None}


def _fault(solved: Solved, point: Promise) -> str | None:
    apart = disagreement(v_v=np.abs(solved.phasors.v), i_a=np.abs(solved.phasors.i), found=point.state)
    return None if apart is None else f"{point.label}: {apart}"


def _idle(network: Network) -> Injections:
    nothing = np.zeros(len(network.homes))
    return Injections(p_kw=nothing, q_kvar=nothing, phase=network.home_phase)
