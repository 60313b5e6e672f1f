"""Phases of a whole network, in one slot or over a stretch of them with known flows, by exact allocation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dso_engine.feeder import Network
from dso_engine.model import FloatArray, IntArray, Phase
from dso_engine.phase import allocate

__all__ = ["dynamic_phases", "slot_phases"]


def dynamic_phases(network: Network, net_kw: FloatArray, switched: Sequence[int], mu_kw2: float) -> IntArray:
    """Return the phase of every home in every slot, (slot, home).

    Each feeder is allocated for itself, slot by slot; an operation counts against the slot before, in the
    first slot against the phase a home was built on. Homes without a switch are static flows (errata 17).

    Args:
        network: Where the homes are.
        net_kw: What they exchange, + import, (slot, home).
        switched: Positions of the homes with a switch, at most 18 per feeder.
        mu_kw2: Price of an operation, kW2.

    Raises:
        InvalidAllocation: if a feeder has too many switches or a flow is not finite.

    Source: thesis 5.1, corrected: mechanisms.md 1, errata 13 to 17, and 10.
    """
    phases = np.empty(net_kw.shape, dtype=np.int64)
    with_switch = np.zeros(net_kw.shape[1], dtype=np.bool_)
    with_switch[list(switched)] = True
    current = network.home_phase
    for t, row in enumerate(net_kw):
        current = slot_phases(network, row, current, with_switch, mu_kw2)
        phases[t] = current
    return phases


def slot_phases(
    network: Network, net_kw: FloatArray, current: IntArray, with_switch: NDArray[np.bool_], mu_kw2: float
) -> IntArray:
    """Return the phase of every home in one slot, (home,), each feeder allocated for itself.

    Args:
        network: Where the homes are.
        net_kw: What they exchange, + import, (home,).
        current: The phase they are on, 0 to 2, (home,); homes without a switch stay there (errata 17).
        with_switch: Which of them can be moved, at most 18 per feeder, (home,).
        mu_kw2: Price of an operation, kW2.

    Raises:
        InvalidAllocation: if a feeder has too many switches or a flow is not finite.

    Source: thesis 5.1, corrected: mechanisms.md 1, errata 13 to 17, and 10.
    """
    after = np.array(current, dtype=np.int64)
    for feeder in range(len(network.feeders)):
        here = network.home_feeder == feeder
        mine, others = np.flatnonzero(here & with_switch), np.flatnonzero(here & ~with_switch)
        base = np.bincount(current[others], weights=net_kw[others], minlength=3)
        now = [Phase(int(phase)) for phase in current[mine]]
        after[mine] = allocate((base[0], base[1], base[2]), net_kw[mine].tolist(), now, mu_kw2).phases
    return after
