"""The common look of the plots: colours, axes, and figures as deterministic SVG.

Figures are made without pyplot, so nothing global remains. A finished SVG exists in two forms: the file, with
its colours in it, and the inline one, in which each colour of the palette is a CSS variable, so that the
page's dark mode recolours the plots, too.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import matplotlib
from lxml import etree
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from dso_engine.model import SLOT
from feederloop.report.wording import local_hours

__all__ = [
    "GRID",
    "INK",
    "LIMIT",
    "MUTED",
    "PALETTE",
    "PHASE",
    "TINT",
    "Colour",
    "LineStyle",
    "TimeAxis",
    "house_style",
    "inline_svg",
    "new_figure",
    "slot_length_h",
    "svg_text",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """One colour of the palette: its CSS variable and its value in light and in dark."""

    variable: str
    light: str
    dark: str


# The phases are blue, vermilion and green of Okabe and Ito, which stay apart for colour-blind eyes.
PAPER: Final = Colour(variable="--paper", light="#ffffff", dark="#15191e")
INK: Final = Colour(variable="--ink", light="#1c2127", dark="#e7eaee")
MUTED: Final = Colour(variable="--muted", light="#7d8791", dark="#98a2ad")
GRID: Final = Colour(variable="--grid", light="#e3e7eb", dark="#2c333b")
TINT: Final = Colour(variable="--tint", light="#fbeecb", dark="#3a3420")
LIMIT: Final = Colour(variable="--limit", light="#a3123a", dark="#ff7f9b")
PHASE: Final = (
    Colour(variable="--phase-a", light="#0072b2", dark="#56b4e9"),
    Colour(variable="--phase-b", light="#d55e00", dark="#f28c3a"),
    Colour(variable="--phase-c", light="#009e73", dark="#2ccb9b"),
)
PALETTE: Final = (PAPER, INK, MUTED, GRID, TINT, LIMIT, *PHASE)

LineStyle: TypeAlias = Literal["-"] | tuple[float, tuple[float, ...]]
"""A full line, or offset and lengths of dashes."""

_WIDTH_IN: Final = 8.2
_STYLE: Final = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 12.0,
    "text.color": INK.light,
    "axes.edgecolor": MUTED.light,
    "axes.facecolor": PAPER.light,
    "axes.labelcolor": INK.light,
    "axes.titlelocation": "left",
    "axes.titlesize": 12.0,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK.light,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelsize": 11.5,
    "grid.color": GRID.light,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED.light,
    "ytick.color": MUTED.light,
    "xtick.labelcolor": INK.light,
    "ytick.labelcolor": INK.light,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "figure.labelsize": 11.5,
    "legend.handlelength": 1.7,
    "legend.columnspacing": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "lines.linewidth": 1.8,
    "figure.facecolor": PAPER.light,
}
_TICK_STEPS_H: Final = (1 / 6, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 12.0, 24.0, 1e9)
_SVG: Final = "{http://www.w3.org/2000/svg}"
_XLINK_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_URL: Final = re.compile(r"url\(#")


def new_figure(height_in: float) -> Figure:
    """Return an empty figure of the page's width. Draw on it within :func:`house_style` only."""
    return Figure(figsize=(_WIDTH_IN, height_in), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.05))


def house_style(salt: str = "") -> AbstractContextManager[None]:
    """Return a context in which figures get the house style; outside it matplotlib is as it was."""
    return matplotlib.rc_context(matplotlib.RcParams({**_STYLE, "svg.hashsalt": salt}))


def svg_text(figure: Figure, name: str) -> str:
    """Return a figure as an SVG document: no date, no random ids, the same bytes every time."""
    buffer = io.BytesIO()
    with house_style(name):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = etree.fromstring(buffer.getvalue(), _parser())
    for metadata in root.findall(f"{_SVG}metadata"):
        root.remove(metadata)
    return etree.tostring(root, encoding="unicode") + "\n"


def inline_svg(document: str, *, name: str, label: str) -> str:
    """Return an SVG document as an element for a page that holds several.

    Ids get the plot's name as prefix, colours of the palette become CSS variables, the size is the page's
    business, and ``label`` is what a screen reader says.
    """
    root = etree.fromstring(document.encode(), _parser())
    for defs in root.findall(f"{_SVG}defs"):
        for sheet in defs.findall(f"{_SVG}style"):
            defs.remove(sheet)
    for element in root.iter():
        _make_local(element, name)
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-label", label)
    return etree.tostring(root, encoding="unicode")


def _make_local(element: etree._Element, name: str) -> None:
    for key, text in list(element.attrib.items()):
        if key == "id":
            element.set(key, f"{name}-{text}")
        elif key == _XLINK_HREF and text.startswith("#"):
            element.set(key, f"#{name}-{text[1:]}")
        elif key == "clip-path":
            element.set(key, _URL.sub(f"url(#{name}-", text))
        elif key == "style":
            element.set(key, _themed(text))


def _themed(declarations: str) -> str:
    for colour in PALETTE:
        declarations = declarations.replace(colour.light, f"var({colour.variable})")
    return declarations.replace("'DejaVu Sans'", "inherit")


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAxis:
    """The slots of a run on an axis of local hours."""

    slots: tuple[datetime, ...]

    @property
    def starts(self) -> list[float]:
        """Where the slots begin."""
        return [local_hours(slot, self.slots[0]) for slot in self.slots]

    @property
    def ends(self) -> list[float]:
        """Where the slots end: the series hold the state at the end of each slot."""
        return [local_hours(slot + SLOT, self.slots[0]) for slot in self.slots]

    @property
    def marker(self) -> str:
        """A line through one or two points is invisible or says too little."""
        return "o" if len(self.slots) < 3 else ""

    def finish(self, axes: Axes, *, label: bool, ticks_at_most: int = 9) -> None:
        """Set limits and ticks of an axis of time; a label only where it is the lowest."""
        first, last = self.starts[0], self.ends[-1]
        axes.set_xlim(first, last)
        step = next(s for s in _TICK_STEPS_H if (last - first) / s <= ticks_at_most - 1)
        ticks = [k * step for k in range(math.ceil(first / step - 1e-9), int(last / step + 1e-9) + 1)]
        axes.set_xticks(ticks, [_hhmm(tick) for tick in ticks])
        axes.tick_params(axis="x", labelbottom=label)
        if label:
            axes.set_xlabel("local time (UTC+1)")

    def shade(self, axes: Axes, marked: Sequence[datetime]) -> None:
        """Tint the slots in which the price was armed; neighbours become one span."""
        spans: list[tuple[datetime, datetime]] = []
        for slot in sorted(marked):
            if spans and spans[-1][1] == slot:
                spans[-1] = (spans[-1][0], slot + SLOT)
            else:
                spans.append((slot, slot + SLOT))
        for begin, end in spans:
            axes.axvspan(
                local_hours(begin, self.slots[0]),
                local_hours(end, self.slots[0]),
                color=TINT.light,
                linewidth=0,
                zorder=0,
            )


def _hhmm(hours: float) -> str:
    minutes = round(hours * 60)
    return f"{minutes // 60 % 24 if minutes != 1440 else 24:02d}:{minutes % 60:02d}"


def slot_length_h() -> float:
    """Return the length of a slot in hours."""
    return SLOT / timedelta(hours=1)
