"""What a home offered for the hourly blocks of coming days, and what it holds of them. Pure.

Source: signals.md, "The day before".
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ven_client.hems.day_ahead import BlockOffer
from ven_client.hems.model import Offer
from ven_client.instructions import DayAheadResult, MarketResult
from ven_client.slots import DAY, HOUR, day_start
from ven_client.state import BlockOfferKept

__all__ = ["BlockBook", "keeps_to"]


def keeps_to(made: Offer | BlockOffer, result: MarketResult | DayAheadResult) -> bool:
    """Whether a result keeps to an offer: side, volume and limit price of everything in it."""
    if not len(made.volume_wh) == len(result.volume_wh) == len(result.price_millicent):
        return False
    rows = zip(
        result.volume_wh, result.price_millicent, made.volume_wh, made.limit_millicent_per_kwh, strict=True
    )
    return all(
        volume == 0
        or (0 < volume <= offered and price <= limit)
        or (offered <= volume < 0 and price >= limit)
        for volume, price, offered, limit in rows
    )


class BlockBook:
    """Offers and results of one home, by the start of their local day."""

    def __init__(self) -> None:
        self._offers: dict[datetime, BlockOffer] = {}
        self._results: dict[datetime, DayAheadResult] = {}

    def offer(self, midnight: datetime) -> BlockOffer | None:
        """Return the offer that was made for a day, None without one."""
        return self._offers.get(midnight)

    def keep(self, midnight: datetime, offer: BlockOffer) -> None:
        """Remember an offer."""
        self._offers[midnight] = offer

    def fits(self, result: DayAheadResult) -> bool:
        """Whether a result keeps to the offer made: side, volume and limit price of every block."""
        made = self._offers.get(result.day)
        return made is not None and keeps_to(made, result)

    def take(self, results: Iterable[DayAheadResult]) -> None:
        """Take all results that stand."""
        self._results = {result.day: result for result in results}

    def held_wh(self, slot: datetime) -> int:
        """Return what the home holds of a slot since the day before, Wh, + bought."""
        midnight = day_start(slot)
        result = self._results.get(midnight)
        return result.volume_wh[(slot - midnight) // HOUR] if result is not None else 0

    def memory(self, now: datetime) -> tuple[BlockOfferKept, ...]:
        """Return the offers of days that are not over, to be kept on disk; results come with the events."""
        today = day_start(now)
        return tuple(
            BlockOfferKept(day=day, offer=made) for day, made in self._offers.items() if day >= today
        )

    def recall(self, kept: Iterable[BlockOfferKept]) -> None:
        """Take back what :meth:`memory` gave."""
        self._offers = {one.day: one.offer for one in kept}

    def forget(self, now: datetime) -> None:
        """Drop the offers of days that are long over."""
        self._offers = {day: made for day, made in self._offers.items() if day >= now - 2 * DAY}
