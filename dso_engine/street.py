"""The homes of one network in one slot, as a loop over many networks talks to them: a port.

It is `dso_engine.ports.HomeExchange` and `TelemetrySource` of one network and one slot, without waiting:
whoever runs many networks has the messages of a slot at hand before it asks, and sends what comes of it
afterwards. In the simulated fleet homes answer at once (`feederloop.fleet.homes`).

=================  ==========================================================================================
`Street`           over OpenADR
=================  ==========================================================================================
`orders`           `HomeExchange.orders`, the offers that are in at gate closure
`commit`           `HomeExchange.publish_results`, then `commitments`
`answer`           `HomeExchange.set_prices` and `curtail`, then `TelemetrySource.read` once all have fetched
=================  ==========================================================================================

Arrays are in the order of `Network.homes`, shape (home,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dso_engine.market import Clearing, Order
from dso_engine.model import FloatArray, IntArray

__all__ = ["Commitments", "Exchange", "Street"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Commitments:
    """What the homes say about the slot after the auction."""

    p_kw: FloatArray
    """Planned exchange with the grid, + import."""
    q_kvar: FloatArray
    up_kw: FloatArray
    """How far each could raise its import, >= 0."""
    down_kw: FloatArray
    """How far each could lower it, >= 0."""
    can_curtail: NDArray[np.bool_]
    """Whether its exports can be bounded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exchange:
    """What the homes exchange with the grid."""

    p_kw: FloatArray
    """+ import."""
    q_kvar: FloatArray


class Street(Protocol):
    """All homes of one network in one slot."""

    def orders(self) -> Sequence[Order]:
        """Return the orders for the auction of the slot, at most one of each home."""
        ...

    def commit(self, clearing: Clearing) -> Commitments:
        """Tell the homes what they trade and return what they commit to."""
        ...

    def answer(self, u_millicent: IntArray, export_cap_kw: FloatArray) -> Exchange:
        """Return what the homes exchange once all of them have fetched price and bound.

        Args:
            u_millicent: Real-time price of each home, 1e-5 EUR/kWh.
            export_cap_kw: Largest export allowed, infinite without a bound.
        """
        ...
