"""A fleet's run as files: every slot of every feeder as CSV, summary and worst values as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

from pydantic import TypeAdapter

from feederloop.fleet.page import fleet_charts, fleet_page
from feederloop.fleet.result import FeederWorst, FleetRun, SlotResult, Summary, summarise, worst_of
from feederloop.fleet.work import FleetPlan

__all__ = ["FleetDocument", "check_folder", "results_csv", "write_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetDocument:
    """What ``fleet.json`` holds; the same bytes for the same plan, on any number of workers.

    Attributes:
        fleet: Digest of what the feeders were drawn from.
        seed: Their seed.
        references: Names of the networks that were varied.
        start: First slot, UTC.
        slots: How many.
        summary: Over all feeders and slots.
        feeders: Worst values of each.
    """

    fleet: str
    seed: int
    references: tuple[str, ...]
    start: datetime
    slots: int
    summary: Summary
    feeders: tuple[FeederWorst, ...]


def results_csv(results: Sequence[SlotResult]) -> str:
    """Return one line per slot and feeder, with the names of `SlotResult` as header; None is empty."""
    names = [each.name for each in fields(SlotResult)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(getattr(result, name)) for name in names] for result in results)
    return buffer.getvalue()


def check_folder(folder: Path) -> None:
    """Make the folder and look whether files can be written there, before anything is played.

    Raises:
        OSError: if not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder):
        pass


def write_run(plan: FleetPlan, run: FleetRun, folder: Path) -> Path:
    """Write ``results.csv``, ``fleet.json``, the drawings and the page; return the page.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = plan.start.astimezone(UTC)
    told = FleetDocument(
        fleet=plan.fleet.digest,
        seed=plan.fleet.seed,
        references=tuple(each.name for each in plan.fleet.references),
        start=start,
        slots=plan.slots,
        summary=summarise(run.results),
        feeders=worst_of(run.results),
    )
    (folder / "results.csv").write_text(results_csv(run.results), encoding="utf-8")
    (folder / "fleet.json").write_bytes(TypeAdapter(FleetDocument).dump_json(told, indent=1) + b"\n")
    charts = fleet_charts(run.results)
    for chart in charts:
        (folder / f"{chart.name}.svg").write_text(chart.svg, encoding="utf-8")
    page = folder / "index.html"
    page.write_text(fleet_page(told.summary, start, charts), encoding="utf-8")
    return page


def _cell(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
