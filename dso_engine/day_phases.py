"""Phases over a stretch of slots with known flows: dynamic, by the exact allocation of every slot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dso_engine.feeder import Network
from dso_engine.model import FloatArray, IntArray, Phase
from dso_engine.phase import allocate

__all__ = ["dynamic_phases"]


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
    phases = np.tile(network.home_phase, (len(net_kw), 1)).astype(np.int64)
    with_switch = np.zeros(net_kw.shape[1], dtype=np.bool_)
    with_switch[list(switched)] = True
    for feeder in range(len(network.feeders)):
        here = network.home_feeder == feeder
        mine, others = np.flatnonzero(here & with_switch), np.flatnonzero(here & ~with_switch)
        current = [Phase(int(phase)) for phase in network.home_phase[mine]]
        for t, row in enumerate(net_kw):
            base = np.bincount(network.home_phase[others], weights=row[others], minlength=3)
            found = allocate((base[0], base[1], base[2]), row[mine].tolist(), current, mu_kw2)
            current = list(found.phases)
            phases[t, mine] = current
    return phases
