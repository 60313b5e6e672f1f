"""The published records of the auctions as files, one per delivery hour: ``market/20180516T1000Z.json``.

Beside it may lie the record of the day-ahead block of that hour, ``20180516T1000Z-day-ahead.json``. Each of
the two markets is a chain of its own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

from dso_engine.errors import EngineError
from dso_engine.intake import OrderDecision
from dso_engine.market import Clearing, Order
from dso_engine.market_record import HourRecord, Verdict, hour_record, record_text, verify
from dso_engine.model import SLOTS_PER_HOUR
from dso_engine.ports import Recorder
from dso_engine.records import DayAheadRecord, EngineRecord, MarketRecord

__all__ = ["FileVerdict", "MarketFiles", "MarketFilesError", "Publishing", "read_records", "write_market"]

_LOG: Final = logging.getLogger(__name__)
_PATTERN: Final = "*.json"
_Product: TypeAlias = Literal["intraday", "day_ahead"]
_ENDING: Final[dict[_Product, str]] = {"intraday": "Z.json", "day_ahead": "Z-day-ahead.json"}
_Auction: TypeAlias = tuple[datetime, Sequence[Order], Clearing, Sequence[OrderDecision]]


class MarketFilesError(EngineError):
    """The folder of the records cannot be used; the text says why."""


class MarketFiles:
    """Writes the record of an hour as soon as its six auctions are known, and of a block at once.

    An engine that is started again goes on where the last one stopped: its first record holds the seal of
    the newest one in the folder.

    Args:
        folder: Where the files go; it is made.
        seed: Of the auction's sequence numbers.

    Raises:
        MarketFilesError: if the folder cannot be made, or its newest record is not sound.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._waiting: list[MarketRecord] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise MarketFilesError(f"{folder}: {err.strerror}") from err
        self._last: dict[_Product, str | None] = {product: _newest(folder, product) for product in _ENDING}

    def add(self, record: MarketRecord) -> None:
        """Take the record of one auction; the sixth of an hour writes the file.

        An hour that is auctioned again (an engine started in between) is not written twice: what is published
        stays.

        Raises:
            MarketFilesError: if the file cannot be written.
        """
        hour = _hour(record.slot)
        self._waiting = [r for r in self._waiting if _hour(r.slot) == hour and r.slot != record.slot]
        self._waiting.append(record)
        if len(self._waiting) < SLOTS_PER_HOUR:
            return
        records, self._waiting = sorted(self._waiting, key=lambda r: r.slot), []
        self._write("intraday", hour, [(r.slot, r.book, r.clearing, r.refused) for r in records])

    def add_block(self, record: DayAheadRecord) -> None:
        """Take the record of a day-ahead auction and write its file; one that is published stays.

        Raises:
            MarketFilesError: if the file cannot be written.
        """
        auction = (record.slot, record.book, record.clearing, record.refused)
        self._write("day_ahead", record.slot, [auction])

    def lacks_hour(self, hour: datetime) -> bool:
        """Return whether an hour comes after all that are published; the chain takes none in between."""
        return self._lacks("intraday", hour)

    def lacks_block(self, hour: datetime) -> bool:
        """Return whether a block comes after all that are published; the chain takes none in between."""
        return self._lacks("day_ahead", hour)

    def _lacks(self, product: _Product, hour: datetime) -> bool:
        files = _files(self._folder, product)
        return not files or files[-1].name < _name(product, hour)

    def _write(self, product: _Product, hour: datetime, auctions: Sequence[_Auction]) -> None:
        path = self._folder / _name(product, hour)
        if path.exists():
            return
        if not self._lacks(product, hour):
            raise MarketFilesError(f"{path.name}: a later record is sealed; the chain takes none before it")
        sealed = hour_record(
            hour=hour, product=product, seed=self._seed, previous=self._last[product], auctions=auctions
        )
        part = path.with_suffix(".part")
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(record_text(sealed))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as err:
            raise MarketFilesError(f"{path}: {err.strerror}") from err
        self._last[product] = sealed.seal


def write_market(records: Iterable[EngineRecord], folder: Path, seed: int) -> None:
    """Write the records of a finished run; what a former run left in the folder is removed.

    Raises:
        MarketFilesError: if the folder cannot be used.
    """
    try:
        for old in folder.glob(_PATTERN):
            old.unlink()
    except OSError as err:
        raise MarketFilesError(f"{folder}: {err.strerror}") from err
    files = MarketFiles(folder, seed)
    for record in records:
        if isinstance(record, MarketRecord):
            files.add(record)
        elif isinstance(record, DayAheadRecord):
            files.add_block(record)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerdict:
    """A file and what verification says of it."""

    path: Path
    verdict: Verdict


def read_records(paths: Iterable[Path]) -> tuple[FileVerdict, ...]:
    """Verify files; a folder stands for the JSON files in it.

    Raises:
        MarketFilesError: if one cannot be read, or a folder holds none.
    """
    found: list[FileVerdict] = []
    for path in paths:
        files = sorted(path.glob(_PATTERN)) if path.is_dir() else [path]
        if not files:
            raise MarketFilesError(f"{path}: no records in this folder")
        for file in files:
            try:
                found.append(FileVerdict(path=file, verdict=verify(file.read_bytes())))
            except OSError as err:
                raise MarketFilesError(f"{file}: {err.strerror}") from err
    return tuple(found)


def _newest(folder: Path, product: _Product) -> str | None:
    """Return the seal of the newest record of a product; names sort by hour."""
    files = _files(folder, product)
    if not files:
        return None
    (newest,) = read_records(files[-1:])
    record: HourRecord | None = newest.verdict.record
    if record is None or not newest.verdict.sound:
        raise MarketFilesError(f"{files[-1]}: is no sound record; nothing is added to a broken chain")
    return record.seal


def _files(folder: Path, product: _Product) -> list[Path]:
    """Return the records of a product, by hour."""
    return sorted(folder.glob(f"*{_ENDING[product]}"))


def _name(product: _Product, hour: datetime) -> str:
    return f"{hour.astimezone(UTC):%Y%m%dT%H%M}{_ENDING[product]}"


def _hour(slot: datetime) -> datetime:
    return slot.replace(minute=0, second=0, microsecond=0)


class Publishing:
    """A recorder that publishes the auctions besides what another one does with its records.

    Args:
        inner: Gets every record.
        files: Gets the auctions.
    """

    def __init__(self, inner: Recorder, files: MarketFiles) -> None:
        self._inner = inner
        self._files = files

    def record(self, record: EngineRecord) -> None:
        """Take one record; a disk that is full costs the file of the hour, not the market."""
        self._inner.record(record)
        try:
            if isinstance(record, MarketRecord):
                self._files.add(record)
            elif isinstance(record, DayAheadRecord):
                self._files.add_block(record)
        except MarketFilesError as err:
            _LOG.error("the record of an hour could not be published: %s", err)
