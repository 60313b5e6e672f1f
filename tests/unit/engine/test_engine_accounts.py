"""From results, commitments and meters to the accounts of a day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.accounts import reward_terms, settle_late, settle_run
from dso_engine.hourly import HourBook, TariffMillicent, hour_slots
from dso_engine.model import SLOT, Commitment, HomeId
from dso_engine.ports import HourResult
from dso_engine.resettlement import WINDOW, LateOutcome, LateReading, settle_again
from dso_engine.settlement import DayAccounts, Lines, RewardTerms
from dso_engine.substitute import Metered
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
        any_hour: bool = False,
    ) -> None:
        self._any_hour = any_hour
        self._metered, self._accepted, self._prices = metered, accepted, prices or {}

    async def accepted(self, hour: datetime) -> frozenset[HomeId]:
        assert self._any_hour or hour == HOUR
        return self._accepted

    async def metered_wh(self, slot: datetime) -> Mapping[HomeId, int]:
        return self._metered.get(slot, {})

    async def price_at_end(self, slot: datetime) -> Mapping[HomeId, int]:
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


def slots_of(accounts: DayAccounts, home: HomeId) -> list[tuple[int, str]]:
    found = next(each for each in accounts.homes if each.home == home)
    return [(s.facts.metered_wh, s.facts.source.value) for s in found.slots]


async def test_a_reading_that_never_came_is_substituted_and_says_so() -> None:
    """B: last reading, commitment, its last reading again for an hour. A has never said anything."""
    slots = tuple(HOUR + k * SLOT for k in range(-1, 7))
    tariff = {slot: TariffMillicent(supplier=15_000, feed_in=10_000) for slot in slots}
    accounts = await settle_run(
        source=Source(metered={slots[0]: {B: -70}}, any_hour=True),
        book=traded(),
        homes=(A, B),
        slots=slots[::-1],
        tariff=tariff,
        rebate_millicent={},
        terms=RewardTerms(),
    )
    assert slots_of(accounts, B) == [
        (-70, "metered"),
        (-70, "last_reading"),
        (-100, "commitment"),
        *[(-70, "last_reading")] * 4,
        (0, "none"),
    ]
    assert slots_of(accounts, A) == [(0, "none")] * 2 + [(100, "commitment")] + [(0, "none")] * 5
    assert accounts.balance == 0
    assert lines(accounts, B).reward == 0, "a substitute earns no reward"


class Late:
    """Readings that have come since."""

    def __init__(self, *readings: LateReading) -> None:
        self._readings = readings
        self.asked: list[tuple[datetime, datetime]] = []

    async def arrivals(self, start: datetime, end: datetime) -> tuple[LateReading, ...]:
        self.asked.append((start, end))
        return tuple(each for each in self._readings if start <= each.slot < end)


async def test_a_late_reading_is_settled_again() -> None:
    slot = HOUR + SLOT
    first = await settle(Source(metered={slot: {A: 100}}), traded())
    assert slots_of(first, B) == [(-100, "commitment")]
    came = slot + timedelta(days=1)
    late = Late(
        LateReading(home=A, slot=slot, metered_wh=1, at=came),
        LateReading(home=B, slot=slot, metered_wh=-40, at=came),
        LateReading(home=B, slot=slot + SLOT, metered_wh=-41, at=came),
    )
    again = await settle_late(source=late, accounts=first, terms=NO_REWARD)
    assert slots_of(again.accounts, B) == [(-40, "metered")]
    assert slots_of(again.accounts, A) == [(100, "metered")], "what was metered stands"
    (correction,) = again.corrections
    assert len(again.outcomes) == 1, "only what was open is looked at"
    # 60 Wh less delivered than sold: bought of the supplier at 15 c instead
    assert correction.bill == 60 * 15_000
    assert again.accounts.homes_pay - first.homes_pay == 60 * 15_000
    assert again.accounts.balance == 0
    assert late.asked == [(slot, slot + SLOT)]
    done = await settle_late(source=late, accounts=again.accounts, terms=NO_REWARD)
    assert (done.outcomes, done.accounts) == ((), again.accounts)
    assert len(late.asked) == 1, "nothing is open: nothing is asked"


async def test_a_reading_is_late_by_when_it_came_not_by_when_it_is_asked_for() -> None:
    slot = HOUR + SLOT
    first = await settle(Source(metered={slot: {A: 100}}), traded())
    late = Late(LateReading(home=B, slot=slot, metered_wh=-40, at=slot + timedelta(days=3)))
    never = await settle_late(source=late, accounts=first, terms=NO_REWARD)
    assert [outcome for _, outcome in never.outcomes] == [LateOutcome.TOO_LATE]
    assert never.accounts == first
    wider = await settle_late(source=late, accounts=first, terms=NO_REWARD, window=timedelta(days=4))
    assert len(wider.corrections) == 1


async def test_the_last_reading_before_the_first_slot_goes_on() -> None:
    slot = HOUR
    accounts = await settle_run(
        source=Source(metered={}),
        book=HourBook(),
        homes=(A, B),
        slots=(slot,),
        tariff=TARIFF,
        rebate_millicent={},
        terms=NO_REWARD,
        before={A: Metered(slot=slot - SLOT, wh=30), B: Metered(slot=slot - 7 * SLOT, wh=40)},
    )
    assert slots_of(accounts, A) == [(30, "last_reading")]
    assert slots_of(accounts, B) == [(0, "none")], "longer ago than an hour"


async def test_outcomes_of_late_readings() -> None:
    slot = HOUR + SLOT
    first = await settle(Source(metered={slot: {A: 100}}), traded())
    edge = slot + SLOT + WINDOW
    told = [
        LateReading(home=A, slot=slot, metered_wh=5, at=slot),
        LateReading(home=HomeId("H99"), slot=slot, metered_wh=5, at=slot),
        LateReading(home=B, slot=HOUR, metered_wh=5, at=slot),
        LateReading(home=B, slot=slot, metered_wh=-90, at=edge + timedelta(microseconds=1)),
        LateReading(home=B, slot=slot, metered_wh=-80, at=edge),
        LateReading(home=B, slot=slot, metered_wh=-70, at=slot),
    ]
    result = settle_again(first, told, NO_REWARD)
    assert [outcome.value for _, outcome in result.outcomes] == [
        "metered",
        "unknown",
        "unknown",
        "too_late",
        "settled_again",
        "metered",
    ]
    assert slots_of(result.accounts, B) == [(-80, "metered")]


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
