"""The values of settlement: what it is told of a home and a slot, and the accounts that come of it.

Amounts are integers in units of 1e-5 EUR/kWh x Wh = 1e-8 EUR; the rules are in :mod:`dso_engine.settlement`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Final

from dso_engine.errors import InvalidSettlement
from dso_engine.model import HomeId

__all__ = [
    "UNITS_PER_EUR",
    "DayAccounts",
    "HomeStatement",
    "Lines",
    "ReadingSource",
    "RewardTerms",
    "SlotAccounts",
    "SlotInput",
    "SlotStatement",
    "eur_text",
    "to_eur",
]

UNITS_PER_EUR: Final = 10**8
"""1 EUR in units of 1e-5 EUR/kWh x Wh."""


class ReadingSource(StrEnum):
    """Where the energy of a statement comes from; all but the first are substitutes."""

    METERED = "metered"
    COMMITMENT = "commitment"
    """The meter said nothing; what the home had committed itself to."""
    LAST_READING = "last_reading"
    """Neither; the mean power of its last metered slot goes on."""
    NONE = "none"
    """Nothing is known; zero."""


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
    """Volume the intraday auction gave the home, + bought, - sold, 0 if it traded nothing; also if then
    refused."""
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
    day_ahead_wh: int = 0
    """Volume of the day-ahead auction in this slot, signed alike; nobody can refuse it the day after."""
    day_ahead_price_millicent: int = 0
    """Clearing price of the home's side in that auction."""
    source: ReadingSource = ReadingSource.METERED
    """Where ``metered_wh`` comes from."""

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
            self.day_ahead_wh,
            self.day_ahead_price_millicent,
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
        """x_m: what the home really traded, day-ahead and intraday."""
        return self.day_ahead_wh + self.intraday_wh

    @property
    def intraday_wh(self) -> int:
        """What it really traded intraday."""
        return 0 if self.refused else self.cleared_wh

    @property
    def baseline_wh(self) -> int:
        """x_hat where there is a commitment, else x_m."""
        return self.traded_wh if self.committed_wh is None else self.committed_wh

    @property
    def deviation_wh(self) -> int:
        """What the home strayed from it, x - x_hat."""
        return self.metered_wh - self.baseline_wh


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

    facts: SlotInput
    """What the lines are drawn from."""
    lines: Lines
    cover: int
    """What the DSO pays the supplier for taking a refuser's part, units; negative: the supplier pays."""

    @property
    def home(self) -> HomeId:
        """The home."""
        return self.facts.home

    @property
    def slot(self) -> datetime:
        """Start of the slot."""
        return self.facts.slot

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

    @property
    def market_surplus(self) -> int:
        """What it brings to the market's surplus, units; part of what the DSO receives."""
        return self.lines.market + self.lines.refusal - self.cover


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


def eur_text(units: int) -> str:
    """Amount in EUR as an exact decimal with eight places."""
    whole, part = divmod(abs(units), UNITS_PER_EUR)
    return f"{'-' if units < 0 else ''}{whole}.{part:08d}"
