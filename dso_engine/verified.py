"""What a search found, solved once more by the model of record.

Source: grid-model.md 3 and 4 (the fast solver for the search, the exact one for the accepted point).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dso_engine.errors import SolversDisagree
from dso_engine.model import FloatArray
from dso_engine.powerflow import GridState, Injections, PowerFlow

__all__ = ["disagreement", "verified"]

_AGREE_V: Final = 1e-3
_AGREE_A: Final = 1e-2


def verified(search: PowerFlow, record: PowerFlow, injections: Injections, label: str) -> GridState:
    """The state of an accepted set point, of the model of record.

    Args:
        search: The power flow the set point was found with.
        record: The model of record, of the same network.
        injections: The set point.
        label: The slot and what was accepted, for error messages.

    Raises:
        SolversDisagree: if a voltage differs by more than 1 mV or a current by more than 10 mA.
        PowerFlowDiverged: if a power flow has no solution.
    """
    state, found = record.solve(injections, label), search.solve(injections, label)
    apart = disagreement(v_v=state.v_v, i_a=state.i_a, found=found)
    if apart is not None:
        raise SolversDisagree(f"{label}: {apart}")
    return state


def disagreement(*, v_v: FloatArray, i_a: FloatArray, found: GridState) -> str | None:
    """Say how far a state is from what the model of record found; None if they agree.

    Args:
        v_v: Phase voltages of the model of record, volts, (bus, phase).
        i_a: Its phase currents, amperes, (line, phase).
        found: The state of the other power flow.
    """
    gap_v = float(np.abs(v_v - found.v_v).max())
    gap_a = float(np.abs(i_a - found.i_a).max())
    if gap_v <= _AGREE_V and gap_a <= _AGREE_A:
        return None
    return f"power flows differ by {gap_v:.3f} V and {gap_a:.3f} A"
