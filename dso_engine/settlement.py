"""Who pays what for a slot and a day, in exact integers.

The unit is 1e-5 EUR/kWh x Wh = 1e-8 EUR. A home's **lines** are what it pays (negative: what it gets); the
supplier's and the DSO's accounts are what they receive. Each home and slot closes by itself, so everything
does: the home's bill equals what supplier and DSO receive from it, to the last unit.

=================  =========================================================  ==================
line               amount                                                     counterparty
=================  =========================================================  ==================
market             x_m P_m (6.4)                                              DSO
supplier           (x - x_m) P_u where x >= x_m (6.4, 6.5)                    supplier
feed_in            (x - x_m) P_f where x < x_m                                supplier
real_time_price    u_end (x - x_hat) (mechanisms.md 11)                       DSO
reward             a_r (x - x_hat)^2 - R (6.6)                                DSO
rebate             - rebate x_m where the home bought                         DSO
refusal            see below                                                  DSO
=================  =========================================================  ==================

x is metered, x_m traded, x_hat committed (market + supplier), all Wh with + = import.

**The market's surplus** (buyers pay p_B, sellers receive p_S <= p_B) stays with the DSO, who runs the auction
and is counterparty to both sides.

**The reward** line holds for every home with a commitment, also one that traded nothing and has R = 0: the
best response of mechanisms.md 4 counts a_r for all, so settlement must, too.

**A refusal** binds only the refuser (signals.md): the others' trades stand, so the DSO needs somebody to take
the refuser's part, and that is the supplier (the *cover*): he takes what a refusing buyer leaves over at
feed-in, or delivers what a refusing seller does not at his price. The refuser then trades nothing (x_m = 0,
R = 0, no rebate) and pays the DSO the difference to what he would have paid or received:

* buyer of v at p_B: the supplier pays P_f v, the refuser (p_B - P_f) v; together p_B v, as if he had bought;
* seller of w at p_S: the supplier gets P_u w, the refuser pays (P_u - p_S) w; the DSO is left with - p_S w,
  as if he had sold.

If the difference would be in the refuser's favour (a buyer's price below feed-in, a seller's above the
supplier's) it is nothing: a refusal never earns money, the DSO keeps the gain.

**Without a commitment** x_hat is the traded volume x_m and the reward line is 0: a device that knows only the
standard price signal pays u on all that it exchanges beyond its trades.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Final

from dso_engine.errors import InvalidSettlement
from dso_engine.model import HomeId

__all__ = [
    "UNITS_PER_EUR",
    "DayAccounts",
    "HomeStatement",
    "Lines",
    "RewardTerms",
    "SlotAccounts",
    "SlotInput",
    "SlotStatement",
    "settle_day",
    "settle_slot",
    "to_eur",
]

UNITS_PER_EUR: Final = 10**8
"""1 EUR in units of 1e-5 EUR/kWh x Wh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTerms:
    """Parameters of the reward for keeping to the commitment (6.6), exact.

    Pass decimals as strings or integers (``Fraction("0.3")``), not as floats.
    """

    reward_percent: Fraction = Fraction(5)
    """R in percent of |x_m| P_m, >= 0."""
    curvature_c_per_kwh2: Fraction = Fraction(5)
    """a_r in cent per kWh^2 of the energy of a slot, >= 0."""

    def __post_init__(self) -> None:
        """Raises InvalidSettlement if a term is negative."""
        if self.reward_percent < 0 or self.curvature_c_per_kwh2 < 0:
            raise InvalidSettlement("reward terms must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotInput:
    """All that settlement knows of one home in one slot. Energy + = import, prices per kWh.

    Raises:
        InvalidSettlement: if a number is no int, or feed-in is above the supplier's price (errata 29).
    """

    home: HomeId
    slot: datetime
    """Start of the slot."""
    metered_wh: int
    """x."""
    cleared_wh: int
    """Volume the auction gave the home, + bought, - sold, 0 if it traded nothing; also if then refused."""
    refused: bool = False
    """The home opted out of the hour's result or was silent."""
    market_price_millicent: int
    """P_m, the clearing price of the home's side; of no effect where ``cleared_wh`` is 0."""
    committed_wh: int | None
    """x_hat, the ``grid-energy`` of the commitment; None if the home made none."""
    supplier_price_millicent: int
    feed_in_price_millicent: int
    u_end_millicent: int = 0
    """Real-time price in force at the end of the slot at the home's PCC; 0 where it was not armed."""
    rebate_millicent: int = 0
    """Rebate of the slot on energy bought on the market, per kWh, >= 0."""

    def __post_init__(self) -> None:
        """Raises InvalidSettlement on inconsistent numbers."""
        numbers: tuple[object, ...] = (
            self.metered_wh,
            self.cleared_wh,
            self.market_price_millicent,
            0 if self.committed_wh is None else self.committed_wh,
            self.supplier_price_millicent,
            self.feed_in_price_millicent,
            self.u_end_millicent,
            self.rebate_millicent,
        )
        # A numpy integer would overflow without a word, a float would lose units.
        if any(type(number) is not int for number in numbers):
            raise InvalidSettlement(f"home {self.home}, slot {self.slot}: not all numbers are int")
        if self.feed_in_price_millicent > self.supplier_price_millicent:
            raise InvalidSettlement(f"home {self.home}, slot {self.slot}: feed-in above the supplier's price")
        if self.rebate_millicent < 0:
            raise InvalidSettlement(f"home {self.home}, slot {self.slot}: negative rebate")

    @property
    def traded_wh(self) -> int:
        """x_m: what the home really traded."""
        return 0 if self.refused else self.cleared_wh


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The lines of a bill in units (1e-8 EUR), + = the home pays."""

    market: int = 0
    supplier: int = 0
    feed_in: int = 0
    real_time_price: int = 0
    reward: int = 0
    rebate: int = 0
    refusal: int = 0

    @property
    def bill(self) -> int:
        """What the home pays in all, units."""
        return (
            self.market
            + self.supplier
            + self.feed_in
            + self.real_time_price
            + self.reward
            + self.rebate
            + self.refusal
        )

    @classmethod
    def total(cls, parts: Iterable[Lines]) -> Lines:
        """Sum line by line."""
        known = tuple(parts)
        return cls(
            market=sum(part.market for part in known),
            supplier=sum(part.supplier for part in known),
            feed_in=sum(part.feed_in for part in known),
            real_time_price=sum(part.real_time_price for part in known),
            reward=sum(part.reward for part in known),
            rebate=sum(part.rebate for part in known),
            refusal=sum(part.refusal for part in known),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatement:
    """One home in one slot."""

    home: HomeId
    slot: datetime
    lines: Lines
    cover: int
    """What the DSO pays the supplier for taking a refuser's part, units; negative: the supplier pays."""

    @property
    def supplier_receives(self) -> int:
        """What this home and slot bring the supplier, units."""
        return self.lines.supplier + self.lines.feed_in + self.cover

    @property
    def dso_receives(self) -> int:
        """What this home and slot bring the DSO, units."""
        lines = self.lines
        paid = lines.market + lines.refusal + lines.real_time_price + lines.reward + lines.rebate
        return paid - self.cover


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotAccounts:
    """One slot of everybody. ``homes_pay == supplier_receives + dso_receives``."""

    statements: tuple[SlotStatement, ...]
    homes_pay: int
    supplier_receives: int
    dso_receives: int
    market_surplus: int
    """Buyers' payments minus sellers' receipts, with refusals and their cover, units; part of the DSO's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeStatement:
    """One home over the day."""

    home: HomeId
    lines: Lines
    slots: tuple[SlotStatement, ...]

    @property
    def bill(self) -> int:
        """What the home pays for the day, units."""
        return self.lines.bill


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAccounts:
    """The day of everybody, units. ``homes_pay == supplier_receives + dso_receives``."""

    homes: tuple[HomeStatement, ...]
    """In the order of ids."""
    lines: Lines
    """Sum over the homes, line by line."""
    homes_pay: int
    supplier_receives: int
    dso_receives: int
    market_surplus: int

    @property
    def balance(self) -> int:
        """Sum of the three accounts, receipts minus payments; zero in sound accounts."""
        return self.supplier_receives + self.dso_receives - self.homes_pay


def to_eur(units: int) -> float:
    """Amount in EUR, for display only: a float keeps no account."""
    return units / UNITS_PER_EUR


def settle_slot(inputs: Sequence[SlotInput], terms: RewardTerms) -> SlotAccounts:
    """Settles one slot of all homes of one auction.

    Args:
        inputs: One per home, all of the same slot.
        terms: Reward parameters.

    Returns:
        The statements in the order of the inputs, and the accounts.

    Raises:
        InvalidSettlement: if slots differ, a home occurs twice, or the cleared volumes do not sum to zero.

    Source: thesis eq. 6.4 to 6.6; mechanisms.md 11.
    """
    if len({part.slot for part in inputs}) > 1:
        raise InvalidSettlement("inputs of more than one slot")
    if len({part.home for part in inputs}) != len(inputs):
        raise InvalidSettlement("a home occurs twice in a slot")
    if excess := sum(part.cleared_wh for part in inputs):
        raise InvalidSettlement(f"slot {inputs[0].slot}: bought and sold volumes differ by {excess} Wh")
    statements = tuple(_statement(part, terms) for part in inputs)
    return SlotAccounts(
        statements=statements,
        homes_pay=sum(statement.lines.bill for statement in statements),
        supplier_receives=sum(statement.supplier_receives for statement in statements),
        dso_receives=sum(statement.dso_receives for statement in statements),
        market_surplus=sum(s.lines.market + s.lines.refusal - s.cover for s in statements),
    )


def settle_day(inputs: Iterable[SlotInput], terms: RewardTerms) -> DayAccounts:
    """Settles any number of slots of all homes of one auction.

    Args:
        inputs: One per home and slot, in any order.
        terms: Reward parameters.

    Returns:
        Statements per home (slots in order of time) and the day's accounts.

    Raises:
        InvalidSettlement: as :func:`settle_slot`.

    Source: thesis eq. 6.4 to 6.6; mechanisms.md 11.
    """
    by_slot: dict[datetime, list[SlotInput]] = {}
    for part in inputs:
        by_slot.setdefault(part.slot, []).append(part)
    slots = [settle_slot(by_slot[slot], terms) for slot in sorted(by_slot)]
    by_home: dict[HomeId, list[SlotStatement]] = {}
    for accounts in slots:
        for statement in accounts.statements:
            by_home.setdefault(statement.home, []).append(statement)
    homes = tuple(
        HomeStatement(
            home=home,
            lines=Lines.total(statement.lines for statement in by_home[home]),
            slots=tuple(by_home[home]),
        )
        for home in sorted(by_home)
    )
    return DayAccounts(
        homes=homes,
        lines=Lines.total(home.lines for home in homes),
        homes_pay=sum(home.bill for home in homes),
        supplier_receives=sum(accounts.supplier_receives for accounts in slots),
        dso_receives=sum(accounts.dso_receives for accounts in slots),
        market_surplus=sum(accounts.market_surplus for accounts in slots),
    )


def _statement(part: SlotInput, terms: RewardTerms) -> SlotStatement:
    """The lines of one home and slot; every product is of integers, only the reward is rounded."""
    traded_wh = part.traded_wh
    residual_wh = part.metered_wh - traded_wh
    baseline_wh = traded_wh if part.committed_wh is None else part.committed_wh
    refusal, cover = _refusal(part)
    lines = Lines(
        market=traded_wh * part.market_price_millicent,
        supplier=max(residual_wh, 0) * part.supplier_price_millicent,
        feed_in=min(residual_wh, 0) * part.feed_in_price_millicent,
        real_time_price=part.u_end_millicent * (part.metered_wh - baseline_wh),
        reward=0 if part.committed_wh is None else -_reward(part, part.committed_wh, terms),
        rebate=-max(traded_wh, 0) * part.rebate_millicent,
        refusal=refusal,
    )
    return SlotStatement(home=part.home, slot=part.slot, lines=lines, cover=cover)


def _reward(part: SlotInput, committed_wh: int, terms: RewardTerms) -> int:
    """R - a_r (x - x_hat)^2 in units, rounded half to even; negative is a penalty (6.6).

    1 c/kWh^2 x Wh^2 = 1e-6 c = 1e-8 EUR is the unit itself, so a_r needs no factor. Where the market price is
    negative R is zero: a reward does not punish a trade.
    """
    full = terms.reward_percent * abs(part.traded_wh) * max(part.market_price_millicent, 0) / 100
    return round(full - terms.curvature_c_per_kwh2 * (part.metered_wh - committed_wh) ** 2)


def _refusal(part: SlotInput) -> tuple[int, int]:
    """(What a refuser pays the DSO, what the DSO pays the supplier for his part), units."""
    if not part.refused:
        return 0, 0
    volume_wh = abs(part.cleared_wh)
    if part.cleared_wh > 0:
        loss_millicent = part.market_price_millicent - part.feed_in_price_millicent
        return max(loss_millicent, 0) * volume_wh, -part.feed_in_price_millicent * volume_wh
    loss_millicent = part.supplier_price_millicent - part.market_price_millicent
    return max(loss_millicent, 0) * volume_wh, part.supplier_price_millicent * volume_wh
