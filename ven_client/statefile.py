"""The state of a VEN in a SQLite file: atomic, durable, one writer.

A commit writes the rows that differ from the last ones in one transaction and returns when they are on the
disk (write-ahead log, ``synchronous = FULL``), so a process that is killed at any moment finds the last state
that was committed, whole. It blocks for the time of one fsync; a VEN commits only when something has changed.

Errors::

    StateError
     x UnknownFormat    the file was written by another version of this program
     x WrongOwner       the file belongs to another VEN
     x StateInUse       another process has the file open
     x DamagedState     the file cannot be read
     x CommitFailed     the file cannot be written; the process should stop, for it must not promise any more
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from ven_client.nonce_table import NonceTable
from ven_client.state import VenState
from ven_client.stateform import FORMAT, Key, RowReader, RowWriter, UnreadableRow

__all__ = [
    "CommitFailed",
    "DamagedState",
    "StateError",
    "StateFile",
    "StateInUse",
    "UnknownFormat",
    "WrongOwner",
]

_APPLICATION_ID: Final = 0x46_4C_56_4E
"""``FLVN``: marks the file as the state of a VEN."""
_HEADER: Final = ("application_id", "user_version")


class StateError(Exception):
    """Base of everything that goes wrong with the state of a VEN on disk."""


class UnknownFormat(StateError):
    """The file has another format than this program."""


class WrongOwner(StateError):
    """The file is another VEN's."""


class StateInUse(StateError):
    """Another process uses the file."""


class DamagedState(StateError):
    """The file does not hold what it should."""


class CommitFailed(StateError):
    """The state could not be written."""


class StateFile:
    """Implements :class:`ven_client.state.StateStore` with SQLite.

    Args:
        path: The file; made if it is not there.
        owner: venName of the VEN; a file of another one is refused.

    Raises:
        UnknownFormat: if the file has another version or is no state of a VEN.
        WrongOwner: if it is another VEN's.
        StateInUse: if another process has it open.
        DamagedState: if it is no SQLite file.
    """

    def __init__(self, path: Path, owner: str) -> None:
        self._path = path
        self._writer = RowWriter()
        self._rows: dict[Key, bytes] = {}
        self.commits = 0
        """Transactions so far."""
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0.5)
        except sqlite3.Error as err:
            raise DamagedState(f"{path}: {err}") from err
        try:
            self._open(owner)
        except sqlite3.OperationalError as err:
            self._db.close()
            if err.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StateInUse(f"{path} is in use by another process") from err
            raise DamagedState(f"{path}: {err}") from err
        except sqlite3.DatabaseError as err:
            self._db.close()
            raise DamagedState(f"{path}: {err}") from err
        except StateError:
            self._db.close()
            raise

    def load(self) -> VenState | None:
        """Return what was committed last, None if nothing was.

        Raises:
            DamagedState: if it cannot be read.
        """
        if not self._rows:
            return None
        try:
            return RowReader(self._rows).state()
        except UnreadableRow as err:
            raise DamagedState(f"{self._path}: {err}") from err

    def commit(self, state: VenState) -> None:
        """Make a state durable; does nothing if it is the last one.

        Raises:
            CommitFailed: if it cannot be written.
        """
        rows = self._writer.rows(state)
        changed = [(*key, body) for key, body in rows.items() if self._rows.get(key) != body]
        gone = [key for key in self._rows if key not in rows]
        if not changed and not gone:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("DELETE FROM record WHERE kind = ? AND key = ?", gone)
            self._db.executemany("INSERT OR REPLACE INTO record (kind, key, body) VALUES (?, ?, ?)", changed)
            self._db.execute("COMMIT")
        except sqlite3.Error as err:
            raise CommitFailed(f"{self._path}: {err}") from err
        self._rows = rows
        self.commits += 1

    def nonces(self, *, now: Callable[[], datetime], window: timedelta) -> NonceTable:
        """Return the nonces of accepted messages, which are kept in the same file.

        Args:
            now: The protocol's clock.
            window: How far the time stamp of a signature may be from now.

        Raises:
            CommitFailed: if the file cannot be written, also later when a nonce is to be remembered.
        """
        return NonceTable(
            self._db, now=now, window=window, failed=lambda err: CommitFailed(f"{self._path}: {err}")
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _open(self, owner: str) -> None:
        db = self._db
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        mark, version = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in _HEADER)
        if (mark, version) == (0, 0) and not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            db.execute("CREATE TABLE owner (name TEXT NOT NULL)")
            db.execute(
                "CREATE TABLE record (kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL,"
                " PRIMARY KEY (kind, key)) WITHOUT ROWID"
            )
            db.execute("INSERT INTO owner (name) VALUES (?)", (owner,))
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {FORMAT}")
        elif mark != _APPLICATION_ID or version != FORMAT:
            raise UnknownFormat(
                f"{self._path} has format {version} (mark {mark:#x}), this program knows format {FORMAT}"
            )
        name = str(db.execute("SELECT name FROM owner").fetchone()[0])
        if name != owner:
            raise WrongOwner(f"{self._path} is the state of {name}, not of {owner}")
        found = db.execute("SELECT kind, key, body FROM record").fetchall()
        self._rows = {(str(kind), str(key)): bytes(body) for kind, key, body in found}
        db.execute("COMMIT")
