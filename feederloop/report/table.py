"""The table at the end of a run, for the terminal."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from feederloop.report.rows import Verdict, comparison, sections
from feederloop.simulation.result import RunResult

__all__ = ["render_table"]

_STYLE: Final = {Verdict.PLAIN: "", Verdict.GOOD: "green", Verdict.BAD: "bold red"}


def render_table(result: RunResult) -> Table:
    """Return the figures of a run, without and with control side by side."""
    controlled = result.with_control is not None
    table = Table(
        title=f"{result.network}, scenario {result.scenario}, {result.day}, seed {result.seed}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("")
    table.add_column("without control", justify="right")
    if controlled:
        table.add_column("with control", justify="right")
    for section, rows in sections(comparison(result)):
        table.add_row(Text(section.value, style="bold"))
        for row in rows:
            cells = [
                Text(f"  {row.label}"),
                Text(row.without_control, style=_STYLE[row.verdict_without]),
            ]
            if controlled:
                cells.append(Text(row.with_control, style=_STYLE[row.verdict_with]))
            table.add_row(*cells)
        table.add_section()
    return table
