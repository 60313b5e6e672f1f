"""A portable copy of a store: one JSON object a line, in the typed forms the tables use.

The first line says what it is, the last one how much there was, so that a copy that was cut off is noticed.
It does not depend on the database it was taken from, nor on the layout of its tables.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO, TypeVar

from sqlalchemy import Connection, delete, insert

from vtn_server import sqlread, sqlreadings
from vtn_server.blocks import block_rows
from vtn_server.decision import SaveNonce, SaveOpt
from vtn_server.jsonform import JsonForm, NotStorable
from vtn_server.records import EventRecord
from vtn_server.rows import RowForms, RowValues
from vtn_server.series import series_of
from vtn_server.state import Reading, Ven
from vtn_server.store import StoreError
from vtn_server.tables import (
    Base,
    DeliveryRow,
    EventOptRow,
    EventRow,
    EventVersionRow,
    IdentityRow,
    NonceRow,
    ReadingBlockRow,
    VenRow,
)

__all__ = ["BadBackup", "Counts", "clear", "lines_of", "read", "store_all", "write"]

T = TypeVar("T")

_FORMAT: Final = "feederloop vtn backup"
_VERSION: Final = 2
_READABLE: Final = (1, 2)
"""The first version had no nonces."""
_PORTION: Final = 500


class BadBackup(StoreError):
    """A backup that is damaged, cut off, or not one of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much a store holds."""

    vens: int = 0
    events: int = 0
    opts: int = 0
    readings: int = 0
    nonces: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The first line."""

    format: str
    version: int


_HEADS: Final = tuple(Head(format=_FORMAT, version=version) for version in _READABLE)

Item = Head | Ven | EventRecord | SaveOpt | SaveNonce | Reading | Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    item: Head | Ven | EventRecord | SaveOpt | SaveNonce | Reading | Counts


def lines_of(connection: Connection, forms: RowForms) -> Iterator[Item]:
    """Yield everything a store holds, readings last."""
    yield from sqlread.all_vens(connection, forms)
    yield from sqlread.all_events(connection, forms)
    yield from sqlread.all_opts(connection, forms)
    yield from sqlread.all_nonces(connection, forms)
    yield from sqlreadings.all_readings(connection)


def write(file: TextIO, items: Iterable[Item]) -> Counts:
    """Write a copy; return how much it holds."""
    form = JsonForm(_Line)
    tally = _Tally()
    file.write(form.dumps(_Line(item=Head(format=_FORMAT, version=_VERSION))) + "\n")
    for item in items:
        tally.add(item)
        file.write(form.dumps(_Line(item=item)) + "\n")
    file.write(form.dumps(_Line(item=tally.counts())) + "\n")
    return tally.counts()


def read(path: Path) -> Iterator[Item]:
    """Yield what a copy holds.

    Raises:
        BadBackup: if it is not one, or is damaged; possibly only at its end.
    """
    form = JsonForm(_Line)
    tally = _Tally()
    end: Counts | None = None
    with path.open(encoding="utf-8") as file:
        try:
            for number, text in enumerate(file, 1):
                item = form.loads(text).item
                if number == 1:
                    if item not in _HEADS:
                        raise BadBackup(f"{path} is not a backup this program can read")
                    continue
                if end is not None:
                    raise BadBackup(f"{path}: line {number} comes after the end")
                if isinstance(item, Counts):
                    end = item
                    continue
                tally.add(item)
                yield item
        except (NotStorable, UnicodeDecodeError) as err:
            raise BadBackup(f"{path} is damaged, or not a backup: {err}") from err
    if end is None or end != tally.counts():
        raise BadBackup(f"{path} was cut off: it holds {tally.counts()}, and should hold {end}")


class _Tally:
    """Counts what goes by."""

    def __init__(self) -> None:
        self._vens = self._events = self._opts = self._readings = self._nonces = 0

    def add(self, item: Item) -> None:
        """Count one."""
        match item:
            case Ven():
                self._vens += 1
            case EventRecord():
                self._events += 1
            case SaveOpt():
                self._opts += 1
            case Reading():
                self._readings += 1
            case SaveNonce():
                self._nonces += 1
            case Head() | Counts():
                raise BadBackup("a backup within a backup")

    def counts(self) -> Counts:
        """Return how much it was."""
        return Counts(
            vens=self._vens,
            events=self._events,
            opts=self._opts,
            readings=self._readings,
            nonces=self._nonces,
        )


def clear(connection: Connection) -> None:
    """Delete everything a store holds, and what processes have shared of it."""
    for table in (VenRow, EventRow, EventVersionRow, EventOptRow, ReadingBlockRow, NonceRow):
        connection.execute(delete(table))
    for shared in (DeliveryRow, IdentityRow):
        connection.execute(delete(shared))


def store_all(connection: Connection, forms: RowForms, items: Iterable[Item]) -> Counts:
    """Put everything into empty tables, as it is: versions too."""
    tally = _Tally()
    for some in _portions(items):
        for item in some:
            tally.add(item)
        events = [each for each in some if isinstance(each, EventRecord)]
        versions = [forms.version_row(each, version) for each in events for version in each.versions]
        _insert(connection, VenRow, _rows(some, Ven, forms.ven_row))
        _insert(connection, EventRow, _rows(some, EventRecord, forms.event_row))
        _insert(connection, EventVersionRow, versions)
        _insert(connection, EventOptRow, _rows(some, SaveOpt, forms.opt_row))
        readings = series_of(each for each in some if isinstance(each, Reading))
        _insert(connection, ReadingBlockRow, [row for each in readings for row in block_rows(each)])
        _insert(connection, NonceRow, _rows(some, SaveNonce, forms.nonce_row))
    return tally.counts()


def _portions(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while some := list(itertools.islice(rest, _PORTION)):
        yield some


def _rows(items: list[Item], kind: type[T], row: Callable[[T], RowValues]) -> list[RowValues]:
    return [row(each) for each in items if isinstance(each, kind)]


def _insert(connection: Connection, table: type[Base], rows: list[RowValues]) -> None:
    if rows:
        connection.execute(insert(table), [dict(row) for row in rows])
