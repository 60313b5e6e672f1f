"""The day-ahead market of the engine: one gate, 24 blocks, and what becomes of failures and restarts."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from dso_engine.accounts import settle_run
from dso_engine.hourly import DayAheadTrade, HourBook, TariffMillicent
from dso_engine.intake import Arrival, OrderOutcome
from dso_engine.market import Order, Side
from dso_engine.model import SLOT, HomeId
from dso_engine.ports import BlockOrder, DayResult
from dso_engine.products import local_midnight
from dso_engine.records import FaultRecord
from dso_engine.settlement import RewardTerms
from tests.unit.engine.day_ahead_rig import GATE, MIDNIGHT, NOON, TEN, A, B, C, D, Rig, four_homes

# --- the gate ----------------------------------------------------------------------------------------------


async def test_blocks_are_cleared_and_told_at_the_gate() -> None:
    rig = Rig(GATE - timedelta(minutes=20))
    four_homes(rig.homes)
    await rig.run(GATE - timedelta(seconds=1))
    assert rig.homes.told == {}
    await rig.run(GATE)
    assert rig.homes.told_at == [GATE]
    by_home = {each.home: each for each in rig.homes.told[MIDNIGHT]}
    assert sorted(by_home) == [A, B, C, D]
    assert {home: each.volume_wh[10] for home, each in by_home.items()} == {A: 60, B: 0, C: 0, D: -60}
    assert {home: each.price_millicent[10] for home, each in by_home.items()} == {
        A: 13_000,
        B: 15_000,  # traded nothing: the supplier's price, or for a seller feed-in
        C: 10_000,
        D: 12_000,
    }
    for each in by_home.values():
        assert each.volume_wh[:10] + each.volume_wh[11:] == (0,) * 23
        assert len(each.price_millicent) == 24
    assert [record.slot for record in rig.blocks] == [MIDNIGHT + timedelta(hours=h) for h in range(24)]
    assert [record.orders for record in rig.blocks] == [4 if h == 10 else 0 for h in range(24)]


async def test_what_is_held_is_the_same_in_each_slot_of_the_hour() -> None:
    rig = Rig(GATE - timedelta(minutes=20))
    four_homes(rig.homes)
    await rig.run(GATE)
    for k in range(6):
        assert rig.book.day_ahead(TEN + k * SLOT) == {
            A: DayAheadTrade(volume_wh=60, price_millicent=13_000),
            D: DayAheadTrade(volume_wh=-60, price_millicent=12_000),
        }
    assert rig.book.day_ahead(TEN - SLOT) == rig.book.day_ahead(TEN + 6 * SLOT) == {}


async def test_a_gate_for_each_day() -> None:
    rig = Rig(GATE - timedelta(minutes=20))
    four_homes(rig.homes)
    rig.homes.say(A, Side.BUY, 15_000, 10, hour=TEN + timedelta(days=1))
    await rig.run(GATE + timedelta(days=3))
    assert rig.homes.told_at == [GATE, GATE + timedelta(days=1)], "the period ends with the second day"


# --- orders that do not count ------------------------------------------------------------------------------


async def test_one_order_per_home_and_block_and_each_refusal_has_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(GATE - timedelta(minutes=20))
    rig.homes.say(A, Side.BUY, 14_000, 10)
    four_homes(rig.homes)  # replaces A's
    rig.homes.say(A, Side.BUY, 20_000, 500, at=GATE)  # at the gate is too late, and replaces nothing
    rig.homes.say(B, Side.BUY, 10**9 + 1, 10, hour=TEN + timedelta(hours=1))
    odd = Order(home=C, side=Side.SELL, price_millicent=1, volume_wh=10.5, seq=1)  # type: ignore[arg-type]  # the point
    rig.homes.offers.append(BlockOrder(hour=TEN, arrival=Arrival(order=odd, at=GATE - SLOT)))
    with caplog.at_level(logging.WARNING, "dso_engine.day_ahead"):
        await rig.run(GATE)
    refused = {(r.slot, each.order.home, each.outcome) for r in rig.blocks for each in r.refused}
    assert refused == {
        (TEN, A, OrderOutcome.REPLACED),
        (TEN, A, OrderOutcome.TOO_LATE),
        (TEN, C, OrderOutcome.BAD_VOLUME),
        (TEN + timedelta(hours=1), B, OrderOutcome.BAD_PRICE),
    }
    assert "1 bad_price, 1 bad_volume, 1 replaced, 1 too_late" in caplog.text
    assert {each.home: each.volume_wh[10] for each in rig.homes.told[MIDNIGHT]} == {A: 60, B: 0, C: 0, D: -60}


async def test_nobody_offers_and_nobody_hears_anything() -> None:
    rig = Rig(GATE - timedelta(minutes=20))
    await rig.run(GATE)
    assert rig.homes.told == {}
    assert [record.clearing.status.value for record in rig.blocks] == ["empty"] * 24


# --- failures ----------------------------------------------------------------------------------------------


async def test_a_server_that_comes_back_before_noon_is_not_too_late() -> None:
    rig = Rig(GATE - timedelta(minutes=20))
    four_homes(rig.homes)
    rig.homes.away_until = GATE + timedelta(minutes=30)
    await rig.run(NOON)
    assert rig.homes.told_at == [GATE + timedelta(minutes=30)]
    assert len(rig.blocks) == 24
    assert [r.what for r in rig.tape.records if isinstance(r, FaultRecord)] == ["day-ahead auction"]


async def test_after_noon_nobody_trades() -> None:
    rig = Rig(GATE - timedelta(minutes=20))
    four_homes(rig.homes)
    rig.homes.away_until = NOON
    await rig.run(NOON + timedelta(hours=1))
    assert rig.homes.told == {}
    assert rig.blocks == []
    assert rig.book.day_ahead(TEN) == {}


async def test_a_message_whose_answer_was_lost_is_not_sent_again() -> None:
    rig = Rig(GATE - timedelta(minutes=20))
    four_homes(rig.homes)
    rig.homes.replies_lost = 1
    await rig.run(NOON)
    assert rig.homes.told_at == [GATE]
    assert rig.book.day_ahead(TEN).keys() == {A, D}
    assert len(rig.blocks) == 24


async def test_what_was_told_stands_even_if_it_would_be_another_thing_now() -> None:
    """The answer was lost, and before the second try a buyer went away: D sold to him nevertheless."""
    rig = Rig(GATE - timedelta(minutes=20))
    four_homes(rig.homes)
    await rig.market.auction(MIDNIGHT)
    told, rig.tape.records = rig.homes.told[MIDNIGHT], []
    rig.homes.offers = [each for each in rig.homes.offers if each.arrival.order.home != A]
    await rig.market.auction(MIDNIGHT)
    assert rig.homes.told[MIDNIGHT] == told
    assert rig.book.day_ahead(TEN).keys() == {A, D}
    assert rig.blocks == [], "no record says what did not happen"


# --- restarts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [1, 59, 13 * 60, 20 * 60, 37 * 60])
async def test_what_was_told_is_taken_up_and_not_cleared_again(minutes: int) -> None:
    before = Rig(GATE - timedelta(minutes=20))
    four_homes(before.homes)
    await before.run(GATE)
    told = dict(before.homes.told)
    after = Rig(GATE + timedelta(minutes=minutes), resumes=True, homes=before.homes)
    await after.engine.take_up()
    assert after.homes.told == told
    assert after.blocks == []
    assert after.book.day_ahead(TEN) == before.book.day_ahead(TEN) != {}


@pytest.mark.parametrize("written", [0, 1, 11, 23])
async def test_what_was_told_and_not_yet_on_record_goes_on_record_after_a_kill(written: int) -> None:
    before = Rig(GATE - timedelta(minutes=20))
    four_homes(before.homes)
    await before.run(GATE)
    newest = MIDNIGHT + timedelta(hours=written - 1)
    after = Rig(GATE + SLOT, resumes=True, homes=before.homes, lacks=lambda block: block > newest)
    await after.engine.take_up()
    assert after.blocks == before.blocks[written:]
    assert after.homes.told_at == [GATE], "nothing is told again"


async def test_a_kill_and_a_home_that_is_gone_since_leave_the_record_of_what_was_traded() -> None:
    """What is repeated are the auctions of those who were told, not of those who are there now."""
    before = Rig(GATE - timedelta(minutes=20))
    four_homes(before.homes)
    await before.run(GATE)
    before.homes.gone, before.homes.asked = frozenset({A}), 0
    after = Rig(GATE + SLOT, resumes=True, homes=before.homes, lacks=lambda block: True)
    await after.engine.take_up()
    assert after.blocks == before.blocks
    assert after.homes.asked == 2, "once for each of the two days under way"


async def test_what_is_on_record_is_not_put_there_again() -> None:
    before = Rig(GATE - timedelta(minutes=20))
    four_homes(before.homes)
    await before.run(GATE)
    after = Rig(GATE + SLOT, resumes=True, homes=before.homes, lacks=lambda block: False)
    await after.engine.take_up()
    assert after.blocks == []


async def test_no_record_says_what_did_not_happen_after_a_kill_either() -> None:
    before = Rig(GATE - timedelta(minutes=20))
    four_homes(before.homes)
    await before.run(GATE)
    before.homes.offers.pop()
    after = Rig(GATE + SLOT, resumes=True, homes=before.homes, lacks=lambda block: True)
    await after.engine.take_up()
    assert after.blocks == []
    assert after.book.day_ahead(TEN).keys() == {A, D}


@pytest.mark.parametrize(("minutes", "held"), [(0, True), (59, True), (60, False)])
async def test_a_gate_that_was_missed_is_made_up_for_until_noon(minutes: int, held: bool) -> None:
    rig = Rig(GATE + timedelta(minutes=minutes), resumes=True)
    four_homes(rig.homes)
    await rig.engine.take_up()
    assert bool(rig.homes.told) == held
    assert len(rig.blocks) == (24 if held else 0)


async def test_after_taking_up_the_next_gate_is_kept() -> None:
    rig = Rig(GATE - timedelta(minutes=20), resumes=True)
    four_homes(rig.homes)
    await rig.engine.take_up()
    assert rig.homes.told == {}, "the gate is still open"
    await rig.run(GATE)
    assert rig.homes.told_at == [GATE]


# --- what it is for ----------------------------------------------------------------------------------------


class Metered:
    """Everybody took exactly 100 Wh in each slot and accepted everything."""

    async def accepted(self, hour: datetime) -> frozenset[HomeId]:
        del hour
        return frozenset()

    async def metered_wh(self, slot: datetime) -> dict[HomeId, int]:
        del slot
        return {A: 100, D: 100}

    async def price_at_end(self, slot: datetime) -> dict[HomeId, int]:
        del slot
        return {}


async def test_trades_are_settled() -> None:
    """A: 60 Wh at 13 c and 40 from the supplier at 15 c; D: 60 Wh sold at 12 c, 160 from the supplier."""
    rig = Rig(GATE - timedelta(minutes=20))
    four_homes(rig.homes)
    await rig.run(GATE)
    accounts = await settle_run(
        source=Metered(),
        book=rig.book,
        homes=(A, D),
        slots=(TEN,),
        tariff={TEN: TariffMillicent(supplier=15_000, feed_in=10_000)},
        rebate_millicent={},
        terms=RewardTerms(reward_percent=Fraction(0), curvature_c_per_kwh2=Fraction(0)),
    )
    lines = {home.home: (home.lines.market, home.lines.supplier) for home in accounts.homes}
    assert lines == {A: (60 * 13_000, 40 * 15_000), D: (-60 * 12_000, 160 * 15_000)}
    assert accounts.balance == 0
    assert accounts.market_surplus == 60 * 1_000


def test_a_day_is_forgotten_when_it_is_over() -> None:
    book = HourBook()
    result = DayResult(home=A, price_millicent=(1,) * 24, volume_wh=(5,) * 24)
    book.keep_day_ahead(MIDNIGHT, (result,))
    book.forget(MIDNIGHT + timedelta(hours=23))
    assert book.day_ahead(TEN)
    book.forget(MIDNIGHT + timedelta(days=1))
    assert book.day_ahead(TEN) == {}


@pytest.mark.parametrize(
    ("when", "midnight"),
    [
        (MIDNIGHT, MIDNIGHT),
        (MIDNIGHT + timedelta(hours=23, minutes=59), MIDNIGHT),
        (MIDNIGHT - timedelta(microseconds=1), MIDNIGHT - timedelta(days=1)),
        (datetime(2026, 7, 1, 22, 59, tzinfo=UTC), datetime(2026, 6, 30, 23, tzinfo=UTC)),
    ],
)
def test_local_days_begin_at_eleven_in_the_evening_utc(when: datetime, midnight: datetime) -> None:
    assert local_midnight(when) == midnight
