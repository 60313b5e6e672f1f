"""The figures of a run as labelled rows: what the terminal's table and the page both show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from feederloop.report.wording import MISSING, euro, kwh, pct, per_phase
from feederloop.simulation.result import HomeResult, MessageCounts, RunResult, Summary

__all__ = ["Row", "Section", "Verdict", "account_rows", "comparison", "sections"]


class Verdict(Enum):
    """What a figure means for the reader."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"


class Section(Enum):
    """Groups of rows, in the order they are shown."""

    ENERGY = "Energy"
    VOLTAGE = "Voltage and limits"
    LOSSES = "Losses"
    CONTROL = "Control"
    MONEY = "Money"
    MESSAGES = "Messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure, without and with control."""

    section: Section
    label: str
    without_control: str = MISSING
    with_control: str = MISSING
    verdict_without: Verdict = Verdict.PLAIN
    verdict_with: Verdict = Verdict.PLAIN


def comparison(result: RunResult) -> tuple[Row, ...]:
    """Return all rows; without a controlled day only those that the comparison has."""
    rows = (
        *_energy(result),
        *_voltage(result),
        *_losses(result),
        *_control(result),
        *_money(result),
        *_messages(result.messages),
    )
    if result.with_control is None:
        return tuple(row for row in rows if row.without_control != MISSING)
    return rows


def sections(rows: tuple[Row, ...]) -> tuple[tuple[Section, tuple[Row, ...]], ...]:
    """Return neighbouring rows of one section together."""
    return tuple((section, tuple(group)) for section, group in groupby(rows, key=lambda row: row.section))


def account_rows(result: RunResult) -> tuple[tuple[str, str, Verdict], ...]:
    """Return who pays whom, and whether it adds up: label, text, verdict."""
    balanced = result.balance_units == 0
    return (
        ("Homes pay", f"{euro(result.homes_pay_eur)} EUR", Verdict.PLAIN),
        ("Supplier receives", f"{euro(result.supplier_receives_eur)} EUR", Verdict.PLAIN),
        ("DSO receives", f"{euro(result.dso_receives_eur)} EUR", Verdict.PLAIN),
        ("of it market surplus", f"{euro(result.market_surplus_eur)} EUR", Verdict.PLAIN),
        (
            "Sum of all accounts",
            "0, balanced" if balanced else f"{result.balance_units:,} e-8 EUR: WRONG",
            Verdict.GOOD if balanced else Verdict.BAD,
        ),
    )


def _pair(
    result: RunResult,
    section: Section,
    label: str,
    text: Callable[[Summary], str],
    verdict: Callable[[Summary], Verdict] = lambda _: Verdict.PLAIN,
) -> Row:
    controlled = result.with_control
    return Row(
        section=section,
        label=label,
        without_control=text(result.without_control),
        verdict_without=verdict(result.without_control),
        with_control=MISSING if controlled is None else text(controlled),
        verdict_with=Verdict.PLAIN if controlled is None else verdict(controlled),
    )


def _energy(result: RunResult) -> tuple[Row, ...]:
    before = result.day_ahead
    label = "Traded between homes" if before is None else "Traded hour by hour"
    traded = [Row(section=Section.ENERGY, label=label, with_control=kwh(result.traded_kwh))]
    if before is not None:
        label = "Traded the day before"
        traded.append(Row(section=Section.ENERGY, label=label, with_control=kwh(before.traded_kwh)))
    return (
        *traded,
        _pair(result, Section.ENERGY, "Imported (from MV)", lambda s: kwh(s.imported_kwh)),
        _pair(result, Section.ENERGY, "Exported (to MV)", lambda s: kwh(s.exported_kwh)),
        _pair(
            result,
            Section.ENERGY,
            "Peak at the transformer",
            lambda s: f"{s.peak_p_kw:.1f} kW, {s.peak_s_kva:.1f} kVA",
        ),
        _pair(
            result,
            Section.ENERGY,
            "Peak to average",
            lambda s: MISSING if s.par is None else f"{s.par:.2f}",
        ),
        _pair(
            result,
            Section.ENERGY,
            "Stored in batteries",
            lambda s: kwh(s.stored_change_kwh),
        ),
    )


def _voltage(result: RunResult) -> tuple[Row, ...]:
    band_pct = result.v_band_pct

    def outside(values: tuple[float, ...]) -> Verdict:
        return Verdict.BAD if any(abs(value) > band_pct for value in values) else Verdict.GOOD

    def none_is_good(number: int) -> Verdict:
        return Verdict.GOOD if number == 0 else Verdict.BAD

    return (
        _pair(
            result,
            Section.VOLTAGE,
            "Highest voltage A/B/C",
            lambda s: per_phase(s.v_high_pct),
            lambda s: outside(s.v_high_pct),
        ),
        _pair(
            result,
            Section.VOLTAGE,
            "Lowest voltage A/B/C",
            lambda s: per_phase(s.v_low_pct),
            lambda s: outside(s.v_low_pct),
        ),
        _pair(
            result,
            Section.VOLTAGE,
            f"Slots beyond ±{band_pct:g} %",
            lambda s: str(s.slots_beyond_voltage_limit),
            lambda s: none_is_good(s.slots_beyond_voltage_limit),
        ),
        _pair(
            result,
            Section.VOLTAGE,
            "Slots beyond any limit",
            lambda s: str(s.slots_with_violations),
            lambda s: none_is_good(s.slots_with_violations),
        ),
        _pair(result, Section.VOLTAGE, "Worst unbalance (VUF)", lambda s: pct(s.vuf_pct, 2)),
    )


def _losses(result: RunResult) -> tuple[Row, ...]:
    return (
        _pair(result, Section.LOSSES, "Phase conductors", lambda s: kwh(s.line_loss_kwh)),
        _pair(result, Section.LOSSES, "Neutral conductors", lambda s: kwh(s.neutral_loss_kwh)),
        _pair(result, Section.LOSSES, "Transformer", lambda s: kwh(s.transformer_loss_kwh)),
    )


def _control(result: RunResult) -> tuple[Row, ...]:
    stepped = sum(step.stepped for step in result.steps)
    values = (
        ("Price armed", f"{len(result.armed_slots):,} of {len(result.slots):,} slots"),
        ("Price evaluations", f"{stepped:,}"),
        ("Price changes published", f"{result.price_changes:,}"),
        ("Phases switched", f"{result.switch_operations:,}"),
    )
    return (
        *(Row(section=Section.CONTROL, label=label, with_control=text) for label, text in values),
        _pair(result, Section.CONTROL, "Curtailed energy", lambda s: kwh(s.curtailed_kwh)),
    )


def _money(result: RunResult) -> tuple[Row, ...]:
    bills = _pair(result, Section.MONEY, "All bills together", lambda s: f"{euro(s.bills_eur)} EUR")
    accounts = (
        Row(section=Section.MONEY, label=label, with_control=text, verdict_with=verdict)
        for label, text, verdict in account_rows(result)
    )
    return (bills, *_bill_lines(result), *accounts)


def _bill_lines(result: RunResult) -> tuple[Row, ...]:
    """What the bills are made of; a positive figure is a cost of the homes."""
    if not result.homes:
        return ()
    parts: tuple[tuple[str, Callable[[HomeResult], float]], ...] = (
        ("of it energy", lambda h: h.market_eur + h.supplier_eur + h.feed_in_eur + h.refusal_eur),
        ("of it real-time price", lambda h: h.real_time_price_eur),
        ("of it reward or penalty", lambda h: h.reward_eur),
        ("of it rebate", lambda h: h.rebate_eur),
    )
    return tuple(
        Row(
            section=Section.MONEY,
            label=label,
            with_control=f"{euro(sum(part(home) for home in result.homes))} EUR",
        )
        for label, part in parts
    )


def _messages(messages: MessageCounts | None) -> tuple[Row, ...]:
    if messages is None:
        return ()
    sent = sum(number for _, number in messages.sent_by_vens)
    received = sum(number for _, number in messages.received_by_vens)
    errors = (
        ("Rejected as invalid", messages.rejected),
        ("Application errors", messages.application_errors),
        ("HTTP errors", messages.http_errors),
    )
    numbers = (
        ("Exchanged", messages.total, Verdict.PLAIN),
        ("sent by VENs", sent, Verdict.PLAIN),
        ("received by VENs", received, Verdict.PLAIN),
        *((label, number, Verdict.BAD if number else Verdict.GOOD) for label, number in errors),
    )
    return tuple(
        Row(section=Section.MESSAGES, label=label, with_control=f"{number:,}", verdict_with=verdict)
        for label, number, verdict in numbers
    )
