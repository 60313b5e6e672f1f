"""The kinds of drawing a study needs: bars by group, lines, and maps of a feeder over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dso_engine.model import FloatArray
from feederloop.report.drawing import INK, LIMIT, MUTED, PHASE, house_style, new_figure, svg_text

__all__ = ["Bars", "Chart", "Line", "Lines", "Surface", "draw_bars", "draw_lines", "draw_maps"]

_COLOURS: Final = (*(each.light for each in PHASE), MUTED.light, LIMIT.light, INK.light)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One finished drawing."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """One series of bars, a value per group, with the range it is the mean of."""

    label: str
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, label: str, samples: Sequence[Sequence[float]]) -> Bars:
        """Return the bars of some samples per group; an empty group has no bar."""
        return cls(
            label=label,
            mean=tuple(float(np.mean(each)) if each else 0.0 for each in samples),
            low=tuple(min(each, default=0.0) for each in samples),
            high=tuple(max(each, default=0.0) for each in samples),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    dashed: bool = False
    marked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines in one frame."""

    title: str
    lines: tuple[Line, ...]
    limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """A value along a feeder over time, (bus or line, slot)."""

    title: str
    values: FloatArray


def draw_bars(
    name: str,
    title: str,
    caption: str,
    *,
    unit: str,
    groups: Sequence[str],
    frames: Sequence[tuple[str, Sequence[Bars]]],
) -> Chart:
    """Return frames of grouped bars, one above the other, with whiskers from the lowest to the highest."""
    with house_style():
        figure = new_figure(0.9 + 2.3 * len(frames))
        rows: list[Axes] = list(np.atleast_1d(figure.subplots(len(frames), 1, sharex=True)))
        for axes, (heading, series) in zip(rows, frames, strict=True):
            _bars(axes, groups, series)
            axes.set_title(heading)
        figure.supylabel(unit)
        _legend(figure, rows[0])
        return Chart(name=name, title=title, caption=caption, svg=svg_text(figure, name))


def _bars(axes: Axes, groups: Sequence[str], series: Sequence[Bars]) -> None:
    x, width = np.arange(len(groups)), 0.8 / max(1, len(series))
    for k, each in enumerate(series):
        at = x + (k - (len(series) - 1) / 2) * width
        mean = np.array(each.mean)
        whiskers = np.array([mean - each.low, each.high - mean]).clip(min=0.0)
        axes.bar(
            at,
            mean,
            0.92 * width,
            color=_COLOURS[k % len(_COLOURS)],
            label=each.label,
            yerr=whiskers if whiskers.any() else None,
            error_kw={"ecolor": INK.light, "elinewidth": 0.8, "capsize": 1.5},
        )
    axes.axhline(0.0, color=MUTED.light, linewidth=0.8)
    axes.set_xticks(x, list(groups))


def draw_lines(
    name: str, title: str, caption: str, *, x_label: str, y_label: str, frames: Sequence[Lines]
) -> Chart:
    """Return frames of lines, one above the other."""
    with house_style():
        figure = new_figure(0.9 + 2.4 * len(frames))
        rows: list[Axes] = list(np.atleast_1d(figure.subplots(len(frames), 1, sharex=True)))
        for axes, frame in zip(rows, frames, strict=True):
            for k, line in enumerate(frame.lines):
                axes.plot(
                    line.x,
                    line.y,
                    color=_COLOURS[k % len(_COLOURS)],
                    linestyle=(0, (4, 2)) if line.dashed else "-",
                    marker="o" if line.marked else "",
                    markersize=4,
                    label=line.label,
                )
            if frame.limit is not None:
                axes.axhline(frame.limit, color=LIMIT.light, linewidth=1.2, linestyle=(0, (5, 3)))
            axes.set_title(frame.title)
        rows[-1].set_xlabel(x_label)
        figure.supylabel(y_label)
        _legend(figure, rows[0])
        return Chart(name=name, title=title, caption=caption, svg=svg_text(figure, name))


def draw_maps(
    name: str,
    title: str,
    caption: str,
    *,
    unit: str,
    x_label: str,
    y_label: str,
    x: tuple[float, float],
    surfaces: Sequence[Surface],
    limit: float | None = None,
) -> Chart:
    """Return maps along a feeder over time with one scale; beyond the limit a line is drawn around.

    The thesis draws these as surfaces; a map shows every point of them.
    """
    low = min(float(each.values.min()) for each in surfaces)
    high = max(float(each.values.max()) for each in surfaces)
    with house_style():
        figure = new_figure(0.9 + 2.2 * len(surfaces))
        rows: list[Axes] = list(np.atleast_1d(figure.subplots(len(surfaces), 1, sharex=True)))
        image = None
        for axes, each in zip(rows, surfaces, strict=True):
            extent = (x[0], x[1], 0.5, each.values.shape[0] + 0.5)
            image = axes.imshow(
                each.values, aspect="auto", origin="lower", extent=extent, vmin=low, vmax=high, cmap="cividis"
            )
            axes.grid(visible=False)
            if limit is not None and float(each.values.max()) > limit:
                axes.contour(each.values, levels=[limit], extent=extent, colors=[LIMIT.light], linewidths=1.4)
            axes.set_title(each.title)
        rows[-1].set_xlabel(x_label)
        figure.supylabel(y_label)
        if image is not None:
            figure.colorbar(image, ax=rows, label=unit, shrink=0.8)
        return Chart(name=name, title=title, caption=caption, svg=svg_text(figure, name))


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside upper left", ncols=min(4, len(labels)))
