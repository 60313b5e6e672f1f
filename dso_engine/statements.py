"""Statements as text: one CSV and one JSON document per home, the accounts of all, and corrections of them.

Amounts are in EUR as decimals with all eight places (JSON: as strings, and the integer units beside them), so
that whoever adds them up comes to the same result. Energies are Wh, + = import; prices are in EUR/kWh with
five places.

Source: issue 5, part 8; mechanisms.md 11.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Final

from dso_engine.model import MILLICENT_PER_EUR
from dso_engine.resettlement import Correction, CorrectionNote
from dso_engine.settlement_model import DayAccounts, HomeStatement, Lines, SlotStatement, eur_text

__all__ = [
    "accounts_csv",
    "accounts_json",
    "corrections_csv",
    "corrections_json",
    "statement_csv",
    "statement_json",
]

_LINES: Final = tuple(field.name for field in fields(Lines))
_FACTS: Final = (
    "slot",
    "metered_wh",
    "source",
    "day_ahead_wh",
    "day_ahead_eur_per_kwh",
    "intraday_wh",
    "intraday_eur_per_kwh",
    "refused_wh",
    "committed_wh",
    "deviation_wh",
    "supplier_eur_per_kwh",
    "feed_in_eur_per_kwh",
    "real_time_eur_per_kwh",
    "rebate_eur_per_kwh",
)
_NOTE: Final = (
    "slot",
    "home",
    "stated_at",
    "corrected_at",
    "metered_wh_before",
    "source_before",
    "metered_wh",
    "source",
)
_BILLS: Final = ("bill_before", "bill", "bill_change")


def statement_csv(home: HomeStatement) -> str:
    """Return a home's statement, a row per slot: what happened, then the lines of the bill in EUR."""
    header = (*_FACTS, *(f"{name}_eur" for name in _LINES), "bill_eur")
    return _csv(
        header,
        ([*_facts(s).values(), *map(eur_text, (*_amounts(s.lines), s.lines.bill))] for s in home.slots),
    )


def statement_json(home: HomeStatement) -> str:
    """Return a home's statement with its totals."""
    return _json(
        {
            "home": str(home.home),
            "total": _money(home.lines),
            "substituted_slots": sum(s.facts.source.value != "metered" for s in home.slots),
            "slots": [{**_facts(s), **_money(s.lines)} for s in home.slots],
        }
    )


def accounts_csv(day: DayAccounts) -> str:
    """Return all accounts: a row per home, then supplier and DSO; the last column sums to zero."""
    none = [""] * len(_LINES)
    rows = [
        [str(home.home), *map(eur_text, _amounts(home.lines)), eur_text(-home.bill)] for home in day.homes
    ]
    rows.append(["supplier", *none, eur_text(day.supplier_receives)])
    rows.append(["dso", *none, eur_text(day.dso_receives)])
    return _csv(("account", *(f"{name}_eur" for name in _LINES), "receives_eur"), rows)


def accounts_json(day: DayAccounts) -> str:
    """Return all accounts with the check that they sum to zero."""
    return _json(
        {
            "homes": [{"home": str(home.home), **_money(home.lines)} for home in day.homes],
            "total": _money(day.lines),
            "supplier_receives_units": day.supplier_receives,
            "supplier_receives_eur": eur_text(day.supplier_receives),
            "dso_receives_units": day.dso_receives,
            "dso_receives_eur": eur_text(day.dso_receives),
            "market_surplus_units": day.market_surplus,
            "market_surplus_eur": eur_text(day.market_surplus),
            "balance_units": day.balance,
        }
    )


def corrections_csv(notes: Sequence[CorrectionNote]) -> str:
    """Return corrections, a row each: what was stated, what is now, the difference line by line in EUR."""
    header = (*_NOTE, *(f"{name}_change_eur" for name in _LINES), *(f"{name}_eur" for name in _BILLS))
    return _csv(
        header,
        (
            [*_noted(note).values(), *map(eur_text, (*_changes(note.correction), *_bills(note.correction)))]
            for note in notes
        ),
    )


def corrections_json(notes: Sequence[CorrectionNote]) -> str:
    """Return corrections with what they change in all accounts; the sum is zero."""
    changes = [note.correction for note in notes]
    homes = sum(each.bill for each in changes)
    supplier = sum(each.after.supplier_receives - each.before.supplier_receives for each in changes)
    dso = sum(each.after.dso_receives - each.before.dso_receives for each in changes)
    totals = {"homes_pay_more": homes, "supplier_receives_more": supplier, "dso_receives_more": dso}
    return _json(
        {
            "corrections": [{**_noted(note), **_noted_money(note.correction)} for note in notes],
            **{f"{name}_units": amount for name, amount in totals.items()},
            **{f"{name}_eur": eur_text(amount) for name, amount in totals.items()},
            "balance_units": supplier + dso - homes,
        }
    )


def _noted(note: CorrectionNote) -> dict[str, str | int | None]:
    """What a correction is about, in the order of the columns."""
    before, after = note.correction.before.facts, note.correction.after.facts
    values: Sequence[str | int | None] = (
        _moment(before.slot),
        str(before.home),
        _moment(note.stated_at),
        _moment(note.corrected_at),
        before.metered_wh,
        before.source.value,
        after.metered_wh,
        after.source.value,
    )
    return dict(zip(_NOTE, values, strict=True))


def _noted_money(correction: Correction) -> dict[str, str | int]:
    lines = (f"{name}_change" for name in _LINES)
    named = dict(zip((*lines, *_BILLS), (*_changes(correction), *_bills(correction)), strict=True))
    units: dict[str, str | int] = {f"{name}_units": amount for name, amount in named.items()}
    return units | {f"{name}_eur": eur_text(amount) for name, amount in named.items()}


def _changes(correction: Correction) -> tuple[int, ...]:
    before, after = _amounts(correction.before.lines), _amounts(correction.after.lines)
    return tuple(b - a for a, b in zip(before, after, strict=True))


def _bills(correction: Correction) -> tuple[int, int, int]:
    return correction.before.lines.bill, correction.after.lines.bill, correction.bill


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _facts(statement: SlotStatement) -> dict[str, str | int | None]:
    """What happened in a slot, in the order of the columns."""
    f = statement.facts
    values: Sequence[str | int | None] = (
        _moment(f.slot),
        f.metered_wh,
        f.source.value,
        f.day_ahead_wh,
        _price(f.day_ahead_price_millicent) if f.day_ahead_wh else None,
        f.intraday_wh,
        _price(f.market_price_millicent) if f.cleared_wh else None,
        f.cleared_wh if f.refused else 0,
        f.committed_wh,
        f.deviation_wh,
        _price(f.supplier_price_millicent),
        _price(f.feed_in_price_millicent),
        _price(f.u_end_millicent),
        _price(f.rebate_millicent),
    )
    return dict(zip(_FACTS, values, strict=True))


def _amounts(lines: Lines) -> tuple[int, ...]:
    return tuple(getattr(lines, name) for name in _LINES)


def _money(lines: Lines) -> dict[str, str | int]:
    """The lines of a bill, in units and in EUR."""
    named = dict(zip((*_LINES, "bill"), (*_amounts(lines), lines.bill), strict=True))
    units: dict[str, str | int] = {f"{name}_units": amount for name, amount in named.items()}
    return units | {f"{name}_eur": eur_text(amount) for name, amount in named.items()}


def _price(millicent: int) -> str:
    whole, part = divmod(abs(millicent), MILLICENT_PER_EUR)
    return f"{'-' if millicent < 0 else ''}{whole}.{part:05d}"


def _csv(header: Sequence[str], rows: Iterable[Sequence[str | int | None]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _json(tree: object) -> str:
    return json.dumps(tree, indent=1, ensure_ascii=False) + "\n"
