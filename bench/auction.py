"""Time of one auction, from a tuple of orders to the result.

Orders have random prices that cross for about half of each side, random volumes and hashed sequence numbers;
making them is not timed. The lowest of some rounds is what the code costs, the median what a busy machine
makes of it.

Run: ``python -m bench.auction [--orders 1000 1000000] [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import median

from dso_engine.market import clear
from feederloop.bench.engine import auction_book


def measure(count: int, rounds: int) -> None:
    """Print the figures of one size of book."""
    orders, took = auction_book(count, seed=1), []
    clearing = clear(orders)
    for _ in range(rounds):
        begun = time.perf_counter()
        clear(orders)
        took.append((time.perf_counter() - begun) * 1e3)
    winners = len(clearing.bought.homes) + len(clearing.sold.homes)
    sys.stdout.write(
        f"{count:9,} orders: {min(took):9.2f} ms at best, {median(took):9.2f} ms in the median of {rounds}; "
        f"{winners:,} trades\n"
    )


def main() -> None:
    """Measure every size asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, nargs="+", default=[50, 1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    for count in arguments.orders:
        measure(count, arguments.rounds)


if __name__ == "__main__":
    main()
