"""``feederloop study``: play the studies and write their reports."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["study_app"]

study_app = typer.Typer(
    help="The figures of the thesis on our own data: tables, drawings and one page each. "
    "A study that is stopped goes on where it stopped.",
    no_args_is_help=True,
    add_completion=False,
)

Out = Annotated[Path, typer.Option(help="Folder for the reports and the results so far.")]
Quick = Annotated[bool, typer.Option("--quick", help="A few days only: under a minute.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Number of processes; default one per core.")]


@study_app.command()
def market(out: Out = Path("studies"), quick: Quick = False, workers: Workers = None) -> None:
    """The local market: chapter 4, figures 4.2 to 4.8."""
    _run(("market",), out, quick, workers)


@study_app.command()
def phases(out: Out = Path("studies"), quick: Quick = False, workers: Workers = None) -> None:
    """Static and dynamic phase switching: chapter 5, figures 5.3 to 5.16."""
    _run(("phases",), out, quick, workers)


@study_app.command()
def rtc(out: Out = Path("studies"), quick: Quick = False, workers: Workers = None) -> None:
    """The real-time price: chapter 6, figures 6.1 and 6.2, and its convergence."""
    _run(("rtc",), out, quick, workers)


@study_app.command()
def hosting(out: Out = Path("studies"), quick: Quick = False, workers: Workers = None) -> None:
    """How much PV the feeder can host with each mechanism."""
    _run(("hosting",), out, quick, workers)


@study_app.command(name="all")
def everything(out: Out = Path("studies"), quick: Quick = False, workers: Workers = None) -> None:
    """All four studies."""
    _run(("market", "phases", "rtc", "hosting"), out, quick, workers)


def _run(names: tuple[str, ...], out: Path, quick: bool, workers: int | None) -> None:
    from feederloop.study.run import StudyError, run_studies

    try:
        for page in run_studies(names, out, quick=quick, workers=workers or os.cpu_count() or 1):
            typer.echo(f"The page: {page}")
    except StudyError as err:
        typer.echo(f"feederloop study: {err}", err=True)
        raise typer.Exit(code=2) from err
    except KeyboardInterrupt:
        typer.echo("stopped; what is done is kept, the same command goes on from here", err=True)
        raise typer.Exit(code=130) from None
