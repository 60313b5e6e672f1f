"""Records as JSON, and the machine they come from."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from feederloop.bench.load import BenchError
from feederloop.bench.model import Machine, Record, Scope

__all__ = ["machine", "merged", "read", "write"]

_RECORD: Final = TypeAdapter(Record)
_LIBRARIES: Final = (
    "feederloop",
    "aiohttp",
    "lxml",
    "openleadr",
    "uvloop",
    "sqlalchemy",
    "pandapower",
    "numpy",
)


def machine(now: datetime) -> Machine:
    """Return where this runs, and with what."""
    return Machine(
        date=now.strftime("%Y-%m-%d %H:%M UTC"),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
        versions=(
            f"Python {platform.python_version()}",
            *(each for each in map(_version, _LIBRARIES) if each),
        ),
        load=os.getloadavg()[0],
    )


def _version(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def write(record: Record, path: Path) -> None:
    """Write a record as JSON.

    Raises:
        BenchError: if the file cannot be written.
    """
    try:
        path.write_bytes(_RECORD.dump_json(record, indent=1) + b"\n")
    except OSError as err:
        raise BenchError(f"{path}: {err}") from err


def read(path: Path) -> Record:
    """Return a record.

    Raises:
        BenchError: if the file cannot be read, or holds something else.
    """
    try:
        return _RECORD.validate_json(path.read_bytes())
    except (OSError, ValidationError) as err:
        raise BenchError(f"{path}: {err}") from err


def merged(records: tuple[Record, ...]) -> Record:
    """Return one record with the messages of the last that has any, and likewise for engine and crowds.

    Args:
        records: At least one.
    """
    base = next((each for each in reversed(records) if each.rows), records[-1])
    engine = next((each.engine for each in reversed(records) if each.engine), ())
    crowds = [
        next(
            (each for each in reversed(records) if any(found.scope is scope for found in each.figures)), None
        )
        for scope in Scope
    ]
    return Record(
        machine=base.machine,
        vens=base.vens,
        same_loop=base.same_loop,
        rows=base.rows,
        comparisons=base.comparisons,
        skipped=base.skipped,
        engine=engine,
        figures=tuple(
            found
            for scope, each in zip(Scope, crowds, strict=True)
            if each is not None
            for found in each.figures
            if found.scope is scope
        ),
        remarks=tuple(
            found
            for scope, each in zip(Scope, crowds, strict=True)
            if each is not None
            for found in each.remarks
            if found.scope is scope
        ),
    )
