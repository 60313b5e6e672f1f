"""What holds of every day-ahead market: messages lose nothing, nobody gets what he did not offer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.day_ahead import DayAheadMarket
from dso_engine.gateway_day_ahead import day_event, day_result_of
from dso_engine.gateway_messages import Contexts
from dso_engine.hourly import HourBook, TariffMillicent
from dso_engine.intake import Arrival
from dso_engine.market import Order, Side, sequence_number
from dso_engine.model import HomeId
from dso_engine.ports import BlockOrder, DayResult
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import EventStatus
from tests.unit.engine.engine_fakes import Tape
from tests.unit.home.rig import PARAMETERS, planner
from ven_client.block_book import BlockBook
from ven_client.hems.day_ahead import BlockOffer
from ven_client.hems.model import Horizon
from ven_client.hems.program import Prices
from ven_client.instructions import DayAheadResult
from ven_client.signals import understand
from vtn_server import event as rules
from vtn_server.state import VenId

MIDNIGHT = datetime(2018, 5, 15, 23, tzinfo=UTC)
GATE = MIDNIGHT - timedelta(hours=13)
HOURS = 24
MILLICENT = st.integers(-(10**7), 10**7)


def days(values: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(values, min_size=HOURS, max_size=HOURS).map(tuple)


@given(volumes=days(st.integers(-(10**6), 10**6)), prices=days(MILLICENT))
def test_what_the_engine_says_is_what_the_home_reads_and_the_engine_remembers(
    volumes: tuple[int, ...], prices: tuple[int, ...]
) -> None:
    result = DayResult(home=HomeId("H01"), price_millicent=prices, volume_wh=volumes)
    record = rules.publish(day_event(MIDNIGHT, VenId("v"), result, Contexts()), GATE)
    event = rules.wire_event(record, EventStatus.FAR, GATE)
    got = wire.read(wire.write(m.DistributeEvent(request_id="r", vtn_id="vtn", events=(event,))))
    assert isinstance(got, m.DistributeEvent)
    assert understand(got.events[0].event) == DayAheadResult(
        day=MIDNIGHT, price_millicent=prices, volume_wh=volumes
    )
    assert day_result_of(result.home, record.signals) == result


# --- the auction -------------------------------------------------------------------------------------------


class Everywhere(dict[datetime, TariffMillicent]):
    def __missing__(self, slot: datetime) -> TariffMillicent:
        return TariffMillicent(supplier=15_000, feed_in=10_000)


class Homes:
    """Implements ``DayAheadExchange``."""

    def __init__(self, orders: tuple[BlockOrder, ...]) -> None:
        self._orders = orders
        self.told: tuple[DayResult, ...] = ()

    async def day_ahead_orders(
        self, midnight: datetime, of: frozenset[HomeId] | None = None
    ) -> tuple[BlockOrder, ...]:
        del midnight, of
        return self._orders

    async def publish_day_ahead(self, midnight: datetime, results: Sequence[DayResult]) -> None:
        del midnight
        self.told = tuple(results)

    async def day_ahead_results(self, midnight: datetime) -> tuple[DayResult, ...]:
        del midnight
        return self.told


OFFERS = st.lists(
    st.builds(
        BlockOffer,
        volume_wh=days(st.integers(-300, 300)),
        limit_millicent_per_kwh=days(st.integers(9_000, 16_000)),
    ),
    max_size=6,
)


def orders_of(offers: Sequence[BlockOffer]) -> tuple[BlockOrder, ...]:
    found = []
    for k, offer in enumerate(offers):
        for h, (wh, limit) in enumerate(zip(offer.volume_wh, offer.limit_millicent_per_kwh, strict=True)):
            home, hour = HomeId(f"H{k}"), MIDNIGHT + timedelta(hours=h)
            order = Order(
                home=home,
                side=Side.BUY if wh > 0 else Side.SELL,
                price_millicent=limit,
                volume_wh=abs(wh),
                seq=sequence_number(hour, home, 1),
            )
            if wh:
                found.append(
                    BlockOrder(hour=hour, arrival=Arrival(order=order, at=GATE - timedelta(minutes=5)))
                )
    return tuple(found)


@settings(max_examples=50)
@given(offers=OFFERS)
def test_every_result_keeps_to_its_offer_and_every_block_sums_to_zero(offers: list[BlockOffer]) -> None:
    homes, book = Homes(orders_of(offers)), HourBook()
    market = DayAheadMarket(exchange=homes, book=book, recorder=Tape(), tariff=Everywhere())
    asyncio.run(market.auction(MIDNIGHT))
    for result in homes.told:
        own = BlockBook()
        own.keep(MIDNIGHT, offers[int(result.home.removeprefix("H"))])
        assert own.fits(
            DayAheadResult(day=MIDNIGHT, price_millicent=result.price_millicent, volume_wh=result.volume_wh)
        )
    for k in range(144):
        held = book.day_ahead(MIDNIGHT + k * timedelta(minutes=10))
        assert sum(trade.volume_wh for trade in held.values()) == 0


# --- planning ----------------------------------------------------------------------------------------------

KWH = st.floats(0.0, 0.5, allow_nan=False).map(lambda x: round(x, 3))
HELD = st.floats(-0.3, 0.3, allow_nan=False).map(lambda x: round(x, 3))


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(KWH, KWH, HELD), min_size=12, max_size=12))
def test_what_is_held_is_one_more_source_or_load(rows: list[tuple[float, float, float]]) -> None:
    """Where the contract does not bind, a sale costs what a load would, and a purchase what production would.

    Costs are compared: of equal plans a solver may take either.
    """
    load, pv, held = zip(*rows, strict=True)
    home = replace(PARAMETERS, contract_kw=100.0)
    assert home.battery is not None
    horizon = Horizon(
        load_kwh=load,
        pv_kwh=pv,
        e0_kwh=1.8,
        e_end_kwh=1.8,
        charge_budget_kwh=2.7,
        discharge_budget_kwh=2.7,
        held_kwh=held,
    )
    other = replace(
        horizon,
        load_kwh=tuple(x + max(0.0, -h) for x, h in zip(load, held, strict=True)),
        pv_kwh=tuple(x + max(0.0, h) for x, h in zip(pv, held, strict=True)),
        held_kwh=(),
    )
    prices = Prices(buy_c_per_kwh=tuple(15.0 + k for k in range(12)), sell_c_per_kwh=(10.0,) * 12)
    mine = planner().schedule(home, home.battery, horizon, prices).battery_kwh
    theirs = planner().schedule(home, home.battery, other, prices).battery_kwh
    costs = []
    for battery in (mine, theirs):
        beyond = [x - y - h - s for x, y, h, s in zip(load, pv, held, battery, strict=True)]
        costs.append(sum(max(0.0, e) * (15.0 + k) + min(0.0, e) * 10.0 for k, e in enumerate(beyond)))
    assert costs[0] == pytest.approx(costs[1], abs=1e-4)
