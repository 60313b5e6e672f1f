"""The model of record for one network: pandapower's unbalanced power flow.

The recipe of grid-model.md 2 and everything about pandapower is in `dso_engine.pandapower_block`.
"""

from __future__ import annotations

import numpy as np

from dso_engine.errors import PowerFlowDiverged
from dso_engine.network import Network
from dso_engine.pandapower_block import BlockDiverged, PandapowerBlock
from dso_engine.powerflow import GridState, Injections, grid_state

__all__ = ["PandapowerFlow"]


class PandapowerFlow:
    """Power flow by ``runpp_3ph``; keeps the last result.

    Solving the same injections again returns the state already found: while a price is held nothing in the
    network moves, and a solve costs some 20 ms. Not for use from several threads.

    Args:
        network: The network to solve.

    Raises:
        InvalidFeeder: if a cable is not symmetric in its phases; sequence impedances cannot express that.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._block = PandapowerBlock((network,))
        self._last: tuple[bytes, GridState] | None = None

    @property
    def network(self) -> Network:
        """The network that is solved."""
        return self._network

    def solve(self, injections: Injections, label: str) -> GridState:
        """The state of the network; see `dso_engine.powerflow.PowerFlow`.

        Raises:
            PowerFlowDiverged: if pandapower gives up, or says it converged and any result is not a number.
        """
        key = b"".join(
            np.ascontiguousarray(part).tobytes()
            for part in (injections.p_kw, injections.q_kvar, injections.phase)
        )
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        try:
            (found,) = self._block.solve((injections,))
        except BlockDiverged as err:
            self._last = None
            raise PowerFlowDiverged(label, str(injections)) from err
        state = grid_state(self._network, found.phasors, found.transformer)
        self._last = (key, state)
        return state
