"""The processes of a benchmark with a crowd: the VTN on one core, the VENs on another."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from feederloop.bench.crowd_files import Crowd
from feederloop.bench.load import BenchError

__all__ = [
    "Child",
    "Crews",
    "Started",
    "Windows",
    "check_file_limit",
    "cores",
    "listening",
    "server",
    "started",
]

_START_S: Final = 120.0
_ANSWER_S: Final = 120.0
_END_S: Final = 30.0
_FILES_BESIDE: Final = 400


def cores() -> tuple[int, int]:
    """Return the core of the server and that of the VENs; -1 where the machine has one only."""
    there = sorted(os.sched_getaffinity(0))
    return (there[0], there[1]) if len(there) > 1 else (-1, -1)


class Child:
    """A process that answers lines.

    Args:
        process: It.
        name: What it is, for errors.
    """

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self._asking = asyncio.Lock()

    @classmethod
    async def start(cls, module: str, *words: object) -> Self:
        """Start a module of this package."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"feederloop.bench.{module}", *map(str, words)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            process_group=0,  # Ctrl-C at a terminal is for us, and we end it
        )
        return cls(process, module)

    async def line(self, within_s: float = _ANSWER_S) -> str:
        """Return its next line.

        Raises:
            BenchError: if it ends, or says nothing.
        """
        assert self._process.stdout is not None  # it was started with pipes
        try:
            async with asyncio.timeout(within_s):
                line = await self._process.stdout.readline()
        except TimeoutError as err:
            raise BenchError(f"{self._name} has said nothing for {within_s:g} s") from err
        if not line:
            raise BenchError(f"{self._name} ended")
        return line.decode().strip()

    async def ask(self, command: str) -> Any:  # noqa: ANN401 - JSON
        """Return its answer to a command.

        Raises:
            BenchError: if it ends, or says nothing.
        """
        assert self._process.stdin is not None  # it was started with pipes
        async with self._asking:
            self._process.stdin.write(command.encode() + b"\n")
            await self._process.stdin.drain()
            return json.loads(await self.line())

    async def close(self) -> None:
        """End it, by force if need be."""
        assert self._process.stdin is not None  # it was started with pipes
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """What all processes of VENs measured in a window.

    Attributes:
        latencies_s: Shape (polls,).
        lags_s: Shape (polls,): how late the load generator itself was.
        seen_s: Shape (VENs,): when each was given the version that was waited for, monotonic.
        cpu_share: Of one core, what the VENs' processes took.
        faults: What went wrong, with how often.
        missed: VENs that were never given the version.
        late: VENs whose first poll after the publication came back without it.
    """

    latencies_s: NDArray[np.float64]
    lags_s: NDArray[np.float64]
    seen_s: NDArray[np.float64]
    seconds: float
    cpu_share: float
    faults: tuple[tuple[str, int], ...]
    missed: int
    late: int


class Crews:
    """All processes of pull VENs."""

    def __init__(self, children: tuple[Child, ...], vens: int) -> None:
        self._children = children
        self._vens = vens

    async def seated(self) -> int:
        """Return how many VENs are connected."""
        return sum([(await each.ask("seated"))[0] for each in self._children])

    async def faults(self) -> tuple[str, ...]:
        """Return what went wrong since the window was opened."""
        told = [await each.ask("seated") for each in self._children]
        return tuple(f"{count} x {what}" for _, faults in told for what, count in faults.items())

    async def all_seated(self, within_s: float) -> float:
        """Return how long it took until all VENs were connected, s.

        Raises:
            BenchError: if that takes too long.
        """
        began_s = time.monotonic()
        while (seated := await self.seated()) < self._vens:
            if time.monotonic() - began_s > within_s:
                raise BenchError(
                    f"{seated} of {self._vens} VENs are connected after {within_s:g} s: {await self.faults()}"
                )
            await asyncio.sleep(0.5)
        return time.monotonic() - began_s

    async def open(self) -> None:
        """Measure anew."""
        await self._all("open")

    async def want(self, version: int, since_s: float) -> None:
        """Wait for a version that was published at an instant, monotonic."""
        await self._all(f"want {version} {since_s}")

    async def _all(self, command: str) -> list[Any]:
        return list(await asyncio.gather(*(each.ask(command) for each in self._children)))

    async def close_window(self) -> Windows:
        """Return what was measured since it was opened."""
        told = await self._all("close")
        parts = [np.load(each["path"]) for each in told]
        faults: dict[str, int] = {}
        for each in told:
            for what, count in each["faults"].items():
                faults[what] = faults.get(what, 0) + count
        return Windows(
            latencies_s=np.concatenate([each["latencies_s"] for each in parts]),
            lags_s=np.concatenate([each["lags_s"] for each in parts]),
            seen_s=np.concatenate([each["seen_s"] for each in parts]),
            seconds=max(each["seconds"] for each in told),
            cpu_share=sum(each["cpu_s"] / each["seconds"] for each in told),
            faults=tuple(sorted(faults.items())),
            missed=sum(each["missed"] for each in told),
            late=sum(each["late"] for each in told),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A VTN that listens.

    Attributes:
        seconds: From the start of its process until then.
        rss: Its memory then, bytes.
    """

    child: Child
    port: int
    seconds: float
    rss: int


def check_file_limit(vens: int) -> None:
    """Look whether a process may open a file for each VEN; it would otherwise refuse some of them for ever.

    Raises:
        BenchError: if not.
    """
    needed, allowed = vens + _FILES_BESIDE, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        raise BenchError(
            f"{vens} VENs need {needed} open files, and {allowed} are allowed: ulimit -Hn {needed}"
        )


@asynccontextmanager
async def server(crowd: Crowd) -> AsyncIterator[Started]:
    """Hold the VTN of a crowd.

    Raises:
        BenchError: if it does not start.
    """
    check_file_limit(crowd.vens)
    began_s = time.monotonic()
    child = await Child.start("crowd_server", crowd.folder, crowd.vens, crowd.push, crowd.port, cores()[0])
    try:
        words = (await child.line(_START_S)).split()
        seconds = time.monotonic() - began_s
        yield Started(child=child, port=int(words[2].rpartition(":")[2]), seconds=seconds, rss=int(words[3]))
    finally:
        await child.close()


@asynccontextmanager
async def started(crowd: Crowd, port: int, period_s: float, processes: int) -> AsyncIterator[Crews]:
    """Hold the processes of the pull VENs, which begin to connect."""
    pull = crowd.first_push
    edges = [pull * number // processes for number in range(processes + 1)]
    async with AsyncExitStack() as stack:
        children = []
        for first, last in pairwise(edges):
            child = await Child.start("crowd_process", crowd.folder, first, last, port, period_s, cores()[1])
            stack.push_async_callback(child.close)
            children.append(child)
        yield Crews(tuple(children), pull)


@asynccontextmanager
async def listening(crowd: Crowd) -> AsyncIterator[tuple[Child, int]]:
    """Hold the process of the push VENs; also its port."""
    child = await Child.start("crowd_listeners", crowd.folder, crowd.vens, crowd.push, cores()[1])
    try:
        yield child, int(await child.line())
    finally:
        await child.close()
