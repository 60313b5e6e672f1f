"""The command line. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from feederloop.lazy_group import LazyGroup

__all__ = ["app", "main"]

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    # Before numpy is loaded: the matrices are small, threads only get into each other's way, and results
    # must not depend on how many cores there are.
    os.environ.setdefault(_name, "1")

app = typer.Typer(
    name="feederloop",
    cls=LazyGroup,
    help="A DSO's OpenADR 2.0b server, the household client that answers it, and the engine between them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class LawName(StrEnum):
    """Control laws of the real-time price."""

    SECANT = "secant"
    THESIS = "thesis"


@app.callback()
def _root() -> None:
    """A DSO's OpenADR 2.0b server, the household client that answers it, and the engine between them."""


@app.command()
def demo(
    homes: Annotated[int, typer.Option(help="Neighbourhood that ships with the product: 33 or 50.")] = 50,
    network: Annotated[
        Path | None,
        typer.Option(help="A network file of your own (JSON or .dss), instead of --homes.", exists=True),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            help="Who owns what: A to D, chapter4_33h, or a JSON file; default D, 33 homes: the latter."
        ),
    ] = None,
    date: Annotated[
        str, typer.Option(help="Day to play, YYYY-MM-DD, from 2018-01-04 to 2018-12-30.")
    ] = "2018-05-16",
    start: Annotated[
        str | None, typer.Option(help="First slot, local time HH:MM; default 00:00, 10:30 with --slots.")
    ] = None,
    slots: Annotated[int | None, typer.Option(min=1, max=144, help="Number of ten-minute slots.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Draws forecast noise and reserve prices, never ownership.")
    ] = 1,
    pv_kwp: Annotated[float | None, typer.Option(min=0.0, help="Rated power of each PV, kWp.")] = None,
    day_ahead: Annotated[
        bool, typer.Option("--day-ahead", help="Trade hourly blocks the day before, besides ten minutes.")
    ] = False,
    no_control: Annotated[bool, typer.Option("--no-control", help="Only the day without control.")] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="HTTP without TLS between VTN and homes, all on this machine.")
    ] = False,
    model_error: Annotated[
        bool,
        typer.Option(
            "--model-error", help="The DSO's model has 5 % higher resistances, one home on a wrong phase."
        ),
    ] = False,
    law: Annotated[LawName, typer.Option(help="Control law of the real-time price.")] = LawName.SECANT,
    json: Annotated[Path | None, typer.Option(help="Write the result as JSON to this file, too.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for result.json, the page and the message log.")] = Path(
        "out"
    ),
) -> None:
    """Play one day of a neighbourhood: market, phases and real-time price over real OpenADR messages."""
    from feederloop.demo import DemoError, DemoRequest, run_demo

    try:
        request = DemoRequest(
            homes=homes,
            network=network,
            scenario=scenario,
            day=date,
            start=start,
            slots=slots,
            seed=seed,
            pv_kwp=pv_kwp,
            day_ahead=day_ahead,
            control=not no_control,
            plain=plain,
            model_error=model_error,
            law=law.value,
            json=json,
            out=out,
        )
        run_demo(request)
    except DemoError as err:
        typer.echo(f"feederloop demo: {err}", err=True)
        raise typer.Exit(code=2) from err


def main() -> None:
    """Run the command line."""
    app()
