"""The accounts of a DSO as a SQLite file: what was stated for each home and slot, and each correction of it.

Rows are added and never changed. Revision 0 is what was stated first; later ones are corrections, each the
whole statement as it is from then on. A statement is there once per home, slot and revision, an hour is
settled once, and each hour or correction is one transaction that is on disk when it is done: a kill loses or
doubles nothing. Days with news for people to read stand on a list until that is written (``unpublished``).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import TypeAdapter, ValidationError

from dso_engine.accounts import open_slots
from dso_engine.errors import EngineError
from dso_engine.model import HomeId
from dso_engine.resettlement import Correction, CorrectionNote
from dso_engine.settlement import DayAccounts, RewardTerms, SlotStatement, accounts_of
from dso_engine.settling import StatedHour

__all__ = ["AccountLedger", "LedgerError", "Member"]

_HOUR: Final = timedelta(hours=1)
_VERSION: Final = 1
_BUSY_S: Final = 5.0
_SCHEMA: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE hours (
  hour TEXT PRIMARY KEY, settled_at TEXT NOT NULL, reward_percent TEXT NOT NULL,
  curvature_c_per_kwh2 TEXT NOT NULL, open INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE statements (
  slot TEXT NOT NULL, home TEXT NOT NULL, revision INTEGER NOT NULL, stated_at TEXT NOT NULL,
  statement TEXT NOT NULL, PRIMARY KEY (slot, home, revision)
) WITHOUT ROWID;
CREATE TABLE members (since TEXT PRIMARY KEY, members TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE unpublished (day TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_STATEMENT: Final = TypeAdapter(SlotStatement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A home whose bills are kept here, as it was when the engine started.

    Attributes:
        contract_kva: None where no contract is on file.
    """

    home: HomeId
    ven_id: str
    contract_kva: float | None


_MEMBERS: Final = TypeAdapter(tuple[Member, ...])


class LedgerError(EngineError):
    """The accounts cannot be opened, read or written; the text says why."""


class AccountLedger:
    """Implements :class:`dso_engine.settling.Ledger`; made by :meth:`kept` or :meth:`of`."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database
        with self._told():
            facts = dict(database.execute("SELECT name, value FROM facts"))
        self.first_hour: Final = datetime.fromisoformat(facts["first_hour"])
        self.zone: Final = _zone(facts["timezone"])
        self._whole_until = self.first_hour
        """All hours before are settled; only those after have to be looked at."""

    @classmethod
    def kept(cls, path: Path, *, timezone: str, first_hour: datetime) -> AccountLedger:
        """Open the accounts to write in them; they are made if they are not there.

        Args:
            path: The file; its folder exists, and one process at a time writes.
            timezone: Whose days the statements are ordered by.
            first_hour: Where accounts that are new begin; those that are there go on.

        Raises:
            LedgerError: if the file cannot be used, or there is no such time zone.
        """
        _zone(timezone)
        try:
            database = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                first = {"first_hour": _text(first_hour), "timezone": timezone}
                entries = "".join(
                    f"INSERT INTO facts VALUES ('{name}', '{value}');" for name, value in first.items()
                )
                database.executescript(f"BEGIN;{_SCHEMA}{entries}PRAGMA user_version={_VERSION};COMMIT;")
            elif version == _VERSION:
                database.execute("UPDATE facts SET value = ? WHERE name = 'timezone'", (timezone,))
        except sqlite3.Error as err:
            raise LedgerError(f"{path}: {err}") from err
        return cls(path, _checked(path, database))

    @classmethod
    def of(cls, path: Path) -> AccountLedger:
        """Open accounts to read them, also while an engine writes.

        Raises:
            LedgerError: if there are none, or they cannot be read.
        """
        if not path.is_file():
            raise LedgerError(f"{path}: no accounts are kept here")
        try:
            address = f"{path.resolve().as_uri()}?{_mode(path)}"
            database = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY_S)
        except sqlite3.Error as err:
            raise LedgerError(f"{path}: {err}") from err
        return cls(path, _checked(path, database))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # --- Ledger --------------------------------------------------------------------------------------------

    def unsettled(self, ended_by: datetime) -> tuple[datetime, ...]:
        """See :class:`dso_engine.settling.Ledger`."""
        since = _text(self._whole_until)
        with self._told():
            rows = self._database.execute("SELECT hour FROM hours WHERE hour >= ?", (since,)).fetchall()
        settled = {hour for (hour,) in rows}
        while _text(self._whole_until) in settled:
            self._whole_until += _HOUR
        count = max(0, (ended_by - self._whole_until) // _HOUR)
        hours = (self._whole_until + k * _HOUR for k in range(count))
        return tuple(hour for hour in hours if _text(hour) not in settled)

    def state(self, hour: datetime, accounts: DayAccounts, terms: RewardTerms, at: datetime) -> None:
        """See :class:`dso_engine.settling.Ledger`."""
        known = [statement for home in accounts.homes for statement in home.slots]
        with self._transaction():
            self._database.execute(
                "INSERT INTO hours VALUES (?, ?, ?, ?, ?)",
                (
                    _text(hour),
                    _text(at),
                    str(terms.reward_percent),
                    str(terms.curvature_c_per_kwh2),
                    int(bool(open_slots(accounts))),
                ),
            )
            for statement in known:
                self._add(statement, 0, at)

    def open_hours(self) -> tuple[datetime, ...]:
        """See :class:`dso_engine.settling.Ledger`."""
        with self._told():
            rows = self._database.execute("SELECT hour FROM hours WHERE open ORDER BY hour").fetchall()
        return tuple(datetime.fromisoformat(hour) for (hour,) in rows)

    def stated(self, hour: datetime) -> StatedHour:
        """See :class:`dso_engine.settling.Ledger`."""
        with self._told():
            percent, curvature = self._database.execute(
                "SELECT reward_percent, curvature_c_per_kwh2 FROM hours WHERE hour = ?", (_text(hour),)
            ).fetchone()
        return StatedHour(
            accounts=accounts_of(self.statements(hour, hour + _HOUR, corrected=True)),
            terms=RewardTerms(reward_percent=Fraction(percent), curvature_c_per_kwh2=Fraction(curvature)),
        )

    def correct(self, hour: datetime, corrections: tuple[Correction, ...], at: datetime) -> None:
        """See :class:`dso_engine.settling.Ledger`."""
        with self._transaction():
            for correction in corrections:
                after = correction.after
                (newest,) = self._database.execute(
                    "SELECT max(revision) FROM statements WHERE slot = ? AND home = ?",
                    (_text(after.slot), after.home),
                ).fetchone()
                self._add(after, newest + 1, at)
            rest = open_slots(accounts_of(self._statements(hour, hour + _HOUR, corrected=True)))
            if not rest:
                self._database.execute("UPDATE hours SET open = 0 WHERE hour = ?", (_text(hour),))

    def close_hour(self, hour: datetime) -> None:
        """See :class:`dso_engine.settling.Ledger`."""
        with self._transaction():
            self._database.execute("UPDATE hours SET open = 0 WHERE hour = ?", (_text(hour),))

    def unpublished(self) -> tuple[date, ...]:
        """See :class:`dso_engine.settling.Ledger`."""
        with self._told():
            rows = self._database.execute("SELECT day FROM unpublished ORDER BY day").fetchall()
        return tuple(date.fromisoformat(day) for (day,) in rows)

    def published(self, day: date) -> None:
        """Take a day off the list."""
        with self._transaction():
            self._database.execute("DELETE FROM unpublished WHERE day = ?", (day.isoformat(),))

    # --- homes ---------------------------------------------------------------------------------------------

    def enrol(self, members: tuple[Member, ...], at: datetime) -> None:
        """Note who the homes are from an instant on.

        Raises:
            LedgerError: if it cannot be written.
        """
        if members != self.enrolled(at):
            with self._transaction():
                text = _MEMBERS.dump_json(members).decode()
                self._database.execute("INSERT OR REPLACE INTO members VALUES (?, ?)", (_text(at), text))

    def enrolled(self, at: datetime) -> tuple[Member, ...]:
        """Return who the homes were at an instant; before the first ones, those.

        Raises:
            LedgerError: if it cannot be read.
        """
        with self._told():
            row = self._database.execute(
                "SELECT members FROM members ORDER BY since <= ? DESC, "
                "CASE WHEN since <= ? THEN since END DESC, since LIMIT 1",
                (_text(at), _text(at)),
            ).fetchone()
            return () if row is None else _MEMBERS.validate_json(row[0])

    def enrolled_since(self, after: datetime, until: datetime) -> tuple[Member, ...]:
        """Return who was enrolled after one instant and not after another, in the order of time.

        Raises:
            LedgerError: if it cannot be read.
        """
        with self._told():
            rows = self._database.execute(
                "SELECT members FROM members WHERE since > ? AND since <= ? ORDER BY since",
                (_text(after), _text(until)),
            ).fetchall()
            return tuple(member for (text,) in rows for member in _MEMBERS.validate_json(text))

    # --- reading -------------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all that is read in it be of one moment, whatever an engine writes meanwhile.

        Raises:
            LedgerError: if it cannot be read.
        """
        with self._told():
            self._database.execute("BEGIN")
            try:
                yield
            finally:
                self._database.execute("ROLLBACK")

    def span(self, first: date, last: date) -> tuple[datetime, datetime]:
        """Return when local days begin and end, both of them included."""
        edges = (datetime.combine(day, time(), self.zone) for day in (first, last + timedelta(days=1)))
        begin, end = (edge.astimezone(UTC) for edge in edges)
        return begin, end

    def statements(
        self, start: datetime, end: datetime, *, corrected: bool, home: HomeId | None = None
    ) -> tuple[SlotStatement, ...]:
        """Return the statements of the slots in [start, end), by slot and home.

        Args:
            start: First instant.
            end: Last instant, excluded.
            corrected: Whether as they are now; else as they were stated first.
            home: Only of this one.

        Raises:
            LedgerError: if they cannot be read.
        """
        with self._told():
            return self._statements(start, end, corrected=corrected, home=home)

    def notes(
        self, start: datetime, end: datetime, *, home: HomeId | None = None
    ) -> tuple[CorrectionNote, ...]:
        """Return the corrections of the slots in [start, end), by slot and home, in the order they were made.

        Raises:
            LedgerError: if they cannot be read.
        """
        with self._told():
            rows = self._database.execute(
                "SELECT was.statement, was.stated_at, now.statement, now.stated_at FROM statements AS now "
                "JOIN statements AS was ON was.slot = now.slot AND was.home = now.home "
                "AND was.revision = now.revision - 1 WHERE now.slot >= ? AND now.slot < ? "
                "AND (? IS NULL OR now.home = ?) ORDER BY now.slot, now.home, now.revision",
                (_text(start), _text(end), home, home),
            ).fetchall()
            return tuple(
                CorrectionNote(
                    correction=Correction(
                        before=_STATEMENT.validate_json(before), after=_STATEMENT.validate_json(after)
                    ),
                    stated_at=datetime.fromisoformat(stated_at),
                    corrected_at=datetime.fromisoformat(corrected_at),
                )
                for before, stated_at, after, corrected_at in rows
            )

    def settled_until(self) -> datetime | None:
        """Return the end of the newest hour that is settled; None before the first."""
        with self._told():
            (newest,) = self._database.execute("SELECT max(hour) FROM hours").fetchone()
        return None if newest is None else datetime.fromisoformat(newest) + _HOUR

    # --- SQLite --------------------------------------------------------------------------------------------

    def _statements(
        self, start: datetime, end: datetime, *, corrected: bool, home: HomeId | None = None
    ) -> tuple[SlotStatement, ...]:
        newest = "(SELECT max(revision) FROM statements AS b WHERE b.slot = a.slot AND b.home = a.home)"
        rows = self._database.execute(
            "SELECT statement FROM statements AS a WHERE slot >= ? AND slot < ? AND (? IS NULL OR home = ?) "
            f"AND revision = {newest if corrected else 0} ORDER BY slot, home",
            (_text(start), _text(end), home, home),
        ).fetchall()
        return tuple(_STATEMENT.validate_json(text) for (text,) in rows)

    def _add(self, statement: SlotStatement, revision: int, at: datetime) -> None:
        slot = _text(statement.slot)
        text = _STATEMENT.dump_json(statement).decode()
        self._database.execute(
            "INSERT INTO statements VALUES (?, ?, ?, ?, ?)", (slot, statement.home, revision, _text(at), text)
        )
        day = statement.slot.astimezone(self.zone).date().isoformat()
        self._database.execute("INSERT OR IGNORE INTO unpublished VALUES (?)", (day,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Do all of it or nothing."""
        with self._told():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as err:
            raise LedgerError(f"{self._path}: {err}") from err
        except ValidationError as err:
            raise LedgerError(f"{self._path}: a statement in it cannot be read") from err


def _mode(path: Path) -> str:
    """Return how to open accounts for reading.

    By default as if to write, which SQLite leaves where that is not allowed. But it cannot make its log then:
    if there is none beside the file, no engine has it open, and the file is all there is.
    """
    may_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return "mode=rw" if may_write or Path(f"{path}-wal").exists() else "immutable=1"


def _checked(path: Path, database: sqlite3.Connection) -> sqlite3.Connection:
    try:
        version = database.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as err:
        raise LedgerError(f"{path}: {err}") from err
    if version != _VERSION:
        raise LedgerError(f"{path}: accounts of version {version}, this is version {_VERSION}")
    return database


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise LedgerError(f"no time zone {name}") from err


def _text(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds")
