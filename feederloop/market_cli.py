"""``feederloop market``: what anybody can check about the local market's auctions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dso_engine.market_record import HourRecord
    from feederloop.market_files import FileVerdict

__all__ = ["market_app"]

market_app = typer.Typer(
    help="The published records of the auctions.", no_args_is_help=True, add_completion=False
)

_UNSOUND = 1
_UNREADABLE = 2


@market_app.callback()
def _root() -> None:
    """The published records of the auctions."""


@market_app.command()
def verify(
    files: Annotated[
        list[Path],
        typer.Argument(help="Records (JSON), or folders of them; several are checked as a chain, too."),
    ],
    seal: Annotated[
        str | None,
        typer.Option(help="The seal of the last record, as it was published or noted: nothing was changed."),
    ] = None,
) -> None:
    """Repeat the auctions of a record from its orders and say whether the result is the same.

    Exit code 0: sound; 1: something is not as the rules say; 2: a file cannot be read.
    """
    from dso_engine.market_record import verify_chain
    from feederloop.market_files import MarketFilesError, read_records

    try:
        found = read_records(files)
    except MarketFilesError as err:
        typer.echo(f"feederloop market verify: {err}", err=True)
        raise typer.Exit(code=_UNREADABLE) from err
    for each in found:
        _tell(each)
    records = [each.verdict.record for each in found if each.verdict.record is not None]
    broken = verify_chain(records)
    for finding in broken:
        typer.echo(f"chain: {finding.where} {finding.text}")
    wrong = sum(not each.verdict.sound for each in found) + len(broken)
    if seal is not None and not _sealed(records, seal):
        typer.echo(f"The last record does not have the seal {seal}.")
        wrong += 1
    if wrong:
        typer.echo(f"NOT SOUND: {wrong} of {len(found)} records or links between them.")
        raise typer.Exit(code=_UNSOUND)
    seals = "; ".join(f"last seal {of}{last.seal}" for of, last in _last(records))
    typer.echo(f"SOUND: {len(found)} records; {seals}")


def _tell(file: FileVerdict) -> None:
    from dso_engine.model import SLOTS_PER_HOUR

    record, findings = file.verdict.record, file.verdict.findings
    if record is None:
        typer.echo(f"{file.path}: no record of an auction")
    elif not findings:
        orders = sum(len(auction.orders) for auction in record.auctions)
        slots = SLOTS_PER_HOUR if record.product == "day_ahead" else 1  # volumes are those of one slot
        traded_wh = slots * sum(auction.traded_wh for auction in record.auctions)
        typer.echo(
            f"{file.path}: sound, {len(record.auctions)} auctions, {orders} orders, {traded_wh} Wh traded"
        )
    else:
        typer.echo(f"{file.path}: not sound")
    for finding in findings:
        typer.echo(f"  {finding.where} {finding.text}")


def _sealed(records: list[HourRecord], seal: str) -> bool:
    return any(last.seal == seal.strip().lower() for _, last in _last(records))


def _last(records: list[HourRecord]) -> list[tuple[str, HourRecord]]:
    """Return the last record of each market, the intraday one's first and without a name."""
    chains = (("", "intraday"), ("day-ahead ", "day_ahead"))
    of = [(name, [each for each in records if each.product == product]) for name, product in chains]
    return [(name, max(chain, key=lambda record: record.hour)) for name, chain in of if chain]
