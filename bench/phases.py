"""Exact phase allocation: how long it takes, by number of switches.

Run: ``python -m bench.phases [--rounds 50]``. Flows are random slots of homes with PV and batteries; the
current phases are random, the price of an operation is the default. Above the greatest number the method
takes, nothing is measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Final

import numpy as np

from dso_engine.phase import MAX_SWITCHES
from feederloop.bench.engine import phase_cases

SWITCHES: Final = (2, 4, 6, 7, 8, 10, 12, 14, 16, MAX_SWITCHES)


def times_ms(switches: int, rounds: int) -> list[float]:
    """Return how long each allocation took, ms; the first, which fills caches, included."""
    took = []
    for allocate in phase_cases(switches, rounds):
        begun = time.perf_counter()
        allocate()
        took.append(1e3 * (time.perf_counter() - begun))
    return took


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    sys.stdout.write(f"{rounds} allocations each, ms\n{'switches':>8}{'median':>10}{'max':>10}\n")
    for switches in SWITCHES:
        took = times_ms(switches, rounds)
        sys.stdout.write(f"{switches:8}{np.median(took):10.2f}{max(took):10.2f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
