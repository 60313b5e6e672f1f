"""What a slot of a fleet costs: set-up and slots of 100 to 2,000 feeders on a number of workers.

Three slots are played, each as the only slot of a run, so that the time is from the first order to the last
result: noon of a sunny day and a calm slot (03:00) with the fleet as it is drawn by default, and the worst
case: noon on the rural network with PV in nine of ten homes, where nearly every feeder is controlled. The
first run of each fleet and size includes building all models (cold), the others find them on the workers
(warm); the cheapest warm one counts, since others use the machine, too.

Run: ``python -m bench.fleet [--sizes 100,500,1000,2000] [--workers 2] [--rounds 2] [--kinds noon,calm]``.
Exit code 1 if a warm slot of 1,000 feeders takes more than 30 s or a feeder's processor time varies by more
than a third with the size.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from config.settings import data_path, load_neighbourhood
from dso_engine.feeder_file import read_network_file
from feederloop.fleet.block import forget_blocks
from feederloop.fleet.cluster import DaskCrew, local_client
from feederloop.fleet.generate import Fleet
from feederloop.fleet.result import FleetRun, summarise
from feederloop.fleet.work import Crew, FleetPlan, Here, run_fleet

_LIMIT_S: Final = 30.0
_FLAT: Final = 4.0 / 3.0
_EXTRAPOLATED: Final = 10_000
_DAY: Final = (2018, 5, 16)
_REFERENCES: Final = ("lv_33h_17pv", "lv_33h_17pv_150_70", "lv_50h", "lv_50h_rural")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A fleet and the hour it is played at."""

    name: str
    fleet: Fleet
    hour_utc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind and size."""

    kind: str
    feeders: int
    cold: FleetRun | None
    warm: FleetRun

    @property
    def slot_ms(self) -> float:
        """Processor time of a feeder's slot, models there."""
        return 1e3 * self.warm.slot_cpu_s / self.feeders

    @property
    def setup_ms(self) -> float | None:
        """Processor time of building a feeder; None where it was built for another slot."""
        return None if self.cold is None else 1e3 * self.cold.setup_cpu_s / self.feeders


def kinds() -> tuple[Kind, ...]:
    """Return what is played."""
    files = {name: read_network_file(data_path("networks", f"{name}.json")) for name in _REFERENCES}
    settings = load_neighbourhood()
    drawn = Fleet(references=tuple(files.values()), neighbourhood=settings, seed=1)
    worst = Fleet(
        references=(files["lv_50h_rural"],),
        neighbourhood=settings,
        seed=1,
        reach_min=1.0,
        pv_share_min=0.9,
        pv_kwp_min=4.0,
    )
    return (
        Kind(name="noon", fleet=drawn, hour_utc=11),
        Kind(name="calm", fleet=drawn, hour_utc=2),
        Kind(name="worst", fleet=worst, hour_utc=11),
    )


def measure(kind: Kind, feeders: int, crew: Crew, rounds: int, built: set[tuple[str, int]]) -> Row:
    """Play one kind: once with models to build if nobody has built them, then without."""
    start = datetime(*_DAY, kind.hour_utc, tzinfo=UTC)
    plan = FleetPlan(fleet=kind.fleet, feeders=feeders, start=start, slots=1)
    cold = None
    if (kind.fleet.digest, feeders) not in built:
        _forget(crew)
        built.clear()
        built.add((kind.fleet.digest, feeders))
        cold = run_fleet(plan, crew, _silent)
    runs = [run_fleet(plan, crew, _silent) for _ in range(rounds)]
    if any(run.results != (cold or runs[0]).results for run in runs):
        raise AssertionError("a run differs from the first one")
    return Row(kind=kind.name, feeders=feeders, cold=cold, warm=min(runs, key=lambda run: run.slot_cpu_s))


def header(workers: int) -> str:
    """Return the head of the table."""
    return (
        f"{workers} workers; wall: from the first order to the last result; CPU: of all workers, per feeder\n"
        f"{'slot':<8}{'feeders':>8}{'cold wall':>11}{'warm wall':>11}{'setup CPU':>11}{'slot CPU':>10}"
        f"{'priced':>8}{'broken at zero':>16}{'at the end':>12}{'unverified':>12}\n"
    )


def line(row: Row) -> str:
    """Return one line of the table."""
    seen = summarise(row.warm.results)
    cold = "built" if row.cold is None else f"{row.cold.wall_s:.1f} s"
    setup = "built" if row.setup_ms is None else f"{row.setup_ms:.1f} ms"
    return (
        f"{row.kind:<8}{row.feeders:>8}{cold:>11}{row.warm.wall_s:>9.1f} s{setup:>11}"
        f"{row.slot_ms:>7.1f} ms{seen.priced:>8}{seen.broken_before:>16}{seen.broken_after:>12}"
        f"{seen.unverified:>12}\n"
    )


def judge(rows: Sequence[Row], workers: int) -> bool:
    """Print how flat the cost is and what 10,000 feeders would take; return whether the figures are met."""
    met = all(row.warm.wall_s <= _LIMIT_S for row in rows if row.feeders == 1000)
    for name in dict.fromkeys(row.kind for row in rows):
        costs = [row.slot_ms for row in rows if row.kind == name]
        flat = max(costs) / min(costs)
        met = met and flat <= _FLAT
        cpu_s = costs[-1] * _EXTRAPOLATED / 1e3
        sys.stdout.write(
            f"{name}: dearest size over cheapest {flat:.2f}; {_EXTRAPOLATED:,} feeders, from the last size: "
            f"{cpu_s:.0f} s of CPU, {cpu_s / workers:.0f} s on {workers} cores of their own\n"
        )
    return met


def _forget(crew: Crew) -> None:
    if isinstance(crew, DaskCrew):
        crew.everywhere(forget_blocks)
    else:
        forget_blocks()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def _silent(done: int, total: int) -> None:
    del done, total


def main() -> None:
    """Measure; exit code 1 if a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100,500,1000,2000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kinds", default="noon,calm,worst")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    chosen = [kind for kind in kinds() if kind.name in arguments.kinds.split(",")]
    sizes = [int(size) for size in arguments.sizes.split(",")]
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    rows: list[Row] = []
    with ExitStack() as stack:
        crew: Crew = Here()
        if arguments.workers > 1:
            crew = DaskCrew(stack.enter_context(local_client(arguments.workers)))
        # What a process does once in its life, whatever the size, is not a feeder's cost.
        measure(kinds()[2], 50 * arguments.workers, crew, 1, set())
        built: set[tuple[str, int]] = set()
        sys.stdout.write(header(arguments.workers))
        for size in sizes:
            for kind in chosen:
                rows.append(measure(kind, size, crew, arguments.rounds, built))
                sys.stdout.write(line(rows[-1]))
                sys.stdout.flush()
        peaks = crew.everywhere(_peak_mb) if isinstance(crew, DaskCrew) else (_peak_mb(),)
    met = judge(rows, arguments.workers)
    sys.stdout.write(f"largest memory of a worker: {max(peaks):.0f} MB\n")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
