"""Hand-computed auctions: each rule and edge case of mechanisms.md 2."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from dso_engine.errors import InvalidOrder
from dso_engine.market import Clearing, ClearingStatus, Order, Side, clear, sequence_number
from dso_engine.model import HomeId

Pairs = list[tuple[int, int]]


def book(bids: Pairs, asks: Pairs) -> list[Order]:
    """Bids b1, b2, ... and asks s1, s2, ... as (price, volume); seq in that order."""
    named = [("b", Side.BUY, bids), ("s", Side.SELL, asks)]
    rows = [(f"{n}{i}", side, p, v) for n, side, pairs in named for i, (p, v) in enumerate(pairs, 1)]
    return [
        Order(home=HomeId(home), side=side, price_millicent=p, volume_wh=v, seq=seq)
        for seq, (home, side, p, v) in enumerate(rows)
    ]


def traded(clearing: Clearing) -> dict[str, int]:
    return {str(t.home): t.volume_wh for t in clearing.trades}


def buyer_utility(clearing: Clearing, value: int, *homes: str) -> int:
    volume = sum(traded(clearing).get(home, 0) for home in homes)
    return 0 if clearing.bid_price_millicent is None else volume * (value - clearing.bid_price_millicent)


def test_plain_book() -> None:
    # Units: 5 @ 20, 5 @ 15, 5 @ 10 against 5 @ 4, 5 @ 8, 5 @ 12; 10 match, the pair is (15, 8).
    result = clear(book([(20, 5), (15, 5), (10, 5)], [(4, 5), (8, 5), (12, 5)]))
    assert result.status is ClearingStatus.TRADED
    assert (result.bid_price_millicent, result.ask_price_millicent) == (15, 8)
    assert (result.critical_buyer, result.critical_seller) == ("b2", "s2")
    assert traded(result) == {"b1": 5, "s1": 5}
    assert (result.demanded_wh, result.offered_wh, result.traded_wh) == (15, 15, 5)


@pytest.mark.parametrize(
    ("bids", "asks", "status"),
    [
        ([], [], ClearingStatus.EMPTY),
        ([(20, 5)], [], ClearingStatus.ONE_SIDED),
        ([], [(20, 5)], ClearingStatus.ONE_SIDED),
        ([(7, 5), (6, 5)], [(8, 5)], ClearingStatus.NO_CROSSING),
    ],
)
def test_nothing_matched_has_no_price(bids: Pairs, asks: Pairs, status: ClearingStatus) -> None:
    result = clear(book(bids, asks))
    assert result.status is status
    assert result.bid_price_millicent is None
    assert result.ask_price_millicent is None
    assert result.critical_buyer is None
    assert result.critical_seller is None
    assert result.trades == ()
    assert result.traded_wh == 0
    assert result.demanded_wh == sum(v for _, v in bids)
    assert result.offered_wh == sum(v for _, v in asks)


@pytest.mark.parametrize(
    ("bids", "asks", "pair"),
    [
        # one crossing pair
        ([(10, 5)], [(5, 5)], ("b1", "s1")),
        # B = 1: the first buyer's volume covers every match
        ([(10, 50), (9, 5)], [(5, 5), (6, 5), (7, 5)], ("b1", "s3")),
        # S = 1
        ([(10, 5), (9, 5)], [(5, 50)], ("b2", "s1")),
    ],
)
def test_no_winner_still_reports_critical_prices(bids: Pairs, asks: Pairs, pair: tuple[str, str]) -> None:
    result = clear(book(bids, asks))
    assert result.status is ClearingStatus.NO_WINNER
    assert (result.critical_buyer, result.critical_seller) == pair
    assert result.bid_price_millicent is not None
    assert result.ask_price_millicent is not None
    assert result.trades == ()
    assert result.traded_wh == 0


def test_boundary_book_takes_the_orders_that_end_there() -> None:
    # 50 @ 100 meets 50 @ 10; 70 < 80 stops: both curves end at 50, so b1 and s1 are the pair, not b2 and s2.
    result = clear(book([(100, 50), (70, 50)], [(10, 50), (80, 50)]))
    assert (result.critical_buyer, result.critical_seller) == ("b1", "s1")
    assert (result.bid_price_millicent, result.ask_price_millicent) == (100, 10)
    assert result.status is ClearingStatus.NO_WINNER


def test_boundary_with_winners_in_front() -> None:
    # Both sides end at 30; the next pair (60, 65) does not cross.
    result = clear(book([(100, 10), (90, 20), (60, 5)], [(10, 20), (20, 10), (65, 5)]))
    assert (result.critical_buyer, result.critical_seller) == ("b2", "s2")
    # V_B = 10, V_S = 20: the seller is rationed to 10.
    assert traded(result) == {"b1": 10, "s1": 10}


def test_equal_bid_and_ask_are_matched() -> None:
    # Without b = s the pair would be (b1, s1) and nobody would trade.
    result = clear(book([(10, 5), (8, 5)], [(5, 5), (8, 5)]))
    assert (result.critical_buyer, result.critical_seller) == ("b2", "s2")
    assert (result.bid_price_millicent, result.ask_price_millicent) == (8, 8)
    assert traded(result) == {"b1": 5, "s1": 5}


def test_critical_order_in_the_middle_of_its_volume() -> None:
    # Supply ends at 12, inside b2 (units 11 to 30): b2 is critical though 18 of its units match nothing.
    result = clear(book([(100, 10), (90, 20)], [(10, 6), (20, 6), (95, 50)]))
    assert (result.critical_buyer, result.critical_seller) == ("b2", "s2")
    assert traded(result) == {"b1": 6, "s1": 6}


def test_long_side_is_rationed_in_proportion() -> None:
    # Winners: buyers 30 + 10 = 40, seller 20; short/long = 1/2.
    result = clear(book([(100, 30), (90, 10), (80, 100)], [(10, 20), (20, 50)]))
    assert (result.critical_buyer, result.critical_seller) == ("b3", "s2")
    assert traded(result) == {"b1": 15, "b2": 5, "s1": 20}


def test_largest_remainder_gets_the_last_units() -> None:
    # 10 over 7 + 5 + 3 = 15: 4.667, 3.333, 2 -> floors 4, 3, 2, the one left goes to b1.
    result = clear(book([(100, 7), (90, 5), (80, 3), (70, 100)], [(10, 10), (20, 90)]))
    assert traded(result) == {"b1": 5, "b2": 3, "b3": 2, "s1": 10}


def test_remainder_ties_go_by_seq_not_by_price() -> None:
    orders = book([(100, 3), (90, 3), (80, 3), (70, 100)], [(10, 4), (20, 90)])
    # 4 over 9: 1.333 each, one unit left. By price b1 would get it; b3 has the smallest seq.
    seqs = {"b1": 7, "b2": 5, "b3": 3, "b4": 1, "s1": 0, "s2": 2}
    swapped = [replace(o, seq=seqs[o.home]) for o in orders]
    assert traded(clear(swapped)) == {"b1": 1, "b2": 1, "b3": 2, "s1": 4}


def test_a_share_of_nothing_is_no_trade_line() -> None:
    # 1 unit over 1 + 1: b2 gets nothing and has no line.
    result = clear(book([(100, 1), (90, 1), (80, 100)], [(10, 1), (20, 90)]))
    assert traded(result) == {"b1": 1, "s1": 1}


def test_equal_prices_rank_by_seq_and_arrival_does_not_matter() -> None:
    # Same price: the smaller seq wins, the other is critical.
    def order(home: str, side: Side, price: int, seq: int) -> Order:
        return Order(home=HomeId(home), side=side, price_millicent=price, volume_wh=5, seq=seq)

    orders = [
        order("late", Side.BUY, 10, 9),
        order("early", Side.BUY, 10, 2),
        order("s1", Side.SELL, 1, 5),
        order("s2", Side.SELL, 2, 6),
    ]
    result = clear(orders)
    assert traded(result) == {"early": 5, "s1": 5}
    assert result.critical_buyer == "late"
    assert clear(orders[::-1]) == result


def test_equal_seq_falls_back_on_the_id() -> None:
    def order(home: str, side: Side, price: int) -> Order:
        return Order(home=HomeId(home), side=side, price_millicent=price, volume_wh=5, seq=1)

    orders = [
        order("y", Side.BUY, 10),
        order("x", Side.BUY, 10),
        order("s1", Side.SELL, 1),
        order("s2", Side.SELL, 2),
    ]
    assert traded(clear(orders)) == {"x": 5, "s1": 5}
    assert clear(orders[::-1]) == clear(orders)


def test_negative_prices_are_legal() -> None:
    result = clear(book([(5, 5), (-3, 5)], [(-20, 5), (-10, 5)]))
    assert (result.bid_price_millicent, result.ask_price_millicent) == (-3, -10)
    assert traded(result) == {"b1": 5, "s1": 5}


def test_duplicate_meter_is_refused_even_on_two_sides() -> None:
    orders = book([(10, 5)], [(5, 5)])
    twin = Order(home=HomeId("b1"), side=Side.SELL, price_millicent=4, volume_wh=1, seq=9)
    with pytest.raises(InvalidOrder, match="b1 has more than one"):
        clear([*orders, twin])


@pytest.mark.parametrize("volume", [0, -5, 10**9 + 1, 1.0, True])
def test_bad_volume_is_refused(volume: int) -> None:
    with pytest.raises(InvalidOrder, match="b2: volume"):
        clear(book([(10, 5), (9, volume)], [(5, 5)]))


@pytest.mark.parametrize("price", [10.5, "10", None, 10**9 + 1, -(10**9) - 1])
def test_bad_price_is_refused(price: int) -> None:
    with pytest.raises(InvalidOrder, match="b1: price"):
        clear(book([(price, 5)], [(5, 5)]))


def test_bad_seq_is_refused() -> None:
    order = Order(home=HomeId("b1"), side=Side.BUY, price_millicent=1, volume_wh=1, seq=2**63)
    with pytest.raises(InvalidOrder, match="sequence"):
        clear([order])


# --- what is not truthful: the exact counterexamples of mechanisms.md 2 -------------------------------------


def test_volume_over_report_pays() -> None:
    # The shares are not whole in the lie (9 * 9/12), so one unit of the text is 1000 Wh here.
    asks = [(8, 10_000), (7, 4000), (6, 5000)]
    truth = clear(book([(14, 7000), (12, 3000), (8, 8000), (8, 8000)], asks))
    lie = clear(book([(14, 9000), (12, 3000), (8, 8000), (8, 8000)], asks))
    assert buyer_utility(truth, 14, "b1") == 21_000
    assert buyer_utility(lie, 14, "b1") == 40_500


def test_volume_under_report_pays() -> None:
    asks = [(5, 6), (6, 4), (10, 6)]
    assert buyer_utility(clear(book([(15, 10), (8, 10)], asks)), 15, "b1") == 0
    assert buyer_utility(clear(book([(15, 6), (8, 10)], asks)), 15, "b1") == 42


def test_two_orders_for_one_home_pay() -> None:
    asks = [(5, 7), (12, 2), (6, 9), (5, 4)]
    assert buyer_utility(clear(book([(13, 2), (13, 10)], asks)), 13, "b2") == 0
    split = clear(book([(13, 2), (13, 9), (7, 1)], asks))
    assert buyer_utility(split, 13, "b2", "b3") == 54


# --- size ---------------------------------------------------------------------------------------------------


def test_products_beyond_int64_are_exact() -> None:
    # 40 winners of about 1 GWh: volume * V_short is about 2e19 > 2**63.
    big = 10**9
    bids = [(1000 - i, big - i) for i in range(40)] + [(500, big)] * 30
    asks = [(10, big - 3)] * 25 + [(20, big)] * 40
    result = clear(book(bids, asks))
    winners = bids[: int(str(result.critical_buyer)[1:]) - 1]
    demand = sum(v for _, v in winners)
    assert demand > result.traded_wh
    assert demand * result.traded_wh > 2**63
    shares = traded(result)
    for i, (_, volume) in enumerate(winners, 1):
        exact = volume * result.traded_wh
        assert exact // demand <= shares[f"b{i}"] <= exact // demand + 1
    assert sum(v for home, v in shares.items() if home[0] == "b") == result.traded_wh
    assert sum(v for home, v in shares.items() if home[0] == "s") == result.traded_wh


# --- sequence numbers ---------------------------------------------------------------------------------------

SLOT = datetime(2018, 5, 16, 10, tzinfo=UTC)


def test_sequence_number_is_stable_across_processes() -> None:
    code = (
        "from datetime import UTC, datetime\n"
        "from dso_engine.market import sequence_number\n"
        "import sys\n"
        "sys.stdout.write(str(sequence_number(datetime(2018, 5, 16, 10, tzinfo=UTC), 'h07', 3)))"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert int(run.stdout) == sequence_number(SLOT, HomeId("h07"), 3)


def test_sequence_number_depends_on_each_part_and_not_on_the_zone() -> None:
    base = sequence_number(SLOT, HomeId("h07"), 3)
    assert 0 <= base < 2**63
    assert base != sequence_number(SLOT, HomeId("h08"), 3)
    assert base != sequence_number(SLOT, HomeId("h07"), 4)
    assert base != sequence_number(SLOT + timedelta(minutes=10), HomeId("h07"), 3)
    assert base == sequence_number(SLOT.astimezone(timezone(timedelta(hours=1))), HomeId("h07"), 3)


def test_sequence_number_refuses_naive_time() -> None:
    with pytest.raises(ValueError, match="time zone"):
        sequence_number(datetime(2018, 5, 16), HomeId("h"), 0)  # noqa: DTZ001
