"""The VENs known in advance, from a file: TOML or CSV, told apart by the ending."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from config.settings import SettingsError
from vtn_server.state import Provision, VenId

__all__ = ["read_provisions"]

_LISTS: Final = ("resources", "groups", "market_contexts")
Text = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    ven_id: Text
    fingerprint: (
        Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}:){9}[0-9A-Fa-f]{2}$"), AfterValidator(str.upper)]
        | None
    ) = None
    resources: tuple[Text, ...] = ()
    groups: tuple[Text, ...] = ()
    market_contexts: tuple[Text, ...] = ()


def read_provisions(path: Path) -> tuple[Provision, ...]:
    """Return the VENs of a file.

    TOML: tables ``[[ven]]`` with ``name``, ``ven_id`` and, if wanted, ``fingerprint``, ``resources``,
    ``groups``, ``market_contexts``. CSV: the same names in the first line, lists separated by semicolons.

    Raises:
        SettingsError: if the file cannot be read, a line is wrong, or a name, venID or fingerprint comes
            twice.
    """
    try:
        rows = [_row(path, where, raw) for where, raw in _raw(path)]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, csv.Error) as err:
        raise SettingsError(f"{path}: {err}") from err
    for name in ("name", "ven_id", "fingerprint"):
        seen: set[str] = set()
        for row in rows:
            value = getattr(row, name)
            if value is not None and value in seen:
                raise SettingsError(f"{path}: {name} {value} comes twice")
            seen.add(value)
    return tuple(
        Provision(
            ven_id=VenId(row.ven_id),
            ven_name=row.name,
            fingerprint=row.fingerprint,
            resources=row.resources,
            groups=row.groups,
            market_contexts=row.market_contexts,
        )
        for row in rows
    )


def _raw(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            for cells in reader:
                yield f"line {reader.line_num}", _from_csv(cells)
        return
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    vens = tables.pop("ven", [])
    if tables or not isinstance(vens, list):
        raise SettingsError(f"{path}: only tables [[ven]] are expected")
    for k, table in enumerate(vens):
        yield f"ven {k + 1}", table


def _from_csv(cells: dict[str | None, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cell in cells.items():
        text = ";".join(cell) if isinstance(cell, list) else (cell or "").strip()
        if name is None:
            found["more cells than names"] = text
        elif name in _LISTS:
            found[name] = tuple(part.strip() for part in text.split(";") if part.strip())
        elif text:
            found[name] = text
    return found


def _row(path: Path, where: str, raw: object) -> _Row:
    try:
        return _Row.model_validate(raw)
    except ValidationError as err:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in err.errors(include_url=False)
        )
        raise SettingsError(f"{path}, {where}: {faults}") from err
