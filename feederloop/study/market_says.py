"""What the market study says: claims beside the thesis', the table, the report."""

from __future__ import annotations

from typing import Final

import numpy as np

from feederloop.study.market import Figure, MarketRow, Pairs, main_days, reduction_pct
from feederloop.study.market_charts import deviation_pct, market_charts
from feederloop.study.page import Claim, Report, Table
from feederloop.study.settings import Setting
from feederloop.study.words import counted, days_in_words, sentence, signed

__all__ = ["market_report"]

_HOMES: Final = (
    "33 homes of the published network, 17 with PV and battery, 8 with a battery only, 8 without either; "
    "3 kWp each."
)
_PLAY: Final = (
    "Supplier 0.15 EUR/kWh, 0.45 from 17:00 to 23:00; feed-in 0.10; rebate up to 0.02 EUR/kWh unless said.",
    "Without market: every home minimises its own bill over the day it knows, with 1e-4 c/kWh of throughput "
    "to decide between equal plans. With market: hour-ahead auctions, perfect forecasts, commitments kept.",
    "A reduction is positive if the market makes the figure smaller. Bars are means over seeds, whiskers run "
    "from the smallest to the largest.",
)


def market_report(pairs: Pairs) -> Report:
    """Return the report of all days."""
    return Report(
        name="market",
        title="Study: the local market (chapter 4)",
        question="What does an hour-ahead market between neighbours change in the network?",
        setup=(_HOMES, _played(pairs), *_PLAY),
        claims=_claims(pairs),
        charts=market_charts(pairs),
        tables=(_table(pairs),),
    )


def _played(pairs: Pairs) -> str:
    main = [setting for setting, _ in main_days(pairs)]
    sizes = ", ".join(f"{size:g}" for size in sorted({setting.battery_kwh for setting in main}))
    seeds = len({setting.seed for setting in main})
    return (
        f"{sentence(days_in_words(setting.day for setting in main))}, of the load and production profiles in "
        f"config/profiles; batteries of {sizes} kWh; {counted(seeds, 'seed')}, which "
        f"draw{'s' if seeds == 1 else ''} the reserve prices."
    )


def _by_rebate(pairs: Pairs) -> str:
    """Say what the other rebates do to a day of one size and seed."""
    other = [setting for setting, _ in pairs if setting not in {each for each, _ in main_days(pairs)}]
    if not other:
        return "Other rebates were not played"
    one, days = other[0], {setting.day for setting in other}
    rows = [
        (setting.rebate_eur_per_kwh, row)
        for setting, row in pairs
        if setting.day in days and (setting.battery_kwh, setting.seed) == (one.battery_kwh, one.seed)
    ]
    parts = []
    for rebate in sorted({rebate for rebate, _ in rows}):
        found = [reduction_pct(row, lambda s: s.transformer_loss_kwh) for each, row in rows if each == rebate]
        parts.append(f"{100.0 * rebate:g} c {signed(float(np.mean(found)), 1)} %")
    return f"Transformer losses by largest rebate, {one.battery_kwh:g} kWh: {', '.join(parts)}"


def _span(pairs: Pairs, figure: Figure) -> str:
    values = [reduction_pct(r, figure) for _, r in main_days(pairs)]
    return f"{signed(min(values))} to {signed(max(values))} %, mean {signed(float(np.mean(values)))} %"


def _total(pairs: Pairs, figure: Figure) -> str:
    """Say the reduction of all days together, then that of single days: little export is a large per cent."""
    rows = [row for _, row in main_days(pairs)]
    before = sum(figure(row.without) for row in rows)
    after = sum(figure(row.with_market) for row in rows)
    per_day = [reduction_pct(row, figure) for row in rows]
    share = 100.0 * (before - after) / before if before else 0.0
    return (
        f"{signed(share, 1)} % of all days together, single days {signed(min(per_day))} to "
        f"{signed(max(per_day))} %"
    )


def _count(pairs: Pairs, figure: Figure) -> str:
    values = [reduction_pct(r, figure) for _, r in main_days(pairs)]
    return f"smaller on {sum(v > 0 for v in values)} of {len(values)} days"


def _claims(pairs: Pairs) -> tuple[Claim, ...]:
    main = [r for _, r in main_days(pairs)]
    worse = [r.homes_worse_off for r in main]
    bills = [reduction_pct(r, lambda s: s.bills_eur) for r in main]
    return (
        Claim(
            figure="4.2a",
            thesis="Considerable reduction of the excess, more with larger batteries (above 30 % read off).",
            ours=f"Export {_total(pairs, lambda s: s.exported_kwh)}.",
            why="Our homes have equal days of sun and load, other profiles, and a stated baseline whose "
            "tie-break alone moves the figure by tens of per cent (mechanisms.md 6).",
        ),
        Claim(
            figure="4.2b",
            thesis="Consistent reduction of the energy from medium voltage, smaller in relation.",
            ours=f"Import {_total(pairs, lambda s: s.imported_kwh)}.",
            why="Same cause and direction; energy not exported is energy not bought.",
        ),
        Claim(
            figure="4.3",
            thesis="Transformer losses about 4 % lower for 6 and 9 kWh; line losses lower.",
            ours=f"Transformer {_total(pairs, lambda s: s.transformer_loss_kwh)}; "
            f"lines {_total(pairs, lambda s: s.phase_loss_kwh + s.neutral_loss_kwh)}.",
            why="Most of the transformer's loss is iron loss, which no market moves; the thesis' (4.1a) "
            "counts copper loss linear in power, ours comes from the power flow (errata 11).",
        ),
        Claim(
            figure="4.4",
            thesis="Losses in the phases always lower, in the neutral not.",
            ours=f"Phases {_count(pairs, lambda s: s.phase_loss_kwh)}, "
            f"neutral {_count(pairs, lambda s: s.neutral_loss_kwh)}.",
            why="Energy is traded between phases, so the neutral carries it.",
        ),
        Claim(
            figure="4.5",
            thesis="Important increase of the maximum VUF.",
            ours=f"Maximum VUF {_span(pairs, lambda s: s.vuf_max_pct)}.",
            why="Depends on which homes trade in the worst slot; see the days in the table.",
        ),
        Claim(
            figure="4.6",
            thesis="Peak considerably and always lower; PAR sometimes higher.",
            ours=f"Peak {_span(pairs, lambda s: s.peak_kw)}; before 23:00 "
            f"{_span(pairs, lambda s: s.peak_to_23h_kw)}; PAR {_span(pairs, lambda s: s.par)}.",
            why="The peak of the whole day lies in its last hour: price falls at 23:00, and all "
            "batteries go back to their start. When exactly is a tie, so it says nothing of a market.",
        ),
        Claim(
            figure="4.7",
            thesis="Better in some phases, worse in others, always inside the limits.",
            ours="; ".join(f"{'ABC'[p]} {_span(pairs, deviation_pct(p))}" for p in range(3)) + ".",
            why="As in the thesis: a market that knows no phases moves voltage either way.",
        ),
        Claim(
            figure="4.8, bills",
            thesis="Robust against other reserve prices; rebates help, not in proportion.",
            ours=f"{_by_rebate(pairs)}. Bills {signed(min(bills))} to {signed(max(bills))} % lower; "
            f"{min(worse)} to {max(worse)} of 33 homes pay more on a day.",
            why="Rationality holds per slot, not per day: an unsold offer leaves a plan that is worse "
            "than the "
            "baseline's.",
        ),
    )


def _table(pairs: Pairs) -> Table:
    columns = (
        "day", "battery_kwh", "seed", "max_rebate_eur_per_kwh", "traded_kwh", "slots_with_trade",
        "export_without_kwh", "export_with_kwh", "import_without_kwh", "import_with_kwh", "peak_without_kw",
        "peak_with_kw", "vuf_max_without_pct", "vuf_max_with_pct", "phase_loss_without_kwh",
        "phase_loss_with_kwh", "neutral_loss_without_kwh", "neutral_loss_with_kwh",
        "transformer_loss_without_kwh", "transformer_loss_with_kwh", "bills_without_eur", "bills_with_eur",
        "homes_worse_off",
    )  # fmt: skip

    def row(setting: Setting, found: MarketRow) -> tuple[str, ...]:
        a, b = found.without, found.with_market
        pairs_of = (
            (a.exported_kwh, b.exported_kwh), (a.imported_kwh, b.imported_kwh), (a.peak_kw, b.peak_kw),
            (a.vuf_max_pct, b.vuf_max_pct), (a.phase_loss_kwh, b.phase_loss_kwh),
            (a.neutral_loss_kwh, b.neutral_loss_kwh), (a.transformer_loss_kwh, b.transformer_loss_kwh),
            (a.bills_eur, b.bills_eur),
        )  # fmt: skip
        return (
            setting.day.isoformat(),
            f"{setting.battery_kwh:g}",
            str(setting.seed),
            f"{setting.rebate_eur_per_kwh:g}",
            f"{found.traded_kwh:.1f}",
            str(found.slots_with_trade),
            *(f"{value:.3f}" for pair in pairs_of for value in pair),
            str(found.homes_worse_off),
        )

    return Table(
        name="market_days",
        title="Every day",
        columns=columns,
        rows=tuple(row(s, r) for s, r in pairs),
        shown=False,
    )
