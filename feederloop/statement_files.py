"""Statements as files: CSV and JSON for each home (``H01.csv``), and ``accounts`` of all.

Of a DSO that runs there is a folder for each local day. What it says of a slot stays as it was stated first;
``corrections`` beside it has what was settled again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from dso_engine.errors import EngineError
from dso_engine.resettlement import CorrectionNote
from dso_engine.settlement_model import DayAccounts
from dso_engine.statements import (
    accounts_csv,
    accounts_json,
    corrections_csv,
    corrections_json,
    statement_csv,
    statement_json,
)

__all__ = ["StatementFilesError", "update_statements", "write_statements"]

_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ACCOUNTS: Final = "accounts"
_CORRECTIONS: Final = "corrections"


class StatementFilesError(EngineError):
    """The statements cannot be written; the text says why."""


def write_statements(accounts: DayAccounts, folder: Path) -> None:
    """Write the statements of a run; what a former run left in the folder is removed.

    Raises:
        StatementFilesError: if the folder cannot be used, or two homes' ids lead to one name.
    """
    texts = _texts(accounts, ())
    try:
        for old in (*folder.glob("*.csv"), *folder.glob("*.json")):
            old.unlink()
    except OSError as err:
        raise StatementFilesError(f"{folder}: {err.strerror}") from err
    _write(texts, folder)


def update_statements(accounts: DayAccounts, notes: Sequence[CorrectionNote], folder: Path) -> None:
    """Write the statements of a period that goes on: each file anew and whole, and none is removed.

    Args:
        accounts: The period so far.
        notes: What was corrected in it.
        folder: Made if it is not there.

    Raises:
        StatementFilesError: see :func:`write_statements`.
    """
    _write(_texts(accounts, notes), folder)


def _write(texts: Mapping[str, str], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            part = folder / f"{name}.part"
            part.write_text(text, encoding="utf-8")
            part.replace(folder / name)
    except OSError as err:
        raise StatementFilesError(f"{folder}: {err.strerror}") from err


def _texts(accounts: DayAccounts, notes: Sequence[CorrectionNote]) -> Mapping[str, str]:
    texts = {f"{_ACCOUNTS}.csv": accounts_csv(accounts), f"{_ACCOUNTS}.json": accounts_json(accounts)}
    if notes:
        texts[f"{_CORRECTIONS}.csv"] = corrections_csv(notes)
        texts[f"{_CORRECTIONS}.json"] = corrections_json(notes)
    for home in accounts.homes:
        name = _name(home.home)
        if f"{name}.csv" in texts:
            raise StatementFilesError(f"home {home.home!r}: its file {name}.csv is there already")
        texts[f"{name}.csv"] = statement_csv(home)
        texts[f"{name}.json"] = statement_json(home)
    return texts


def _name(home: str) -> str:
    """Return a home's id as the name of a file, which is the id itself where that can be one."""
    if home in (_ACCOUNTS, _CORRECTIONS):
        return f"home-{home}"
    return home if _SAFE.fullmatch(home) else f"home-{quote(home, safe='')}"
