"""The drawings of the market study."""

from __future__ import annotations

from collections.abc import Sequence

from feederloop.study.charts import Bars, Chart, draw_bars
from feederloop.study.market import Figure, Pairs, main_days, reduction_pct

__all__ = ["deviation_pct", "market_charts"]


def _days(pairs: Pairs) -> list[str]:
    return [f"{day:%a %d}" for day in sorted({s.day for s, _ in pairs})]


def _by_battery(pairs: Pairs, figure: Figure) -> list[Bars]:
    main = main_days(pairs)
    days = sorted({s.day for s, _ in main})
    return [
        Bars.of(
            f"{battery:g} kWh",
            [
                [reduction_pct(r, figure) for s, r in main if s.day == day and s.battery_kwh == battery]
                for day in days
            ],
        )
        for battery in sorted({s.battery_kwh for s, _ in main})
    ]


def market_charts(pairs: Pairs) -> tuple[Chart, ...]:
    """Return figures 4.2 to 4.8 as the thesis lays them out."""
    days = _days(pairs)

    def bars(name: str, title: str, caption: str, frames: Sequence[tuple[str, Figure]]) -> Chart:
        drawn = [(heading, _by_battery(pairs, figure)) for heading, figure in frames]
        return draw_bars(name, title, caption, unit="reduction by the market, %", groups=days, frames=drawn)

    return (
        bars(
            "fig_4_2",
            "Energy through the transformer (fig. 4.2)",
            "Excess sent to medium voltage and energy taken from it, summed over phases and slots.",
            (("excess (export)", lambda s: s.exported_kwh), ("import", lambda s: s.imported_kwh)),
        ),
        bars(
            "fig_4_3",
            "Losses (fig. 4.3)",
            "Transformer losses and losses of all lines, neutral included.",
            (
                ("transformer", lambda s: s.transformer_loss_kwh),
                ("lines", lambda s: s.phase_loss_kwh + s.neutral_loss_kwh),
            ),
        ),
        bars(
            "fig_4_4",
            "Line losses by conductor (fig. 4.4)",
            "The market does not know phases, so neutral losses may grow while those of the phases shrink.",
            (("phase conductors", lambda s: s.phase_loss_kwh), ("neutral", lambda s: s.neutral_loss_kwh)),
        ),
        bars(
            "fig_4_5",
            "Voltage unbalance (fig. 4.5)",
            "Highest VUF of any bus and slot, and the mean over all; negative is an increase.",
            (("maximum VUF", lambda s: s.vuf_max_pct), ("mean VUF", lambda s: s.vuf_mean_pct)),
        ),
        bars(
            "fig_4_6",
            "Peak and peak-to-average ratio (fig. 4.6)",
            "Highest sum of the phases' flows at the transformer, and its ratio to the mean.",
            (
                ("peak", lambda s: s.peak_kw),
                ("peak before 23:00", lambda s: s.peak_to_23h_kw),
                ("PAR", lambda s: s.par),
            ),
        ),
        bars(
            "fig_4_7",
            "Voltage deviation (fig. 4.7)",
            "Largest deviation from nominal, per phase.",
            tuple((f"phase {'ABC'[p]}", deviation_pct(p)) for p in range(3)),
        ),
        _rebate_chart(pairs),
    )


def deviation_pct(phase: int) -> Figure:
    """Return the figure of a phase's largest deviation, %."""
    return lambda side: max(abs(side.v_high_pct[phase]), abs(side.v_low_pct[phase]))


def _rebate_chart(pairs: Pairs) -> Chart:
    days = sorted({s.day for s, _ in pairs})
    chosen = [(s, r) for s, r in pairs if s.battery_kwh == 6.0 and s.seed == 1]
    rebates = sorted({s.rebate_eur_per_kwh for s, _ in chosen})

    def series(figure: Figure) -> list[Bars]:
        return [
            Bars.of(
                f"{100 * rebate:g} c/kWh",
                [
                    [
                        reduction_pct(r, figure)
                        for s, r in chosen
                        if (s.day, s.rebate_eur_per_kwh) == (d, rebate)
                    ]
                    for d in days
                ],
            )
            for rebate in rebates
        ]

    return draw_bars(
        "fig_4_8",
        "Largest rebate on the distribution fee (fig. 4.8b)",
        "6 kWh batteries, one seed. Figure 4.8a, other reserve prices, is the whiskers of figure 4.2.",
        unit="reduction by the market, %",
        groups=_days(pairs),
        frames=(
            ("excess (export)", series(lambda s: s.exported_kwh)),
            ("transformer losses", series(lambda s: s.transformer_loss_kwh)),
        ),
    )
