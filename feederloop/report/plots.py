"""The plots of a run, in the order the page shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from feederloop.report.drawing import (
    LIMIT,
    MUTED,
    PHASE,
    TINT,
    LineStyle,
    TimeAxis,
    house_style,
    new_figure,
    svg_text,
)
from feederloop.report.plots_control import draw_controlled_slot, draw_curtailment, draw_market
from feederloop.report.wording import pct
from feederloop.simulation.result import GridSeries, RunResult

__all__ = ["Plot", "draw_plots"]

_PHASES: Final = "ABC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One finished plot."""

    name: str
    """Its file is ``<name>.svg``."""
    title: str
    caption: str
    svg: str


def draw_plots(result: RunResult) -> tuple[Plot, ...]:
    """Return all plots that the run has data for."""
    drawers: tuple[Callable[[RunResult], tuple[str, str, str, Figure] | None], ...] = (
        _draw_voltages,
        _draw_flows,
        draw_controlled_slot,
        draw_market,
        _draw_unbalance,
        _draw_transformer,
        draw_curtailment,
    )
    plots: list[Plot] = []
    with house_style():
        for draw in drawers:
            drawn = draw(result)
            if drawn is not None:
                name, title, caption, figure = drawn
                plots.append(Plot(name=name, title=title, caption=caption, svg=svg_text(figure, name)))
    return tuple(plots)


def _draw_voltages(result: RunResult) -> tuple[str, str, str, Figure]:
    time, band_pct = TimeAxis(slots=result.slots), result.v_band_pct
    figure = new_figure(6.6)
    rows: Sequence[Axes] = figure.subplots(3, 1, sharex=True, sharey=True)
    for phase, axes in enumerate(rows):
        time.shade(axes, result.armed_slots)
        for sign in (1, -1):
            axes.axhline(sign * band_pct, color=LIMIT.light, linewidth=1.2, linestyle=(0, (5, 3)))
        _envelope(axes, time, result.grid_uncontrolled, phase, MUTED.light, dashed=result.grid is not None)
        if result.grid is not None:
            _envelope(axes, time, result.grid, phase, PHASE[phase].light, dashed=False)
        axes.set_title(f"Phase {_PHASES[phase]}")
        time.finish(axes, label=phase == 2)
    reach = max(
        band_pct,
        *(abs(v) for grid in _grids(result) for row in (*grid.v_max_pct, *grid.v_min_pct) for v in row),
    )
    rows[0].set_ylim(-1.08 * reach, 1.08 * reach)
    figure.supylabel("deviation from nominal, %")
    _legend(figure, result, limit=f"limit ±{band_pct:g} %")
    caption = (
        f"Highest and lowest voltage anywhere on each phase at the end of every slot; nominal is "
        f"{result.v_nominal_v:.1f} V, the dashed lines are the limit of ±{band_pct:g} %."
    )
    return "voltages", "Voltage over the day", caption, figure


def _envelope(axes: Axes, time: TimeAxis, grid: GridSeries, phase: int, colour: str, *, dashed: bool) -> None:
    high = [row[phase] for row in grid.v_max_pct]
    low = [row[phase] for row in grid.v_min_pct]
    axes.fill_between(time.ends, low, high, color=colour, alpha=0.14, linewidth=0)
    for series in (high, low):
        axes.plot(time.ends, series, color=colour, linestyle=_dash(dashed), marker=time.marker)


def _draw_flows(result: RunResult) -> tuple[str, str, str, Figure]:
    time, number = TimeAxis(slots=result.slots), len(result.pccs)
    columns = 2 if number > 1 and number % 2 == 0 else 1
    lines = number // columns
    figure = new_figure(0.9 + 1.75 * lines)
    grid: list[list[Axes]] = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).tolist()
    for k, pcc in enumerate(result.pccs):
        # Column by column, so that the phases of one feeder stand one below the other.
        axes, line = grid[k % lines][k // lines], k % lines
        time.shade(axes, result.armed_slots)
        axes.axhline(0.0, color=MUTED.light, linewidth=0.8)
        dashed = result.grid is not None
        _line(axes, time, [row[k] for row in result.grid_uncontrolled.pcc_p_kw], MUTED.light, dashed=dashed)
        if result.grid is not None:
            _line(axes, time, [row[k] for row in result.grid.pcc_p_kw], _pcc_colour(pcc), dashed=False)
        axes.set_title(pcc)
        time.finish(axes, label=line == lines - 1, ticks_at_most=9 // columns + 1)
    figure.supylabel("kW, above zero = import")
    _legend(figure, result)
    caption = (
        "Power through each feeder head and phase (PCC), the only flows the control measures; "
        "below zero the homes behind it export."
    )
    return "flows", "Flows at the feeder heads", caption, figure


def _draw_unbalance(result: RunResult) -> tuple[str, str, str, Figure]:
    caption = (
        "Highest voltage unbalance factor of the network at the end of every slot; the worst was "
        f"{pct(result.without_control.vuf_pct, 2)} without control"
    )
    if result.with_control is not None:
        caption += f" and {pct(result.with_control.vuf_pct, 2)} with it"
    figure = _one_line(result, lambda grid: grid.vuf_pct, "VUF, %")
    return "vuf", "Voltage unbalance over the day", f"{caption}.", figure


def _draw_transformer(result: RunResult) -> tuple[str, str, str, Figure]:
    figure = _one_line(result, lambda grid: grid.transformer_loading_pct, "loading, %", limit=100.0)
    highest = max(result.grid_uncontrolled.transformer_loading_pct)
    caption = f"Loading of the transformer; its highest was {pct(highest)} of the rating without control"
    if result.grid is not None:
        caption += f" and {pct(max(result.grid.transformer_loading_pct))} with it"
    return "transformer", "Transformer loading", f"{caption}.", figure


def _one_line(
    result: RunResult,
    series: Callable[[GridSeries], tuple[float, ...]],
    label: str,
    limit: float | None = None,
) -> Figure:
    time, figure = TimeAxis(slots=result.slots), new_figure(2.9)
    axes = figure.subplots()
    time.shade(axes, result.armed_slots)
    dashed = result.grid is not None
    _line(axes, time, series(result.grid_uncontrolled), MUTED.light, dashed=dashed)
    if result.grid is not None:
        _line(axes, time, series(result.grid), PHASE[0].light, dashed=False)
    if limit is not None:
        axes.axhline(limit, color=LIMIT.light, linewidth=1.2, linestyle=(0, (5, 3)))
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel(label)
    time.finish(axes, label=True)
    _legend(figure, result, limit=None if limit is None else "rating", colour=PHASE[0].light)
    return figure


def _grids(result: RunResult) -> tuple[GridSeries, ...]:
    return tuple(grid for grid in (result.grid_uncontrolled, result.grid) if grid is not None)


def _line(axes: Axes, time: TimeAxis, series: Sequence[float], colour: str, *, dashed: bool) -> None:
    axes.plot(time.ends, series, color=colour, linestyle=_dash(dashed), marker=time.marker)


def _dash(dashed: bool) -> LineStyle:
    return (0, (2.2, 1.3)) if dashed else "-"


def _pcc_colour(pcc: str) -> str:
    """The colour of the phase that a PCC's id ends with."""
    position = _PHASES.find(pcc[-1:])
    return PHASE[max(position, 0)].light


def _legend(figure: Figure, result: RunResult, limit: str | None = None, colour: str | None = None) -> None:
    """Say above the plots what lines and tints mean; the phase colours are named by the panels' titles."""
    with_control = "with control" if colour else "with control (by phase)"
    entries: list[tuple[Line2D | Patch, str]] = []
    dashed = result.grid is not None
    entries.append((Line2D([], [], color=MUTED.light, linestyle=_dash(dashed)), "without control"))
    if result.grid is not None:
        entries.append((Line2D([], [], color=colour or PHASE[0].light), with_control))
    if limit is not None:
        entries.append((Line2D([], [], color=LIMIT.light, linewidth=1.2, linestyle=(0, (5, 3))), limit))
    if result.armed_slots:
        entries.append((Patch(color=TINT.light, linewidth=0), "price armed"))
    handles, labels = [handle for handle, _ in entries], [text for _, text in entries]
    figure.legend(handles, labels, loc="outside upper right", ncols=len(entries))
