"""Kills a VTN at many random points and checks that nothing was lost or doubled.

Run: ``python -m bench.kill9 --points 200 [--seed 1] [--db URL]``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.kill9_day import day


def main() -> None:
    """Play one long day."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200, help="how often the VTN is killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--db", help="an empty store; a new SQLite file if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.db or str(Path(folder) / "vtn.sqlite")
        begun = time.perf_counter()
        outcome = asyncio.run(day(url, kills=options.points, seed=options.seed))
    took = time.perf_counter() - begun
    sys.stdout.write(
        f"{outcome.kills} kills, {outcome.facts} answered effects: 0 lost, 0 doubled; "
        f"{outcome.replays} replays of signed messages refused; {took:.0f} s\n"
    )


if __name__ == "__main__":
    main()
