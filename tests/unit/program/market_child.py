"""Holds auctions hour by hour and says so after each; a test kills it. ``market_child FOLDER HOURS``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, cast

from dso_engine.hourly import HourBook, HourlyMarket, TariffMillicent, hour_slots
from dso_engine.market import Order, Side, sequence_number
from dso_engine.model import HomeId
from dso_engine.ports import HomeExchange, HourResult, SlotOrder
from dso_engine.records import EngineRecord
from feederloop.market_files import MarketFiles, Publishing

FIRST: Final = datetime(2026, 5, 16, tzinfo=UTC)
SEED: Final = 3
HOMES: Final = tuple(HomeId(f"H{k:02}") for k in range(1, 21))
_HOUR: Final = timedelta(hours=1)


class Tariff(dict[datetime, TariffMillicent]):
    """The same prices at any time."""

    def __missing__(self, slot: datetime) -> TariffMillicent:
        return TariffMillicent(supplier=15_000, feed_in=10_000)


class Server:
    """What the homes' server keeps: results in a file, a line for each hour, whole or not at all.

    Args:
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def told(self) -> dict[datetime, tuple[HourResult, ...]]:
        """Return the results of all hours."""
        text = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        found = {}
        for line in text.split("\n")[:-1]:
            hour, results = json.loads(line)
            found[datetime.fromisoformat(hour)] = tuple(
                HourResult(home=HomeId(home), price_millicent=tuple(prices), volume_wh=tuple(volumes))
                for home, prices, volumes in results
            )
        return found

    async def orders(self, hour: datetime, of: frozenset[HomeId] | None = None) -> tuple[SlotOrder, ...]:
        """Return orders; one home is gone in each hour, another one each time it is asked who is there."""
        return tuple(each for each in _offers(hour) if of is None or each.order.home in of)

    async def reachable(self) -> frozenset[HomeId]:
        """Return all homes but one."""
        return frozenset(HOMES) - {HOMES[os.getpid() % len(HOMES)]}

    async def results(self, hour: datetime) -> tuple[HourResult, ...]:
        """Return what was told of an hour."""
        return self.told().get(hour, ())

    async def publish_results(self, hour: datetime, results: Sequence[HourResult]) -> None:
        """Keep results for good."""
        rows = [[each.home, each.price_millicent, each.volume_wh] for each in results]
        line = json.dumps([hour.isoformat(), rows]) + "\n"
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Nobody:
    """A recorder that keeps nothing."""

    def record(self, record: EngineRecord) -> None:
        """Take a record."""


def market(server: Server, folder: Path) -> HourlyMarket:
    """Return a market of one life."""
    files = MarketFiles(folder, SEED)
    return HourlyMarket(
        exchange=cast(HomeExchange, server),  # what a market asks of it
        book=HourBook(),
        recorder=Publishing(Nobody(), files),
        tariff=Tariff(),
        lacks=files.lacks_hour,
    )


def _offers(hour: datetime) -> Iterator[SlotOrder]:
    for slot in hour_slots(hour):
        for k, home in enumerate(HOMES):
            yield SlotOrder(
                slot=slot,
                order=Order(
                    home=home,
                    side=Side.BUY if k % 2 else Side.SELL,
                    price_millicent=11_000 + 100 * k,
                    volume_wh=50 + k,
                    seq=sequence_number(slot, home, SEED),
                ),
            )


async def _live(folder: Path, hours: int) -> None:
    server = Server(folder / "told")
    ours = market(server, folder / "market")
    told = server.told()
    if told:
        await ours.take_up(max(told), told[max(told)])
    for k in range(len(told), hours):
        hour = FIRST + k * _HOUR
        await ours.clear(hour)
        await ours.publish(hour)
        sys.stdout.write(".")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_live(Path(sys.argv[1]), int(sys.argv[2])))
