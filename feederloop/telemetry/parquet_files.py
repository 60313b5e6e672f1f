"""PCC meters from Parquet files: one that is replaced by newer ones, or the files that appear in a folder.

A Parquet file has its table of contents at its end, so it cannot be read while it grows: it is written whole
and put in place (by renaming). Columns are those of :mod:`feederloop.telemetry.csv_tail`; ``time`` is a
timestamp with a time zone, or text. Needs the extra ``parquet``.

Rules:

1. A file is read when it is new or was replaced. In a folder those are read whose name comes after the last
   one read; at the start the last one only.
2. A file that is no Parquet is counted once, and looked at again when it changes: its writer may be at work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow
from pyarrow import parquet

from dso_engine.model import Pcc, PccReading
from feederloop.telemetry.board import Board, Fault, Plausible, TelemetryState, is_complete
from feederloop.telemetry.report import FaultLog

__all__ = ["ParquetFiles"]

_LOG: Final = logging.getLogger(__name__)
_COLUMNS: Final = frozenset(("time", "pcc", "p_kw", "p_w", "q_kvar", "q_var", "v_v", "v_kv"))


class ParquetFiles:
    """Implements :class:`dso_engine.ports.TelemetrySource` over Parquet files.

    Args:
        path: A file, or a folder of ``*.parquet``; it need not be there yet.
        meters: The PCC behind each name in the column ``pcc``.
        plausible: What is believed.
    """

    def __init__(self, path: Path, meters: Mapping[str, Pcc], plausible: Plausible) -> None:
        self._path = path
        self._board = Board(meters, plausible)
        self._faults = FaultLog(_LOG)
        self._turn = asyncio.Lock()
        self._last: Path | None = None
        self._seen: tuple[int, int, int] | None = None
        """What the last file was like when it was read: inode, size, time of change."""

    async def read(self, now: datetime) -> tuple[PccReading, ...]:
        """Return the newest reading of every PCC, after a look at what is new."""
        async with self._turn:
            await asyncio.to_thread(self._look, now)
            return self._board.newest()

    def state(self) -> TelemetryState:
        """Return the counts and ages."""
        return self._board.state()

    def _look(self, now: datetime) -> None:
        for path in self._files():
            try:
                stat = path.stat()
            except OSError:
                continue  # not there yet, or for a moment: readings grow old
            seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if path == self._last and seen == self._seen:
                continue
            self._last, self._seen = path, seen
            self._take(path, now)

    def _files(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path]
        paths = sorted(self._path.glob("*.parquet"))
        if self._last is None:
            return paths[-1:]
        return [path for path in paths if path.name >= self._last.name]

    def _take(self, path: Path, now: datetime) -> None:
        try:
            with parquet.ParquetFile(path) as file:
                names = sorted(_COLUMNS.intersection(file.schema_arrow.names))
                rows = file.read(columns=names).to_pylist() if is_complete(frozenset(names)) else None
        except (pyarrow.ArrowException, OSError) as err:
            rows, names = None, [str(err)]
        if rows is None:
            self._faults.note(self._board.refuse(Fault.UNREADABLE), ", ".join(names), str(path), now)
            return
        for row in rows:
            fault = self._board.put(row, now)
            if fault is not None:
                self._faults.note(fault, row, str(path), now)
