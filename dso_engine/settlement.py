"""Who pays what for a slot and a day, in exact integers.

The unit is 1e-5 EUR/kWh x Wh = 1e-8 EUR. A home's **lines** are what it pays (negative: what it gets); the
supplier's and the DSO's accounts are what they receive. Each home and slot closes by itself, so everything
does: the home's bill equals what supplier and DSO receive from it, to the last unit.

=================  =========================================================  ==================
line               amount                                                     counterparty
=================  =========================================================  ==================
market             x_m P_m (6.4), day-ahead and intraday each at its price    DSO
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

**A day-ahead trade** stands: there is nothing to refuse the day after. x_m is then the sum of both trades.
R is a share of their net value, so buying and selling back earns no reward.

**A substituted reading** (:class:`ReadingSource`, docs/mechanisms.md 17) is settled like a metered one, but
earns no reward: else a home that strays from its commitment had better stay silent. It is settled again when
the reading comes.

**Without a commitment** x_hat is the traded volume x_m and the reward line is 0: a device that knows only the
standard price signal pays u on all that it exchanges beyond its trades.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from dso_engine.errors import InvalidSettlement
from dso_engine.model import HomeId
from dso_engine.settlement_model import (
    UNITS_PER_EUR,
    DayAccounts,
    HomeStatement,
    Lines,
    ReadingSource,
    RewardTerms,
    SlotAccounts,
    SlotInput,
    SlotStatement,
    eur_text,
    to_eur,
)

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
    "accounts_of",
    "eur_text",
    "settle_day",
    "settle_slot",
    "to_eur",
]


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
    for name, excess in (
        ("", sum(part.cleared_wh for part in inputs)),
        ("day-ahead ", sum(part.day_ahead_wh for part in inputs)),
    ):
        if excess:
            raise InvalidSettlement(f"slot {inputs[0].slot}: {name}volumes do not balance by {excess} Wh")
    statements = tuple(_statement(part, terms) for part in inputs)
    return SlotAccounts(
        statements=statements,
        homes_pay=sum(statement.lines.bill for statement in statements),
        supplier_receives=sum(statement.supplier_receives for statement in statements),
        dso_receives=sum(statement.dso_receives for statement in statements),
        market_surplus=sum(statement.market_surplus for statement in statements),
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
    return accounts_of(
        statement for slot in sorted(by_slot) for statement in settle_slot(by_slot[slot], terms).statements
    )


def accounts_of(statements: Iterable[SlotStatement]) -> DayAccounts:
    """Adds up statements as they were made; nothing is settled again.

    Args:
        statements: One per home and slot, the slots of each home in order of time.
    """
    known = tuple(statements)
    by_home: dict[HomeId, list[SlotStatement]] = {}
    for statement in known:
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
        supplier_receives=sum(statement.supplier_receives for statement in known),
        dso_receives=sum(statement.dso_receives for statement in known),
        market_surplus=sum(statement.market_surplus for statement in known),
    )


def _statement(part: SlotInput, terms: RewardTerms) -> SlotStatement:
    """The lines of one home and slot; every product is of integers, only the reward is rounded."""
    traded_wh = part.traded_wh
    residual_wh = part.metered_wh - traded_wh
    refusal, cover = _refusal(part)
    lines = Lines(
        market=_market(part),
        supplier=max(residual_wh, 0) * part.supplier_price_millicent,
        feed_in=min(residual_wh, 0) * part.feed_in_price_millicent,
        real_time_price=part.u_end_millicent * part.deviation_wh,
        reward=-_reward(part, terms),
        rebate=-max(traded_wh, 0) * part.rebate_millicent,
        refusal=refusal,
    )
    return SlotStatement(facts=part, lines=lines, cover=cover)


def _market(part: SlotInput) -> int:
    """x_m P_m of both auctions, units."""
    day_ahead = part.day_ahead_wh * part.day_ahead_price_millicent
    return day_ahead + part.intraday_wh * part.market_price_millicent


def _reward(part: SlotInput, terms: RewardTerms) -> int:
    """R - a_r (x - x_hat)^2 in units, rounded half to even; negative is a penalty (6.6).

    1 c/kWh^2 x Wh^2 = 1e-6 c = 1e-8 EUR is the unit itself, so a_r needs no factor. R is a share of the net
    value traded, |x_m| P_m where there is one trade; where the price is negative it is zero: a reward does
    not punish a trade.
    """
    if part.committed_wh is None or part.source is not ReadingSource.METERED:
        return 0
    value = _market(part) if part.traded_wh >= 0 else -_market(part)
    full = terms.reward_percent * (max(value, 0) if part.traded_wh else 0) / 100
    return round(full - terms.curvature_c_per_kwh2 * part.deviation_wh**2)


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
