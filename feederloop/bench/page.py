"""The figures for people: tables on the terminal, and the page ``docs/benchmarks.md``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table

from feederloop.bench.model import (
    Comparison,
    Contestant,
    EngineRow,
    Figure,
    Kind,
    Machine,
    Record,
    Row,
    Scope,
    Transport,
)

__all__ = ["page", "tables"]

_HOW: Final = """\
How it is measured (`feederloop bench vtn --against openleadr`):

* Each server runs as a process of its own. Ours is what `feederloop vtn` starts, with its SQLite store on
  disk: a reply that changes something leaves after its transaction is durable. openleadr keeps its state
  in memory, in handlers of a few lines. "Bare aiohttp" is a handler that reads the body and returns constant
  bytes.
* {loops}
* {vens} VENs send at the same time, each over a kept-alive connection of its own, one message after the
  other. Messages are built and signed before a round; every reply is checked by its body: message type,
  response code, receiver, event version and number of intervals, presence of a signature.
* Both VTNs check every message against the official schema. Messages of one kind differ in ids, times and
  values, as those of one make of VEN do. That helps ours: it has learned the form of such bodies after the
  first ones, and what has a form that it does not know costs more.
* openleadr refuses what was signed more than five seconds ago, and takes so long for a message with RSA
  signatures that each VEN sends one of a kind in a round there: its column "messages" is smaller, and its
  latencies are mostly the wait for the other VENs.
* CPU is the time of the server's whole process, all its threads, divided by the messages. The servers take
  turns in every round, so that whatever else the machine does falls on all of them; figures are medians of
  the rounds, ratios the medians of the ratios of neighbouring rounds.
* Below 1 the other one is cheaper than we. Of bare aiohttp 0.5 is asked: at most twice its CPU for a poll.
* No body is compressed, and nothing below a warning is logged.
* The event has six intervals, wants an answer, and is one for all VENs, changed before each poll. In ours
  its body is serialised once per version, when it is published; publishing is not in the figures of either.
* Messages per second and latencies are those of a load generator in one process on the same machine, and
  include what it takes itself.
"""


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _met(each: Comparison) -> str:
    return {None: "", True: "yes", False: "no"}[each.met]


def _asked(each: Comparison) -> str:
    return "" if each.target is None else f"{each.target:g}"


_ROW_HEAD: Final = ("message", "transport", "server", "CPU ms", "per s", "p50 ms", "p99 ms", "messages")
_RATIO_HEAD: Final = ("message", "transport", "against", "times our CPU", "lowest round", "asked", "met")
_FIGURE_HEAD: Final = ("figure", "measured", "unit", "at most", "met")
_TITLES: Final = {
    Scope.SCALE: "Many VENs in one process (`feederloop bench scale`)",
    Scope.FANOUT: "One price to many VENs (`feederloop bench fanout`)",
    Scope.SOAK: "Soak (`feederloop bench soak`)",
}
_ENGINE_HEAD: Final = ("computation", "median ms", "best ms", "rounds")


def _row_cells(row: Row) -> tuple[str, ...]:
    return (
        row.kind.value,
        row.transport.value,
        row.contestant.value,
        _number(row.cpu_ms),
        f"{row.per_s:.0f}",
        _number(row.p50_ms, 1),
        _number(row.p99_ms, 1),
        str(row.messages),
    )


def _ratio_cells(each: Comparison) -> tuple[str, ...]:
    names = (each.kind.value, each.transport.value, each.against.value)
    return (*names, _number(each.ratio, 2), _number(each.lowest, 2), _asked(each), _met(each))


def _figure_cells(each: Figure) -> tuple[str, ...]:
    digits = 0 if each.value >= 100 or each.value == int(each.value) else 2
    asked = "" if each.most is None else f"{each.most:g}"
    return (
        each.what,
        f"{each.value:.{digits}f}",
        each.unit,
        asked,
        {None: "", True: "yes", False: "no"}[each.met],
    )


def _engine_cells(row: EngineRow) -> tuple[str, ...]:
    return (row.what, _number(row.median_ms), _number(row.best_ms), str(row.rounds))


def _sorted(rows: Iterable[Row]) -> list[Row]:
    order = (list(Transport), list(Kind), list(Contestant))
    return sorted(
        rows,
        key=lambda each: (
            order[0].index(each.transport),
            order[1].index(each.kind),
            order[2].index(each.contestant),
        ),
    )


def tables(record: Record) -> RenderableType:
    """Return the tables for a terminal."""
    parts: list[RenderableType] = []
    if record.rows:
        parts.append(_table("Messages", _ROW_HEAD, [_row_cells(each) for each in _sorted(record.rows)]))
    if record.comparisons:
        cells = [_ratio_cells(each) for each in record.comparisons]
        parts.append(_table("CPU of the others, divided by ours", _RATIO_HEAD, cells))
    if record.engine:
        parts.append(_table("Engine", _ENGINE_HEAD, [_engine_cells(each) for each in record.engine]))
    for scope in Scope:
        if found := [_figure_cells(each) for each in record.figures if each.scope is scope]:
            parts.append(_table(scope.value, _FIGURE_HEAD, found))
            parts += [f"* {each.text}" for each in record.remarks if each.scope is scope]
    parts += [f"not measured: {each.kind} of {each.contestant}: {each.reason}" for each in record.skipped]
    return Group(*parts)


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in head:
        number = name.endswith((" ms", " s", "CPU", "messages", "measured", "rounds"))
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def page(record: Record) -> str:
    """Return the page as Markdown."""
    parts = [
        "# Benchmarks",
        "Made by `feederloop bench report` from the `--json` files of the other `feederloop bench` commands; "
        "not written by hand.",
        _machine(record.machine),
    ]
    if record.rows:
        loops = (
            "All servers run on uvloop."
            if record.same_loop
            else "Ours runs on uvloop, as the program does; openleadr and bare aiohttp run on asyncio's own "
            "loop, as their documentation starts them."
        )
        parts += ["## VTN, message by message", _HOW.format(vens=record.vens, loops=loops).rstrip()]
        if record.comparisons:
            cells = [_ratio_cells(each) for each in record.comparisons]
            parts += ["### CPU of the others, divided by ours", _markdown(_RATIO_HEAD, cells)]
        cells = [_row_cells(each) for each in _sorted(record.rows)]
        parts += ["### All figures", _markdown(_ROW_HEAD, cells)]
    if record.skipped:
        parts.append(
            "\n".join(
                f"* Not measured: {each.kind} of {each.contestant}: {each.reason}." for each in record.skipped
            )
        )
    if record.engine:
        cells = [_engine_cells(each) for each in record.engine]
        parts += ["## Engine", _engine_says(record), _markdown(_ENGINE_HEAD, cells)]
    for scope in Scope:
        if found := [_figure_cells(each) for each in record.figures if each.scope is scope]:
            remarks = "\n".join(f"* {each.text}" for each in record.remarks if each.scope is scope)
            parts += [f"## {_TITLES[scope]}", remarks, _markdown(_FIGURE_HEAD, found)]
    return "\n\n".join(each for each in parts if each) + "\n"


def _engine_says(record: Record) -> str:
    text = "`feederloop bench engine`: one thread, one after the other."
    there = record.engine_machine
    if there is None or there == record.machine:
        return text
    other = f" {there.elsewhere}" if there.differs(record.machine) else ""
    return f"{text} Date: {there.date}.{other}"


def _machine(machine: Machine) -> str:
    return "\n".join(
        (
            f"* Date: {machine.date}",
            f"* Machine: {machine.processor}, {machine.cores} cores, {machine.system}; "
            f"{machine.load:.1f} processes ready to run in the minute before",
            f"* Versions: {', '.join(machine.versions)}",
        )
    )


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
