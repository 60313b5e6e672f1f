"""What a home offers the day before: a block of even energy for each hour of the coming day. Pure.

The home plans the whole day at its market limits, like for the intraday offer (4.4), and offers for each hour
the mean of what the plan exchanges. What the blocks cannot say, that is how the exchange changes within the
hour and what the forecast got wrong, is left to the intraday market.

Source: thesis chapter 3, section 2.2.4 (day-ahead process); chapter 4, (4.4) and (4.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ven_client.hems.model import (
    MILLICENT_PER_CENT,
    SLOTS_PER_HOUR,
    WH_PER_KWH,
    InvalidHome,
    InvalidPrices,
    MarketLimits,
    Series,
)
from ven_client.hems.plan import SNAP

__all__ = ["BlockOffer", "block_offer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOffer:
    """Offers for consecutive hours."""

    volume_wh: tuple[int, ...]
    """Signed energy of one slot of each block, Wh, + buy, - sell, rounded towards zero; zero: no order."""
    limit_millicent_per_kwh: tuple[int, ...]
    """Limit prices, 1e-5 EUR/kWh: when selling the highest ask of the hour, else its lowest bid."""


def block_offer(exchange_kwh: Series, market: MarketLimits) -> BlockOffer:
    """Returns the blocks that come nearest to a planned exchange without going beyond its energy.

    Args:
        exchange_kwh: Planned exchange of each slot, + import; whole hours.
        market: Limits of the same slots.

    Raises:
        InvalidHome: if the plan does not cover whole hours.
        InvalidPrices: if the limits do not cover the plan.

    Source: thesis (4.4), (4.5), corrected; volumes are rounded towards zero (mechanisms.md 2).
    """
    if len(exchange_kwh) % SLOTS_PER_HOUR:
        raise InvalidHome(f"blocks need whole hours, the plan has {len(exchange_kwh)} slots")
    if len(market.bid_c_per_kwh) != len(exchange_kwh):
        raise InvalidPrices(f"{len(market.bid_c_per_kwh)} limits for {len(exchange_kwh)} slots")
    volumes: list[int] = []
    limits: list[int] = []
    for first in range(0, len(exchange_kwh), SLOTS_PER_HOUR):
        hour = slice(first, first + SLOTS_PER_HOUR)
        mean_wh = sum(exchange_kwh[hour]) / SLOTS_PER_HOUR * WH_PER_KWH
        volume = math.trunc(mean_wh + math.copysign(SNAP, mean_wh))
        volumes.append(volume)
        if volume < 0:
            limits.append(math.ceil(max(market.ask_c_per_kwh[hour]) * MILLICENT_PER_CENT - SNAP))
        else:
            limits.append(math.floor(min(market.bid_c_per_kwh[hour]) * MILLICENT_PER_CENT + SNAP))
    return BlockOffer(volume_wh=tuple(volumes), limit_millicent_per_kwh=tuple(limits))
