"""Records as JSON, and the machine they come from."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from feederloop.bench.load import BenchError
from feederloop.bench.model import Figure, Machine, Record, Remark, Scope

__all__ = ["check_target", "machine", "merged", "read", "write"]

_RECORD: Final = TypeAdapter(Record)
_LIBRARIES: Final = (
    "feederloop",
    "aiohttp",
    "lxml",
    "openleadr",
    "signxml",
    "cryptography",
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


def check_target(path: Path) -> None:
    """Look whether a file can be written, before anything is measured; one that is there stays as it is.

    Raises:
        BenchError: if it cannot.
    """
    there = path.exists()
    try:
        with path.open("ab"):
            pass
        if not there:
            path.unlink()
    except OSError as err:
        raise BenchError(f"{path}: {err}") from err


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
    except OSError as err:
        raise BenchError(f"{path}: {err}") from err
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise BenchError(f"{path} has no figures of ours: {where}: {first['msg']}") from err


def merged(records: tuple[Record, ...]) -> Record:
    """Return one record with the messages of the last that has any, and likewise for engine and crowds.

    What comes from another machine than the messages, or from other versions, says so.

    Args:
        records: At least one.
    """
    base = next((each for each in reversed(records) if each.rows), records[-1])
    engine = next((each for each in reversed(records) if each.engine), base)
    figures: list[Figure] = []
    remarks: list[Remark] = []
    for scope in Scope:
        for each in reversed(records):
            found = [figure for figure in each.figures if figure.scope is scope]
            if found:
                figures += found
                if each.machine.differs(base.machine):
                    remarks.append(Remark(scope=scope, text=each.machine.elsewhere))
                remarks += [remark for remark in each.remarks if remark.scope is scope]
                break
    return replace(
        base,
        engine=engine.engine,
        engine_machine=engine.engine_machine or engine.machine,
        figures=tuple(figures),
        remarks=tuple(remarks),
    )
