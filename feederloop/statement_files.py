"""A run's statements as files: CSV and JSON for each home (``H01.csv``), and ``accounts`` of all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from dso_engine.errors import EngineError
from dso_engine.settlement_model import DayAccounts
from dso_engine.statements import accounts_csv, accounts_json, statement_csv, statement_json

__all__ = ["StatementFilesError", "write_statements"]

_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ACCOUNTS: Final = "accounts"


class StatementFilesError(EngineError):
    """The statements cannot be written; the text says why."""


def write_statements(accounts: DayAccounts, folder: Path) -> None:
    """Write the statements; what a former run left in the folder is removed.

    Raises:
        StatementFilesError: if the folder cannot be used, or a home's id is no name for a file.
    """
    texts = {f"{_ACCOUNTS}.csv": accounts_csv(accounts), f"{_ACCOUNTS}.json": accounts_json(accounts)}
    for home in accounts.homes:
        if not _SAFE.fullmatch(home.home) or home.home == _ACCOUNTS:
            raise StatementFilesError(f"home {home.home!r}: its id is no name for a file")
        texts[f"{home.home}.csv"] = statement_csv(home)
        texts[f"{home.home}.json"] = statement_json(home)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("*.csv"), *folder.glob("*.json")):
            old.unlink()
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as err:
        raise StatementFilesError(f"{folder}: {err.strerror}") from err
