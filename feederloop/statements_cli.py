"""``feederloop statements``: the bills of a DSO that runs, or ran, for a stretch of days."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from feederloop.days import day_of

if TYPE_CHECKING:
    from dso_engine.resettlement import CorrectionNote
    from dso_engine.settlement import DayAccounts
    from feederloop.dso_ledger import AccountLedger

__all__ = ["statements_app"]

statements_app = typer.Typer(add_completion=False)

_REFUSED: Final = 2
_ALL_HOMES: Final = timedelta(days=93)
"""Of fifty homes that is a gigabyte of memory, on a machine that may have a feeder to look after."""
_COLUMNS: Final = ("market", "supplier", "feed_in", "real_time_price", "reward", "rebate", "refusal")


@statements_app.command()
def _statements(
    state: Annotated[Path, typer.Argument(help="State folder of `feederloop dso`, or its accounts.sqlite.")],
    first_day: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First local day, YYYY-MM-DD; default today.")
    ] = None,
    last_day: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="Last one, included; default that of --from.")
    ] = None,
    home: Annotated[
        str | None, typer.Option(help="One home, slot by slot, as CSV; default all accounts.")
    ] = None,
    first: Annotated[
        bool, typer.Option("--first", help="As stated first; without it, with all corrections in it.")
    ] = False,
    corrections: Annotated[
        bool, typer.Option("--corrections", help="What was settled again, with the difference, as CSV.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table or CSV.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write statements of all homes, accounts and corrections here.")
    ] = None,
) -> None:
    """Print or export statements: what each home pays, supplier and DSO receive, exact to 1e-8 EUR."""
    from dso_engine.errors import EngineError

    try:
        with closing(_ledger(state)) as ledger:
            days = _days(ledger, first_day, last_day, home)
            _show(ledger, days, _Wanted(home=home, first=first, corrections=corrections, json=as_json), out)
    except EngineError as err:
        _refuse(str(err))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is to be shown."""

    home: str | None
    first: bool
    corrections: bool
    json: bool


def _show(ledger: AccountLedger, days: tuple[date, date], wanted: _Wanted, out: Path | None) -> None:
    from dso_engine.model import HomeId
    from dso_engine.settlement import accounts_of
    from feederloop.statement_files import update_statements

    span = ledger.span(*days)
    home = None if wanted.home is None else HomeId(wanted.home)
    with ledger.snapshot():
        accounts = accounts_of(ledger.statements(*span, corrected=not wanted.first, home=home))
        notes = ledger.notes(*span, home=home)
    if not accounts.homes:
        _refuse(f"nothing is settled of {home or 'any home'} from {days[0]} to {days[1]}")
    if out is not None:
        update_statements(accounts, notes, out)
        typer.echo(f"{len(accounts.homes)} homes: {out}")
    else:
        typer.echo(_told(accounts, notes, wanted), nl=False)


def _ledger(state: Path) -> AccountLedger:
    from feederloop.dso_ledger import AccountLedger
    from feederloop.dso_settlement import ACCOUNTS

    return AccountLedger.of(state / ACCOUNTS if state.is_dir() else state)


def _days(ledger: AccountLedger, first: str | None, last: str | None, home: str | None) -> tuple[date, date]:
    today = datetime.now(UTC).astimezone(ledger.zone).date()
    begin = today if first is None else _day(first)
    end = begin if last is None else _day(last)
    if end < begin:
        _refuse(f"{end} is before {begin}")
    if home is None and end - begin >= _ALL_HOMES:
        _refuse(f"more than {_ALL_HOMES.days} days of all homes at once; --home goes up to a year")
    if end - begin > timedelta(days=366):
        _refuse("more than a year at once")
    return begin, end


def _day(text: str) -> date:
    try:
        return day_of(text)
    except ValueError as err:
        _refuse(str(err))


def _told(accounts: DayAccounts, notes: tuple[CorrectionNote, ...], wanted: _Wanted) -> str:
    from dso_engine import statements as texts

    if wanted.corrections:
        return texts.corrections_json(notes) if wanted.json else texts.corrections_csv(notes)
    if wanted.home is not None:
        (home,) = accounts.homes
        return texts.statement_json(home) if wanted.json else texts.statement_csv(home)
    return texts.accounts_json(accounts) if wanted.json else _table(accounts, notes)


def _table(accounts: DayAccounts, notes: tuple[CorrectionNote, ...]) -> str:
    """Return all accounts in EUR with two places; the exact amounts are in the files."""
    from dso_engine.settlement import to_eur

    rows = [
        (home.home, *(getattr(home.lines, name) for name in _COLUMNS), -home.bill) for home in accounts.homes
    ]
    wide = max(8, *(len(row[0]) for row in rows))
    lines = [f"{'EUR':{wide}}" + "".join(f"{name.replace('_', ' '):>17}" for name in (*_COLUMNS, "receives"))]
    lines += [
        f"{name:{wide}}" + "".join(f"{to_eur(amount):17.2f}" for amount in amounts) for name, *amounts in rows
    ]
    blank = " " * 17 * len(_COLUMNS)
    for name, units in (
        ("supplier", accounts.supplier_receives),
        ("dso", accounts.dso_receives),
        ("sum", accounts.balance),
    ):
        lines.append(f"{name:{wide}}{blank}{to_eur(units):17.2f}")
    estimated = sum(s.facts.source.value != "metered" for home in accounts.homes for s in home.slots)
    slots = sum(len(home.slots) for home in accounts.homes)
    lines.append(f"{estimated} of {slots} slots rest on a substitute; {len(notes)} were settled again")
    return "\n".join(lines) + "\n"


def _refuse(reason: str) -> NoReturn:
    typer.echo(f"feederloop statements: {reason}", err=True)
    raise typer.Exit(code=_REFUSED)
