"""What is auctioned when: hourly blocks the day before, ten-minute energy before each hour.

Both run the same auction (:func:`dso_engine.market.clear`).

*Day-ahead*: 24 blocks of one hour, all with one gate, early enough that what stays unmatched can still go to
the wholesale day-ahead market. A block is the same energy in each of the six slots of its hour, and the
volume of an order is the energy **of one slot**. So a cleared block is whole Wh in every slot and every slot
balances; nothing has to be split.

*Intraday*: ten-minute slots, with a gate so long before their hour that suppliers can still react (thesis:
finality an hour ahead). A home trades the difference between its new plan and what it bought or sold before.

Source: thesis chapter 3, section 2.2.4, and chapter 4, section 2.1; issue 5, part 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from dso_engine.errors import InvalidSettlement
from dso_engine.market import Clearing, Side
from dso_engine.model import SLOT, SLOTS_PER_HOUR, HomeId

__all__ = [
    "GateMoment",
    "MarketCalendar",
    "Product",
    "ProductKind",
    "ProductTrade",
    "day_ahead_products",
    "gates",
    "intraday_products",
    "local_midnight",
    "product_trades",
]

_HOUR: Final = timedelta(hours=1)
_HOURS_PER_DAY: Final = 24
_DAY: Final = timedelta(days=1)
_A_MIDNIGHT: Final = datetime(1999, 12, 31, 23, tzinfo=UTC)
"""Local time is UTC+1 all year (signals.md, "The market hour")."""


def local_midnight(when: datetime) -> datetime:
    """Return the instant at which the local day of an instant began."""
    return when - (when - _A_MIDNIGHT) % _DAY


class ProductKind(StrEnum):
    """The two markets."""

    DAY_AHEAD = "day_ahead"
    INTRADAY = "intraday"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketCalendar:
    """When the gates close.

    Raises:
        ValueError: if a gate would close after its results are due, or after its delivery has begun.
    """

    day_ahead: bool = False
    """Whether there is a day-ahead market besides the intraday one."""
    day_ahead_gate: timedelta = timedelta(hours=13)
    """How long before the delivery day begins its gate closes: 11:00 of the day before."""
    wholesale_gate: timedelta = timedelta(hours=12)
    """The same of the wholesale day-ahead market, which takes what is left: noon."""
    intraday_gate: timedelta = timedelta(minutes=75)
    """How long before the delivery hour the gate of its six slots closes."""
    intraday_final: timedelta = _HOUR
    """How long before the delivery hour everything is final."""

    def __post_init__(self) -> None:
        """Raises ValueError on gates in the wrong order."""
        if not self.day_ahead_gate > self.wholesale_gate > timedelta(0):
            raise ValueError(
                "the day-ahead gate must close before the wholesale gate, and that the day before"
            )
        if not self.intraday_gate >= self.intraday_final > timedelta(0):
            raise ValueError("the intraday gate must close before its results are final")
        if self.day_ahead and self.day_ahead_gate <= self.intraday_gate:
            raise ValueError("the day-ahead gate must close before the first intraday gate of the day")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Something that is auctioned: energy of one slot, or the same energy in each slot of an hour."""

    kind: ProductKind
    start: datetime
    """Start of delivery."""
    gate: datetime
    """Orders that come at this instant or later do not count."""

    @property
    def slots(self) -> tuple[datetime, ...]:
        """Starts of the slots of delivery."""
        count = SLOTS_PER_HOUR if self.kind is ProductKind.DAY_AHEAD else 1
        return tuple(self.start + k * SLOT for k in range(count))

    @property
    def end(self) -> datetime:
        """End of delivery."""
        return self.slots[-1] + SLOT


@dataclass(frozen=True, slots=True, kw_only=True)
class GateMoment:
    """A gate, and what is auctioned when it closes."""

    at: datetime
    kind: ProductKind
    products: tuple[Product, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductTrade:
    """What a home trades in one slot by one product."""

    kind: ProductKind
    home: HomeId
    slot: datetime
    volume_wh: int
    """Signed, + bought."""
    price_millicent: int


def day_ahead_products(midnight: datetime, calendar: MarketCalendar) -> tuple[Product, ...]:
    """Return the 24 blocks of a delivery day.

    Args:
        midnight: Start of the local day.
        calendar: When the gates close.
    """
    gate = midnight - calendar.day_ahead_gate
    return tuple(
        Product(kind=ProductKind.DAY_AHEAD, start=midnight + h * _HOUR, gate=gate)
        for h in range(_HOURS_PER_DAY)
    )


def intraday_products(hour: datetime, calendar: MarketCalendar) -> tuple[Product, ...]:
    """Return the six slots of a delivery hour."""
    gate = hour - calendar.intraday_gate
    return tuple(
        Product(kind=ProductKind.INTRADAY, start=hour + k * SLOT, gate=gate) for k in range(SLOTS_PER_HOUR)
    )


def gates(midnights: Iterable[datetime], calendar: MarketCalendar) -> tuple[GateMoment, ...]:
    """Return all gates of some delivery days in order of time; at one instant day-ahead comes first.

    Args:
        midnights: Starts of the local days.
        calendar: When the gates close, and which markets there are.
    """
    found: list[GateMoment] = []
    for midnight in midnights:
        if calendar.day_ahead:
            blocks = day_ahead_products(midnight, calendar)
            found.append(GateMoment(at=blocks[0].gate, kind=ProductKind.DAY_AHEAD, products=blocks))
        for h in range(_HOURS_PER_DAY):
            slots = intraday_products(midnight + h * _HOUR, calendar)
            found.append(GateMoment(at=slots[0].gate, kind=ProductKind.INTRADAY, products=slots))
    return tuple(sorted(found, key=lambda moment: (moment.at, moment.kind)))


def product_trades(product: Product, clearing: Clearing) -> tuple[ProductTrade, ...]:
    """Return what a clearing means for each slot of its product, buyers first.

    Raises:
        InvalidSettlement: if there are trades without a price.
    """
    found: list[ProductTrade] = []
    for slot in product.slots:
        for side, fills, price in (
            (Side.BUY, clearing.bought, clearing.bid_price_millicent),
            (Side.SELL, clearing.sold, clearing.ask_price_millicent),
        ):
            if price is None:
                if fills.homes:
                    raise InvalidSettlement(f"{product.start.isoformat()}: trades without a price")
                continue
            sign = 1 if side is Side.BUY else -1
            found += [
                ProductTrade(
                    kind=product.kind, home=home, slot=slot, volume_wh=sign * volume, price_millicent=price
                )
                for home, volume in zip(fills.homes, fills.volumes_wh, strict=True)
            ]
    return tuple(found)
