"""What is auctioned when, and what a cleared block means slot by slot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.hourly import GATE
from dso_engine.market import Order, Side, clear
from dso_engine.model import SLOT, HomeId
from dso_engine.products import (
    MarketCalendar,
    Product,
    ProductKind,
    day_ahead_products,
    gates,
    intraday_products,
    product_trades,
)

MIDNIGHT = datetime(2018, 5, 15, 23, tzinfo=UTC)
BOTH = MarketCalendar(day_ahead=True)


def test_a_day_has_24_blocks_with_one_gate_before_the_wholesale_market() -> None:
    blocks = day_ahead_products(MIDNIGHT, BOTH)
    assert len(blocks) == 24
    assert {block.gate for block in blocks} == {datetime(2018, 5, 15, 10, tzinfo=UTC)}, "11:00 local"
    assert blocks[9].start == MIDNIGHT + timedelta(hours=9)
    assert blocks[9].slots == tuple(blocks[9].start + k * SLOT for k in range(6))
    assert blocks[9].end == blocks[10].start


def test_an_hour_has_six_slots_with_one_gate() -> None:
    hour = MIDNIGHT + timedelta(hours=12)
    slots = intraday_products(hour, BOTH)
    assert [p.start for p in slots] == [hour + k * SLOT for k in range(6)]
    assert {p.gate for p in slots} == {hour - GATE}, "the gate the engine keeps"
    assert all(p.slots == (p.start,) for p in slots)


def test_gates_in_order_of_time() -> None:
    moments = gates([MIDNIGHT, MIDNIGHT + timedelta(days=1)], BOTH)
    assert [m.at for m in moments] == sorted(m.at for m in moments)
    kinds = [m.kind for m in moments]
    assert kinds.count(ProductKind.DAY_AHEAD) == 2
    assert kinds.count(ProductKind.INTRADAY) == 48
    assert moments[0].kind is ProductKind.DAY_AHEAD
    # the second day's blocks are auctioned at 11:00 of the first, after the gate of 12:00 (10:45)
    second = kinds.index(ProductKind.DAY_AHEAD, 1)
    assert moments[second - 1].products[0].start == MIDNIGHT + timedelta(hours=12)
    covered = [
        slot for m in moments if m.kind is ProductKind.DAY_AHEAD for p in m.products for slot in p.slots
    ]
    assert covered == [MIDNIGHT + k * SLOT for k in range(288)]


def test_without_the_day_ahead_market_there_are_hours_only() -> None:
    assert {m.kind for m in gates([MIDNIGHT], MarketCalendar())} == {ProductKind.INTRADAY}


@pytest.mark.parametrize(
    "wrong",
    [
        {"day_ahead_gate": timedelta(hours=12)},
        {"wholesale_gate": timedelta(0)},
        {"intraday_gate": timedelta(minutes=59)},
        {"intraday_gate": timedelta(hours=14), "day_ahead": True},
    ],
)
def test_gates_in_the_wrong_order(wrong: dict[str, timedelta]) -> None:
    with pytest.raises(ValueError, match="gate must close"):
        MarketCalendar(**wrong)  # type: ignore[arg-type]  # one of them is the flag


def test_a_block_is_the_same_energy_in_every_slot() -> None:
    orders = [
        Order(home=HomeId(home), side=side, price_millicent=price, volume_wh=wh, seq=k)
        for k, (home, side, price, wh) in enumerate(
            [
                ("b1", Side.BUY, 14_000, 35),
                ("b2", Side.BUY, 12_000, 50),
                ("s1", Side.SELL, 9_000, 20),
                ("s2", Side.SELL, 11_000, 90),
            ]
        )
    ]
    block = Product(kind=ProductKind.DAY_AHEAD, start=MIDNIGHT, gate=MIDNIGHT - timedelta(hours=13))
    trades = product_trades(block, clear(orders))
    assert [(t.slot, t.home, t.volume_wh, t.price_millicent) for t in trades] == [
        row for slot in block.slots for row in ((slot, "b1", 20, 12_000), (slot, "s1", -20, 11_000))
    ]
    assert product_trades(block, clear([])) == ()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(Side), st.integers(1, 9), st.integers(1, 500)), min_size=2, max_size=12
    )
)
def test_every_slot_of_a_block_balances(offers: list[tuple[Side, int, int]]) -> None:
    orders = [
        Order(home=HomeId(f"h{k}"), side=side, price_millicent=price, volume_wh=wh, seq=k)
        for k, (side, price, wh) in enumerate(offers)
    ]
    block = day_ahead_products(MIDNIGHT, BOTH)[7]
    trades = product_trades(block, clear(orders))
    for slot in block.slots:
        assert sum(t.volume_wh for t in trades if t.slot == slot) == 0
