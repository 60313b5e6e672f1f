"""What the operator's commands print: a table for people, the reply as JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.table import Table

from vtn_server import api_models as api

__all__ = ["detail", "show"]

_PIPED_WIDTH: Final = 240


def show(reply: api.Model, *, as_json: bool) -> None:
    """Print a reply."""
    if as_json:
        sys.stdout.write(reply.model_dump_json(indent=2) + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)
    match reply:
        case api.EventList():
            console.print(
                _table(
                    ("event", "status", "start", "length", "mod", "signals", "VENs"),
                    map(_event, reply.events),
                )
            )
            _more(console, len(reply.events), reply.total)
        case api.VenList():
            console.print(
                _table(
                    ("VEN", "name", "state", "pending", "given up", "groups", "resources"),
                    map(_ven, reply.vens),
                )
            )
            _more(console, len(reply.vens), reply.total)
        case api.ReportList():
            console.print(
                _table(
                    ("request", "VEN", "report", "granularity", "every", "state"), map(_report, reply.reports)
                )
            )
            _more(console, len(reply.reports), reply.total)
        case api.ReadingList():
            console.print(
                _table(("start", "VEN", "rID", "value", "length", "quality"), map(_reading, reply.readings))
            )
            _more(console, len(reply.readings), reply.total)
        case api.OptList():
            console.print(_table(("event", "VEN", "opt", "code", "mod", "at"), map(_opt, reply.events)))
            if reply.schedules:
                console.print(
                    _table(("schedule", "VEN", "opt", "reason", "from", "length"), _schedules(reply))
                )
            _more(console, len(reply.events) + len(reply.schedules), reply.total)
        case _:
            console.print(_table(("", ""), detail(reply)), markup=False)


def _table(columns: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=any(columns))
    for k, column in enumerate(columns):
        table.add_column(column, no_wrap=k == 0, overflow="fold")
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    return table


def _plain(cell: str) -> str:
    """Return a text that rich does not take for markup, nor a terminal for commands."""
    return "".join(each if each.isprintable() else "?" for each in cell).replace("[", "\\[")


def _more(console: Console, shown: int, total: int) -> None:
    if shown < total:
        console.print(f"{shown} of {total}; --limit shows more")


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _event(event: api.EventOut) -> tuple[str, ...]:
    return (
        event.event_id,
        event.status,
        _time(event.start),
        event.duration,
        str(event.modification_number),
        "; ".join(_signal(each) for each in event.signals),
        str(len(event.audience)),
    )


def _signal(signal: api.SignalModel) -> str:
    units = "" if signal.unit is None or signal.unit.units is None else f" {signal.unit.units}"
    values = ", ".join(_number(each.value) for each in signal.intervals[:6])
    dots = ", ..." if len(signal.intervals) > 6 else ""
    return f"{signal.name}/{signal.type} {values}{dots}{units}"


def _ven(ven: api.VenOut) -> tuple[str, ...]:
    state = ("push" if ven.push else "pull") if ven.registered else "unregistered"
    return (
        ven.ven_id,
        ven.ven_name,
        state,
        str(ven.pending),
        str(ven.given_up),
        " ".join(ven.groups),
        " ".join(ven.resources),
    )


def _report(report: api.ReportOut) -> tuple[str, ...]:
    state = "cancelled" if report.cancelled else "accepted" if report.acknowledged else "asked"
    if report.refused is not None:
        state = f"refused ({report.refused})"
    return (
        report.report_request_id,
        report.ven_id,
        f"{report.report_specifier_id}: {', '.join(report.r_ids)}",
        report.granularity,
        report.report_back,
        state,
    )


def _reading(reading: api.ReadingOut) -> tuple[str, ...]:
    value = _number(reading.value)
    if reading.online is not None:
        value = "online" if reading.online else "offline"
        value += f", set point {_number(reading.set_point)}" if reading.set_point is not None else ""
    return (
        _time(reading.start),
        reading.ven_id,
        f"{reading.report_specifier_id}/{reading.r_id}",
        value,
        reading.duration or "",
        reading.data_quality or "",
    )


def _opt(opt: api.EventOptOut) -> tuple[str, ...]:
    return (
        opt.event_id,
        opt.ven_id,
        opt.opt_type,
        opt.code,
        str(opt.modification_number),
        _time(opt.at),
    )


def _schedules(opts: api.OptList) -> Iterable[tuple[str, ...]]:
    for schedule in opts.schedules:
        for span in schedule.availability:
            yield (
                schedule.opt_id,
                schedule.ven_id,
                schedule.opt_type,
                schedule.reason,
                _time(span.start),
                span.duration,
            )


def detail(reply: api.Model) -> Iterable[tuple[str, str]]:
    """Return a reply as names and values, one line each; lists have a line per entry."""
    for name in type(reply).model_fields:
        value = getattr(reply, name)
        entries = value if isinstance(value, tuple) else (value,)
        for entry in entries:
            if entry is not None and (text := _one(entry)):
                yield name.replace("_", " "), text


def _one(entry: object) -> str:
    match entry:
        case datetime():
            return _time(entry)
        case api.SignalModel():
            return _signal(entry)
        case api.Model():
            return " ".join(
                f"{name}={_one(value)}"
                for name in type(entry).model_fields
                if (value := getattr(entry, name)) not in (None, ())
            )
        case tuple():
            return ", ".join(_one(each) for each in entry)
        case float():
            return _number(entry)
    return str(entry)
