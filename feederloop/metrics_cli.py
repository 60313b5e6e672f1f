"""``feederloop metrics``: the figures of a feeder that a DSO engine looks after, for a stretch of days."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from feederloop.days import day_of

if TYPE_CHECKING:
    from dso_engine.records import GridRecord

__all__ = ["metrics_app", "read_grid"]

metrics_app = typer.Typer(add_completion=False)

_REFUSED: Final = 2
_DAY: Final = timedelta(days=1)
_MOST: Final = timedelta(days=366)


@metrics_app.command()
def _metrics(
    state: Annotated[Path, typer.Argument(help="State folder of `feederloop dso`.")],
    first_day: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First day, UTC, YYYY-MM-DD; default today.")
    ] = None,
    last_day: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="Last one, included; default that of --from.")
    ] = None,
    nominal: Annotated[
        float, typer.Option("--nominal", min=1.0, help="Nominal phase-to-neutral voltage, V.")
    ] = 400.0 / 3.0**0.5,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Print transformer energy and peaks, losses, voltages and unbalance, as the engine saw its feeder.

    One state per slot: what the meters at the feeder heads and the homes' commitments show. Slots without
    one, for example while no meter was heard, are left out and counted.
    """
    from dso_engine.metrics import summarise
    from dso_engine.model import SLOT, Limits
    from dso_engine.slot_figures import series_of

    first = _day(first_day) if first_day else datetime.now(UTC).date()
    last = _day(last_day) if last_day else first
    if not timedelta(0) <= last - first < _MOST:
        _refuse("--to must be a day from --from on, less than 367 days in all")
    if not state.is_dir():
        _refuse(f"{state}: no such folder")
    found = read_grid(state, first, last)
    if not found:
        _refuse(f"{state}: nothing is noted down from {first} to {last}")
    metrics = asdict(summarise(series_of([each.figures for each in found]), Limits(v_nominal_v=nominal)))
    slots = round((last - first + _DAY) / SLOT)
    if as_json:
        typer.echo(json.dumps({"slots": slots, "slots_seen": len(found), **metrics}, indent=2))
        return
    typer.echo(f"{first} to {last}, UTC: {len(found)} of {slots} slots")
    width = max(map(len, metrics))
    for name, value in metrics.items():
        values = value if isinstance(value, tuple) else (value,)
        typer.echo(f"{name:{width}}  " + "  ".join(f"{v:.3f}" for v in values))


def read_grid(state: Path, first: date, last: date) -> tuple[GridRecord, ...]:
    """Return what the engine noted down of its network, one record per slot, in order of time.

    Lines that cannot be read are passed over: the last one may be half written.

    Args:
        state: Folder of the engine.
        first: First day of the slots, UTC.
        last: Last one, included.
    """
    from pydantic import TypeAdapter, ValidationError

    from dso_engine.records import GridRecord

    adapter = TypeAdapter(GridRecord)
    found: dict[datetime, GridRecord] = {}
    for number in range((last - first).days + 2):  # the last slot of a day may be written after midnight
        path = state / f"records-{first + number * _DAY:%Y-%m-%d}.jsonl"
        if not path.is_file():
            continue
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if '"GridRecord"' not in line:
                    continue
                try:
                    record = adapter.validate_json(line)
                except ValidationError:
                    continue
                if first <= record.slot.astimezone(UTC).date() <= last:
                    found[record.slot] = record
    return tuple(found[slot] for slot in sorted(found))


def _day(text: str) -> date:
    try:
        return day_of(text)
    except ValueError as err:
        _refuse(str(err))


def _refuse(text: str) -> NoReturn:
    typer.echo(f"feederloop metrics: {text}", err=True)
    raise typer.Exit(code=_REFUSED)
