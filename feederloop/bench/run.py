"""What ``feederloop bench`` runs: a choice in, a record out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from certs.tls import CertificateFiles, TlsError, TlsFiles
from config import settings
from feederloop.bench.files import machine
from feederloop.bench.grounds import client_of
from feederloop.bench.load import BenchError, BenchVen, ProcessClock
from feederloop.bench.model import Contestant, Figure, Record, Remark, Transport, compare, summarise
from feederloop.bench.rounds import Outcome, Plan, play, play_children
from feederloop.bench.server import RemoteServer

__all__ = ["Choice", "RemoteVtn", "measure_all_of_engine", "measure_crowd", "measure_vtn"]

Say = Callable[[str], None]
_QUICK: Final = (Transport.PLAIN, Transport.SIGNED_EC)
_NETWORKS: Final = Path(settings.__file__).parent / "networks"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteVtn:
    """A VTN that runs already.

    Attributes:
        names: The venNames it knows; it gives them their venIDs.
        certs: The folder of the authority that issued the VENs' certificates.
        pid: Its process, where it is on this machine.
    """

    url: str
    names: tuple[str, ...]
    certs: Path | None
    pid: int | None


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
        outcome = asyncio.run(_play_remote(choice.remote, choice.transports, plan, say))
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


async def _play_remote(
    vtn: RemoteVtn, transports: tuple[Transport, ...] | None, plan: Plan, say: Say
) -> Outcome:
    if not vtn.names:
        raise BenchError("a VTN at a URL needs the names of VENs that it knows: --ven NAME")
    suggested = Transport.PLAIN if vtn.certs is None else Transport.TLS
    transport = suggested if not transports else transports[0]
    if transports and len(transports) > 1:
        raise BenchError("a VTN at a URL has one transport")
    if (transport is Transport.PLAIN) != (vtn.certs is None):
        raise BenchError("TLS needs certificates: --certs FOLDER, and plain HTTP none")
    server = RemoteServer(
        who=Contestant.REMOTE,
        transport=transport,
        url=vtn.url,
        clock=None if vtn.pid is None else ProcessClock(vtn.pid),
        seats=[_seat(vtn, name, transport) for name in vtn.names],
    )
    return await play([server], plan, say)


def _seat(vtn: RemoteVtn, name: str, transport: Transport) -> BenchVen:
    if vtn.certs is None:
        return BenchVen.connect(name, vtn.url.rstrip("/"), None, None)
    base = vtn.certs / "issued" / "ven" / name
    own = CertificateFiles(certificate=base / f"{transport.key}.pem", key=base / f"{transport.key}.key")
    files = TlsFiles(own=(own,), trust=vtn.certs / "trust.pem")
    try:
        tls, signer = client_of(files, signed=transport.signed)
    except (TlsError, OSError, ValueError) as err:
        raise BenchError(f"{name}: {err}") from err
    return BenchVen.connect(name, vtn.url.rstrip("/"), tls, signer)


def measure_all_of_engine(now: datetime, say: Say, *, quick: bool) -> Record:
    """Measure the computations of the engine."""
    from feederloop.bench.engine import measure_engine  # it brings the solvers, which take seconds

    return Record(machine=machine(now), engine=measure_engine(_NETWORKS, say, quick=quick))


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
