"""From results, commitments and meters to the accounts of a day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.accounts import MissingReading, reward_terms, settle_run
from dso_engine.hourly import HourBook, TariffMillicent, hour_slots
from dso_engine.model import SLOT, Commitment, HomeId
from dso_engine.ports import HourResult
from dso_engine.settlement import DayAccounts, Lines, RewardTerms
from tests.unit.engine.engine_fakes import HOUR

A, B = HomeId("H01"), HomeId("H02")
NO_REWARD = RewardTerms(reward_percent=Fraction(0), curvature_c_per_kwh2=Fraction(0))
TARIFF = {slot: TariffMillicent(supplier=15_000, feed_in=10_000) for slot in hour_slots(HOUR)}


class Source:
    """What homes accepted and metered, and the price at the end of slots."""

    def __init__(
        self,
        *,
        metered: Mapping[datetime, Mapping[HomeId, int]],
        accepted: frozenset[HomeId] = frozenset({A, B}),
        prices: Mapping[datetime, Mapping[HomeId, int]] | None = None,
    ) -> None:
        self._metered, self._accepted, self._prices = metered, accepted, prices or {}

    def accepted(self, hour: datetime) -> frozenset[HomeId]:
        assert hour == HOUR
        return self._accepted

    async def metered_wh(self, slot: datetime) -> Mapping[HomeId, int]:
        return self._metered.get(slot, {})

    def price_at_end(self, slot: datetime) -> Mapping[HomeId, int]:
        return self._prices.get(slot, {})


def traded() -> HourBook:
    """In the second slot A buys 100 Wh at 12 c of B, who gets 11 c; both commit to just that."""
    book = HourBook()
    k, volumes = 1, (100, -100)
    for_home = zip((A, B), volumes, (12_000, 11_000), strict=True)
    book.keep_results(
        HOUR,
        [
            HourResult(
                home=home,
                price_millicent=(1, price, 1, 1, 1, 1),
                volume_wh=(0, wh, 0, 0, 0, 0),
            )
            for home, wh, price in for_home
        ],
    )
    book.keep_commitments(
        [
            Commitment(home=home, slot=HOUR + k * SLOT, grid_energy_wh=wh, up_w=0, down_w=0)
            for home, wh in zip((A, B), volumes, strict=True)
        ]
    )
    return book


async def settle(
    source: Source, book: HourBook, slots: tuple[datetime, ...] = (HOUR + SLOT,), rebate: int = 0
) -> DayAccounts:
    return await settle_run(
        source=source,
        book=book,
        homes=(A, B),
        slots=slots,
        tariff=TARIFF,
        rebate_millicent=dict.fromkeys(slots, rebate),
        terms=NO_REWARD,
    )


def lines(accounts: DayAccounts, home: HomeId) -> Lines:
    return next(each.lines for each in accounts.homes if each.home == home)


async def test_a_trade_kept_is_paid_at_the_market_price() -> None:
    accounts = await settle(Source(metered={HOUR + SLOT: {A: 100, B: -100}}), traded())
    assert lines(accounts, A) == Lines(market=100 * 12_000)
    assert lines(accounts, B) == Lines(market=-100 * 11_000)
    assert accounts.market_surplus == 100 * 1_000
    assert accounts.balance == 0


async def test_a_refusal_costs_the_refuser_alone() -> None:
    """A was silent: he buys at the supplier's 15 c; what the market loses by it is on his account too."""
    slot = HOUR + SLOT
    kept = await settle(Source(metered={slot: {A: 100, B: -100}}), traded())
    refused = await settle(Source(metered={slot: {A: 100, B: -100}}, accepted=frozenset({B})), traded())
    assert lines(refused, B) == lines(kept, B)
    assert lines(refused, A).market == 0
    assert lines(refused, A).supplier == 100 * 15_000
    assert refused.balance == 0


async def test_without_a_result_nothing_can_be_refused() -> None:
    source = Source(metered={HOUR: {A: 60, B: -60}}, accepted=frozenset())
    accounts = await settle(source, HourBook(), (HOUR,))
    assert lines(accounts, A) == Lines(supplier=60 * 15_000)
    assert lines(accounts, B) == Lines(feed_in=-60 * 10_000)


async def test_the_price_at_the_end_of_the_slot_prices_the_deviation() -> None:
    """u = -5 c on 40 Wh less import than committed: 100 - 60; the rest is left to the supplier's line."""
    slot = HOUR + SLOT
    source = Source(metered={slot: {A: 60, B: -100}}, prices={slot: {A: -5_000}})
    accounts = await settle(source, traded())
    assert lines(accounts, A).real_time_price == -5_000 * (60 - 100)
    assert lines(accounts, B).real_time_price == 0
    assert accounts.balance == 0


async def test_rebate_is_looked_up_by_slot() -> None:
    accounts = await settle(Source(metered={HOUR + SLOT: {A: 100, B: -100}}), traded(), rebate=2_000)
    assert lines(accounts, A).rebate == -100 * 2_000
    assert lines(accounts, B).rebate == 0


async def test_a_missing_reading_names_home_and_slot() -> None:
    source = Source(metered={HOUR: {A: 1, B: 1}, HOUR + SLOT: {A: 1}})
    with pytest.raises(MissingReading, match=r"H02.*11:10"):
        await settle(source, traded(), (HOUR, HOUR + SLOT))


def test_terms_are_the_decimals_a_person_wrote() -> None:
    terms = reward_terms(reward_percent=0.1, curvature_c_per_kwh2=5.0)
    assert terms.reward_percent == Fraction(1, 10)
    assert terms.curvature_c_per_kwh2 == 5


@settings(max_examples=40, deadline=None)
@given(
    metered=st.lists(
        st.tuples(st.integers(-2_000, 2_000), st.integers(-2_000, 2_000)), min_size=6, max_size=6
    ),
    accepted=st.sets(st.sampled_from([A, B])),
    u=st.integers(-60_000, 60_000),
)
async def test_accounts_sum_to_zero(metered: list[tuple[int, int]], accepted: set[HomeId], u: int) -> None:
    slots = hour_slots(HOUR)
    source = Source(
        metered={slot: {A: a, B: b} for slot, (a, b) in zip(slots, metered, strict=True)},
        accepted=frozenset(accepted),
        prices={slots[1]: {A: u, B: -u}},
    )
    accounts = await settle(source, traded(), slots, rebate=1_234)
    assert accounts.balance == 0
    assert accounts.homes_pay == sum(each.bill for each in accounts.homes)
