"""The page of a run: what happened in one paragraph, then plots, then tables, then how to read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from feederloop.report.document import document
from feederloop.report.drawing import inline_svg
from feederloop.report.glossary import GLOSSARY
from feederloop.report.messages import LoggedExchange, messages_page
from feederloop.report.plots import Plot, draw_plots
from feederloop.report.rows import Verdict, account_rows, comparison, sections
from feederloop.report.wording import (
    LOCAL_NOTE,
    MISSING,
    clock,
    count,
    euro,
    headline,
    kwh,
    signed,
    worst_voltage_pct,
)
from feederloop.simulation.result import HomeResult, RunResult, Summary

__all__ = ["write_report"]


_NUMBER_THEN_UNIT: Final = re.compile(r"(?<=\d) (?=%|kWh|EUR|V\b|slot|home|step)")


def write_report(result: RunResult, exchanges: Sequence[LoggedExchange], out: Path) -> Path:
    """Write ``index.html``, ``messages.html`` and one SVG file per plot.

    Args:
        result: The run.
        exchanges: All exchanges of the VEN whose log is shown, oldest first.
        out: The folder; made if it is missing.

    Returns:
        The path of ``index.html``.

    Raises:
        OSError: if the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    plots = draw_plots(result)
    for plot in plots:
        (out / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
    (out / "messages.html").write_text(messages_page(exchanges), encoding="utf-8")
    index = out / "index.html"
    index.write_text(_index(result, plots, len(exchanges)), encoding="utf-8")
    return index


def _index(result: RunResult, plots: Sequence[Plot], exchanges: int) -> str:
    title = f"A neighbourhood's day, {result.day}"
    body = [
        f'<h1>A neighbourhood\'s day, <span class="keep">{escape(result.day)}</span></h1>',
        f'<p class="run">{_prose(_run_line(result))}</p>',
        f'<p class="headline">{_prose(headline(result))}</p>',
        _cards(result),
        f'<h2>The day in pictures</h2>\n<p class="note">{LOCAL_NOTE}</p>',
        *(_figure(plot) for plot in plots),
        "<h2>The figures</h2>",
        _figures_table(result),
    ]
    if result.homes:
        body += ["<h2>Who pays whom</h2>", _accounts(result), "<h2>The homes</h2>", *_homes(result)]
    body += [
        "<h2>How to read this</h2>",
        "<dl>" + "\n".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in GLOSSARY) + "</dl>",
        "<h2>The files</h2>",
        f'<p><a href="messages.html">The message log of one VEN</a> ({count(exchanges, "exchange")}), '
        '<a href="result.json">result.json</a> with every number above, and the plots: '
        + ", ".join(f'<a href="{plot.name}.svg">{plot.name}.svg</a>' for plot in plots)
        + f'.</p>\n<p class="note">feederloop {escape(result.version)}</p>',
    ]
    return document(title, "\n".join(body))


def _prose(text: str) -> str:
    """Escape a sentence and keep its numbers together with their units at the ends of lines."""
    return escape(_NUMBER_THEN_UNIT.sub("\N{NO-BREAK SPACE}", text))


def _run_line(result: RunResult) -> str:
    model = (
        "the DSO's network model is deliberately wrong"
        if result.model_error
        else "the DSO's network model is right"
    )
    homes = f"{len(result.homes)} homes, " if result.homes else ""
    law = f"price law: {result.law}, {model}, " if result.with_control is not None else ""
    return (
        f"Network {result.network}, {homes}scenario {result.scenario}, {len(result.slots)} slots of ten "
        f"minutes from {clock(result.slots[0])}, {law}seed {result.seed}."
    )


def _cards(result: RunResult) -> str:
    without, controlled = result.without_control, result.with_control

    def change(text: Callable[[Summary], str]) -> str:
        return text(without) if controlled is None else f"{text(without)} → {text(controlled)}"

    cards = [
        (
            f"Worst voltage, % (limit ±{result.v_band_pct:g})",
            change(lambda s: signed(worst_voltage_pct(s))),
        ),
        ("Slots with a limit broken", change(lambda s: str(s.slots_with_violations))),
        ("All bills together, EUR", change(lambda s: euro(s.bills_eur))),
    ]
    if controlled is not None:
        before_kwh = 0.0 if result.day_ahead is None else result.day_ahead.traded_kwh
        cards.append(("Traded between homes", kwh(result.traded_kwh + before_kwh)))
        cards.append(("Curtailed", kwh(controlled.curtailed_kwh)))
    if result.messages is not None:
        rejected = result.messages.rejected
        cards.append(
            (
                "OpenADR messages",
                f"{result.messages.total:,}" + (f", {rejected:,} rejected" if rejected else ""),
            )
        )
    items = "\n".join(f"<li><span>{escape(label)}</span><b>{escape(text)}</b></li>" for label, text in cards)
    return f'<ul class="cards">\n{items}\n</ul>'


def _figure(plot: Plot) -> str:
    svg = inline_svg(plot.svg, name=plot.name, label=f"{plot.title}. {plot.caption}")
    return (
        f"<figure>\n<h3>{escape(plot.title)}</h3>\n<figcaption>{_prose(plot.caption)}</figcaption>\n"
        f'<div class="wide">{svg}</div>\n</figure>'
    )


def _figures_table(result: RunResult) -> str:
    controlled = result.with_control is not None
    money = {label for label, _, _ in account_rows(result)}
    lines: list[str] = []
    for section, rows in sections(comparison(result)):
        lines.append(f'<tr class="section"><th colspan="{3 if controlled else 2}">{section.value}</th></tr>')
        for row in rows:
            # The accounts have a table of their own further down.
            if row.label in money:
                continue
            cells = _cell(row.without_control, row.verdict_without)
            if controlled:
                cells += _cell(row.with_control, row.verdict_with)
            lines.append(f"<tr><th>{escape(row.label)}</th>{cells}</tr>")
    head = '<th></th><th class="n">without control</th>'
    head += '<th class="n">with control</th>' if controlled else ""
    rows_html = "\n".join(lines)
    return (
        f'<div class="wide"><table class="figures">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows_html}\n</tbody>\n</table></div>"
    )


def _cell(text: str, verdict: Verdict = Verdict.PLAIN) -> str:
    kind = "n" if verdict is Verdict.PLAIN else f"n {verdict.value}"
    return f'<td class="{kind}">{escape(text)}</td>'


def _accounts(result: RunResult) -> str:
    rows = "\n".join(
        f"<tr><th>{escape(label)}</th>{_cell(text, verdict)}</tr>"
        for label, text, verdict in account_rows(result)
    )
    return (
        "<p>Market payments run through the DSO, who is counterparty to buyers and sellers; what a home "
        "takes or delivers beyond its trades it settles with its supplier.</p>\n"
        f"<table>\n<tbody>\n{rows}\n</tbody>\n</table>"
    )


_Column = tuple[str, Callable[[HomeResult], str], Callable[[Sequence[HomeResult]], str]]


def _nothing(_: Sequence[HomeResult]) -> str:
    return ""


def _money(name: str, label: str) -> _Column:
    return (
        label,
        lambda home: euro(float(getattr(home, name)), digits=3),
        lambda homes: euro(sum(float(getattr(home, name)) for home in homes), digits=3),
    )


def _energy(name: str, label: str) -> _Column:
    return (
        label,
        lambda home: _thousandth(int(getattr(home, name))),
        lambda homes: _thousandth(sum(int(getattr(home, name)) for home in homes)),
    )


def _homes(result: RunResult) -> tuple[str, str, str]:
    bills: tuple[_Column, ...] = (
        ("PV, kWp", lambda home: f"{home.pv_kwp:g}" if home.pv_kwp else MISSING, _nothing),
        ("battery, kWh", _battery, _nothing),
        ("switch", lambda home: "yes" if home.switch else MISSING, _nothing),
        _energy("metered_wh", "net import, kWh"),
        _energy("curtailed_wh", "curtailed, kWh"),
        _money("bill_uncontrolled_eur", "bill without, EUR"),
        _money("bill_eur", "bill with, EUR"),
        (
            "change, EUR",
            lambda home: euro(home.bill_eur - home.bill_uncontrolled_eur, digits=3),
            lambda homes: euro(sum(h.bill_eur - h.bill_uncontrolled_eur for h in homes), digits=3),
        ),
    )
    parts: tuple[_Column, ...] = (
        _money("market_eur", "market"),
        _money("supplier_eur", "supplier"),
        _money("feed_in_eur", "feed-in"),
        _money("real_time_price_eur", "real-time price"),
        _money("reward_eur", "reward"),
        _money("rebate_eur", "rebate"),
        _money("refusal_eur", "refusal"),
        _money("bill_eur", "bill"),
    )
    better = sum(home.bill_eur <= home.bill_uncontrolled_eur for home in result.homes)
    intro = (
        f"<p>Amounts are what a home pays; below zero it gets money. The column of the battery is the "
        f"range of its content over the day. {better} of {count(len(result.homes), 'home')} paid no more "
        "than without control.</p>"
    )
    return (
        intro,
        _homes_table(result.homes, bills),
        "<details><summary>What the bills consist of, EUR</summary>\n"
        f"{_homes_table(result.homes, parts)}\n</details>",
    )


def _homes_table(homes: Sequence[HomeResult], columns: Sequence[_Column]) -> str:
    head = "".join(f'<th class="n">{escape(label)}</th>' for label, _, _ in columns)
    lines = "\n".join(
        f"<tr><th>{escape(home.home)}</th>{''.join(_cell(text(home)) for _, text, _ in columns)}</tr>"
        for home in homes
    )
    sums = "".join(_cell(total(homes)) for _, _, total in columns)
    return (
        f'<div class="wide"><table class="homes">\n<thead><tr><th>home</th>{head}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody>\n<tfoot><tr><th>all</th>{sums}</tr></tfoot>\n</table></div>"
    )


def _battery(home: HomeResult) -> str:
    return f"{home.battery_min_kwh:.1f} to {home.battery_max_kwh:.1f}" if home.battery else MISSING


def _thousandth(energy_wh: int) -> str:
    return euro(energy_wh / 1000.0, digits=2)
