"""``feederloop fleet``: the slot loop for many feeders, on this machine or on a Dask cluster."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

if TYPE_CHECKING:
    from dso_engine.feeder_file import NetworkFile
    from feederloop.fleet.result import FleetRun
    from feederloop.fleet.work import Crew, FleetPlan

__all__ = ["fleet_app"]

fleet_app = typer.Typer(add_completion=False)

_SHIPPED: Final = ("lv_33h_17pv", "lv_33h_17pv_150_70", "lv_50h", "lv_50h_rural")


@fleet_app.command()
def fleet(
    feeders: Annotated[int, typer.Option(min=1, help="How many feeders.")] = 100,
    homes: Annotated[int, typer.Option(min=1, max=500, help="Homes of a feeder.")] = 50,
    homes_most: Annotated[
        int | None, typer.Option(min=1, max=500, help="With this, each feeder has --homes to so many.")
    ] = None,
    network: Annotated[
        list[Path] | None,
        typer.Option(
            help="A network to vary (JSON or .dss), instead of those that ship; again for more.", exists=True
        ),
    ] = None,
    pv_share: Annotated[tuple[float, float], typer.Option(help="Range of the share of homes with PV.")] = (
        0.1,
        0.9,
    ),
    reach: Annotated[
        tuple[float, float], typer.Option(help="Range of the factor on a feeder's line lengths.")
    ] = (0.5, 2.0),
    date: Annotated[str, typer.Option(help="Day, YYYY-MM-DD, in 2018.")] = "2018-05-16",
    start: Annotated[str, typer.Option(help="First slot, HH:MM in UTC+1 all year.")] = "12:00",
    slots: Annotated[int, typer.Option(min=1, max=1008, help="Number of ten-minute slots.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Draws everything about the feeders.")] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Processes; 1 needs no Dask. Default with Dask: one per core, no more than blocks; else 1.",
        ),
    ] = None,
    per_block: Annotated[int, typer.Option(min=1, max=100, help="Feeders of a block.")] = 50,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler to use, tls://host:port, instead of --workers.")
    ] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="With --scheduler: whom to trust, PEM.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="With --scheduler: our certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="With --scheduler: its key, PEM.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for results.csv, fleet.json and the page.")] = Path(
        "fleet"
    ),
) -> None:
    """Play market, phases, power flow, limits and real-time price for many synthetic feeders.

    The same plan gives the same results on any number of processes. Exit code 1: a state was not confirmed by
    pandapower; 2: it cannot be played. docs/fleet.md says what is played and how feeders are drawn.
    """
    shares = _Ranges(homes=(homes, homes_most or homes), pv_share=pv_share, reach=reach)
    where = _Where(workers=workers, scheduler=scheduler, tls=(tls_ca, tls_cert, tls_key))
    _play(
        lambda: _plan(tuple(network or _shipped()), shares, seed, feeders, date, start, slots, per_block),
        where,
        out,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranges:
    """What feeders are drawn from, as far as the command line has it."""

    homes: tuple[int, int]
    pv_share: tuple[float, float]
    reach: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    """Who plays: processes of this machine, or a scheduler's."""

    workers: int | None
    scheduler: str | None
    tls: tuple[Path | None, Path | None, Path | None]


def _plan(
    networks: tuple[Path, ...],
    ranges: _Ranges,
    seed: int,
    feeders: int,
    day: str,
    clock: str,
    slots: int,
    per_block: int,
) -> FleetPlan:
    """What is to be played.

    Raises:
        ValueError: if it cannot be.
        EngineError: if a network cannot be used.
        ProfileError: if the profiles cannot be read.
    """
    from config.settings import load_neighbourhood
    from feederloop.fleet.generate import Fleet
    from feederloop.fleet.work import FleetPlan

    _check(ranges)
    plan = FleetPlan(
        fleet=Fleet(
            references=tuple(_reference(path) for path in networks),
            neighbourhood=load_neighbourhood(),
            seed=seed,
            homes_min=ranges.homes[0],
            homes_max=ranges.homes[1],
            reach_min=ranges.reach[0],
            reach_max=ranges.reach[1],
            pv_share_min=ranges.pv_share[0],
            pv_share_max=ranges.pv_share[1],
        ),
        feeders=feeders,
        start=_instant(day, clock),
        slots=slots,
        per_block=per_block,
    )
    _check_year(plan)
    return plan


def _check(ranges: _Ranges) -> None:
    """Look at what the command line says, in its own words.

    Raises:
        ValueError: if a range is none.
    """
    (fewest, most), (low, high), (shortest, longest) = ranges.homes, ranges.pv_share, ranges.reach
    if fewest > most:
        raise ValueError(f"--homes-most {most} is less than --homes {fewest}")
    if not 0.0 <= low <= high <= 1.0:
        raise ValueError(f"--pv-share {low:g} {high:g} is no range of shares: 0.1 0.9 is one")
    if not 0.0 < shortest <= longest < math.inf:
        raise ValueError(f"--reach {shortest:g} {longest:g} is no range of factors: 0.5 2 is one")


def _check_year(plan: FleetPlan) -> None:
    """Look whether there are profiles for all slots.

    Raises:
        ValueError: if not.
        ProfileError: if they cannot be read.
    """
    from feederloop.simulation.profiles import LOCAL, ProfileError, load_profiles

    profiles = load_profiles()
    try:
        for slot in (plan.start, plan.last):
            profiles.index(slot)
    except ProfileError as err:
        first, last = (each.astimezone(LOCAL) for each in (plan.start, plan.last))
        year = profiles.start.astimezone(LOCAL).year
        raise ValueError(
            f"load and sun are known for {year} only, and the slots are {first:%Y-%m-%d %H:%M} "
            f"to {last:%Y-%m-%d %H:%M}"
        ) from err


def _reference(path: Path) -> NetworkFile:
    """A network to vary, which is known to be one.

    Raises:
        EngineError: if it cannot be used.
    """
    from dso_engine.errors import InvalidFeeder
    from dso_engine.feeder import build_network
    from dso_engine.feeder_file import read_network_file
    from dso_engine.opendss_read import read_opendss_file

    file = read_opendss_file(path).file if path.suffix.lower() == ".dss" else read_network_file(path)
    try:
        build_network(file)
    except InvalidFeeder as err:
        raise InvalidFeeder(f"{path}: {err}") from err
    return file


def _play(make: Callable[[], FleetPlan], where: _Where, out: Path) -> None:
    from config.settings import SettingsError
    from dso_engine.errors import EngineError
    from feederloop.fleet.files import check_folder, write_run
    from feederloop.fleet.result import summarise
    from feederloop.fleet.work import FleetError, run_fleet
    from feederloop.process import ending_as_ctrl_c
    from feederloop.report.counting import counting
    from feederloop.simulation.profiles import ProfileError

    try:
        with ending_as_ctrl_c():
            plan = make()
            with ExitStack() as stack:
                crew = _crew(stack, where, blocks=len(plan.orders()))
                check_folder(out)
                tell = stack.enter_context(counting("fleet"))
                run = run_fleet(plan, crew, tell)
            page = write_run(plan, run, out)
    except (FleetError, EngineError, ProfileError, SettingsError, ValueError, OSError) as err:
        _refuse(err)
    except KeyboardInterrupt:
        raise typer.Exit(code=130) from None
    for label, value in (*_rows(run, plan), ("The page", str(page))):
        typer.echo(f"{label + ':':<46}{value}")
    raise typer.Exit(code=1 if summarise(run.results).unverified else 0)


def _shipped() -> tuple[Path, ...]:
    from config.settings import data_path

    return tuple(data_path("networks", f"{name}.json") for name in _SHIPPED)


def _instant(day: str, clock: str) -> datetime:
    """The first slot from local day and time.

    Raises:
        ValueError: if either cannot be read.
    """
    from feederloop.simulation.profiles import LOCAL

    try:
        found = datetime.fromisoformat(f"{day}T{clock}:00")
    except ValueError:
        raise ValueError(f"{day} {clock} is no day and time: 2018-05-16 12:00 is one") from None
    if found.minute % 10:
        raise ValueError(f"--start {clock}: a slot begins every ten minutes, at :00, :10 and so on")
    return found.replace(tzinfo=LOCAL)


def _crew(stack: ExitStack, where: _Where, *, blocks: int) -> Crew:
    """Whoever plays so many blocks, for as long as the stack is open."""
    from feederloop.fleet.cluster import DaskCrew, DaskTls, dask_is_here, local_client, remote_client
    from feederloop.fleet.work import FleetError, Here

    workers = where.workers
    if where.scheduler is not None:
        if workers is not None:
            raise FleetError("--workers is for this machine, --scheduler for another: give one of them")
        ca, certificate, key = where.tls
        files = None
        if ca is not None and certificate is not None and key is not None:
            files = DaskTls(ca=ca, certificate=certificate, key=key)
        return DaskCrew(stack.enter_context(remote_client(where.scheduler, files)))
    if any(path is not None for path in where.tls):
        raise FleetError("--tls-ca, --tls-cert and --tls-key go with --scheduler")
    if workers is None:
        workers = min(os.cpu_count() or 1, blocks) if dask_is_here() else 1
    if workers == 1:
        import_module("feederloop.fleet.warm")  # pandapower compiles for seconds, whatever is played
        return Here()
    return DaskCrew(stack.enter_context(local_client(workers)))


def _rows(run: FleetRun, plan: FleetPlan) -> tuple[tuple[str, str], ...]:
    from feederloop.fleet.result import summarise, summary_rows

    slots = plan.feeders * plan.slots
    return (
        *summary_rows(summarise(run.results)),
        ("CPU per feeder and slot", f"{1e3 * run.slot_cpu_s / slots:.1f} ms"),
        ("CPU of building a feeder, once", f"{1e3 * run.setup_cpu_s / plan.feeders:.1f} ms"),
        ("Time", f"{run.wall_s:.1f} s"),
        ("Moves of a block to another worker", str(run.moved)),
    )


def _refuse(reason: object) -> NoReturn:
    typer.echo(f"feederloop fleet: {reason}", err=True)
    raise typer.Exit(code=2)
