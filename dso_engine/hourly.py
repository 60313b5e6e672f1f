"""The market hour on the DSO's side: clear, publish, hear commitments, allocate phases.

For the delivery hour that starts at h (all times relative to it, signals.md)::

    h - 80 min   homes send their offers
    h - 75       the gate closes; the six auctions clear
    h - 70       each home that made an offer gets its result; the auctions go on record
    h - 60       answers are due (silence until h refuses)
    h - 55       homes send their commitments
    h - 50       phases for the hour are commanded
    slot - 2     phases are computed again from confirmed ones; only a different answer is sent

Results and commitments stay here for the accounts and for control.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dso_engine.intake import Arrival, admit
from dso_engine.market import Clearing, Side, clear
from dso_engine.model import SLOT, SLOTS_PER_HOUR, Commitment, HomeId
from dso_engine.ports import DayResult, HomeExchange, HourResult, Recorder, SlotOrder
from dso_engine.products import local_midnight
from dso_engine.records import MarketRecord

__all__ = ["GATE", "DayAheadTrade", "HourBook", "HourlyMarket", "TariffMillicent", "hour_slots"]

_LOG: Final = logging.getLogger(__name__)
OFFER: Final = timedelta(minutes=80)
GATE: Final = timedelta(minutes=75)
RESULT: Final = timedelta(minutes=70)
COMMITMENT: Final = timedelta(minutes=55)
PHASES: Final = timedelta(minutes=50)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


def hour_slots(hour: datetime) -> tuple[datetime, ...]:
    """Return the starts of the six slots of an hour."""
    return tuple(hour + k * SLOT for k in range(SLOTS_PER_HOUR))


@dataclass(frozen=True, slots=True, kw_only=True)
class TariffMillicent:
    """Prices outside the market in one slot, 1e-5 EUR/kWh."""

    supplier: int
    feed_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAheadTrade:
    """What a home holds of one slot since the day before."""

    volume_wh: int
    """Signed, + bought."""
    price_millicent: int


class HourBook:
    """Results and commitments of the hours so far, and what was traded the day before."""

    def __init__(self) -> None:
        self._days: dict[datetime, tuple[DayResult, ...]] = {}
        self._results: dict[datetime, tuple[HourResult, ...]] = {}
        self._by_slot: dict[datetime, dict[HomeId, Commitment]] = {}

    def keep_results(self, hour: datetime, results: Sequence[HourResult]) -> None:
        """Remember the results of an hour."""
        self._results[hour] = tuple(results)

    def keep_commitments(self, commitments: Sequence[Commitment]) -> None:
        """Remember commitments."""
        for commitment in commitments:
            self._by_slot.setdefault(commitment.slot, {})[commitment.home] = commitment

    def keep_day_ahead(self, midnight: datetime, results: Sequence[DayResult]) -> None:
        """Remember the day-ahead results of a delivery day."""
        self._days[midnight] = tuple(results)

    def day_ahead(self, slot: datetime) -> Mapping[HomeId, DayAheadTrade]:
        """Return what homes hold of a slot since the day before; empty if there was no such market."""
        midnight = local_midnight(slot)
        k = (slot - midnight) // _HOUR
        return {
            each.home: DayAheadTrade(volume_wh=each.volume_wh[k], price_millicent=each.price_millicent[k])
            for each in self._days.get(midnight, ())
            if each.volume_wh[k]
        }

    def forget(self, before: datetime) -> None:
        """Forget the hours and slots before an instant, and the days that are over by then."""
        self._days = {day: kept for day, kept in self._days.items() if day + _DAY > before}
        self._results = {hour: kept for hour, kept in self._results.items() if hour >= before}
        self._by_slot = {slot: kept for slot, kept in self._by_slot.items() if slot >= before}

    def results(self, hour: datetime) -> tuple[HourResult, ...]:
        """Return the results of an hour; empty if there was no market."""
        return self._results.get(hour, ())

    def commitments(self, slot: datetime) -> Mapping[HomeId, Commitment]:
        """Return all commitments for a slot."""
        return self._by_slot.get(slot, {})

    def commitment(self, home: HomeId, slot: datetime) -> Commitment | None:
        """Return what a home committed to for a slot, if anything."""
        return self._by_slot.get(slot, {}).get(home)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cleared:
    """The six auctions of an hour and what everybody in them is to be told."""

    hour: datetime
    offers: tuple[SlotOrder, ...]
    records: tuple[MarketRecord, ...]
    results: tuple[HourResult, ...]


class HourlyMarket:
    """Clears the six auctions of an hour and publishes their results.

    The homes' server holds the only copy of what was traded. What is cleared counts for nothing before it is
    there: only then it is kept and goes on record. A home that cannot be told any more when the results go
    out, because its VEN was removed, takes no part: the auctions are cleared without it, and nobody has heard
    of them yet. An engine that was killed in between, or got no answer, takes what the homes were told and
    repeats the auctions from their orders; what leads to the same goes on record.

    Args:
        exchange: The homes.
        book: Where results are kept.
        recorder: Takes a record of every auction.
        tariff: Prices outside the market by slot, for homes that traded nothing.
        lacks: Whether there is no record yet of the hour that starts at an instant; by default there never
            is, and none is made for an hour whose results were taken up.
    """

    def __init__(
        self,
        *,
        exchange: HomeExchange,
        book: HourBook,
        recorder: Recorder,
        tariff: Mapping[datetime, TariffMillicent],
        lacks: Callable[[datetime], bool] | None = None,
    ) -> None:
        self._exchange = exchange
        self._book = book
        self._recorder = recorder
        self._tariff = tariff
        self._lacks = lacks
        self._cleared: _Cleared | None = None
        """What waits to be published."""

    async def clear(self, hour: datetime) -> None:
        """Close the gate and clear; the outcome waits for :meth:`publish`."""
        self._cleared = self._auctions(hour, await self._exchange.orders(hour))

    async def publish(self, hour: datetime) -> None:
        """Send every home that made an offer its result; may be called again after an error.

        Raises:
            ExchangeFailed: if the homes' server is out of reach. Nothing is kept or on record then.
        """
        told = await self._exchange.results(hour)
        if told:  # a try whose answer was lost
            await self.take_up(hour, told)
            return
        if self._lacks is not None and not self._lacks(hour):
            return  # on record and yet nobody was told: there was no order
        if self._cleared is None or self._cleared.hour != hour:
            await self.clear(hour)
        cleared = self._cleared
        assert cleared is not None  # just now
        reachable = await self._exchange.reachable()
        if gone := sorted({each.order.home for each in cleared.offers} - reachable):
            _LOG.warning("market %s: cleared without %s, gone since the gate", hour, ", ".join(gone))
            cleared = self._auctions(hour, [o for o in cleared.offers if o.order.home in reachable])
        await self._exchange.publish_results(hour, cleared.results)
        self._book.keep_results(hour, cleared.results)
        self._record(cleared)

    async def take_up(self, hour: datetime, told: Sequence[HourResult]) -> None:
        """Take what the homes were told of an hour, and put its auctions on record if they are not.

        Raises:
            ExchangeFailed: if the homes' server is out of reach.
        """
        self._book.keep_results(hour, told)
        waiting = self._cleared is not None and self._cleared.hour == hour
        if not (waiting if self._lacks is None else self._lacks(hour)):
            return
        homes = frozenset(each.home for each in told)
        again = self._auctions(hour, await self._exchange.orders(hour, of=homes))
        if {each.home: each for each in told} == {each.home: each for each in again.results}:
            self._record(again)
        else:
            _LOG.warning("market %s: what the homes were told stands, without a record", hour)

    async def hear_commitments(self, hour: datetime) -> None:
        """Take the commitments that have come in."""
        self._book.keep_commitments(await self._exchange.commitments(hour))

    def _auctions(self, hour: datetime, offers: Sequence[SlotOrder]) -> _Cleared:
        orders: list[SlotOrder] = []
        records: list[MarketRecord] = []
        for slot in hour_slots(hour):
            # The server in front keeps the gate; what is left to enforce is one good order per home (R0).
            intake = admit([Arrival(order=each.order) for each in offers if each.slot == slot], hour - GATE)
            book = intake.orders
            orders += [SlotOrder(slot=slot, order=order) for order in book]
            records.append(MarketRecord(slot=slot, book=book, refused=intake.refused, clearing=clear(book)))
        results = self._results(hour, orders, [each.clearing for each in records])
        return _Cleared(hour=hour, offers=tuple(offers), records=tuple(records), results=results)

    def _record(self, cleared: _Cleared) -> None:
        self._cleared = None
        for record in cleared.records:
            self._recorder.record(record)

    def _results(
        self, hour: datetime, orders: Sequence[SlotOrder], clearings: Sequence[Clearing]
    ) -> tuple[HourResult, ...]:
        sides: dict[tuple[HomeId, datetime], Side] = {(o.order.home, o.slot): o.order.side for o in orders}
        homes = sorted({entry.order.home for entry in orders})
        traded = [{trade.home: trade for trade in clearing.trades} for clearing in clearings]
        results: list[HourResult] = []
        for home in homes:
            prices: list[int] = []
            volumes: list[int] = []
            for slot, clearing, trades in zip(hour_slots(hour), clearings, traded, strict=True):
                side, trade = sides.get((home, slot)), trades.get(home)
                volumes.append(_signed(side, trade.volume_wh if trade else 0))
                prices.append(self._price(slot, side, clearing if trade else None))
            results.append(HourResult(home=home, price_millicent=tuple(prices), volume_wh=tuple(volumes)))
        return tuple(results)

    def _price(self, slot: datetime, side: Side | None, clearing: Clearing | None) -> int:
        outside = self._tariff[slot]
        if side is Side.SELL:
            price = clearing.ask_price_millicent if clearing else None
            return outside.feed_in if price is None else price
        price = clearing.bid_price_millicent if clearing else None
        return outside.supplier if price is None else price


def _signed(side: Side | None, volume_wh: int) -> int:
    return -volume_wh if side is Side.SELL else volume_wh
