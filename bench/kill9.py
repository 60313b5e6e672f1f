"""Kills a VTN at many random points and checks that nothing was lost or doubled.

Run: ``python -m bench.kill9 --points 200 [--seed 1] [--db URL]``, or ``--workers 3`` for several processes on
one PostgreSQL, of which one after the other is killed while the others go on.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import postgres
from tests.e2e.kill9_crowd import crowd_day
from tests.e2e.kill9_day import day


@contextmanager
def _store(named: str | None, *, shared: bool) -> Iterator[str]:
    """Hold an empty store."""
    if named is not None:
        yield named
    elif shared:
        with postgres.server() as server, postgres.fresh_schema(server) as url:
            yield url
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield str(Path(folder) / "vtn.sqlite")


def main() -> None:
    """Play one long day."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200, help="how often the VTN is killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--db", help="an empty store; a new one if left out")
    parser.add_argument("--workers", type=int, default=1, help="processes; more than one on PostgreSQL")
    options = parser.parse_args()
    with _store(options.db, shared=options.workers > 1) as url:
        begun = time.perf_counter()
        if options.workers > 1:
            work = crowd_day(url, processes=options.workers, kills=options.points, seed=options.seed)
        else:
            work = day(url, kills=options.points, seed=options.seed)
        outcome = asyncio.run(work)
    took = time.perf_counter() - begun
    sys.stdout.write(
        f"{outcome.kills} kills, {outcome.facts} answered effects: 0 lost, 0 doubled; "
        f"{outcome.replays} replays of signed messages refused; {took:.0f} s\n"
    )


if __name__ == "__main__":
    main()
