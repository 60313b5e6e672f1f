"""The homes of a feeder as the DSO has them on file: VEN, PV, switch and contract of each. TOML or CSV."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.settings import SettingsError
from dso_engine.feeder import Network
from dso_engine.model import HomeId
from dso_engine.ports import Customer
from vtn_server.state import VenId

__all__ = ["Connection", "read_connections"]

Text = Annotated[str, Field(min_length=1, max_length=300)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Text
    ven_id: Text | None = None
    pv_kwp: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    switch: Text | None = None
    contract_kva: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One home.

    Attributes:
        ven_id: Its VEN; None where it takes no part.
        switch: The resourceID of its transfer switch; None without.
    """

    customer: Customer
    ven_id: VenId | None
    switch: str | None


def read_connections(path: Path, network: Network) -> tuple[Connection, ...]:
    """Return the homes of a file, in the order of the network.

    TOML: tables ``[[home]]`` with ``home`` and, if there is one, ``ven_id``, ``pv_kwp``, ``switch``,
    ``contract_kva``. CSV: the same names in the first line; empty is none. Homes of the network that are not
    in the file take no part: their flow is taken as it is.

    Raises:
        SettingsError: if the file cannot be read, a line is wrong, names a home the network lacks, or a home,
            venID or switch comes twice, or a switch has no VEN.
    """
    try:
        rows = [_row(path, where, raw) for where, raw in _raw(path)]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, csv.Error) as err:
        raise SettingsError(f"{path}: {err}") from err
    _check(path, rows, network)
    by_home = {row.home: row for row in rows}
    return tuple(_connection(by_home.get(home.id) or _Row(home=home.id)) for home in network.homes)


def _connection(row: _Row) -> Connection:
    return Connection(
        customer=Customer(
            home=HomeId(row.home),
            pv_kwp=row.pv_kwp,
            has_switch=row.switch is not None,
            contract_kva=inf if row.contract_kva is None else row.contract_kva,
            participates=row.ven_id is not None,
        ),
        ven_id=None if row.ven_id is None else VenId(row.ven_id),
        switch=row.switch,
    )


def _check(path: Path, rows: Sequence[_Row], network: Network) -> None:
    have = {home.id for home in network.homes}
    if stray := sorted(row.home for row in rows if row.home not in have):
        raise SettingsError(f"{path}: network {network.name} has no {', '.join(stray)}")
    for name in ("home", "ven_id", "switch"):
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise SettingsError(f"{path}: {name} {', '.join(twice)} comes twice")
    if lost := [row.home for row in rows if row.switch is not None and row.ven_id is None]:
        raise SettingsError(f"{path}: {', '.join(lost)}: a switch needs a VEN that is told of it")


def _raw(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            for cells in reader:
                named = {name or "more cells than names": cell for name, cell in cells.items()}
                yield f"line {reader.line_num}", {name: cell for name, cell in named.items() if cell}
        return
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    homes = tables.pop("home", [])
    if tables or not isinstance(homes, list):
        raise SettingsError(f"{path}: only tables [[home]] are expected")
    for k, table in enumerate(homes):
        yield f"home {k + 1}", table


def _row(path: Path, where: str, raw: object) -> _Row:
    try:
        return _Row.model_validate(raw)
    except ValidationError as err:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in err.errors(include_url=False)
        )
        raise SettingsError(f"{path}, {where}: {faults}") from err
