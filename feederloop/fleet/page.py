"""The picture of a fleet's run: how the feeders' worst voltages are spread, and how many are near a limit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Final

from dso_engine.model import Limits
from feederloop.fleet.result import Condition, SlotResult, Summary, summary_rows, worst_of
from feederloop.report.document import document
from feederloop.report.drawing import inline_svg
from feederloop.report.wording import local_hours
from feederloop.study.charts import Chart, Line, Lines, draw_lines

__all__ = ["fleet_charts", "fleet_page"]

_PERCENT: Final = 100.0


def fleet_charts(results: Sequence[SlotResult]) -> tuple[Chart, ...]:
    """Return the drawings of a run.

    Args:
        results: At least one.
    """
    slots = len({each.slot for each in results})
    return (_voltages(results), _near(results)) if slots > 1 else (_voltages(results),)


def fleet_page(summary: Summary, start: datetime, charts: Sequence[Chart]) -> str:
    """Return the page.

    Args:
        summary: Of the run.
        start: First slot.
        charts: From `fleet_charts`.
    """
    rows = "".join(
        f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>" for label, value in summary_rows(summary)
    )
    parts = [
        f"<h1>{summary.feeders} feeders, {summary.homes} homes</h1>",
        f'<p class="run">{summary.slots} slots from {start:%Y-%m-%d %H:%M} UTC. All slots of all feeders are '
        'in <a href="results.csv">results.csv</a>, the worst of each in <a href="fleet.json">fleet.json</a>.'
        "</p>",
        f"<table><tbody>{rows}</tbody></table>",
    ]
    for chart in charts:
        svg = inline_svg(chart.svg, name=chart.name, label=f"{chart.title}. {chart.caption}")
        parts.append(
            f"<h2>{escape(chart.title)}</h2><figure>{svg}<figcaption>{escape(chart.caption)}</figcaption></figure>"
        )
    return document(f"{summary.feeders} feeders", "\n".join(parts))


def _voltages(results: Sequence[SlotResult]) -> Chart:
    """Worst voltages of the feeders in ascending order, without and with control."""
    solved = [each for each in worst_of(results) if each.solved]
    limit = _PERCENT * Limits().v_band

    def curve(label: str, values: Sequence[float], *, dashed: bool) -> Line:
        ordered = tuple(sorted(_PERCENT * value for value in values))
        share = tuple(_PERCENT * (k + 0.5) / len(ordered) for k in range(len(ordered)))
        return Line(label=label, x=share, y=ordered, dashed=dashed, marked=len(ordered) < 3)

    high = Lines(
        title="highest voltage of a feeder, % above nominal",
        lines=(
            curve("at price zero", [each.v_high_before for each in solved], dashed=True),
            curve("with price and export bounds", [each.v_high for each in solved], dashed=False),
        ),
        limit=limit,
    )
    low = Lines(
        title="lowest voltage of a feeder, % above nominal",
        lines=(
            curve("at price zero", [each.v_low_before for each in solved], dashed=True),
            curve("with price and export bounds", [each.v_low for each in solved], dashed=False),
        ),
        limit=-limit,
    )
    return draw_lines(
        "fleet_voltages",
        "Worst voltages across the fleet",
        "Feeders in the order of their highest (above) and lowest (below) phase voltage over all slots; each "
        "curve in its own order. The thin dashed line is the limit.",
        x_label="share of the feeders, %",
        y_label="deviation from nominal, %",
        frames=(high, low),
    )


def _near(results: Sequence[SlotResult]) -> Chart:
    """Feeders near and beyond their limits over time."""
    slots = sorted({each.slot for each in results})
    hours = tuple(local_hours(slot, slots[0]) for slot in slots)
    by_slot = [[each for each in results if each.slot == slot] for slot in slots]

    def line(label: str, counts: Sequence[int], *, dashed: bool = False) -> Line:
        return Line(label=label, x=hours, y=tuple(map(float, counts)), dashed=dashed, marked=len(hours) < 3)

    frame = Lines(
        title="",
        lines=(
            line("price armed", [sum(each.armed for each in slot) for slot in by_slot]),
            line(
                "limit broken at price zero",
                [sum(each.broken_before > 0 for each in slot) for slot in by_slot],
                dashed=True,
            ),
            line(
                "limit broken at the end",
                [sum(each.condition is Condition.BROKEN for each in slot) for slot in by_slot],
            ),
            line(
                "not solved",
                [sum(each.condition is Condition.UNSOLVED for each in slot) for slot in by_slot],
                dashed=True,
            ),
        ),
    )
    return draw_lines(
        "fleet_limits",
        "Feeders near their limits",
        "How many feeders are controlled, and how many would break a limit without control.",
        x_label="local hour",
        y_label="feeders",
        frames=(frame,),
    )
