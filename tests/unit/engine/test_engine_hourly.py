"""The market hour: from orders to results, by hand."""

from __future__ import annotations

from datetime import datetime

import pytest

from dso_engine.hourly import HourBook, HourlyMarket, TariffMillicent, hour_slots
from dso_engine.intake import OrderOutcome
from dso_engine.market import ClearingStatus, Order, Side
from dso_engine.model import SLOT, Commitment, HomeId
from dso_engine.ports import HourResult, SlotOrder
from dso_engine.records import MarketRecord
from tests.unit.engine.engine_fakes import HOUR, FakeExchange, Tape

A, B, C, D = HomeId("H01"), HomeId("H02"), HomeId("H03"), HomeId("H04")
TARIFF = {
    slot: TariffMillicent(supplier=15_000 + k, feed_in=10_000 + k) for k, slot in enumerate(hour_slots(HOUR))
}


def order(home: HomeId, slot: datetime, price: int, wh: int) -> SlotOrder:
    side = Side.BUY if wh > 0 else Side.SELL
    seq = int(home[1:])
    return SlotOrder(
        slot=slot, order=Order(home=home, side=side, price_millicent=price, volume_wh=abs(wh), seq=seq)
    )


def traded_book(slot: datetime) -> tuple[SlotOrder, ...]:
    """Bids 14@100, 12@100; asks 10@100, 11@100: 200 Wh match, the last of each side is critical."""
    return (
        order(A, slot, 14_000, 100),
        order(B, slot, 12_000, 100),
        order(C, slot, 10_000, -100),
        order(D, slot, 11_000, -100),
    )


def market(*offers: SlotOrder) -> tuple[HourlyMarket, FakeExchange, HourBook, Tape]:
    exchange, book, tape = FakeExchange(offers=offers), HourBook(), Tape()
    return (
        HourlyMarket(exchange=exchange, book=book, recorder=tape, tariff=TARIFF),
        exchange,
        book,
        tape,
    )


async def test_winners_pay_the_critical_price_and_the_rest_hears_the_tariff() -> None:
    hourly, exchange, book, tape = market(*traded_book(HOUR))
    await hourly.clear(HOUR)
    assert (exchange.told, book.results(HOUR), tape.records) == ([], (), []), "nothing counts before h - 70"
    await hourly.publish(HOUR)
    later = tuple(15_000 + k for k in range(1, 6))
    assert exchange.told == [
        (
            HOUR,
            (
                HourResult(home=A, price_millicent=(12_000, *later), volume_wh=(100, 0, 0, 0, 0, 0)),
                # the critical orders get nothing: their own way out is the supplier
                HourResult(home=B, price_millicent=(15_000, *later), volume_wh=(0,) * 6),
                HourResult(home=C, price_millicent=(11_000, *later), volume_wh=(-100, 0, 0, 0, 0, 0)),
                HourResult(home=D, price_millicent=(10_000, *later), volume_wh=(0,) * 6),
            ),
        )
    ]
    assert book.results(HOUR) == exchange.told[0][1]
    first = tape.records[0]
    assert isinstance(first, MarketRecord)
    assert (first.slot, first.orders, first.clearing.traded_wh) == (HOUR, 4, 100)
    assert len(tape.records) == 6
    for each in tape.records[1:]:
        assert isinstance(each, MarketRecord)
        assert each.clearing.status is ClearingStatus.EMPTY


async def test_a_home_may_buy_in_one_slot_and_sell_in_the_next() -> None:
    last = HOUR + 5 * SLOT
    hourly, exchange, _, _ = market(*traded_book(HOUR), order(A, last, 9_000, -70), order(B, last, 9_500, 50))
    await hourly.clear(HOUR)
    await hourly.publish(HOUR)
    (_, results) = exchange.told[0]
    of_a = next(r for r in results if r.home == A)
    assert of_a.volume_wh == (100, 0, 0, 0, 0, 0)
    assert of_a.price_millicent == (12_000, 15_001, 15_002, 15_003, 15_004, 10_005)  # unsold: feed-in


async def test_an_hour_without_offers_has_no_results() -> None:
    hourly, exchange, book, _ = market()
    await hourly.clear(HOUR)
    await hourly.publish(HOUR)
    assert exchange.told == [(HOUR, ())]
    assert book.results(HOUR) == ()


async def test_one_order_per_home_counts_and_the_last_one_does() -> None:
    """A second order does not void the auction of all: the later one counts, the earlier is on record."""
    first, later = order(A, HOUR, 14_000, 100), order(A, HOUR, 9_000, 50)
    hourly, _, book, tape = market(first, *traded_book(HOUR)[1:], later)
    await hourly.clear(HOUR)
    await hourly.publish(HOUR)
    record = tape.records[0]
    assert isinstance(record, MarketRecord)
    assert [(d.order, d.outcome) for d in record.refused] == [(first.order, OrderOutcome.REPLACED)]
    assert record.book == tuple(o.order for o in (*traded_book(HOUR)[1:], later))
    assert record.orders == 4
    # bids 12@100 and 9@50 against asks 10@100 and 11@100: only B's bid is above an ask, so nobody wins
    assert record.clearing.status is ClearingStatus.NO_WINNER
    assert [result.home for result in book.results(HOUR)] == [A, B, C, D]


async def test_volumes_of_results_sum_to_zero_in_every_slot() -> None:
    offers = [each for slot in hour_slots(HOUR) for each in traded_book(slot)]
    hourly, _, book, _ = market(*offers)
    await hourly.clear(HOUR)
    await hourly.publish(HOUR)
    assert book.results(HOUR)
    for k in range(6):
        assert sum(result.volume_wh[k] for result in book.results(HOUR)) == 0


async def test_commitments_are_kept_by_slot_and_the_newest_counts() -> None:
    hourly, exchange, book, _ = market()
    old = Commitment(home=A, slot=HOUR, grid_energy_wh=1, up_w=0, down_w=0)
    new = Commitment(home=A, slot=HOUR, grid_energy_wh=2, up_w=0, down_w=0)
    for each in (old, new):
        exchange.heard = (each,)
        await hourly.hear_commitments(HOUR)
    assert book.commitment(A, HOUR) == new
    assert book.commitments(HOUR) == {A: new}
    assert book.commitment(A, HOUR + SLOT) is None
    assert book.commitment(B, HOUR) is None
    assert book.commitments(HOUR + SLOT) == {}


async def test_a_slot_without_tariff_is_an_error() -> None:
    exchange = FakeExchange(offers=(order(A, HOUR, 1, 1),))
    hourly = HourlyMarket(exchange=exchange, book=HourBook(), recorder=Tape(), tariff={})
    with pytest.raises(KeyError):
        await hourly.clear(HOUR)
