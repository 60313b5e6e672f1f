"""Which orders count: one per home and auction, in whole numbers, in before the gate closed.

Everything that came in gets a decision, so that a home (and who verifies the record later) can see why an
order does not count; an order that breaks a rule never spoils the auction of the others.

* A later order of the same home replaces the earlier one until the gate closes (signals.md, Offer).
* An order that is invalid or late is no order: it does not replace a good one.

Source: mechanisms.md 2, R0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dso_engine.market import MAX_PRICE_MILLICENT, MAX_SEQ, MAX_VOLUME_WH, Order
from dso_engine.model import HomeId

__all__ = ["Arrival", "Intake", "OrderDecision", "OrderOutcome", "admit"]


class OrderOutcome(StrEnum):
    """What became of an order at the gate."""

    COUNTED = "counted"
    REPLACED = "replaced"
    """A later order of the same home counts instead."""
    TOO_LATE = "too_late"
    """It came when the gate had closed."""
    BAD_VOLUME = "bad_volume"
    """No whole number of Wh above zero, or beyond what an order can hold."""
    BAD_PRICE = "bad_price"
    """No whole number of 1e-5 EUR/kWh, or beyond what an order can hold."""
    BAD_SEQUENCE = "bad_sequence"
    """No sequence number; the auctioneer's own mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An order as it came in."""

    order: Order
    at: datetime | None = None
    """When; None where the server in front has checked the gate itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDecision:
    """An order and what became of it."""

    order: Order
    outcome: OrderOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """All decisions of one auction, in the order of arrival."""

    decisions: tuple[OrderDecision, ...]

    @property
    def orders(self) -> tuple[Order, ...]:
        """The book: one order per home."""
        return tuple(each.order for each in self.decisions if each.outcome is OrderOutcome.COUNTED)

    @property
    def refused(self) -> tuple[OrderDecision, ...]:
        """Everything that does not count."""
        return tuple(each for each in self.decisions if each.outcome is not OrderOutcome.COUNTED)


def admit(arrivals: Iterable[Arrival], gate: datetime) -> Intake:
    """Decides on the orders of one auction.

    Args:
        arrivals: In the order in which they came.
        gate: When the gate closed; what came at that instant is too late.

    Returns:
        A decision for each; what counts is a book that :func:`dso_engine.market.clear` takes.

    Source: mechanisms.md 2, R0; signals.md, Offer.
    """
    known = tuple(arrivals)
    outcomes = [_alone(each, gate) for each in known]
    last: dict[HomeId, int] = {}
    for k, each in enumerate(known):
        if outcomes[k] is OrderOutcome.COUNTED:
            if (earlier := last.get(each.order.home)) is not None:
                outcomes[earlier] = OrderOutcome.REPLACED
            last[each.order.home] = k
    return Intake(
        decisions=tuple(
            OrderDecision(order=each.order, outcome=outcome)
            for each, outcome in zip(known, outcomes, strict=True)
        )
    )


def _alone(arrival: Arrival, gate: datetime) -> OrderOutcome:
    """The outcome of an order if it were the only one."""
    order = arrival.order
    if arrival.at is not None and arrival.at >= gate:
        return OrderOutcome.TOO_LATE
    if not _whole(order.volume_wh, 1, MAX_VOLUME_WH):
        return OrderOutcome.BAD_VOLUME
    if not _whole(order.price_millicent, -MAX_PRICE_MILLICENT, MAX_PRICE_MILLICENT):
        return OrderOutcome.BAD_PRICE
    if not _whole(order.seq, 0, MAX_SEQ):
        return OrderOutcome.BAD_SEQUENCE
    return OrderOutcome.COUNTED


def _whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high  # bool is an int to isinstance
