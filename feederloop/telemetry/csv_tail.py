"""PCC meters from CSV files that grow: a file, or the newest files of a folder.

Format: UTF-8, a header line, then one reading a line; any order of columns, others are ignored::

    time,pcc,p_kw,q_kvar,v_v
    2026-05-16T10:00:10Z,F1-A,12.5,1.2,231.4

Rules:

1. A line counts once its end is there: a writer may be in the middle of it.
2. A file that was replaced or renamed is read to its end and then the new one from its start; one that got
   shorter was cut (rotation by copy), and is read from its start.
3. In a folder the files follow each other by name; the last one grows. Those before the last at the start are
   history and not read.
4. At the start only the end of a long file is read: older readings are stale anyway.
5. A file that is not there (yet, or for a moment) is no error: readings stay as old as they are.

A header without the names that are needed is a fault of every line below it. What a cut file looked like
before it grew beyond its old length again cannot be seen: rotate by renaming.
"""

from __future__ import annotations

import asyncio
import csv
import logging
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from dso_engine.model import Pcc, PccReading
from feederloop.telemetry.board import Board, Fault, Plausible, TelemetryState
from feederloop.telemetry.report import FaultLog

__all__ = ["CsvTail"]

_LOG: Final = logging.getLogger(__name__)
_TAIL: Final = 256 * 1024
"""Bytes of a long file that are read at the start."""
_PORTION: Final = 8 * 1024 * 1024
"""Bytes that are read at once; what is beyond comes with the next call."""
_LONGEST: Final = 16 * 1024
"""A line is no longer than that."""


class CsvTail:
    """Implements :class:`dso_engine.ports.TelemetrySource` over CSV files that grow.

    Args:
        path: A file, or a folder of ``*.csv``; it need not be there yet.
        meters: The PCC behind each name in the column ``pcc``.
        plausible: What is believed.
    """

    def __init__(self, path: Path, meters: Mapping[str, Pcc], plausible: Plausible) -> None:
        self._path = path
        self._board = Board(meters, plausible)
        self._faults = FaultLog(_LOG)
        self._turn = asyncio.Lock()
        self._open: _Follower | None = None
        self._missing = False

    async def read(self, now: datetime) -> tuple[PccReading, ...]:
        """Return the newest reading of every PCC, after a look at what is new."""
        async with self._turn:
            await asyncio.to_thread(self._look, now)
            return self._board.newest()

    def state(self) -> TelemetryState:
        """Return the counts and ages."""
        return self._board.state()

    async def close(self) -> None:
        """Let go of the file."""
        async with self._turn:
            if self._open is not None:
                self._open.close()
                self._open = None

    # --- in a thread ---------------------------------------------------------------------------------------

    def _look(self, now: datetime) -> None:
        try:
            self._follow(now)
        except OSError as err:
            if not self._missing:
                _LOG.warning("%s: cannot be read: %s", self._path, err.strerror or err)
            self._missing = True
        else:
            self._missing = False

    def _follow(self, now: datetime) -> None:
        """Read what is new in the open file, then in those that came after it."""
        at_start = self._open is None
        if self._open is not None:
            self._take(self._open, now)
        for path in self._files():
            if self._open is not None and not self._open.is_followed_by(path):
                continue
            follower = _Follower(path, from_start=not at_start)
            if self._open is not None:
                self._take(self._open, now)  # the last its writer wrote before it turned to the next
                self._open.close()
            self._open = follower
            self._take(follower, now)

    def _files(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path]
        names = sorted(self._path.glob("*.csv"))
        if self._open is None:
            return names[-1:]
        return [path for path in names if path.name >= self._open.path.name]

    def _take(self, follower: _Follower, now: datetime) -> None:
        for cells in follower.rows():
            fault = (
                self._board.refuse(Fault.UNREADABLE)
                if isinstance(cells, str)
                else self._board.put(cells, now)
            )
            if fault is not None:
                shown = cells if isinstance(cells, str) else ",".join(cells.values())
                self._faults.note(fault, shown, str(follower.path), now)


class _Follower:
    """One open file, how far it was read, and its header.

    Args:
        path: The file.
        from_start: Whether all of it counts; else a long one is read from near its end.
    """

    def __init__(self, path: Path, *, from_start: bool) -> None:
        self.path = path
        self._file: BinaryIO = path.open("rb")
        self._identity = _identity(os.fstat(self._file.fileno()))
        self._rest = b""
        self._header: list[str] | None = None
        size = os.fstat(self._file.fileno()).st_size
        if not from_start and size > _TAIL:
            self._row(self._file.readline(_LONGEST).decode("utf-8", "replace").rstrip("\r\n"))
            self._file.seek(size - _TAIL)
            self._file.readline()  # from the middle of a line to its end

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def is_followed_by(self, path: Path) -> bool:
        """Return whether a file is another one than this: of another name, or in this one's place.

        Raises:
            OSError: if it is not there.
        """
        return path != self.path or _identity(path.stat()) != self._identity

    def rows(self) -> list[dict[str, str] | str]:
        """Return the new lines: by the names of the header, or as they are where they have no form."""
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._rest, self._header = b"", None
        found: list[dict[str, str] | str] = []
        *lines, self._rest = (self._rest + self._file.read(_PORTION)).split(b"\n")
        if len(self._rest) > _LONGEST:
            found.append(self._rest[:_LONGEST].decode("utf-8", "replace"))
            self._rest = b""
        for line in lines:
            row = self._row(line.decode("utf-8", "replace").strip("\r"))
            if row is not None:
                found.append(row)
        return found

    def _row(self, line: str) -> dict[str, str] | str | None:
        if not line.strip():
            return None
        if len(line) > _LONGEST:
            return line
        try:
            cells = next(csv.reader([line], strict=True))
        except csv.Error:
            return line
        if self._header is None:
            self._header = [cell.strip().removeprefix("\ufeff") for cell in cells]
            return None
        if len(cells) != len(self._header):
            return line
        return dict(zip(self._header, cells, strict=True))


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino
