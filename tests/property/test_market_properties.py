"""Properties of the auction, and an oracle that matches unit by unit."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.market import ClearingStatus, Order, Side, clear
from dso_engine.model import HomeId


def order(home: str, side: Side, price: int, volume: int, seq: int) -> Order:
    return Order(home=HomeId(home), side=side, price_millicent=price, volume_wh=volume, seq=seq)


@st.composite
def books(draw: st.DrawFn, max_side: int = 6, max_volume: int = 12) -> list[Order]:
    sides = draw(st.lists(st.sampled_from(Side), max_size=2 * max_side))
    seqs = draw(st.permutations(range(len(sides))))
    return [
        order(f"h{i}", side, draw(st.integers(-4, 8)), draw(st.integers(1, max_volume)), seqs[i])
        for i, side in enumerate(sides)
    ]


# --- the oracle: rules R1 to R6 as they are written, one unit at a time ---------------------------------


def oracle(orders: list[Order]) -> tuple[str | None, str | None, dict[str, int]]:
    """(critical buyer, critical seller, volume per winner)."""
    bids = sorted((o for o in orders if o.side is Side.BUY), key=lambda o: (-o.price_millicent, o.seq))
    asks = sorted((o for o in orders if o.side is Side.SELL), key=lambda o: (o.price_millicent, o.seq))
    bid_units = [o for o in bids for _ in range(o.volume_wh)]
    ask_units = [o for o in asks for _ in range(o.volume_wh)]
    last: tuple[Order, Order] | None = None
    for bid, ask in zip(bid_units, ask_units, strict=False):
        if bid.price_millicent < ask.price_millicent:
            break
        last = (bid, ask)
    if last is None:
        return None, None, {}
    winners = [bids[: bids.index(last[0])], asks[: asks.index(last[1])]]
    totals = [sum(o.volume_wh for o in side) for side in winners]
    short = min(totals)
    volumes: dict[str, int] = {}
    for side, total in zip(winners, totals, strict=True):
        if short == 0:
            continue
        exact = {o.home: Fraction(o.volume_wh * short, total) for o in side}
        given_out = {home: int(share) for home, share in exact.items()}
        by_claim = sorted(side, key=lambda o: (given_out[o.home] - exact[o.home], o.seq))
        for o in by_claim[: short - sum(given_out.values())]:
            given_out[o.home] += 1
        volumes.update({str(home): volume for home, volume in given_out.items() if volume})
    return str(last[0].home), str(last[1].home), volumes


@settings(max_examples=400, deadline=None)
@given(books())
def test_equals_the_unit_by_unit_oracle(orders: list[Order]) -> None:
    buyer, seller, volumes = oracle(orders)
    result = clear(orders)
    assert (result.critical_buyer, result.critical_seller) == (buyer, seller)
    assert {str(t.home): t.volume_wh for t in result.trades} == volumes
    prices = {o.home: o.price_millicent for o in orders}
    assert result.bid_price_millicent == (None if buyer is None else prices[HomeId(buyer)])
    assert result.ask_price_millicent == (None if seller is None else prices[HomeId(seller)])


@settings(max_examples=200, deadline=None)
@given(books(max_side=10, max_volume=10**9))
def test_balance_budget_and_individual_rationality(orders: list[Order]) -> None:
    result = clear(orders)
    by_home = {o.home: o for o in orders}
    bought = sum(t.volume_wh for t in result.trades if t.side is Side.BUY)
    sold = sum(t.volume_wh for t in result.trades if t.side is Side.SELL)
    assert bought == sold == result.traded_wh
    assert (result.status is ClearingStatus.TRADED) == (result.traded_wh > 0)
    assert {t.home for t in result.trades}.isdisjoint({result.critical_buyer, result.critical_seller})
    if result.bid_price_millicent is None or result.ask_price_millicent is None:
        assert not result.trades
        return
    # weak budget balance: buyers pay at least what sellers receive
    assert result.bid_price_millicent >= result.ask_price_millicent
    for trade in result.trades:
        mine = by_home[trade.home]
        assert trade.side is mine.side
        assert 0 < trade.volume_wh <= mine.volume_wh
        if trade.side is Side.BUY:
            assert result.bid_price_millicent <= mine.price_millicent
        else:
            assert result.ask_price_millicent >= mine.price_millicent


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_arrival_sequence_does_not_matter(data: st.DataObject) -> None:
    orders = data.draw(books())
    assert clear(data.draw(st.permutations(orders))) == clear(orders)


@settings(max_examples=50, deadline=None)
@given(books(max_side=8, max_volume=5), st.integers(10**7, 10**8))
def test_scaled_book_beyond_int64_products_keeps_pair_and_balance(orders: list[Order], scale: int) -> None:
    big = [replace(o, volume_wh=o.volume_wh * scale) for o in orders]
    small, large = clear(orders), clear(big)
    assert (small.critical_buyer, small.critical_seller) == (large.critical_buyer, large.critical_seller)
    assert large.traded_wh == scale * small.traded_wh
