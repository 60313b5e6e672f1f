"""The folder of a DSO engine: what it did, a line of JSON each, and how it is.

``records-<day>.jsonl`` grows by one line for everything the engine notes down (:mod:`dso_engine.records`);
``status.json`` is written anew from time to time, always whole. An engine needs none of these to start: what
it takes up it learns from the VTN. The accounts beside them are :mod:`feederloop.dso_ledger`'s.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from config.settings import SettingsError
from dso_engine.records import EngineRecord
from vtn_server.filelock import FileLock
from vtn_server.store import StoreError

__all__ = ["RecordFolder"]

_LOG: Final = logging.getLogger(__name__)


class RecordFolder:
    """Implements :class:`dso_engine.ports.Recorder`; one engine at a time.

    Args:
        folder: Made if it is not there.

    Raises:
        SettingsError: if it cannot be used, or another engine uses it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.counts: Counter[str] = Counter()
        self._adapters: dict[str, TypeAdapter[Any]] = {}
        self._failed = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / "dso")
        except OSError as err:
            raise SettingsError(f"{folder}: {err.strerror or err}") from err
        except StoreError as err:
            raise SettingsError(f"{folder}: cannot be used, or another engine uses it") from err

    def close(self) -> None:
        """Let another engine use the folder."""
        self._lock.release()

    def record(self, record: EngineRecord) -> None:
        """Write one record; a disk that is full costs the record, not the feeder."""
        kind = type(record).__name__
        self.counts[kind] += 1
        adapter = self._adapters.setdefault(kind, TypeAdapter(type(record)))
        at = datetime.now(UTC)
        # An order that was refused is written down as it came, also where its volume is no whole number.
        fields = adapter.dump_python(record, mode="json", warnings=False)
        line = {"kind": kind, "written_at": at.isoformat(), **fields}
        try:
            with (self._folder / f"records-{at:%Y-%m-%d}.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as err:
            if not self._failed:
                _LOG.error("%s: records are lost: %s", self._folder, err.strerror or err)
            self._failed = True
        else:
            self._failed = False

    def write_status(self, status: dict[str, object]) -> None:
        """Replace the status."""
        target = self._folder / "status.json"
        beside = target.with_suffix(".new")
        try:
            beside.write_text(json.dumps(status, indent=2) + "\n", encoding="utf-8")
            os.replace(beside, target)
        except OSError as err:
            _LOG.warning("%s: %s", target, err.strerror or err)
