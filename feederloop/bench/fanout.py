"""``feederloop bench fanout``: how soon one price is with all VENs, pull and push."""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from feederloop.bench.crowd_census import fill_store
from feederloop.bench.crowd_files import Crowd
from feederloop.bench.crowd_stage import Child, listening, server, started
from feederloop.bench.load import BenchError
from feederloop.bench.model import Figure, Remark, Scope, percentile
from feederloop.bench.scale import busy_remark

__all__ = ["FanoutChoice", "measure_fanout"]

Say = Callable[[str], None]
_REPLY_S: Final = 0.25
"""What the answer to a poll may take; a VEN that has just polled sees the price a period and that later."""
_LATE_S: Final = 2.0
"""How much longer is waited before a VEN counts as one that was not given it."""
_PUSH_S: Final = 3.0
_PATIENCE_S: Final = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FanoutChoice:
    """What is to be measured.

    Attributes:
        vens: How many VENs poll.
        push: How many others are pushed to.
        silent: How many of those never answer, in the last round.
        period_s: How often a VEN polls.
        between_s: The pause before each push.
        processes: Over how many processes those that poll are spread.
    """

    vens: int = 10_000
    push: int = 2_000
    silent: int = 200
    period_s: float = 10.0
    between_s: float = 3.0
    processes: int = 2


async def measure_fanout(choice: FanoutChoice, say: Say) -> tuple[tuple[Figure, ...], tuple[Remark, ...]]:
    """Return the figures, and how they came about.

    Raises:
        BenchError: if a process does not do what it should.
    """
    figures: list[Figure] = []
    remarks: list[Remark] = []
    with tempfile.TemporaryDirectory(prefix="feederloop-bench-") as place:
        if choice.vens:
            folder = Path(place) / "pull"
            folder.mkdir()
            found, said = await _pull(Crowd(folder=folder, vens=choice.vens), choice, say)
            figures += found
            remarks += said
        if choice.push:
            folder = Path(place) / "push"
            folder.mkdir()
            figures += await _push(Crowd(folder=folder, vens=choice.push, push=choice.push), choice, say)
            remarks.append(
                _said(f"{choice.push:,} push VENs listen at addresses of their own, mutual TLS 1.3.")
            )
    return tuple(figures), tuple(remarks)


async def _pull(crowd: Crowd, choice: FanoutChoice, say: Say) -> tuple[list[Figure], list[Remark]]:
    crowd.make()
    await fill_store(crowd)
    async with server(crowd) as vtn, started(crowd, vtn.port, choice.period_s, choice.processes) as crews:
        await crews.all_seated(60.0 + crowd.vens / 25.0)
        say(f"{crowd.vens} pull VENs are connected")
        former = await vtn.child.ask("publish pull")
        await asyncio.sleep(2.5 * choice.period_s)
        await crews.open()
        before = await vtn.child.ask("state")
        await crews.want(former["version"] + 1, math.inf)  # some see it before we hear that it is out
        price = await vtn.child.ask("publish pull")
        await crews.want(price["version"], price["done_s"])
        await asyncio.sleep(1.3 * choice.period_s + _LATE_S)
        window = await crews.close_window()
        after = await vtn.child.ask("state")
    last_s = float(window.seen_s.max()) - price["done_s"] if len(window.seen_s) else _PATIENCE_S
    took_ms = 1e3 * (price["done_s"] - price["began_s"])
    spent_ms = 1e3 * (after["cpu_s"] - before["cpu_s"]) / len(window.latencies_s)
    figures = [
        _asked(f"price update to {crowd.vens:,} pull VENs: time to publish it durably", took_ms, "ms"),
        _asked("pull VENs that were not given it", crowd.vens - len(window.seen_s), "", 0.0),
        _asked("pull VENs whose next poll came back without it", window.late, "", 0.0),
        _asked("seen by all pull VENs after", last_s, "s", choice.period_s + _REPLY_S),
        _asked(
            "latency of polls meanwhile, 99th percentile",
            1e3 * percentile(tuple(window.latencies_s), 0.99),
            "ms",
        ),
        _asked("CPU of the server per poll meanwhile, the update included", spent_ms, "ms"),
    ]
    remark = _said(
        f"Pull VENs poll every {choice.period_s:g} s; one that has polled just before the price was there "
        f"sees it with its next poll. So at most a period and {_REPLY_S:g} s for the reply are asked."
    )
    return figures, [remark, *busy_remark(window, Scope.FANOUT)]


async def _push(crowd: Crowd, choice: FanoutChoice, say: Say) -> list[Figure]:
    crowd.make()
    figures = []
    async with listening(crowd) as (vens, port):
        crowd = replace(crowd, port=port)
        await fill_store(crowd)
        async with server(crowd) as vtn:
            cold = await _pushed(vtn.child, vens, crowd.push, choice.between_s)
            say(f"first push to {crowd.push} VENs: {cold['p99_s']:.2f} s")
            figures.append(_round("push, each with a new connection (handshake)", cold, _PUSH_S))
            warm = [await _pushed(vtn.child, vens, crowd.push, choice.between_s) for _ in range(3)]
            worst = max(warm, key=lambda each: float(each["p99_s"]))
            figures.append(_round("push over connections that are kept alive, worst of 3", worst, _PUSH_S))
            figures.append(_asked("CPU of the server per push", 1e3 * worst["cpu_s"] / crowd.push, "ms"))
            if choice.silent:
                await vens.ask(f"mute {choice.silent}")
                alive = crowd.push - choice.silent
                mute = [await _pushed(vtn.child, vens, alive, choice.between_s) for _ in range(2)]
                name = f"push to {alive:,} while {choice.silent:,} others never answer"
                figures.append(_round(f"{name}, the first time", mute[0], _PUSH_S))
                figures.append(_round(f"{name}, the second time", mute[1], _PUSH_S))
    return figures


async def _pushed(vtn: Child, vens: Child, expected: int, pause_s: float) -> dict[str, Any]:
    """Publish once; return when the VENs were given it, and what that cost."""
    await asyncio.sleep(pause_s)
    state = await vtn.ask("state")
    await vens.ask(f"want {state['pushed']}")
    price = await vtn.ask("publish push")
    if price["version"] != state["pushed"]:
        raise BenchError(f"version {price['version']} was published, not {state['pushed']}")
    began_s = time.monotonic()
    while True:
        seen = await vens.ask("seen")
        if len(seen["seen_s"]) >= expected or time.monotonic() - began_s > _PATIENCE_S:
            break
        await asyncio.sleep(0.2)
    after = await vtn.ask("state")
    late = [each - price["done_s"] for each in seen["seen_s"]]
    late += [_PATIENCE_S] * (expected - len(late))
    return {
        "p99_s": percentile(tuple(late), 0.99),
        "cpu_s": after["cpu_s"] - state["cpu_s"],
        "made": seen["made"],
    }


def _round(what: str, found: dict[str, Any], most: float | None) -> Figure:
    return _asked(f"{what}: 99th percentile of the VENs", found["p99_s"], "s", most)


def _asked(what: str, value: float, unit: str, most: float | None = None) -> Figure:
    return Figure(scope=Scope.FANOUT, what=what, value=float(value), unit=unit, most=most)


def _said(text: str) -> Remark:
    return Remark(scope=Scope.FANOUT, text=text)
