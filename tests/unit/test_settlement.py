"""Settlement by hand. Prices in millicent per kWh: 15000 is 0.15 EUR."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from dso_engine.errors import EngineError, InvalidSettlement
from dso_engine.model import HomeId
from dso_engine.settlement import (
    Lines,
    ReadingSource,
    RewardTerms,
    SlotInput,
    SlotStatement,
    settle_day,
    settle_slot,
    to_eur,
)

SLOT = datetime(2018, 5, 16, 10, tzinfo=UTC)
TERMS = RewardTerms()
NO_REWARD = RewardTerms(reward_percent=Fraction(0), curvature_c_per_kwh2=Fraction(0))

BUYER = SlotInput(
    home=HomeId("buyer"),
    slot=SLOT,
    metered_wh=250,
    cleared_wh=200,
    market_price_millicent=13_000,
    committed_wh=260,
    supplier_price_millicent=15_000,
    feed_in_price_millicent=10_000,
)
SELLER = replace(
    BUYER,
    home=HomeId("seller"),
    metered_wh=-300,
    cleared_wh=-200,
    market_price_millicent=11_000,
    committed_wh=-300,
)
IDLE = replace(BUYER, home=HomeId("idle"), metered_wh=0, cleared_wh=0, committed_wh=0)


def one(part: SlotInput, terms: RewardTerms = NO_REWARD) -> SlotStatement:
    """Statement of one home, its volume balanced by another that refused nothing."""
    other = replace(IDLE, home=HomeId("other"), cleared_wh=-part.cleared_wh)
    return settle_slot((part, other), terms).statements[0]


def test_a_plain_slot_and_all_three_accounts() -> None:
    accounts = settle_slot((BUYER, SELLER), TERMS)
    buyer, seller = accounts.statements
    # buyer: 200 * 13000; 50 more from the supplier; R = 5 % of 2.6e6 = 130000, loss 5 * 10^2 = 500.
    assert buyer.lines == Lines(market=2_600_000, supplier=750_000, reward=-129_500)
    # seller: -200 * 11000; 100 more at feed-in; kept the commitment, R = 5 % of 2.2e6.
    assert seller.lines == Lines(market=-2_200_000, feed_in=-1_000_000, reward=-110_000)
    assert accounts.homes_pay == 3_220_500 - 3_310_000
    assert accounts.supplier_receives == 750_000 - 1_000_000
    assert accounts.market_surplus == 200 * 2_000
    assert accounts.dso_receives == 400_000 - 129_500 - 110_000
    assert accounts.supplier_receives + accounts.dso_receives == accounts.homes_pay


@pytest.mark.parametrize(
    ("metered", "cleared", "supplier", "feed_in"),
    [
        (250, 200, 50 * 15_000, 0),
        (200, 200, 0, 0),
        # consumed less than bought: all is paid on the market, the rest comes back at feed-in
        (150, 200, 0, -50 * 10_000),
        (-50, 200, 0, -250 * 10_000),
        # injected less than sold: what is missing is bought from the supplier
        (-150, -200, 50 * 15_000, 0),
        (-250, -200, 0, -50 * 10_000),
        (30, 0, 30 * 15_000, 0),
        (-30, 0, 0, -30 * 10_000),
    ],
)
def test_residual_is_bought_or_fed_in(metered: int, cleared: int, supplier: int, feed_in: int) -> None:
    lines = one(replace(BUYER, metered_wh=metered, cleared_wh=cleared)).lines
    assert lines == Lines(market=cleared * 13_000, supplier=supplier, feed_in=feed_in)


def test_price_without_a_trade_has_no_effect() -> None:
    part = replace(IDLE, metered_wh=40)
    assert one(part).lines == one(replace(part, market_price_millicent=99_999)).lines


def test_real_time_price_is_paid_on_the_deviation() -> None:
    # Exports 100 Wh more than planned while exporting costs 0.08 EUR/kWh.
    part = replace(SELLER, metered_wh=-400, u_end_millicent=-8_000)
    assert one(part).lines.real_time_price == 800_000
    # Responds: exports 100 Wh less and is paid for it.
    part = replace(SELLER, metered_wh=-200, u_end_millicent=-8_000)
    assert one(part).lines.real_time_price == -800_000


def test_without_commitment_the_trade_is_the_baseline_and_no_reward() -> None:
    part = replace(SELLER, committed_wh=None, metered_wh=-250, u_end_millicent=-8_000)
    lines = one(part, TERMS).lines
    assert lines.real_time_price == 50 * 8_000
    assert lines.reward == 0


@pytest.mark.parametrize(
    ("deviation_wh", "line"),
    [
        (0, -130_000),
        (100, -130_000 + 50_000),
        (-100, -130_000 + 50_000),
        # the reward becomes a penalty
        (200, -130_000 + 200_000),
    ],
)
def test_reward_is_lost_quadratically(deviation_wh: int, line: int) -> None:
    # 0.1 kWh off: 5 c/kWh2 * 0.01 kWh2 = 0.05 c = 50000 units of 1e-6 c.
    assert one(replace(BUYER, metered_wh=260 + deviation_wh), TERMS).lines.reward == line


def test_commitment_without_trade_can_only_lose() -> None:
    assert one(replace(IDLE, metered_wh=100), TERMS).lines.reward == 50_000
    assert one(IDLE, TERMS).lines.reward == 0


@pytest.mark.parametrize(("volume", "line"), [(1, 0), (3, -2), (5, -2), (7, -4)])
def test_reward_rounds_half_to_even(volume: int, line: int) -> None:
    # 50 % of volume * 1: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, 3.5 -> 4.
    terms = RewardTerms(reward_percent=Fraction(50), curvature_c_per_kwh2=Fraction(0))
    part = replace(BUYER, cleared_wh=volume, market_price_millicent=1)
    assert one(part, terms).lines.reward == line


def test_negative_market_price_gives_no_reward() -> None:
    part = replace(BUYER, market_price_millicent=-4_000, metered_wh=260)
    assert one(part, TERMS).lines == Lines(market=-800_000, supplier=60 * 15_000)


def test_rebate_on_bought_energy_only() -> None:
    assert one(replace(BUYER, rebate_millicent=2_000)).lines.rebate == -400_000
    assert one(replace(SELLER, rebate_millicent=2_000)).lines.rebate == 0
    assert one(replace(BUYER, rebate_millicent=2_000, refused=True)).lines.rebate == 0


def test_refusing_buyer() -> None:
    accounts = settle_slot((replace(BUYER, refused=True), SELLER), NO_REWARD)
    buyer, seller = accounts.statements
    # All 250 Wh from the supplier; (13000 - 10000) * 200 is the difference on his account.
    assert buyer.lines == Lines(supplier=250 * 15_000, refusal=600_000)
    # The seller's trade stands.
    assert seller.lines == settle_slot((BUYER, SELLER), NO_REWARD).statements[1].lines
    # The supplier sells 250, takes the refused 200 and the seller's extra 100 at feed-in.
    assert accounts.supplier_receives == 250 * 15_000 - 300 * 10_000
    # The DSO has what the auction left, no more and no less.
    assert accounts.market_surplus == accounts.dso_receives == 200 * 2_000


def test_refusing_seller() -> None:
    accounts = settle_slot((BUYER, replace(SELLER, refused=True)), NO_REWARD)
    buyer, seller = accounts.statements
    assert buyer.lines == settle_slot((BUYER, SELLER), NO_REWARD).statements[0].lines
    # All 300 Wh at feed-in; (15000 - 11000) * 200 is the difference.
    assert seller.lines == Lines(feed_in=-300 * 10_000, refusal=800_000)
    # The supplier delivers the refused 200 and the buyer's extra 50, takes 300.
    assert accounts.supplier_receives == 250 * 15_000 - 300 * 10_000
    assert accounts.market_surplus == accounts.dso_receives == 200 * 2_000


def test_both_refuse() -> None:
    accounts = settle_slot((replace(BUYER, refused=True), replace(SELLER, refused=True)), NO_REWARD)
    assert accounts.market_surplus == 200 * 2_000
    assert accounts.homes_pay == accounts.supplier_receives + accounts.dso_receives


@pytest.mark.parametrize(
    ("part", "gain"),
    [
        (replace(BUYER, market_price_millicent=9_000, refused=True), 1_000 * 200),
        (replace(SELLER, market_price_millicent=16_000, refused=True), 1_000 * 200),
    ],
)
def test_a_refusal_never_earns_money(part: SlotInput, gain: int) -> None:
    statement = one(part)
    assert statement.lines.refusal == 0
    accepted = one(replace(part, refused=False))
    # What the refuser does not get stays with the DSO.
    assert statement.dso_receives == accepted.dso_receives + gain


def test_refusal_without_a_trade_is_nothing() -> None:
    refused, kept = one(replace(IDLE, refused=True)), one(IDLE)
    assert (refused.lines, refused.cover) == (kept.lines, kept.cover)


def test_day_sums_slots_and_homes_and_does_not_depend_on_the_sequence() -> None:
    later = SLOT + timedelta(minutes=10)
    inputs = [BUYER, SELLER, replace(SELLER, slot=later), replace(BUYER, slot=later, metered_wh=100)]
    day = settle_day(inputs, TERMS)
    assert [home.home for home in day.homes] == ["buyer", "seller"]
    assert [s.slot for s in day.homes[0].slots] == [SLOT, later]
    # Second slot: 100 Wh fed back, 160 off: 130000 - 5 * 25600.
    assert day.homes[0].lines == Lines(
        market=5_200_000, supplier=750_000, feed_in=-1_000_000, reward=-129_500 - 2_000
    )
    assert day.homes[1].bill == 2 * -3_310_000
    assert day.lines.market == day.market_surplus == 800_000
    assert day.balance == 0
    assert settle_day(inputs[::-1], TERMS) == day


def test_an_empty_day() -> None:
    day = settle_day((), TERMS)
    assert day.homes == ()
    assert (day.homes_pay, day.supplier_receives, day.dso_receives, day.balance) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "inputs",
    [
        (BUYER,),
        (BUYER, replace(SELLER, slot=SLOT + timedelta(minutes=10))),
        (BUYER, replace(BUYER, cleared_wh=-200)),
    ],
)
def test_unsound_slots_are_refused(inputs: tuple[SlotInput, ...]) -> None:
    with pytest.raises(InvalidSettlement) as caught:
        settle_slot(inputs, TERMS)
    assert isinstance(caught.value, EngineError)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metered_wh", 1.0),
        ("cleared_wh", True),
        ("committed_wh", 2.5),
        ("market_price_millicent", "13000"),
        ("u_end_millicent", 0.5),
        ("feed_in_price_millicent", 15_001),
        ("rebate_millicent", -1),
    ],
)
def test_unsound_numbers_are_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidSettlement):
        replace(BUYER, **{field: value})  # type: ignore[arg-type]  # wrong on purpose


def test_negative_terms_are_refused() -> None:
    with pytest.raises(InvalidSettlement):
        RewardTerms(reward_percent=Fraction(-1))


def test_to_eur() -> None:
    # 1 kWh at 0.15 EUR
    assert to_eur(1_000 * 15_000) == 0.15
    assert to_eur(-1) == -1e-8


# --- day-ahead and intraday together, substituted readings --------------------------------------------------


def test_two_trades_are_paid_each_at_its_price() -> None:
    """Bought 300 Wh at 12 c the day before, sold 100 of them at 11 c, committed to 260 and used 250."""
    part = replace(
        BUYER,
        day_ahead_wh=300,
        day_ahead_price_millicent=12_000,
        cleared_wh=-100,
        market_price_millicent=11_000,
    )
    other = replace(IDLE, home=HomeId("other"), cleared_wh=100, day_ahead_wh=-300)
    mine = settle_slot((part, other), TERMS).statements[0]
    assert part.traded_wh == 200
    # net value 300 * 12000 - 100 * 11000 = 2.5e6, R = 5 % of it; 10 Wh off cost 500
    assert mine.lines == Lines(market=2_500_000, supplier=50 * 15_000, reward=-125_000 + 500)


def test_bought_and_sold_back_earns_no_reward() -> None:
    part = replace(
        BUYER,
        day_ahead_wh=200,
        day_ahead_price_millicent=10_000,
        cleared_wh=-200,
        market_price_millicent=14_000,
        committed_wh=250,
    )
    other = replace(IDLE, home=HomeId("other"), cleared_wh=200, day_ahead_wh=-200)
    lines = settle_slot((part, other), TERMS).statements[0].lines
    assert lines.market == 200 * (10_000 - 14_000)
    assert lines.reward == 0
    assert lines.rebate == 0


def test_a_refusal_leaves_the_day_ahead_trade_alone() -> None:
    part = replace(BUYER, refused=True, day_ahead_wh=50, day_ahead_price_millicent=12_000)
    other = replace(IDLE, home=HomeId("other"), cleared_wh=-200, day_ahead_wh=-50)
    mine = settle_slot((part, other), NO_REWARD).statements[0]
    assert mine.lines.market == 50 * 12_000
    assert mine.lines.supplier == (250 - 50) * 15_000
    assert mine.lines.refusal == 200 * 3_000


def test_day_ahead_volumes_must_balance() -> None:
    with pytest.raises(InvalidSettlement, match="day-ahead volumes do not balance by 5 Wh"):
        settle_slot((replace(BUYER, day_ahead_wh=5), SELLER), TERMS)


def test_a_substitute_earns_no_reward_and_bears_no_penalty() -> None:
    silent = replace(BUYER, metered_wh=260, source=ReadingSource.COMMITMENT)
    lost = replace(BUYER, metered_wh=0, source=ReadingSource.NONE)
    assert one(silent, TERMS).lines == Lines(market=2_600_000, supplier=60 * 15_000)
    assert one(lost, TERMS).lines.reward == 0
