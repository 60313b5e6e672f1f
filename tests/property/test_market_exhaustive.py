"""Every small book there is: no lie about the price pays, nobody loses, energy and money balance.

Sizes go up to three buyers and two sellers and the other way round. Prices are 0, 2 and 4 (0 and 2 where it
would take too long) and volumes 1 and 2: every sequence of prices, every tie and every way in which the
curves can meet. Lies also fall between and beyond the prices. Sequence numbers only compare orders of one
side, so running through all assignments of (price, volume) to the orders runs through all sequences, too.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest

from dso_engine.market import Clearing, Order, Side, clear
from dso_engine.model import HomeId

LIES = (-1, 0, 1, 2, 3, 4, 5)
VOLUMES = (1, 2)
Offers = tuple[tuple[int, int], ...]
"""(price, volume) of each order, buyers first."""


@cache
def cleared(buyers: int, offers: Offers) -> tuple[tuple[int, ...], Clearing]:
    """Signed volume of each order, + bought, and the clearing."""
    result = clear(
        [
            Order(
                home=HomeId(str(k)),
                side=Side.BUY if k < buyers else Side.SELL,
                price_millicent=price,
                volume_wh=volume,
                seq=k,
            )
            for k, (price, volume) in enumerate(offers)
        ]
    )
    volumes = [0] * len(offers)
    for side, sign in ((result.bought, 1), (result.sold, -1)):
        for home, volume in zip(side.homes, side.volumes_wh, strict=True):
            k = int(home)
            assert (sign > 0) == (k < buyers)
            assert 0 < volume <= offers[k][1]
            volumes[k] = sign * volume
    return tuple(volumes), result


def gain(buyers: int, offers: Offers, k: int, value: int) -> int:
    """What the home of order k gains if ``value`` is its true price."""
    volumes, result = cleared(buyers, offers)
    if not volumes[k]:
        return 0
    price = result.bid_price_millicent if k < buyers else result.ask_price_millicent
    assert price is not None
    return volumes[k] * (value - price)


@pytest.mark.parametrize(
    ("buyers", "sellers", "prices"),
    [
        (1, 1, (0, 2, 4)),
        (1, 2, (0, 2, 4)),
        (2, 1, (0, 2, 4)),
        (2, 2, (0, 2, 4)),
        (1, 3, (0, 2)),
        (3, 1, (0, 2)),
        (3, 2, (0, 2, 4)),
        (2, 3, (0, 2)),
    ],
)
def test_every_small_book(buyers: int, sellers: int, prices: tuple[int, ...]) -> None:
    cleared.cache_clear()
    traded = 0
    for offers in product(product(prices, VOLUMES), repeat=buyers + sellers):
        volumes, result = cleared(buyers, offers)
        traded += bool(result.traded_wh)
        assert sum(volumes) == 0
        assert sum(map(abs, volumes)) == 2 * result.traded_wh
        if result.bid_price_millicent is not None and result.ask_price_millicent is not None:
            assert result.bid_price_millicent >= result.ask_price_millicent, f"{offers}: a deficit"
        for k, (price, volume) in enumerate(offers):
            honest = gain(buyers, offers, k, price)
            assert honest >= 0, f"{offers}: order {k} loses"
            for lie in LIES[: 2 * len(prices) + 1]:
                told = (*offers[:k], (lie, volume), *offers[k + 1 :])
                assert gain(buyers, told, k, price) <= honest, f"{offers}: order {k} gains by saying {lie}"
    assert (traded > 0) == (min(buyers, sellers) > 1), "one buyer or one seller never trades (R4)"
    cleared.cache_clear()
