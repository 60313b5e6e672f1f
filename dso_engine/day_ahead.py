"""The day-ahead market on the DSO's side: 24 hourly blocks, cleared and published at their gate.

For the delivery day that begins at local midnight M (signals.md, "The day before")::

    M - 13 h 5 min   homes send their offers
    M - 13 h         the gate closes; the 24 auctions clear, and each home that made an offer gets its result
    M - 12 h         gate of the wholesale market: what is not done by now is not done

Clearing and publishing are one act. The homes' server holds the only copy of what was traded until the last
slot is settled, so nothing counts before it is there, and what is there is never cleared anew: an engine that
starts again, or could not tell whether its message arrived, takes what the homes were told. If it was killed
before the auctions were on record, it repeats them from the orders; what leads to the same goes on record.

Source: thesis chapter 3, section 2.2.4; docs/mechanisms.md 17.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dso_engine.hourly import HourBook, TariffMillicent
from dso_engine.intake import admit
from dso_engine.market import Side, clear
from dso_engine.model import HomeId
from dso_engine.ports import BlockOrder, DayAheadExchange, DayResult, Recorder
from dso_engine.products import (
    MarketCalendar,
    Product,
    ProductTrade,
    day_ahead_products,
    product_trades,
)
from dso_engine.records import DayAheadRecord

__all__ = ["DAY_AHEAD", "DayAheadMarket"]

_LOG: Final = logging.getLogger(__name__)
DAY_AHEAD: Final = MarketCalendar(day_ahead=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cleared:
    """The auctions of a day, what everybody in them is to be told, and how many trades there are."""

    records: tuple[DayAheadRecord, ...]
    results: tuple[DayResult, ...]
    trades: int


class DayAheadMarket:
    """Clears the blocks of a delivery day and publishes their results.

    Args:
        exchange: The homes.
        book: Where results are kept.
        recorder: Takes a record of every auction.
        tariff: Prices outside the market by slot, for blocks in which a home traded nothing.
        calendar: When the gates close.
        lacks: Whether there is no record yet of the block that starts at an instant; by default there never
            is, and none is made for a day whose results were taken up.
    """

    def __init__(
        self,
        *,
        exchange: DayAheadExchange,
        book: HourBook,
        recorder: Recorder,
        tariff: Mapping[datetime, TariffMillicent],
        calendar: MarketCalendar = DAY_AHEAD,
        lacks: Callable[[datetime], bool] | None = None,
    ) -> None:
        self._exchange = exchange
        self._book = book
        self._recorder = recorder
        self._tariff = tariff
        self._calendar = calendar
        self._lacks = lacks

    def gate(self, midnight: datetime) -> datetime:
        """Return when the gate of a delivery day closes."""
        return midnight - self._calendar.day_ahead_gate

    def final(self, midnight: datetime) -> datetime:
        """Return when it is too late for results: the rest has to go to the wholesale market."""
        return midnight - self._calendar.wholesale_gate

    async def auction(self, midnight: datetime) -> None:
        """Clear and publish; may be called again after an error.

        Raises:
            ExchangeFailed: if the homes' server is out of reach. Nothing is kept or on record then.
        """
        told = await self._exchange.day_ahead_results(midnight)
        if told:  # a try whose answer was lost
            await self._confirm(midnight, told)
            return
        cleared = self._clear(midnight, await self._exchange.day_ahead_orders(midnight))
        await self._exchange.publish_day_ahead(midnight, cleared.results)
        self._book.keep_day_ahead(midnight, cleared.results)
        self._record(midnight, cleared)

    async def take_up(self, midnight: datetime, now: datetime) -> None:
        """Take what the homes were told of a day whose gate is closed, or make up for what was not done.

        Raises:
            ExchangeFailed: if the homes' server is out of reach.
        """
        told = await self._exchange.day_ahead_results(midnight)
        if not told:
            if now < self.final(midnight):
                await self.auction(midnight)
        elif self._lacks_any(midnight):
            await self._confirm(midnight, told)
        else:
            self._book.keep_day_ahead(midnight, told)

    async def _confirm(self, midnight: datetime, told: Sequence[DayResult]) -> None:
        """Keep what the homes were told; if their orders lead to it, the auctions go on record."""
        self._book.keep_day_ahead(midnight, told)
        homes = frozenset(each.home for each in told)
        again = self._clear(midnight, await self._exchange.day_ahead_orders(midnight, of=homes))
        if {each.home: each for each in told} == {each.home: each for each in again.results}:
            self._record(midnight, again)
        else:
            _LOG.warning("day-ahead %s: what the homes were told stands, without a record", midnight)

    def _clear(self, midnight: datetime, orders: Sequence[BlockOrder]) -> _Cleared:
        products = day_ahead_products(midnight, self._calendar)
        records = tuple(_auction(each, orders) for each in products)
        trades = [_trades(product, record) for product, record in zip(products, records, strict=True)]
        return _Cleared(records=records, results=self._results(records, trades), trades=sum(map(len, trades)))

    def _record(self, midnight: datetime, cleared: _Cleared) -> None:
        self._say(midnight, cleared.records, cleared.trades)
        for record in cleared.records:
            if self._lacks is None or self._lacks(record.slot):
                self._recorder.record(record)

    def _lacks_any(self, midnight: datetime) -> bool:
        products = day_ahead_products(midnight, self._calendar)
        return self._lacks is not None and any(self._lacks(each.start) for each in products)

    def _results(
        self, records: Sequence[DayAheadRecord], trades: Sequence[Mapping[HomeId, ProductTrade]]
    ) -> tuple[DayResult, ...]:
        sides = [{order.home: order.side for order in record.book} for record in records]
        homes = sorted({home for block in sides for home in block})
        results: list[DayResult] = []
        for home in homes:
            prices: list[int] = []
            volumes: list[int] = []
            for record, side, traded in zip(records, sides, trades, strict=True):
                trade = traded.get(home)
                volumes.append(trade.volume_wh if trade else 0)
                prices.append(trade.price_millicent if trade else self._outside(record.slot, side.get(home)))
            results.append(DayResult(home=home, price_millicent=tuple(prices), volume_wh=tuple(volumes)))
        return tuple(results)

    def _outside(self, hour: datetime, side: Side | None) -> int:
        prices = self._tariff[hour]
        return prices.feed_in if side is Side.SELL else prices.supplier

    def _say(self, midnight: datetime, records: Sequence[DayAheadRecord], trades: int) -> None:
        counted = sum(record.orders for record in records)
        _LOG.info("day-ahead %s: %d orders, %d trades", midnight.isoformat(), counted, trades)
        refused = Counter(each.outcome.value for record in records for each in record.refused)
        if refused:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))
            _LOG.warning("day-ahead %s: orders that do not count: %s", midnight.isoformat(), reasons)


def _auction(product: Product, orders: Sequence[BlockOrder]) -> DayAheadRecord:
    intake = admit([each.arrival for each in orders if each.hour == product.start], product.gate)
    return DayAheadRecord(
        slot=product.start, book=intake.orders, refused=intake.refused, clearing=clear(intake.orders)
    )


def _trades(product: Product, record: DayAheadRecord) -> dict[HomeId, ProductTrade]:
    """Return what everybody who trades in a block holds of its first slot, and so of each."""
    trades = product_trades(product, record.clearing)
    return {trade.home: trade for trade in trades if trade.slot == product.start}
