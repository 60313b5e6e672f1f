"""How numbers and times are put into words, the same in the table, the page and the plots."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from feederloop.simulation.profiles import LOCAL
from feederloop.simulation.result import RunResult, Summary

__all__ = [
    "LOCAL_NOTE",
    "MISSING",
    "clock",
    "count",
    "day_text",
    "euro",
    "headline",
    "kwh",
    "local_hours",
    "pct",
    "per_phase",
    "signed",
    "worst_voltage_pct",
]

LOCAL_NOTE: Final = "Times are local: UTC+1 all year, without summer time."
MISSING: Final = "\N{EN DASH}"
"""Stands where a figure does not exist; never for zero."""

_MINUS: Final = "\N{MINUS SIGN}"


def clock(at: datetime, *, seconds: bool = False) -> str:
    """Return the local time of day."""
    return f"{at.astimezone(LOCAL):{'%H:%M:%S' if seconds else '%H:%M'}}"


def day_text(at: datetime) -> str:
    """Return the local date as ISO 8601."""
    return f"{at.astimezone(LOCAL):%Y-%m-%d}"


def local_hours(at: datetime, first: datetime) -> float:
    """Return hours since the local midnight before ``first``; more than 24 on the day after."""
    midnight = first.astimezone(LOCAL).replace(hour=0, minute=0, second=0, microsecond=0)
    return (at - midnight).total_seconds() / 3600.0


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: ``1 slot``, ``11 slots``, ``no slot``."""
    if number == 0:
        return f"no {one}"
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def kwh(energy_kwh: float) -> str:
    """Return an energy in kWh; two decimals below ten, one above."""
    return f"{_number(energy_kwh, 2 if abs(energy_kwh) < 10 else 1)} kWh"


def euro(amount_eur: float, *, digits: int = 2) -> str:
    """Return an amount without its currency; a true minus sign, so that columns align."""
    return _number(amount_eur, digits)


def pct(value_pct: float, digits: int = 1) -> str:
    """Return a percentage."""
    return f"{_number(value_pct, digits)} %"


def signed(value_pct: float) -> str:
    """Return a deviation in per cent with its sign, two decimals, without unit."""
    return f"{'+' if value_pct > 0 else ''}{_number(value_pct, 2)}"


def per_phase(values_pct: Sequence[float]) -> str:
    """Return the deviations of the phases side by side."""
    return " / ".join(signed(value_pct) for value_pct in values_pct) + " %"


def worst_voltage_pct(summary: Summary) -> float:
    """Return the deviation of the largest size over phases, high or low, with its sign."""
    return max((*summary.v_high_pct, *summary.v_low_pct), key=abs)


def headline(result: RunResult) -> str:
    """Return the run in one paragraph of plain text, made from its numbers."""
    limit = f"{result.v_band_pct:g} %"
    without = result.without_control
    beyond = without.slots_beyond_voltage_limit
    sentences = [
        f"Without control the worst point of the network reached {_deviation(without)} "
        f"(limit {limit}; {count(beyond, 'slot')} of {len(result.slots)} beyond it)."
    ]
    controlled = result.with_control
    if controlled is None:
        return f"{sentences[0]} This run played the day without control only."
    sentences.append(
        f"With the market, the phase switches and the real-time price the worst was {_deviation(controlled)}"
        f" and {_outcome(controlled)}; {_curtailed(controlled)}."
    )
    traded = _traded(result)
    if result.armed_slots:
        steps = count(_steps(result), "evaluation")
        traded += f", and the price was armed in {count(len(result.armed_slots), 'slot')} ({steps})."
    else:
        traded += "; the real-time price was never needed."
    sentences.append(traded)
    sentences.append(
        f"All bills together came to {euro(controlled.bills_eur)} EUR, "
        f"against {euro(without.bills_eur)} EUR without control{_penalty(result)}."
    )
    return " ".join(sentences)


def _traded(result: RunResult) -> str:
    """Say what the homes traded with each other on both markets."""
    before_kwh = 0.0 if result.day_ahead is None else result.day_ahead.traded_kwh
    both_kwh = result.traded_kwh + before_kwh
    of_it = f", {kwh(before_kwh)} of it the day before" if before_kwh else ""
    return f"The homes traded {kwh(both_kwh) if both_kwh else 'nothing'} among themselves{of_it}"


def _penalty(result: RunResult) -> str:
    """Name what is no energy in the bills, where it is worth a word."""
    reward = sum(home.reward_eur for home in result.homes)
    return f" (of it {euro(reward)} EUR for not keeping to commitments)" if reward >= 0.01 else ""


def _steps(result: RunResult) -> int:
    return sum(step.stepped for step in result.steps)


def _deviation(summary: Summary) -> str:
    worst = worst_voltage_pct(summary)
    return f"{abs(worst):.1f} % {'above' if worst >= 0 else 'below'} nominal"


def _outcome(summary: Summary) -> str:
    if summary.slots_with_violations == 0:
        return "no limit was broken at the end of any slot"
    return f"a limit was broken at the end of {count(summary.slots_with_violations, 'slot')}"


def _curtailed(summary: Summary) -> str:
    if summary.curtailed_kwh == 0.0:
        return "no energy was curtailed"
    return f"{kwh(summary.curtailed_kwh)} of solar energy were curtailed"


def _number(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    # Rounded to nothing, the sign of a tiny negative would only puzzle.
    if not any(digit in text for digit in "123456789"):
        return text.lstrip("-")
    return text.replace("-", _MINUS)
