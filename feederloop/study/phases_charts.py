"""The drawings of the study of phase switching, laid out as figures 5.3 to 5.16."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from feederloop.study.charts import Bars, Chart, Line, Lines, Surface, draw_bars, draw_lines, draw_maps
from feederloop.study.phases import DYNAMIC, IMPACT_SWITCHES, STATIC, Outcome, PhasesJob, PhasesRow

__all__ = ["NAMES", "adoption_of", "impact_of", "phases_charts"]

Pairs = Sequence[tuple[PhasesJob, PhasesRow]]
Figure = Callable[[Outcome], float]

NAMES: Final = {
    "no_der": "no PV, no battery",
    "no_market": "no market",
    "market": "market, no switch",
    "static": "static",
    "static_pro": "static, prosumers",
    "mean_based": "mean-based",
    "highest_flow": "highest flow",
    "hybrid": "hybrid",
    "greedy": "simulated peak",
}


def impact_of(pairs: Pairs) -> tuple[Outcome, ...]:
    """Return the outcomes of the impact part."""
    return tuple(o for job, row in pairs if job.scenario == "chapter4_33h" for o in row.outcomes)


def adoption_of(pairs: Pairs) -> tuple[tuple[str, tuple[tuple[PhasesJob, PhasesRow], ...]], ...]:
    """Return the jobs of the adoption part by scenario."""
    scenarios = sorted({job.scenario for job, _ in pairs if len(job.scenario) == 1})
    return tuple((s, tuple((job, row) for job, row in pairs if job.scenario == s)) for s in scenarios)


def phases_charts(pairs: Pairs) -> tuple[Chart, ...]:
    """Return all drawings that there is data for."""
    impact = impact_of(pairs)
    return (
        _impact(
            impact,
            "fig_5_3",
            "Transformer (fig. 5.3)",
            (
                ("peak", lambda o: o.peak_kw),
                ("energy through it", lambda o: o.through_kwh),
                ("its losses", lambda o: o.transformer_loss_kwh),
            ),
        ),
        _impact(
            impact,
            "fig_5_4",
            "Voltage unbalance (fig. 5.4)",
            (("maximum VUF", lambda o: o.vuf_max_pct), ("mean VUF", lambda o: o.vuf_mean_pct)),
        ),
        *_along(pairs, "vuf", "fig_5_5", "VUF along the feeder (fig. 5.5)", "%"),
        _impact(
            impact,
            "fig_5_6",
            "Largest voltage deviation (fig. 5.6)",
            tuple((f"phase {'ABC'[p]}", _deviation(p)) for p in range(3)),
        ),
        *_along(pairs, "deviation", "fig_5_7", "Voltage deviation along the feeder (fig. 5.7, 5.11)", "%"),
        _impact(
            impact,
            "fig_5_8",
            "Line losses (fig. 5.8)",
            (("phase conductors", lambda o: o.phase_loss_kwh), ("neutral", lambda o: o.neutral_loss_kwh)),
        ),
        _counts(
            pairs,
            "fig_5_9",
            "Maximum VUF by number of switches (fig. 5.9a, 5.10a, 5.13, 5.14)",
            lambda o: o.vuf_max_pct,
        ),
        _counts(
            pairs, "fig_5_10", "Mean VUF by number of switches (fig. 5.9b, 5.10b)", lambda o: o.vuf_mean_pct
        ),
        _feeders(pairs),
        _counts(
            pairs,
            "fig_5_15",
            "Largest voltage deviation by number of switches (fig. 5.15)",
            lambda o: max(o.v_dev_pct),
        ),
        _references(pairs),
    )


def _deviation(phase: int) -> Figure:
    return lambda o: o.v_dev_pct[phase]


def _impact(impact: Sequence[Outcome], name: str, title: str, frames: Sequence[tuple[str, Figure]]) -> Chart:
    days = sorted({o.day for o in impact})
    methods = [m for m in (*STATIC, *DYNAMIC) if any(o.method == m for o in impact)]

    def series(figure: Figure) -> list[Bars]:
        base = {o.day: figure(o) for o in impact if o.method == "market"}
        return [
            Bars.of(
                NAMES[m],
                [
                    [100.0 * (base[d] - figure(o)) / base[d] for o in impact if (o.method, o.day) == (m, d)]
                    for d in days
                ],
            )
            for m in methods
        ]

    return draw_bars(
        name,
        title,
        f"{IMPACT_SWITCHES} switches against the market without any; negative is worse.",
        unit="reduction, %",
        groups=[f"{d:%a %d}" for d in days],
        frames=[(heading, series(figure)) for heading, figure in frames],
    )


def _along(pairs: Pairs, kind: str, name: str, title: str, unit: str) -> tuple[Chart, ...]:
    jobs = [(job, row) for job, row in pairs if job.scenario == "chapter4_33h" and row.maps]
    if not jobs:
        return ()
    job, row = jobs[0]
    wanted = ("static", "mean_based") if kind == "vuf" else ("static_pro", "highest_flow")
    surfaces = [
        Surface(title=NAMES[each.method], values=np.array(each.values).T)
        for each in row.maps
        if each.kind == kind and each.method in wanted
    ]
    chart = draw_maps(
        name,
        title,
        f"The more loaded feeder on {job.days[0]:%A %d %B}, {IMPACT_SWITCHES} switches.",
        unit=unit,
        x_label="local time, h",
        y_label="bus, counted from the transformer",
        x=(0.0, 24.0),
        surfaces=surfaces,
    )
    return (chart,)


def _counts(pairs: Pairs, name: str, title: str, figure: Figure) -> Chart:
    """Return a frame per scenario: mean over days and seeds of the day's figure by number of switches."""
    frames = []
    for scenario, jobs in adoption_of(pairs):
        outcomes = [o for _, row in jobs for o in row.outcomes]
        lines = []
        for method in ("static", "mean_based", "greedy"):
            points = {0: [figure(o) for o in outcomes if o.method == "market"]}
            for o in outcomes:
                if o.method == method:
                    points.setdefault(o.switches, []).append(figure(o))
            if len(points) > 1:
                counts = sorted(points)
                lines.append(
                    Line(
                        label=NAMES[method],
                        x=tuple(map(float, counts)),
                        y=tuple(float(np.mean(points[c])) for c in counts),
                        marked=True,
                    )
                )
        goal = float(np.mean([figure(o) for o in outcomes if o.method == "no_market"]))
        frames.append(Lines(title=f"scenario {scenario}", lines=tuple(lines), limit=goal))
    return draw_lines(
        name,
        title,
        "Mean over days and seeds of each day's figure; the dashed line is without market and switches.",
        x_label="switches, or homes moved for good",
        y_label="%",
        frames=frames,
    )


def _feeders(pairs: Pairs) -> Chart:
    """Return figure 5.12: the maximum VUF of each feeder by number of switches, scenario A or the first."""
    scenario, jobs = adoption_of(pairs)[0]
    outcomes = [o for _, row in jobs for o in row.outcomes if o.method in ("market", "mean_based")]
    counts = sorted({o.switches for o in outcomes})
    feeders = range(len(outcomes[0].vuf_by_feeder_pct))
    return draw_bars(
        "fig_5_12",
        f"Maximum VUF per feeder, scenario {scenario} (fig. 5.12)",
        "Dynamic, mean-based choice. A switch on one feeder acts on the other through the common busbar.",
        unit="%",
        groups=[f"{c} switches" for c in counts],
        frames=[
            (
                "",
                [
                    Bars.of(
                        f"feeder {f + 1}",
                        [[o.vuf_by_feeder_pct[f] for o in outcomes if o.switches == c] for c in counts],
                    )
                    for f in feeders
                ],
            )
        ],
    )


def _references(pairs: Pairs) -> Chart:
    """Return figure 5.16: with everything, without market, without PV and batteries."""
    groups = adoption_of(pairs)

    def bars(label: str, pick: Callable[[PhasesJob, Outcome], bool], figure: Figure) -> Bars:
        return Bars.of(
            label,
            [[figure(o) for job, row in jobs for o in row.outcomes if pick(job, o)] for _, jobs in groups],
        )

    def frame(figure: Figure) -> list[Bars]:
        return [
            bars(NAMES["no_der"], lambda job, o: o.method == "no_der", figure),
            bars(NAMES["no_market"], lambda job, o: o.method == "no_market", figure),
            bars(NAMES["market"], lambda job, o: o.method == "market", figure),
            bars(
                "market and most switches",
                lambda job, o: o.method == job.methods[-1] and o.switches == job.counts[-1],
                figure,
            ),
        ]

    return draw_bars(
        "fig_5_16",
        "With and without the mechanisms (fig. 5.16)",
        "Means over days and seeds, whiskers from the smallest to the largest day.",
        unit="%",
        groups=[f"scenario {s}" for s, _ in groups],
        frames=(
            ("largest voltage deviation", frame(lambda o: max(o.v_dev_pct))),
            ("maximum VUF", frame(lambda o: o.vuf_max_pct)),
        ),
    )
