"""``feederloop bench soak``: everything at once for a long time, and whether memory stays where it is.

VENs over mutual TLS do whatever a VEN may do, restarts and new registrations among it; the operator
publishes, changes and cancels events and asks for reports; what is old is deleted every minute. Every few
seconds the memory, the open files, the tasks and the database of the server are looked at. The slope of the
memory is that of a straight line through all samples after the first half, in which caches fill.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from feederloop.bench.crowd_census import fill_store
from feederloop.bench.crowd_files import Crowd
from feederloop.bench.crowd_stage import Child, server
from feederloop.bench.model import Figure, Remark, Scope
from feederloop.bench.soak_ven import SoakVen

__all__ = ["SoakChoice", "SoakSample", "growth_per_hour", "measure_soak"]

Say = Callable[[str], None]
_MIB: Final = 1024.0**2
_ACT_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakChoice:
    """How long, and how much.

    Attributes:
        minutes: For how long.
        vens: How many VENs there are.
        pause_s: The mean pause of a VEN between two things it does.
        every_s: How often the server is looked at.
        growth_mib_per_hour: How much its memory may grow.
    """

    minutes: float = 60.0
    vens: int = 100
    pause_s: float = 2.0
    every_s: float = 10.0
    growth_mib_per_hour: float = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakSample:
    """The server at one moment; sizes in MiB."""

    at_s: float
    memory_mib: float
    files: int
    tasks: int
    store_mib: float


async def measure_soak(choice: SoakChoice, say: Say) -> tuple[tuple[Figure, ...], tuple[Remark, ...]]:
    """Return the figures, and how they came about.

    Raises:
        BenchError: if a process does not do what it should.
    """
    tally: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="feederloop-bench-") as place:
        crowd = Crowd(folder=Path(place), vens=choice.vens)
        crowd.make()
        await fill_store(crowd)
        async with server(crowd) as vtn:
            url = f"https://127.0.0.1:{vtn.port}"

            async def ask(ven_id: str) -> None:
                tally[f"operator: {await vtn.child.ask(f'ask {ven_id}')}"] += 1

            vens = [SoakVen(crowd, k, url, choice.pause_s, tally, faults, ask) for k in range(choice.vens)]
            tasks = [asyncio.create_task(each.run()) for each in vens]
            tasks.append(asyncio.create_task(_operate(vtn.child, tally)))
            try:
                samples = await _watch(choice, crowd, vtn.child, tasks, say)
                state = await vtn.child.ask("state")
            finally:
                for each in tasks:
                    each.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    return _figures(choice, samples, state, faults), _how(choice, tally, faults)


async def _operate(vtn: Child, tally: Counter[str]) -> None:
    while True:
        await asyncio.sleep(_ACT_S)
        tally[f"operator: {await vtn.ask('act')}"] += 1


async def _watch(
    choice: SoakChoice, crowd: Crowd, vtn: Child, tasks: list[asyncio.Task[None]], say: Say
) -> list[SoakSample]:
    samples: list[SoakSample] = []
    ends_s = time.monotonic() + 60.0 * choice.minutes
    while time.monotonic() < ends_s:
        done, _ = await asyncio.wait(tasks, timeout=choice.every_s, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()  # a VEN that ends has failed
        state = await vtn.ask("state")
        store = sum(each.stat().st_size for each in crowd.folder.glob("vtn.sqlite*"))
        sample = SoakSample(
            at_s=state["at_s"],
            memory_mib=state["rss"] / _MIB,
            files=state["files"],
            tasks=state["tasks"],
            store_mib=store / _MIB,
        )
        samples.append(sample)
        say(
            f"{sample.memory_mib:.1f} MiB, {sample.files} files, {sample.tasks} tasks, "
            f"store {sample.store_mib:.1f} MiB"
        )
    return samples


def growth_per_hour(samples: list[SoakSample]) -> float:
    """Return how much memory grows after the first half of the samples, MiB per hour; 0 if there are few."""
    kept = samples[len(samples) // 2 :]
    if len(kept) < 3:
        return 0.0
    hours = np.array([each.at_s for each in kept]) / 3600.0
    slope, _ = np.polyfit(hours - hours[0], np.array([each.memory_mib for each in kept]), 1)
    return float(slope)


def _figures(
    choice: SoakChoice, samples: list[SoakSample], state: dict[str, dict[str, int]], faults: Counter[str]
) -> tuple[Figure, ...]:
    kept = samples[len(samples) // 2 :]
    return (
        _asked("length", choice.minutes, "min"),
        _asked("messages received by the server", sum(state["messages_in"].values()), ""),
        _asked(
            "growth of memory after the first half",
            growth_per_hour(samples),
            "MiB/h",
            choice.growth_mib_per_hour,
        ),
        _asked("memory after the first half, at the least", min(each.memory_mib for each in kept), "MiB"),
        _asked("memory after the first half, at the most", max(each.memory_mib for each in kept), "MiB"),
        _asked("open files, at the most", max(each.files for each in kept), ""),
        _asked("tasks, at the most", max(each.tasks for each in kept), ""),
        _asked("database with its log, at the end", kept[-1].store_mib, "MiB"),
        _asked("answers 5xx", sum(n for code, n in state["http_errors"].items() if code >= "500"), "", 0.0),
        _asked("faults seen by VENs", sum(faults.values()), "", 0.0),
    )


def _how(choice: SoakChoice, tally: Counter[str], faults: Counter[str]) -> tuple[Remark, ...]:
    did = ", ".join(f"{what} {count}" for what, count in sorted(tally.items()))
    texts = [
        f"{choice.vens} VENs over mutual TLS, each does something every {choice.pause_s:g} s in the mean; "
        f"the operator every {_ACT_S:g} s. Report data and events that are over for more than a "
        "minute are deleted every minute.",
        f"What was done: {did}.",
        *(f"A fault, {count} times: {what}" for what, count in faults.most_common(5)),
    ]
    return tuple(Remark(scope=Scope.SOAK, text=each) for each in texts)


def _asked(what: str, value: float, unit: str, most: float | None = None) -> Figure:
    return Figure(scope=Scope.SOAK, what=what, value=float(value), unit=unit, most=most)
