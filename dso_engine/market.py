"""Multi-unit double auction of one LV area and one slot.

The rules are R0 to R6 of mechanisms.md 2; in short: bids by price descending, asks ascending, ties by a
sequence number nobody can influence; units are matched while bid >= ask; the owners of the last matched unit
are the critical pair, set the two prices and trade nothing, like everybody behind them; the side with more
volume in front of the critical pair is rationed in proportion, in whole Wh.

Reporting the true price is a dominant strategy (proof in mechanisms.md 2): the critical pair is left out, so
a winner's price and quantity do not depend on his own price. That breaks as soon as a remainder tie is
decided by price or a home may place two orders, so neither is possible here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dso_engine.errors import InvalidOrder
from dso_engine.model import HomeId, IntArray

__all__ = ["Clearing", "ClearingStatus", "Fills", "Order", "Side", "Trade", "clear", "sequence_number"]

MAX_VOLUME_WH: Final = 10**9
"""Largest volume of an order, 1 GWh in ten minutes: the cumulated volumes of any book fit an int64."""
MAX_PRICE_MILLICENT: Final = 10**9
"""Largest absolute price, 10 000 EUR/kWh."""
MAX_SEQ: Final = 2**63 - 1
_INT64_MAX: Final = MAX_SEQ


class Side(StrEnum):
    """Side of an order."""

    BUY = "buy"
    SELL = "sell"


class ClearingStatus(StrEnum):
    """How an auction ended. All but ``TRADED`` mean that nobody trades."""

    TRADED = "traded"
    EMPTY = "empty"
    ONE_SIDED = "one_sided"
    NO_CROSSING = "no_crossing"
    NO_WINNER = "no_winner"
    """Units match, but on one side at least nobody ranks before the critical order (R4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An offer of one home for one slot.

    ``seq`` comes from the auctioneer (:func:`sequence_number`), never from the bidder.
    """

    home: HomeId
    side: Side
    price_millicent: int
    """Limit price, 1e-5 EUR/kWh; may be negative."""
    volume_wh: int
    """Volume, Wh, > 0 on either side."""
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What one home trades; never zero."""

    home: HomeId
    side: Side
    volume_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fills:
    """What one side's winners trade, in rank order; nobody in it trades zero.

    Columns, not objects: with a million orders the objects alone would cost more than the auction.
    """

    homes: tuple[HomeId, ...] = ()
    volumes_wh: tuple[int, ...] = ()
    offered_wh: int = 0
    """V_B or V_S: what all winners of this side offered (R4); more than the sum of the volumes if this is
    the long side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearing:
    """Result of one auction. Energy bought equals energy sold, both are ``traded_wh``."""

    status: ClearingStatus
    bid_price_millicent: int | None
    """p_B, the price of the critical buyer: what buyers pay. None if nothing matched (R3)."""
    ask_price_millicent: int | None
    """p_S <= p_B, the price of the critical seller: what sellers receive."""
    critical_buyer: HomeId | None
    critical_seller: HomeId | None
    bought: Fills
    sold: Fills
    demanded_wh: int
    offered_wh: int
    matched_wh: int
    """Q*: units matched, the critical pair's included."""
    traded_wh: int

    @property
    def trades(self) -> tuple[Trade, ...]:
        """Buyers, then sellers, each in rank order; a volume rationed to nothing is left out."""
        return tuple(
            Trade(home=home, side=side, volume_wh=volume_wh)
            for side, fills in ((Side.BUY, self.bought), (Side.SELL, self.sold))
            for home, volume_wh in zip(fills.homes, fills.volumes_wh, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Book:
    """The orders as columns, in the order they were given."""

    homes: list[HomeId]
    buys: NDArray[np.bool_]
    price: IntArray
    volume: IntArray
    seq: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    """One side of the book in rank order (R1), cumulated."""

    orders: IntArray
    """Positions in the book."""
    prices: IntArray
    volumes: IntArray
    cumulated: IntArray
    ranks: IntArray
    """Rank of each order by sequence number alone, for remainder ties (R6)."""

    @property
    def total_wh(self) -> int:
        return self.before(self.cumulated.size)

    def before(self, position: int) -> int:
        """Volume of the orders that rank before a position, Wh."""
        return int(self.cumulated[position - 1]) if position else 0


def sequence_number(slot: datetime, home: HomeId, seed: int) -> int:
    """Rank of a home among equal prices: a hash no bidder can influence, the same in every process.

    Args:
        slot: Start of the slot, aware; the zone does not matter.
        home: The home.
        seed: The run's seed.

    Returns:
        A number in [0, 2**63).

    Raises:
        ValueError: if ``slot`` is naive.

    Source: mechanisms.md 2, R1 and last bullet of the edge rules.
    """
    if slot.utcoffset() is None:
        raise ValueError("a slot needs a time zone")
    # The home comes last: no other part can hold the separator, so different triples give different texts.
    text = f"{seed}|{slot.astimezone(UTC).isoformat()}|{home}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def clear(orders: Sequence[Order]) -> Clearing:
    """Clears one book.

    The result does not depend on the sequence in which the orders are given.

    Args:
        orders: The book, any length; one order per home.

    Returns:
        The clearing; "no trade" is a status, not an error.

    Raises:
        InvalidOrder: if a home has two orders, a volume is not positive, a number is not an int or is beyond
            ``MAX_VOLUME_WH`` / ``MAX_PRICE_MILLICENT`` / 63 bits (seq).

    Source: mechanisms.md 2, rules R0 to R6.
    """
    book = _columns(orders)
    bids, asks = _curves(book)
    if not orders:
        return _no_trade(ClearingStatus.EMPTY, bids, asks)
    if not (bids.orders.size and asks.orders.size):
        return _no_trade(ClearingStatus.ONE_SIDED, bids, asks)

    matched_wh = _matched_wh(bids, asks)
    if matched_wh == 0:
        return _no_trade(ClearingStatus.NO_CROSSING, bids, asks)

    # R2: the owner of unit q is the first order whose cumulated volume reaches q.
    buyer = int(np.searchsorted(bids.cumulated, matched_wh, side="left"))
    seller = int(np.searchsorted(asks.cumulated, matched_wh, side="left"))
    traded_wh = min(bids.before(buyer), asks.before(seller))
    return Clearing(
        status=ClearingStatus.TRADED if traded_wh else ClearingStatus.NO_WINNER,
        bid_price_millicent=int(bids.prices[buyer]),
        ask_price_millicent=int(asks.prices[seller]),
        critical_buyer=book.homes[bids.orders[buyer]],
        critical_seller=book.homes[asks.orders[seller]],
        bought=_fills(book, bids, buyer, traded_wh),
        sold=_fills(book, asks, seller, traded_wh),
        demanded_wh=bids.total_wh,
        offered_wh=asks.total_wh,
        matched_wh=matched_wh,
        traded_wh=traded_wh,
    )


def _columns(orders: Sequence[Order]) -> _Book:
    """The book as columns, if every order obeys R0.

    Raises:
        InvalidOrder: naming the first home whose order does not.
    """
    homes: list[HomeId] = list(map(attrgetter("home"), orders))
    if len(set(homes)) != len(homes):
        seen: set[HomeId] = set()
        for home in homes:
            if home in seen:
                raise InvalidOrder(f"home {home} has more than one order")
            seen.add(home)
    return _Book(
        homes=homes,
        buys=np.array([order.side is Side.BUY for order in orders], dtype=np.bool_),
        volume=_column(orders, "volume_wh", "volume", 1, MAX_VOLUME_WH),
        price=_column(orders, "price_millicent", "price", -MAX_PRICE_MILLICENT, MAX_PRICE_MILLICENT),
        seq=_column(orders, "seq", "sequence number", 0, MAX_SEQ),
    )


def _column(orders: Sequence[Order], field: str, name: str, low: int, high: int) -> IntArray:
    """One field of all orders.

    Raises:
        InvalidOrder: for the first order whose field is no int in [low, high].
    """
    values = list(map(attrgetter(field), orders))
    # bool is an int to isinstance, and numpy would round a float: a price of True or 1.5 is a mistake.
    if set(map(type, values)) <= {int}:
        try:
            column = np.array(values, dtype=np.int64)
        except OverflowError:
            pass
        else:
            if not values or (int(column.min()) >= low and int(column.max()) <= high):
                return column
    for order, value in zip(orders, values, strict=True):
        if type(value) is not int or not low <= value <= high:
            raise InvalidOrder(f"home {order.home}: {name} {value!r} is not an integer in [{low}, {high}]")
    raise AssertionError("unreachable: one value at least is no integer in range")


def _curves(book: _Book) -> tuple[_Curve, _Curve]:
    """Both sides of the book in rank order."""
    count = len(book.homes)
    by_seq = np.argsort(book.seq)
    if count > 1 and bool(np.any(np.diff(book.seq[by_seq]) == 0)):
        # A hash collision (or a hand-made book): fall back on the id, so that arrival never decides.
        seq, homes = book.seq.tolist(), book.homes
        by_seq = np.array(sorted(range(count), key=lambda i: (seq[i], homes[i])), dtype=np.int64)

    def curve(members: IntArray, sign: int) -> _Curve:
        # R1 as one number per order, all different: price first, then the rank by sequence number. Both fit
        # into 63 bits, and numbers that differ can be sorted with the fastest method.
        key = (sign * book.price[members] + MAX_PRICE_MILLICENT) * len(members)
        key += np.arange(len(members))
        ranks = np.argsort(key)
        ranked = members[ranks]
        volumes = book.volume[ranked]
        return _Curve(
            orders=ranked,
            prices=book.price[ranked],
            volumes=volumes,
            cumulated=np.cumsum(volumes),
            ranks=ranks,
        )

    return curve(by_seq[book.buys[by_seq]], -1), curve(by_seq[~book.buys[by_seq]], 1)


def _matched_wh(bids: _Curve, asks: _Curve) -> int:
    """Q*, how many units match.

    Down to bid i, min(demand so far, supply at prices <= bid i) units match; both curves are monotone, so Q*
    is the largest of these numbers.
    """
    willing = np.searchsorted(asks.prices, bids.prices, side="right")
    supply = np.concatenate((np.zeros(1, dtype=np.int64), asks.cumulated))[willing]
    return int(np.max(np.minimum(bids.cumulated, supply)))


def _fills(book: _Book, curve: _Curve, winners: int, traded_wh: int) -> Fills:
    """What one side's winners trade (R5), in rank order."""
    offered_wh = curve.before(winners)
    if traded_wh == 0:
        return Fills(offered_wh=offered_wh)
    volumes, positions = curve.volumes[:winners], curve.orders[:winners]
    if offered_wh > traded_wh:
        volumes = _ration(volumes, traded_wh, offered_wh, curve.ranks[:winners])
        positions, volumes = positions[volumes > 0], volumes[volumes > 0]
    homes = book.homes
    return Fills(
        homes=tuple([homes[position] for position in positions.tolist()]),
        volumes_wh=tuple(volumes.tolist()),
        offered_wh=offered_wh,
    )


def _ration(volumes: IntArray, short_wh: int, long_wh: int, ranks: IntArray) -> IntArray:
    """Scales to volume * short / long: floor plus largest remainder, remainder ties by sequence (R5, R6)."""
    if int(volumes.max()) * short_wh <= _INT64_MAX:
        products = volumes * short_wh
        floors = products // long_wh
        remainders = products - floors * long_wh
    else:
        # The product leaves int64 (a city's worth of volume in one book): Python's integers do not.
        pairs = [divmod(volume * short_wh, long_wh) for volume in volumes.tolist()]
        floors = np.array([floor for floor, _ in pairs], dtype=np.int64)
        remainders = np.array([remainder for _, remainder in pairs], dtype=np.int64)
    left = short_wh - int(floors.sum())
    # Fewer units are left than orders have a remainder, so nobody gets more than he offered.
    floors[np.lexsort((ranks, -remainders))[:left]] += 1
    return floors


def _no_trade(status: ClearingStatus, bids: _Curve, asks: _Curve) -> Clearing:
    """A clearing in which nothing matched: no price, no critical pair (R3)."""
    return Clearing(
        status=status,
        bid_price_millicent=None,
        ask_price_millicent=None,
        critical_buyer=None,
        critical_seller=None,
        bought=Fills(),
        sold=Fills(),
        demanded_wh=bids.total_wh,
        offered_wh=asks.total_wh,
        matched_wh=0,
        traded_wh=0,
    )
