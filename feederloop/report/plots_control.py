"""Plots of what the control did: market, one controlled slot, curtailment."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from feederloop.report.drawing import LIMIT, MUTED, PHASE, LineStyle, TimeAxis, new_figure, slot_length_h
from feederloop.report.wording import clock, count, day_text, kwh
from feederloop.simulation.result import MarketSlot, PriceStep, RunResult

__all__ = ["busiest_slot", "draw_controlled_slot", "draw_curtailment", "draw_market"]

_MILLICENT_PER_CENT: Final = 1000.0
_FEEDER_DASHES: Final[tuple[LineStyle, ...]] = ("-", (0, (4, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
_SLOT_S: Final = 600.0


def draw_market(result: RunResult) -> tuple[str, str, str, Figure] | None:
    """Return volume and prices of the auctions; None if nothing was traded."""
    traded = sum(m.traded_wh > 0 for m in result.market)
    if traded == 0:
        return None
    time = TimeAxis(slots=result.slots)
    figure = new_figure(4.6)
    volume, prices = figure.subplots(2, 1, sharex=True)
    starts = TimeAxis(slots=(result.slots[0], *(m.slot for m in result.market))).starts[1:]
    volume.bar(
        starts,
        [m.traded_wh / 1000.0 for m in result.market],
        width=0.9 * slot_length_h(),
        align="edge",
        color=PHASE[0].light,
        linewidth=0,
    )
    volume.set_ylabel("traded, kWh")
    volume.set_ylim(bottom=0.0)
    time.finish(volume, label=False)
    middles = [start + slot_length_h() / 2.0 for start in starts]
    _prices(prices, result.market, middles)
    time.finish(prices, label=True)
    caption = (
        f"What the homes traded with each other per slot, {kwh(result.traded_kwh)} in "
        f"{count(traded, 'slot')} of {len(result.market)}, and the prices buyers paid and sellers received; "
        "the difference stays with the DSO."
    )
    return "market", "The local market", caption, figure


def _prices(axes: Axes, market: tuple[MarketSlot, ...], middles: list[float]) -> None:
    """Prices of slots with trades; without a trade nobody pays the critical prices."""
    sides = (
        ("buyers pay", PHASE[1].light, "v", [m.bid_price_millicent for m in market]),
        ("sellers receive", PHASE[2].light, "^", [m.ask_price_millicent for m in market]),
    )
    for label, colour, marker, prices in sides:
        points = [
            (x, price / _MILLICENT_PER_CENT)
            for x, price, m in zip(middles, prices, market, strict=True)
            if price is not None and m.traded_wh > 0
        ]
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            linestyle="none",
            marker=marker,
            markersize=4.5,
            color=colour,
            label=label,
        )
    axes.set_ylabel("price, cent/kWh")
    axes.margins(y=0.15)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=2, borderaxespad=0.2)


def busiest_slot(steps: tuple[PriceStep, ...]) -> datetime | None:
    """Return the slot whose prices changed most often, the earliest of several; None without any."""
    if not steps:
        return None
    changes = Counter({step.slot: 0 for step in steps})
    last: dict[tuple[datetime, str], int] = {}
    for step in steps:
        key = (step.slot, step.pcc)
        changes[step.slot] += step.u_millicent != last.get(key, 0)
        last[key] = step.u_millicent
    return min(changes, key=lambda slot: (-changes[slot], slot))


def draw_controlled_slot(result: RunResult) -> tuple[str, str, str, Figure] | None:
    """Return price and flow of the slot with the most steps; None if the price was never armed."""
    slot = busiest_slot(result.steps)
    if slot is None:
        return None
    mine = [step for step in result.steps if step.slot == slot]
    pccs = [pcc for pcc in result.pccs if any(step.pcc == pcc for step in mine)]
    columns = 2 if len(pccs) > 1 else 1
    lines = -(-len(pccs) // columns)
    figure = new_figure(2.6 + 1.8 * lines)
    layout = figure.add_gridspec(1 + lines, columns, height_ratios=[1.25, *([1.0] * lines)])
    price = figure.add_subplot(layout[0, :])
    _u(price, mine, pccs)
    first: Axes | None = None
    for k, pcc in enumerate(pccs):
        # Column by column, as in the plot of the flows over the day.
        place = layout[1 + k % lines, k // lines]
        axes = figure.add_subplot(place, sharey=first)
        first = axes if first is None else first
        _flow(axes, [step for step in mine if step.pcc == pcc], _colour(pcc))
        axes.set_title(pcc)
        _seconds_axis(axes, label=k % lines == lines - 1)
        if k // lines:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("kW")
    _flow_legend(figure)
    taken = sum(step.stepped for step in mine)
    caption = (
        f"The slot whose prices changed most, {day_text(slot)} {clock(slot)}, {count(taken, 'step')} in all: "
        "above, the price added to each kWh behind each PCC; below, the measured flow, the mean over the "
        "slot it leads to, and the bound that the mean must keep."
    )
    return "controlled_slot", "Price and flow in one controlled slot", caption, figure


def _u(axes: Axes, mine: list[PriceStep], pccs: list[str]) -> None:
    """The price of each PCC; it holds until the next step, the last one to the end of the slot."""
    for pcc in pccs:
        steps = [step for step in mine if step.pcc == pcc]
        seconds = [_seconds(step) for step in steps]
        u_cent = [step.u_millicent / _MILLICENT_PER_CENT for step in steps]
        axes.plot(
            [*seconds, max(_SLOT_S, seconds[-1])],
            [*u_cent, u_cent[-1]],
            drawstyle="steps-post",
            color=_colour(pcc),
            linestyle=_feeder_dash(pcc, pccs),
            label=pcc,
        )
    axes.set_ylabel("price u, cent/kWh")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=6, borderaxespad=0.2)
    _seconds_axis(axes, label=False)


def _flow(axes: Axes, steps: list[PriceStep], colour: str) -> None:
    seconds = [_seconds(step) for step in steps]
    axes.plot(seconds, [step.p_kw for step in steps], color=MUTED.light, linewidth=1.2)
    axes.plot(seconds, [step.projected_kw for step in steps], color=colour, linewidth=2.0)
    for bound in ("c_lo_kw", "c_hi_kw"):
        values: list[float | None] = [getattr(step, bound) for step in steps]
        if any(value is not None for value in values):
            axes.plot(
                seconds,
                [float("nan") if value is None else value for value in values],
                color=LIMIT.light,
                linewidth=1.3,
                linestyle=(0, (5, 3)),
            )


def draw_curtailment(result: RunResult) -> tuple[str, str, str, Figure] | None:
    """Return curtailed energy per home and the range of each battery; None if there is neither."""
    curtailed = [home for home in result.homes if home.curtailed_wh > 0]
    batteries = [home for home in result.homes if home.battery]
    if not curtailed and not batteries:
        return None
    panels = bool(curtailed) + bool(batteries)
    figure = new_figure(0.4 + 2.5 * panels)
    grid: list[list[Axes]] = figure.subplots(panels, 1, squeeze=False).tolist()
    if batteries:
        axes = grid[0][0]
        low = [home.battery_min_kwh for home in batteries]
        height = [home.battery_max_kwh - home.battery_min_kwh for home in batteries]
        axes.bar(range(len(batteries)), height, bottom=low, width=0.7, color=PHASE[2].light, linewidth=0)
        axes.set_title("Range of each battery over the day")
        axes.set_ylabel("kWh")
        axes.set_ylim(bottom=0.0)
        _home_ticks(axes, [home.home for home in batteries])
    if curtailed:
        axes = grid[-1][0]
        axes.bar(
            range(len(curtailed)),
            [home.curtailed_wh / 1000.0 for home in curtailed],
            width=0.7,
            color=PHASE[1].light,
            linewidth=0,
        )
        axes.set_title("Curtailed energy by home")
        axes.set_ylabel("kWh")
        _home_ticks(axes, [home.home for home in curtailed])
    total = kwh(sum(home.curtailed_wh for home in curtailed) / 1000.0)
    parts = ["How far each battery was emptied and filled over the day"] if batteries else []
    parts.append(
        f"{count(len(curtailed), 'home')} had {total} curtailed in all"
        if curtailed
        else "nobody was curtailed"
    )
    caption = "; ".join(parts)
    return "homes", "Batteries and curtailment", f"{caption[0].upper()}{caption[1:]}.", figure


def _home_ticks(axes: Axes, names: list[str]) -> None:
    # Never fewer than a dozen places: two bars should not be walls.
    axes.set_xlim(-0.6, max(len(names), 12) - 0.4)
    rotation = 90 if len(names) > 10 else 0
    axes.set_xticks(range(len(names)), names, rotation=rotation, fontsize=9.5)
    axes.tick_params(axis="x", length=0)


def _seconds(step: PriceStep) -> float:
    return (step.at - step.slot).total_seconds()


def _seconds_axis(axes: Axes, *, label: bool) -> None:
    axes.set_xlim(0.0, _SLOT_S)
    axes.set_xticks(range(0, 601, 120))
    axes.tick_params(axis="x", labelbottom=True)
    if label:
        axes.set_xlabel("seconds since the slot began")


def _colour(pcc: str) -> str:
    return PHASE[max("ABC".find(pcc[-1:]), 0)].light


def _feeder_dash(pcc: str, pccs: list[str]) -> LineStyle:
    feeders = list(dict.fromkeys(each.rpartition("-")[0] for each in pccs))
    return _FEEDER_DASHES[feeders.index(pcc.rpartition("-")[0]) % len(_FEEDER_DASHES)]


def _flow_legend(figure: Figure) -> None:
    """One legend for all flows, below them: their meaning is the same in each."""
    handles = (
        Line2D([], [], color=MUTED.light, linewidth=1.2),
        Line2D([], [], color=PHASE[0].light, linewidth=2.0),
        Line2D([], [], color=LIMIT.light, linewidth=1.3, linestyle=(0, (5, 3))),
    )
    labels = ("measured", "mean of the slot (by phase)", "bound")
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
