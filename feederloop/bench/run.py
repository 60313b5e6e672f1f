"""What ``feederloop bench`` runs: a choice in, a record out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from config import settings
from feederloop.bench.files import machine
from feederloop.bench.model import Contestant, Figure, Record, Remark, Transport, compare, summarise
from feederloop.bench.remote import RemoteVtn
from feederloop.bench.rounds import Outcome, Plan, play, play_children
from feederloop.quiet import quiet_stdout

__all__ = ["Choice", "measure_all_of_engine", "measure_crowd", "measure_vtn"]

Say = Callable[[str], None]
_QUICK: Final = (Transport.PLAIN, Transport.SIGNED_EC)
_NETWORKS: Final = Path(settings.__file__).parent / "networks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is to be measured.

    Attributes:
        transports: None is all of them, or two where it has to be quick; for a remote VTN the one that its
            URL and certificates suggest.
        openleadr: Whether openleadr is measured beside us, and with it a bare aiohttp handler.
        rounds: None is 7, or 3 where it has to be quick.
        same_loop: Whether the others run on uvloop, too.
    """

    transports: tuple[Transport, ...] | None
    openleadr: bool
    quick: bool
    rounds: int | None
    vens: int
    same_loop: bool
    remote: RemoteVtn | None


def measure_vtn(choice: Choice, now: datetime, say: Say) -> Record:
    """Measure messages.

    Raises:
        BenchError: if it cannot be done.
    """
    here = machine(now)
    plan = Plan(
        rounds=choice.rounds or (3 if choice.quick else 7),
        vens=choice.vens,
        each=2 if choice.quick else 4,
        same_loop=choice.same_loop,
    )
    if choice.remote is not None:
        transport = choice.remote.transport(choice.transports or ())
        outcome = asyncio.run(_play_remote(choice.remote, transport, plan, say))
        vens = len(choice.remote.names)
    else:
        transports = choice.transports or (_QUICK if choice.quick else tuple(Transport))
        others = (Contestant.OPENLEADR, Contestant.BARE) if choice.openleadr else (Contestant.BARE,)
        outcome = asyncio.run(play_children(transports, (Contestant.OURS, *others), plan, say))
        vens = plan.vens
    samples = tuple(outcome.samples)
    return Record(
        machine=here,
        vens=vens,
        same_loop=choice.same_loop,
        rows=summarise(samples),
        comparisons=compare(samples),
        skipped=tuple(outcome.skipped),
    )


async def _play_remote(vtn: RemoteVtn, transport: Transport, plan: Plan, say: Say) -> Outcome:
    outcome = await play([vtn.server(transport)], plan, say)
    vtn.check_clock([each.cpu_ms for each in outcome.samples if each.cpu_ms is not None])
    return outcome


def measure_all_of_engine(now: datetime, say: Say, *, quick: bool) -> Record:
    """Measure the computations of the engine."""
    from feederloop.bench.engine import measure_engine  # it brings the solvers, which take seconds

    with quiet_stdout():  # HiGHS greets
        rows = measure_engine(_NETWORKS, say, quick=quick)
    return Record(machine=machine(now), engine=rows)


def measure_crowd(
    now: datetime, run: Callable[[Say], Awaitable[tuple[tuple[Figure, ...], tuple[Remark, ...]]]], say: Say
) -> Record:
    """Measure what a run with many VENs measures.

    Raises:
        BenchError: if it cannot be done.
    """
    here = machine(now)

    async def work() -> tuple[tuple[Figure, ...], tuple[Remark, ...]]:
        return await run(say)

    figures, remarks = asyncio.run(work())
    text = f"Measured {here.date}, with {here.load:.1f} processes ready to run in the minute before."
    when = tuple(Remark(scope=each, text=text) for each in dict.fromkeys(each.scope for each in figures))
    return Record(machine=here, figures=figures, remarks=(*when, *remarks))
