"""An hour's auctions go on record when the homes know of them: whatever fails, or is killed, in between."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dso_engine.errors import ExchangeFailed
from dso_engine.hourly import HourBook, HourlyMarket, TariffMillicent, hour_slots
from dso_engine.market import Order, Side, sequence_number
from dso_engine.market_record import verify_chain
from dso_engine.model import HomeId
from dso_engine.ports import SlotOrder
from dso_engine.records import EngineRecord, MarketRecord
from feederloop.market_files import MarketFiles, MarketFilesError, Publishing, read_records
from tests.unit.engine.engine_fakes import HOUR, FakeExchange, Tape

A, B, C, D = (HomeId(f"H0{k}") for k in range(1, 5))
NEXT = HOUR + timedelta(hours=1)
TARIFF = {
    slot: TariffMillicent(supplier=15_000, feed_in=10_000)
    for hour in (HOUR, NEXT)
    for slot in hour_slots(hour)
}
SEED = 7


class Killed(BaseException):
    """The end of a process."""


class Deadly:
    """A recorder that is killed after so many records."""

    def __init__(self, inner: Publishing, lives: int) -> None:
        self._inner, self._lives = inner, lives

    def record(self, record: EngineRecord) -> None:
        if not self._lives:
            raise Killed
        self._lives -= 1
        self._inner.record(record)


def offers() -> tuple[SlotOrder, ...]:
    """Bids 14, 12 and asks 10, 11, 100 Wh each, in two hours: A buys of C what B and D made the price of."""
    said = ((A, Side.BUY, 14_000), (B, Side.BUY, 12_000), (C, Side.SELL, 10_000), (D, Side.SELL, 11_000))
    return tuple(
        SlotOrder(
            slot=slot,
            order=Order(
                home=home,
                side=side,
                price_millicent=price,
                volume_wh=100,
                seq=sequence_number(slot, home, SEED),
            ),
        )
        for slot in TARIFF
        for home, side, price in said
    )


class Life:
    """One life of an engine's market over a folder."""

    def __init__(self, exchange: FakeExchange, folder: Path, *, lives: int = 99) -> None:
        self.book, self.tape = HourBook(), Tape()
        files = MarketFiles(folder, SEED)
        self.market = HourlyMarket(
            exchange=exchange,
            book=self.book,
            recorder=Deadly(Publishing(self.tape, files), lives),
            tariff=TARIFF,
            lacks=files.lacks_hour,
        )


@pytest.fixture
def exchange() -> FakeExchange:
    return FakeExchange(offers=offers())


def sealed(folder: Path) -> list[tuple[int, int]]:
    """Hour of the day and energy traded of each record; all of them sound, and so is the chain."""
    found = read_records([folder])
    assert all(each.verdict.sound for each in found)
    records = [each.verdict.record for each in found if each.verdict.record is not None]
    assert verify_chain(records) == ()
    return [(record.hour.hour, sum(each.traded_wh for each in record.auctions)) for record in records]


@pytest.mark.parametrize("lives", range(7))
async def test_a_kill_at_any_record_leaves_one_sound_record_of_what_was_told(
    exchange: FakeExchange, tmp_path: Path, lives: int
) -> None:
    first = Life(exchange, tmp_path, lives=lives)
    await first.market.clear(HOUR)
    if lives < 6:
        with pytest.raises(Killed):
            await first.market.publish(HOUR)
    else:
        await first.market.publish(HOUR)
    # B is removed, and everybody's schedule says he is away: what was told was told
    exchange.gone = frozenset({A, B, C, D})
    second = Life(exchange, tmp_path)
    ((_, told),) = exchange.told
    await second.market.take_up(HOUR, told)
    assert len(exchange.told) == 1
    assert second.book.results(HOUR) == told
    assert sealed(tmp_path) == [(HOUR.hour, 600)]
    assert len(second.tape.records) == (0 if lives == 6 else 6)
    exchange.gone = frozenset()
    await second.market.clear(NEXT)
    await second.market.publish(NEXT)
    assert sealed(tmp_path) == [(HOUR.hour, 600), (NEXT.hour, 600)]


async def test_an_hour_that_nobody_was_told_of_is_not_on_record(
    exchange: FakeExchange, tmp_path: Path
) -> None:
    life = Life(exchange, tmp_path)
    exchange.fails = "before"
    await life.market.clear(HOUR)
    with pytest.raises(ExchangeFailed):
        await life.market.publish(HOUR)
    assert (life.book.results(HOUR), life.tape.records, list(tmp_path.iterdir())) == ((), [], [])
    exchange.fails = ""
    await life.market.clear(NEXT)
    await life.market.publish(NEXT)
    assert sealed(tmp_path) == [(NEXT.hour, 600)]


async def test_results_whose_answer_was_lost_are_on_record_once(
    exchange: FakeExchange, tmp_path: Path
) -> None:
    life = Life(exchange, tmp_path)
    exchange.fails = "after"
    await life.market.clear(HOUR)
    with pytest.raises(ExchangeFailed):
        await life.market.publish(HOUR)
    assert life.tape.records == []
    for _ in range(2):
        await life.market.publish(HOUR)
    assert len(exchange.told) == 1
    assert life.book.results(HOUR) == exchange.told[0][1]
    assert len(life.tape.records) == 6
    assert sealed(tmp_path) == [(HOUR.hour, 600)]


async def test_the_same_without_a_folder_of_records(exchange: FakeExchange) -> None:
    tape, book = Tape(), HourBook()
    market = HourlyMarket(exchange=exchange, book=book, recorder=tape, tariff=TARIFF)
    exchange.fails = "after"
    await market.clear(HOUR)
    with pytest.raises(ExchangeFailed):
        await market.publish(HOUR)
    for _ in range(2):
        await market.publish(HOUR)
    assert len(tape.records) == 6


async def test_a_home_that_is_gone_before_it_is_told_takes_no_part(
    exchange: FakeExchange, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without A the bid of B meets the ask of C; both are critical, so nobody trades."""
    life = Life(exchange, tmp_path)
    await life.market.clear(HOUR)
    exchange.gone = frozenset({A})
    await life.market.publish(HOUR)
    ((_, told),) = exchange.told
    assert [each.home for each in told] == [B, C, D]
    assert [sum(each.volume_wh[k] for each in told) for k in range(6)] == [0] * 6
    (first, *_) = life.tape.records
    assert isinstance(first, MarketRecord)
    assert [each.home for each in first.book] == [B, C, D]
    assert sealed(tmp_path) == [(HOUR.hour, 0)]
    assert "cleared without H01" in caplog.text


async def test_a_record_that_would_not_be_of_what_was_told_is_not_written(
    exchange: FakeExchange, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Life(exchange, tmp_path, lives=0)
    await first.market.clear(HOUR)
    with pytest.raises(Killed):
        await first.market.publish(HOUR)
    exchange.offers = tuple(each for each in offers() if each.order.home != C)  # the server lost them
    second = Life(exchange, tmp_path)
    with caplog.at_level(logging.WARNING):
        await second.market.take_up(HOUR, exchange.told[0][1])
    assert second.book.results(HOUR) == exchange.told[0][1]
    assert second.tape.records == []
    assert "without a record" in caplog.text


async def test_an_hour_without_orders_that_is_on_record_is_not_held_again(
    exchange: FakeExchange, tmp_path: Path
) -> None:
    """Somebody who was away at the gate is back, and the engine starts anew: his order came to nothing."""
    exchange.gone = frozenset({A, B, C, D})
    first = Life(exchange, tmp_path)
    await first.market.clear(HOUR)
    await first.market.publish(HOUR)
    assert sealed(tmp_path) == [(HOUR.hour, 0)]
    exchange.told.clear()
    exchange.gone = frozenset()
    second = Life(exchange, tmp_path)
    await second.market.clear(HOUR)
    await second.market.publish(HOUR)
    assert exchange.told == []
    assert second.tape.records == []


async def test_the_chain_takes_no_record_before_its_last(exchange: FakeExchange, tmp_path: Path) -> None:
    """An engine whose clock was ahead has sealed a later hour."""
    life = Life(exchange, tmp_path)
    for hour in (NEXT, HOUR):
        await life.market.clear(hour)
        await life.market.publish(hour)
    assert sealed(tmp_path) == [(NEXT.hour, 600)]
    files = MarketFiles(tmp_path / "other", SEED)
    early, late = (
        [r for r in life.tape.records if isinstance(r, MarketRecord) and r.slot.hour == h.hour]
        for h in (HOUR, NEXT)
    )
    assert early == [], "it was not published, either"
    for record in late:
        files.add(record)
    *most, last = (replace(record, slot=slot) for record, slot in zip(late, hour_slots(HOUR), strict=True))
    for record in most:
        files.add(record)
    with pytest.raises(MarketFilesError, match="the chain takes none before it"):
        files.add(last)
