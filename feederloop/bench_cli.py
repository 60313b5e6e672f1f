"""``feederloop bench``: what the VTN and the engine cost, next to others, on this machine."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

if TYPE_CHECKING:
    from feederloop.bench.model import Figure, Record, Remark
    from feederloop.bench.remote import RemoteVtn

    Measured = tuple[tuple[Figure, ...], tuple[Remark, ...]]

__all__ = ["bench_app"]

bench_app = typer.Typer(
    help="Measure the VTN, beside openleadr if wanted, and the engine.",
    no_args_is_help=True,
    add_completion=False,
)


class Over(StrEnum):
    """Transports, as the command line names them."""

    PLAIN = "plain"
    TLS = "tls"
    RSA = "rsa"
    EC = "ec"


class Peer(StrEnum):
    """Who may be measured beside us."""

    OPENLEADR = "openleadr"


_WIDE: Final = 140
"""Columns where the output goes to a file or a pipe."""

Quick = Annotated[bool, typer.Option("--quick", help="A subset in less than a minute.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.", dir_okay=False)]


def _refuse(reason: object) -> NoReturn:
    typer.echo(f"feederloop bench: {reason}", err=True)
    raise typer.Exit(code=2)


def _say(line: str) -> None:
    typer.echo(line, err=True)


@bench_app.command()
def vtn(
    url: Annotated[str | None, typer.Argument(help="Base address of a VTN; without one, our own.")] = None,
    against: Annotated[Peer | None, typer.Option(help="Measure this one, too, in turns.")] = None,
    quick: Quick = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds; default 7.")] = None,
    vens: Annotated[
        int | None, typer.Option(min=1, max=150, help="How many VENs send at the same time; default 20.")
    ] = None,
    over: Annotated[
        list[Over] | None, typer.Option(help="Transport: plain, tls, rsa or ec; again for more.")
    ] = None,
    same_loop: Annotated[bool, typer.Option("--same-loop", help="Run the others on uvloop, too.")] = False,
    ven: Annotated[
        list[str] | None,
        typer.Option(
            help="With a URL: the venName of a VEN it knows, or NAME=FOLDER where its certificate's folder "
            "has another name; again for more."
        ),
    ] = None,
    certs: Annotated[
        Path | None,
        typer.Option(help="With https: folder of the authority (pki), as `feederloop certs init` makes it."),
    ] = None,
    pid: Annotated[
        list[int] | None,
        typer.Option(min=1, help="With a URL: its process, for the CPU time; again for workers."),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            help="With the URL of a VTN of ours: its operator API, to measure events and reports, too."
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="With --operator: its token; or VTN_OPERATOR__TOKEN.")
    ] = None,
    json: Json = None,
) -> None:
    """Messages: CPU of the server per message, messages per second, latencies.

    With a URL any 2.0b VTN is measured with the messages a VEN may send on its own account. Use VENs of a
    test: they are registered anew, and readings of 2024 are reported in their names. Exit code 1 if a figure
    that is asked for is missed, 2 if it cannot be measured.
    """
    from feederloop.bench.model import Transport
    from feederloop.bench.run import Choice, measure_vtn

    names = {Over.PLAIN: Transport.PLAIN, Over.TLS: Transport.TLS}
    names |= {Over.RSA: Transport.SIGNED_RSA, Over.EC: Transport.SIGNED_EC}
    ours = _given(against=against, vens=vens, same_loop=same_loop)
    theirs = _given(ven=ven, certs=certs, pid=pid, operator=operator, token_file=token_file)
    if url is None and theirs:
        _refuse(f"{theirs[0]} goes with the URL of a VTN that runs")
    if url is not None and ours:
        _refuse(f"{ours[0]} goes with servers that are started here, without a URL")
    remote = None if url is None else _remote(url, ven, certs, pid, operator, token_file)
    choice = Choice(
        transports=tuple(names[each] for each in over) if over else None,
        openleadr=against is Peer.OPENLEADR,
        quick=quick,
        rounds=rounds,
        vens=vens or 20,
        same_loop=same_loop,
        remote=remote,
    )
    record = _guarded(lambda: measure_vtn(choice, datetime.now(UTC), _say), json)
    _show(record, json)
    if any(each.met is False for each in record.comparisons):
        raise typer.Exit(code=1)


def _given(**options: object) -> tuple[str, ...]:
    """The options that were given, as they are written."""
    return tuple(f"--{name.replace('_', '-')}" for name, value in options.items() if value)


def _remote(
    url: str,
    vens: list[str] | None,
    certs: Path | None,
    pids: list[int] | None,
    operator: str | None,
    token_file: Path | None,
) -> RemoteVtn:
    from feederloop.bench.load import BenchError
    from feederloop.bench.remote import RemoteVtn
    from feederloop.operator_client import ApiClient, OperatorError, token_from

    try:
        api = None
        if operator is not None:
            api = ApiClient(operator, token_from(token_file, os.environ.get("VTN_OPERATOR__TOKEN")))
        elif token_file is not None:
            _refuse("--token-file goes with --operator")
        return RemoteVtn.of(url, vens or (), certs=certs, pids=pids or (), operator=api)
    except (BenchError, OperatorError) as err:
        _refuse(err)


@bench_app.command()
def engine(quick: Quick = False, json: Json = None) -> None:
    """Auction, home plan, phases, power flow, real-time price: time of one computation."""
    from feederloop.bench.run import measure_all_of_engine

    _show(_guarded(lambda: measure_all_of_engine(datetime.now(UTC), _say, quick=quick), json), json)


@bench_app.command()
def scale(
    vens: Annotated[int, typer.Option(min=1, max=100_000, help="How many VENs there are.")] = 10_000,
    minutes: Annotated[float, typer.Option(min=0.05, help="For how long they poll.")] = 5.0,
    period: Annotated[float, typer.Option(min=0.5, help="Seconds between two polls of a VEN.")] = 10.0,
    json: Json = None,
) -> None:
    """Many VENs in one process: memory of each, cold start, latency of their polls.

    Exit code 1 if a figure that is asked for is missed.
    """
    from feederloop.bench.scale import ScaleChoice, measure_scale

    choice = ScaleChoice(vens=vens, seconds=60.0 * minutes, period_s=period)
    _crowd(lambda say: measure_scale(choice, say), json)


@bench_app.command()
def fanout(
    vens: Annotated[int, typer.Option(min=0, max=100_000, help="How many VENs poll.")] = 10_000,
    push: Annotated[int, typer.Option(min=0, max=10_000, help="How many others are pushed to.")] = 2_000,
    silent: Annotated[
        int, typer.Option(min=0, help="How many of those never answer in the end, at most all.")
    ] = 200,
    period: Annotated[float, typer.Option(min=0.5, help="Seconds between two polls of a VEN.")] = 10.0,
    json: Json = None,
) -> None:
    """One price to many VENs: when the last one has it.

    Exit code 1 if a figure that is asked for is missed.
    """
    from feederloop.bench.fanout import FanoutChoice, measure_fanout

    if not vens + push:
        _refuse("there is nobody to tell the price to: --vens or --push")
    choice = FanoutChoice(vens=vens, push=push, silent=min(silent, push), period_s=period)
    _crowd(lambda say: measure_fanout(choice, say), json)


@bench_app.command()
def soak(
    minutes: Annotated[float, typer.Option(min=0.01, help="For how long.")] = 60.0,
    vens: Annotated[int, typer.Option(min=1, max=1_000, help="How many VENs there are.")] = 100,
    pause: Annotated[float, typer.Option(min=0.01, help="Mean seconds between two messages of a VEN.")] = 2.0,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks at the server.")] = 10.0,
    growth: Annotated[float, typer.Option(help="How much memory may grow, MiB per hour.")] = 12.0,
    json: Json = None,
) -> None:
    """Everything at once for a long time: memory, files, tasks and database of the server.

    Exit code 1 if memory grows, or anything fails.
    """
    from feederloop.bench.soak import SoakChoice, measure_soak

    choice = SoakChoice(minutes=minutes, vens=vens, pause_s=pause, every_s=every, growth_mib_per_hour=growth)
    _crowd(lambda say: measure_soak(choice, say), json)


@bench_app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="Files that --json has written.", dir_okay=False)],
    out: Annotated[Path, typer.Option(help="The page.", dir_okay=False)] = Path("docs/benchmarks.md"),
) -> None:
    """Write the page of figures."""
    from feederloop.bench.files import merged, read
    from feederloop.bench.page import page

    record = _guarded(lambda: merged(tuple(read(each) for each in results)))
    try:
        out.write_text(page(record), encoding="utf-8")
    except OSError as err:
        _refuse(err)
    typer.echo(f"The page: {out}")


def _crowd(run: Callable[[Callable[[str], None]], Awaitable[Measured]], json: Path | None) -> None:
    from feederloop.bench.run import measure_crowd

    record = _guarded(lambda: measure_crowd(datetime.now(UTC), run, _say), json)
    _show(record, json)
    if any(each.met is False for each in record.figures):
        raise typer.Exit(code=1)


def _guarded(work: Callable[[], Record], json: Path | None = None) -> Record:
    """Measure, or end with a sentence; nothing that was started is left behind.

    Args:
        work: What is done.
        json: Where the figures shall go; looked at first, since some take an hour.
    """
    from feederloop.bench.files import check_target
    from feederloop.bench.load import BenchError
    from feederloop.process import ending_as_ctrl_c

    try:
        with ending_as_ctrl_c():
            if json is not None:
                check_target(json)
            return work()
    except BenchError as err:
        _refuse(err)
    except KeyboardInterrupt:
        raise typer.Exit(code=130) from None


def _show(record: Record, json: Path | None) -> None:
    from rich.console import Console

    from feederloop.bench.files import write
    from feederloop.bench.page import tables

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    console.print(tables(record))
    if json is not None:
        _guarded(lambda: _written(record, json, write))


def _written(record: Record, path: Path, write: Callable[[Record, Path], None]) -> Record:
    write(record, path)
    return record
