"""``feederloop network``: look at a feeder of one's own, turn it into another format, ask what fits on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from dso_engine.feeder_file import NetworkFile
    from dso_engine.opendss_read import VoltageBand

__all__ = ["network_app"]

network_app = typer.Typer(
    help="Network files: ours (JSON), OpenDSS scripts (.dss) and pandapower's (JSON).",
    no_args_is_help=True,
    add_completion=False,
)

Source = Annotated[
    str,
    typer.Argument(
        help="A network file, an OpenDSS script, a pandapower net, or ieee-european-lv, the bundled feeder."
    ),
]
Nominal = Annotated[
    float, typer.Option("--nominal", min=1.0, help="Nominal phase-to-neutral voltage of the limits, V.")
]
Rated = Annotated[
    float | None,
    typer.Option(
        "--rated-a", min=0.1, help="Rating of the lines of an OpenDSS script that have no normamps, A."
    ),
]
_NOMINAL_V = 400.0 / 3.0**0.5
_UNUSABLE = 2
_BUNDLED = "ieee-european-lv"


@network_app.command()
def show(source: Source, nominal: Nominal = _NOMINAL_V, rated: Rated = None) -> None:
    """Say what a network is, solve its base case in both power flows and list what it breaks.

    Exit code 2: it cannot be read or has no solution.
    """
    from dso_engine.errors import EngineError
    from dso_engine.feeder import build_network
    from dso_engine.fixed_point import FixedPoint
    from dso_engine.model import Limits
    from dso_engine.pandapower_flow import PandapowerFlow
    from dso_engine.powerflow import base_case, violations
    from dso_engine.verified import verified
    from feederloop.network_tables import describe, describe_bands, describe_broken, describe_state

    try:
        file, notes, bands = _read(source, rated)
        network = build_network(file)
        for line in (*describe(network), *(f"note: {note}" for note in notes)):
            typer.echo(line)
        case = base_case(network)
        state = verified(FixedPoint(network), PandapowerFlow(network), case, "base case")
        broken = violations(network, state, Limits(v_nominal_v=nominal), guard=False)
        found = (*describe_state(state), *describe_broken(broken), *describe_bands(network, state, bands))
        for line in found:
            typer.echo(line)
    except EngineError as err:
        _refuse("show", err)


@network_app.command()
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(help="The file to write: .json or .dss.", dir_okay=False)],
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    rated: Rated = None,
) -> None:
    """Turn a network into our JSON or an OpenDSS script; nothing is dropped without being said.

    Exit code 2: it cannot be read, or said in the other format.
    """
    from dso_engine.errors import EngineError
    from dso_engine.feeder import build_network
    from dso_engine.feeder_file import network_json
    from dso_engine.opendss_write import opendss_script

    try:
        if target.suffix.lower() not in (".json", ".dss"):
            _refuse("convert", f"{target}: neither .json nor .dss")
        if target.exists() and not force:
            _refuse("convert", f"{target} is there already; --force writes over it")
        file, notes, _ = _read(source, rated)
        network = build_network(file)
        text = network_json(file) if target.suffix.lower() == ".json" else opendss_script(network)
        target.write_text(text, encoding="utf-8")
    except (EngineError, OSError) as err:
        _refuse("convert", err)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{target}: {len(network.buses)} buses, {len(network.homes)} homes")


@network_app.command()
def room(
    source: Source,
    imports: Annotated[bool, typer.Option("--import", help="More import, not more export.")] = False,
    most: Annotated[float, typer.Option(min=0.1, help="Where the search ends, kW.")] = 50.0,
    nominal: Nominal = _NOMINAL_V,
    rated: Rated = None,
) -> None:
    """How much more each home could export before a limit breaks, the others as in the base case.

    Limits keep their guard bands. Exit code 2: the network cannot be read or has no solution.
    """
    from dso_engine.bounds import Direction
    from dso_engine.errors import EngineError
    from dso_engine.feeder import build_network
    from dso_engine.fixed_point import FixedPoint
    from dso_engine.hosting import HostingQuestion, room_of_homes
    from dso_engine.model import Limits
    from dso_engine.pandapower_flow import PandapowerFlow
    from dso_engine.powerflow import base_case
    from feederloop.network_tables import describe_rooms

    try:
        network = build_network(_read(source, rated)[0])
        asked = HostingQuestion(
            states=(base_case(network),),
            limits=Limits(v_nominal_v=nominal),
            direction=Direction.IMPORT if imports else Direction.EXPORT,
            most_kw=most,
        )
        rooms = room_of_homes(FixedPoint(network), PandapowerFlow(network), asked)
    except EngineError as err:
        _refuse("room", err)
    for line in describe_rooms(network, rooms, most):
        typer.echo(line)


def _read(source: str, rated_a: float | None) -> tuple[NetworkFile, tuple[str, ...], tuple[VoltageBand, ...]]:
    """A network of any kind, what its reader left out, and where its loads are of constant power."""
    from dso_engine.feeder_file import read_network_file
    from dso_engine.opendss_read import read_opendss_file
    from dso_engine.pandapower_read import bundled_ieee_european_lv, is_pandapower_file, read_pandapower_file

    if source == _BUNDLED:
        return bundled_ieee_european_lv(), (), ()
    path = Path(source)
    if path.suffix.lower() == ".dss":
        found = read_opendss_file(path, rated_a=rated_a)
        return found.file, found.notes, found.bands
    file = read_pandapower_file(path) if is_pandapower_file(path) else read_network_file(path)
    return file, (), ()


def _refuse(command: str, reason: object) -> NoReturn:
    typer.echo(f"feederloop network {command}: {reason}", err=True)
    raise typer.Exit(code=_UNUSABLE)
