"""Accounts close to the last unit for whatever happens, also through a real auction."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.market import Order, Side, clear
from dso_engine.model import HomeId
from dso_engine.settlement import DayAccounts, ReadingSource, RewardTerms, SlotInput, settle_day

START = datetime(2018, 5, 16, tzinfo=UTC)
ENERGY = st.integers(-2_000, 2_000)


@st.composite
def slots(draw: st.DrawFn, slot: datetime, homes: int) -> list[SlotInput]:
    """One auction and what came of it."""
    feed_in = draw(st.integers(-5_000, 12_000))
    supplier = feed_in + draw(st.integers(0, 10_000))
    orders = [
        Order(
            home=HomeId(f"h{i}"),
            side=draw(st.sampled_from(Side)),
            price_millicent=draw(st.integers(-6_000, 25_000)),
            volume_wh=draw(st.integers(1, 1_000)),
            seq=i,
        )
        for i in range(homes)
    ]
    clearing = clear(orders)
    ahead = draw(st.lists(st.integers(-900, 900), min_size=homes, max_size=homes))
    if ahead:
        ahead[0] -= sum(ahead)
    signed = {t.home: t.volume_wh if t.side is Side.BUY else -t.volume_wh for t in clearing.trades}
    prices = {Side.BUY: clearing.bid_price_millicent, Side.SELL: clearing.ask_price_millicent}
    return [
        SlotInput(
            home=order.home,
            slot=slot,
            metered_wh=draw(ENERGY),
            cleared_wh=signed.get(order.home, 0),
            refused=draw(st.booleans()),
            market_price_millicent=prices[order.side] or 0,
            committed_wh=draw(st.none() | ENERGY),
            supplier_price_millicent=supplier,
            feed_in_price_millicent=feed_in,
            u_end_millicent=draw(st.integers(-60_000, 60_000)),
            rebate_millicent=draw(st.integers(0, 2_000)),
            day_ahead_wh=ahead[k],
            # buyers pay at least what sellers get
            day_ahead_price_millicent=draw(st.integers(9_000, 12_000)) if ahead[k] > 0 else 9_000,
            source=draw(st.sampled_from(ReadingSource)),
        )
        for k, order in enumerate(orders)
    ]


@st.composite
def days(draw: st.DrawFn) -> list[SlotInput]:
    homes = draw(st.integers(0, 6))
    count = draw(st.integers(1, 3))
    return [part for k in range(count) for part in draw(slots(START + k * timedelta(minutes=10), homes))]


TERMS = st.builds(
    RewardTerms,
    reward_percent=st.fractions(0, 20, max_denominator=7),
    curvature_c_per_kwh2=st.fractions(0, 9, max_denominator=11),
)


def supplier_by_its_own_books(inputs: list[SlotInput]) -> int:
    """What the supplier should have: each energy he delivers or takes at the price of its direction."""
    balance = 0
    for part in inputs:
        own = part.metered_wh - part.day_ahead_wh - (0 if part.refused else part.cleared_wh)
        taken_over = part.cleared_wh if part.refused else 0
        for delivered_wh in (own, -taken_over):
            price = part.supplier_price_millicent if delivered_wh >= 0 else part.feed_in_price_millicent
            balance += delivered_wh * price
    return balance


@settings(max_examples=150, deadline=None)
@given(days(), TERMS)
def test_accounts_sum_to_zero(inputs: list[SlotInput], terms: RewardTerms) -> None:
    day: DayAccounts = settle_day(inputs, terms)
    assert day.balance == 0
    assert sum(home.bill for home in day.homes) == day.homes_pay == day.lines.bill
    assert day.supplier_receives == supplier_by_its_own_books(inputs)


@settings(max_examples=100, deadline=None)
@given(days())
def test_surplus_is_never_negative_and_refusals_do_not_lower_it(inputs: list[SlotInput]) -> None:
    terms = RewardTerms()
    accepted = settle_day([replace(part, refused=False) for part in inputs], terms)
    assert 0 <= accepted.market_surplus <= settle_day(inputs, terms).market_surplus


@settings(max_examples=100, deadline=None)
@given(days(), st.integers(0, 100))
def test_a_refusal_costs_the_others_nothing(inputs: list[SlotInput], pick: int) -> None:
    if not inputs:
        return
    k = pick % len(inputs)
    changed = [*inputs[:k], replace(inputs[k], refused=not inputs[k].refused), *inputs[k + 1 :]]
    before = {home.home: home.bill for home in settle_day(inputs, RewardTerms()).homes}
    after = {home.home: home.bill for home in settle_day(changed, RewardTerms()).homes}
    assert {h: b for h, b in before.items() if h != inputs[k].home} == {
        h: b for h, b in after.items() if h != inputs[k].home
    }


@settings(max_examples=100, deadline=None)
@given(days())
def test_energy_the_supplier_moves_is_the_metered_energy(inputs: list[SlotInput]) -> None:
    """With all prices 1, amounts are energies: the supplier's net is the sum of the meters."""
    unit = [
        replace(
            part,
            supplier_price_millicent=1,
            feed_in_price_millicent=1,
            market_price_millicent=1,
            day_ahead_price_millicent=1,
            u_end_millicent=0,
            rebate_millicent=0,
        )
        for part in inputs
    ]
    no_reward = RewardTerms(reward_percent=Fraction(0), curvature_c_per_kwh2=Fraction(0))
    day = settle_day(unit, no_reward)
    assert day.supplier_receives == sum(part.metered_wh for part in inputs)
    assert day.dso_receives == 0
