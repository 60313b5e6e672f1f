"""``feederloop bench scale``: how much a VEN costs a VTN that has ten thousand of them.

Memory is what a process with the VENs has more than one without, divided by their number; first as it is
loaded, then after each VEN has been given a price and polled, without its connection, and then with all
connections. Polls come over connections that are kept alive, each VEN's with its own certificate.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from feederloop.bench.crowd_census import fill_store
from feederloop.bench.crowd_files import Crowd
from feederloop.bench.crowd_stage import Child, Windows, check_file_limit, cores, server, started
from feederloop.bench.model import Figure, Remark, Scope, percentile

__all__ = ["ScaleChoice", "busy_remark", "measure_scale"]

Say = Callable[[str], None]
_KIB: Final = 1024.0
_SATURATED: Final = 0.8
"""Of a core: beyond that the load generator may be what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleChoice:
    """What is to be measured.

    Attributes:
        vens: How many there are.
        seconds: For how long they poll.
        period_s: How often each polls.
        processes: Over how many processes they are spread.
    """

    vens: int = 10_000
    seconds: float = 300.0
    period_s: float = 10.0
    processes: int = 2


async def measure_scale(choice: ScaleChoice, say: Say) -> tuple[tuple[Figure, ...], tuple[Remark, ...]]:
    """Return the figures, and how they came about.

    Raises:
        BenchError: if a process does not do what it should.
    """
    check_file_limit(choice.vens)
    with tempfile.TemporaryDirectory(prefix="feederloop-bench-") as place:
        nobody = Crowd(folder=Path(place) / "nobody", vens=0)
        crowd = Crowd(folder=Path(place) / "crowd", vens=choice.vens)
        for each in (nobody, crowd):
            each.folder.mkdir()
            each.make()
        say(f"{choice.vens} certificates are made")
        await fill_store(crowd)
        async with server(nobody) as empty:
            bare = empty.rss
        async with server(crowd) as vtn:
            say(f"the VTN listens after {vtn.seconds:.1f} s")
            figures = [
                _asked("cold start, from the start of the process until it listens", vtn.seconds, "s", 10.0)
            ]
            figures.append(_asked("memory of a VEN as loaded", (vtn.rss - bare) / choice.vens / _KIB, "KiB"))
            await vtn.child.ask("publish pull")
            await vtn.child.ask("touch")
            touched = await vtn.child.ask("state")
            per_ven = (touched["rss"] - bare) / choice.vens / _KIB
            figures.append(_asked("memory of a VEN with an event, after it has polled", per_ven, "KiB", 12.0))
            found, remarks = await _polled(choice, crowd, vtn.port, vtn.child, touched, say)
    return (*figures, *found), (*remarks, *_how(choice))


async def _polled(
    choice: ScaleChoice, crowd: Crowd, port: int, vtn: Child, touched: dict[str, Any], say: Say
) -> tuple[list[Figure], list[Remark]]:
    async with started(crowd, port, choice.period_s, choice.processes) as crews:
        seated_s = await crews.all_seated(60.0 + choice.vens / 25.0)
        say(f"{choice.vens} VENs are connected after {seated_s:.0f} s")
        await asyncio.sleep(2.5 * choice.period_s)  # until each polls at its own moment
        before = await vtn.ask("state")
        await crews.open()
        await asyncio.sleep(choice.seconds)
        window = await crews.close_window()
        after = await vtn.ask("state")
    polls = len(window.latencies_s)
    spent_s, took_s = after["cpu_s"] - before["cpu_s"], after["at_s"] - before["at_s"]
    errors = sum(count for _, count in window.faults) + sum(after["http_errors"].values())
    latencies_ms = 1e3 * window.latencies_s
    per_connection = (before["rss"] - touched["rss"]) / choice.vens / _KIB
    figures = [
        _asked("memory of an open connection, TLS included", per_connection, "KiB"),
        _asked("memory of the process with all VENs connected", before["rss"] / _KIB**2, "MiB"),
        _asked("open files of the process", before["files"], ""),
        _asked("connections made per second, at the beginning", choice.vens / seated_s, "1/s"),
        _asked("polls per second", polls / window.seconds, "1/s"),
        _asked("latency of a poll, median", percentile(tuple(latencies_ms), 0.5), "ms"),
        _asked("latency of a poll, 99th percentile", percentile(tuple(latencies_ms), 0.99), "ms", 250.0),
        _asked("latency of a poll, longest", float(latencies_ms.max()), "ms"),
        _asked("of that the load generator itself, 99th percentile", _lag_ms(window), "ms"),
        _asked("errors", errors, "", 0.0),
        _asked("CPU of the server per poll", 1e3 * spent_s / polls, "ms"),
        _asked("of its core", 100.0 * spent_s / took_s, "%"),
        _asked("longest collection of garbage", 1e3 * after["longest_collection_s"], "ms"),
    ]
    remarks = [Remark(scope=Scope.SCALE, text=f"{what}: {count}") for what, count in window.faults]
    return figures, [*remarks, *busy_remark(window, Scope.SCALE)]


def _lag_ms(window: Windows) -> float:
    return 1e3 * percentile(tuple(window.lags_s), 0.99)


def _asked(what: str, value: float, unit: str, most: float | None = None) -> Figure:
    return Figure(scope=Scope.SCALE, what=what, value=float(value), unit=unit, most=most)


def busy_remark(window: Windows, scope: Scope) -> tuple[Remark, ...]:
    """Return what is to be said of the load generator."""
    text = f"The VENs' processes took {100.0 * window.cpu_share:.0f} % of their core."
    if window.cpu_share > _SATURATED:
        text += " They were saturated: latencies are theirs as much as the server's."
    return (Remark(scope=scope, text=text),)


def _how(choice: ScaleChoice) -> tuple[Remark, ...]:
    where = "on a core of its own" if cores()[0] >= 0 else "on the only core, with the VENs"
    texts = (
        f"{choice.vens:,} VENs, each registered with six reports and as many report requests, as a home of "
        "ours has, in one process on SQLite; mutual TLS 1.3, a P-256 certificate for each.",
        f"The server is {where}; the VENs are {choice.processes} processes. Each VEN polls every "
        f"{choice.period_s:g} s at a moment of its own, for {choice.seconds:g} s. Latencies count from when "
        "a poll was due. Every reply is checked.",
        f"The server needs a limit of {choice.vens + 400:,} open files (LimitNOFILE), and "
        "`limits.connections` and, where all come from one address, `limits.connections_per_address` as high "
        "as there are VENs.",
    )
    return tuple(Remark(scope=Scope.SCALE, text=each) for each in texts)
