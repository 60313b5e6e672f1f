from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from feederloop.report import Progress, render_table
from feederloop.report.wording import clock, count, euro, headline, kwh, local_hours, signed
from feederloop.simulation.result import DayAheadSummary, RunResult
from tests.unit.report import report_samples as samples


def plain(text: str) -> str:
    return text.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-")


def lines(table: Table, width: int = 80) -> dict[str, list[str]]:
    """What the table shows: label -> the other cells, with a plain hyphen for every dash."""
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return {
        cells[0]: cells[1:]
        for line in plain(out.getvalue()).splitlines()
        if (cells := [cell for cell in (part.strip() for part in line.split("   ")) if cell])
    }


def test_both_columns_hold_their_own_figures() -> None:
    shown = lines(render_table(samples.controlled()))
    assert shown["Traded between homes"] == ["-", "34.1 kWh"]
    assert shown["Imported (from MV)"] == ["333.2 kWh", "312.5 kWh"]
    assert shown["Exported (to MV)"] == ["455.5 kWh", "401.8 kWh"]
    assert shown["Peak at the transformer"] == ["121.5 kW, 124.5 kVA", "95.2 kW, 97.0 kVA"]
    assert shown["Highest voltage A/B/C"] == ["+11.90 / +7.25 / +8.50 %", "+9.49 / +7.25 / +8.50 %"]
    assert shown["Lowest voltage A/B/C"] == ["-1.25 / -3.50 / -2.75 %"] * 2
    assert shown["Slots beyond ±10 %"] == ["11", "0"]
    assert shown["Worst unbalance (VUF)"] == ["0.88 %", "0.62 %"]
    assert shown["Neutral conductors"] == ["5.25 kWh", "3.12 kWh"]
    assert shown["Phase conductors"] == ["21.2 kWh", "17.5 kWh"]
    assert shown["Transformer"] == ["15.8 kWh", "14.5 kWh"]
    assert shown["Curtailed energy"] == ["0.00 kWh", "3.20 kWh"]
    # 22 slots of 5 PCCs x 6 steps and one of 5 x 30.
    assert shown["Price armed"] == ["-", "23 of 144 slots"]
    assert shown["Price evaluations"] == ["-", "810"]
    assert shown["Exchanged"] == ["-", "30,912"]
    assert shown["sent by VENs"] == ["-", "15,456"]
    assert shown["Rejected as invalid"] == ["-", "0"]
    assert shown["DSO receives"] == ["-", "1.34 EUR"]
    assert shown["Sum of all accounts"] == ["-", "0, balanced"]


def test_fits_a_terminal_of_eighty_columns_without_wrapping_a_label() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(render_table(samples.controlled()))
    shown = lines(render_table(samples.controlled()))
    assert max(len(line) for line in out.getvalue().splitlines()) <= 80
    assert shown == lines(render_table(samples.controlled()), width=200)


def test_without_control_there_is_one_column_and_no_empty_row() -> None:
    table = render_table(samples.uncontrolled())
    shown = lines(table)
    assert len(table.columns) == 2
    assert shown["Slots beyond ±10 %"] == ["11"]
    assert "Price armed" not in shown
    assert "Sum of all accounts" not in shown


def test_accounts_that_do_not_balance_are_called_wrong() -> None:
    shown = lines(render_table(replace(samples.calm(), balance_units=-3)))
    assert shown["Sum of all accounts"] == ["-", "-3 e-8 EUR: WRONG"]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            samples.controlled(),
            "Without control the worst point of the network reached 11.9 % above nominal (limit 10 %; 11 "
            "slots of 144 beyond it). With the market, the phase switches and the real-time price the worst "
            "was 9.5 % above nominal and no limit was broken at the end of any slot; 3.20 kWh of solar "
            "energy were curtailed. The homes traded 34.1 kWh among themselves, and the price was armed in "
            "23 slots (810 evaluations). All bills together came to 21.34 EUR, against 25.50 EUR without "
            "control.",
        ),
        (
            samples.uncontrolled(),
            "Without control the worst point of the network reached 11.9 % above nominal (limit 10 %; 11 "
            "slots of 144 beyond it). This run played the day without control only.",
        ),
    ],
)
def test_headline(result: RunResult, expected: str) -> None:
    assert headline(result) == expected


def test_headline_of_a_calm_day_says_so() -> None:
    text = headline(replace(samples.calm(), traded_kwh=0.0))
    assert "no energy was curtailed" in text
    assert "traded nothing among themselves; the real-time price was never needed" in text


def test_what_was_traded_the_day_before_is_part_of_what_was_traded() -> None:
    both = replace(samples.calm(), traded_kwh=2.0, day_ahead=DayAheadSummary(blocks=(), traded_kwh=3.5))
    assert "The homes traded 5.50 kWh among themselves, 3.50 kWh of it the day before;" in headline(both)
    shown = lines(render_table(both))
    assert shown["Traded hour by hour"] == ["-", "2.00 kWh"]
    assert shown["Traded the day before"] == ["-", "3.50 kWh"]
    assert "Traded between homes" not in shown


def test_headline_does_not_hide_what_control_could_not_keep() -> None:
    broken = replace(
        samples.calm(), with_control=samples.summary(controlled=True, v_high_a_pct=-10.4, violations=1)
    )
    assert "the worst was 10.4 % below nominal and a limit was broken at the end of 1 slot;" in headline(
        broken
    )


def test_numbers_and_times_in_words() -> None:
    assert [kwh(9.994), kwh(9.999), kwh(1234.56)] == ["9.99 kWh", "10.00 kWh", "1,234.6 kWh"]
    assert [euro(-0.001), plain(euro(-1.5)), euro(1234.0)] == ["0.00", "-1.50", "1,234.00"]
    assert [signed(0.0), signed(3.0), plain(signed(-3.0))] == ["0.00", "+3.00", "-3.00"]
    assert [count(0, "home"), count(1, "home"), count(1200, "home")] == ["no home", "1 home", "1,200 homes"]
    assert clock(samples.START) == "00:00"
    assert local_hours(samples.slot_at(24), samples.slot_at(10, 30)) == 24.0


def progress_lines(total: int, *, terminal: bool) -> str:
    out = io.StringIO()
    progress = Progress(Console(file=out, force_terminal=terminal, width=120))
    progress.start(total)
    for k in range(total):
        progress.slot(samples.slot_at(10, 30) + k * samples.SLOT, "traded 1.2 kWh [x]", "armed")
    progress.stop()
    progress.stop()
    return out.getvalue()


def test_progress_writes_a_line_at_the_start_and_per_hour_where_there_is_no_terminal() -> None:
    assert progress_lines(12, terminal=False).splitlines() == [
        "10:30  slot 1/12  market: traded 1.2 kWh [x] | price: armed",
        "11:00  slot 4/12  market: traded 1.2 kWh [x] | price: armed",
        "12:00  slot 10/12  market: traded 1.2 kWh [x] | price: armed",
    ]


def test_progress_on_a_terminal_ends_with_a_full_bar() -> None:
    text = progress_lines(3, terminal=True)
    assert "10:50" in text
    assert "3/3" in text
    assert "market: traded 1.2 kWh [x] | price: armed" in text
