"""Commits per second and the wait for an acknowledgement, on SQLite and PostgreSQL.

Each of so many writers stores its own aggregate again and again, as VENs do that all have a request in
flight; writes of one moment share a transaction.

Run: ``python -m bench.store_commits [--seconds 2]``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import quantiles

from tests import postgres
from tests.unit.vtn.rig import PROVISIONS, metadata
from vtn_server.decision import SaveVen
from vtn_server.sqlstore import open_store
from vtn_server.state import Ven, VenId
from vtn_server.store import Store


async def write(store: Store, ven: Ven, until: float, waits_ms: list[float]) -> Ven:
    """Store an aggregate until the time is over."""
    while (begun := time.perf_counter()) < until:
        ven = replace(ven, version=ven.version + 1)
        await store.commit((SaveVen(ven=ven),))
        waits_ms.append((time.perf_counter() - begun) * 1e3)
    return ven


async def measure(label: str, url: str, seconds: float) -> None:
    """Print the figures of one store."""
    store = open_store(url)
    for writers in (1, 10, 50, 200):
        vens = [
            Ven(
                ven_id=VenId(each),
                provision=replace(PROVISIONS[0], ven_id=VenId(each)),
                metadata=(metadata(),),
            )
            for each in (f"{writers}-{number}" for number in range(writers))
        ]
        waits_ms: list[float] = []
        before, begun = store.commits, time.perf_counter()
        await asyncio.gather(*(write(store, each, begun + seconds, waits_ms) for each in vens))
        took = time.perf_counter() - begun
        cuts = quantiles(waits_ms, n=100)
        sys.stdout.write(
            f"{label:<11}{writers:4} writers: {len(waits_ms) / took:8.0f} writes/s in"
            f" {(store.commits - before) / took:6.0f} transactions/s; acknowledged after"
            f" {cuts[49]:6.2f} ms (median), {cuts[98]:6.2f} ms (99 %)\n"
        )
    await store.close()


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure("sqlite", str(Path(folder) / "vtn.sqlite"), seconds))
    with postgres.server() as server, postgres.fresh_schema(server) as url:
        asyncio.run(measure("postgresql", url, seconds))


if __name__ == "__main__":
    main()
