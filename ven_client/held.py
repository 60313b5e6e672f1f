"""A home that has traded the day before looks at what is left to trade intraday. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ven_client.forecast import Forecaster
from ven_client.slots import SLOT

__all__ = ["AfterTrades", "Held"]

_WH_PER_KWH = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a home has bought and sold in consecutive slots."""

    start: datetime
    wh: tuple[int, ...]
    """Signed, + bought."""

    def kwh(self, slot: datetime) -> float:
        """Return the energy of a slot, kWh; zero outside of what was traded."""
        k = (slot - self.start) // SLOT
        return self.wh[k] / _WH_PER_KWH if 0 <= k < len(self.wh) else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterTrades:
    """A forecast with the trades in it: what is sold is one more load, what is bought one more source.

    A home that plans and offers with it trades the difference to what it holds; so energy bought the day
    before may be sold again within the hours' market, which is what that market is for. The exchange planned
    with it is what comes on top of the trades.
    """

    of: Forecaster
    held: Held

    def load_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the expected consumption in a slot and what was sold for it, kWh."""
        return self.of.load_kwh(slot, now) + max(0.0, -self.held.kwh(slot))

    def pv_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the expected production in a slot and what was bought for it, kWh."""
        return self.of.pv_kwh(slot, now) + max(0.0, self.held.kwh(slot))
