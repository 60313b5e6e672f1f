"""The nonces of the messages a VEN has accepted, in its state file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["NonceTable"]

_TIDY: Final = timedelta(seconds=30)


class NonceTable:
    """Implements :class:`certs.xmldsig.NonceStore` in a SQLite file that somebody else holds open.

    A nonce is on the disk when :meth:`remember` returns, so it blocks for the time of one fsync. Files of
    before there were signatures get the table; programs of before leave it alone.

    Args:
        db: The connection, in autocommit mode.
        now: The protocol's clock, in which messages are stamped.
        window: The verifier's window.
        failed: Makes the error that is raised where SQLite raises one.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        *,
        now: Callable[[], datetime],
        window: timedelta,
        failed: Callable[[sqlite3.Error], Exception],
    ) -> None:
        self._db = db
        self._now = now
        self._window = window
        self._failed = failed
        self._tidy_at: datetime | None = None
        try:
            db.execute(
                "CREATE TABLE IF NOT EXISTS nonce (nonce TEXT NOT NULL PRIMARY KEY, signed_at TEXT NOT NULL)"
                " WITHOUT ROWID"
            )
        except sqlite3.Error as err:
            raise failed(err) from err

    async def remember(self, nonce: str, timestamp: datetime) -> bool:
        """Remember a nonce; return False if it was there already."""
        now = self._now()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if self._tidy_at is None or now >= self._tidy_at:
                self._db.execute("DELETE FROM nonce WHERE signed_at < ?", (_text(now - self._window),))
                self._tidy_at = now + _TIDY
            row = (nonce, _text(timestamp))
            new = self._db.execute("INSERT OR IGNORE INTO nonce (nonce, signed_at) VALUES (?, ?)", row)
            self._db.execute("COMMIT")
        except sqlite3.Error as err:
            raise self._failed(err) from err
        return new.rowcount == 1


def _text(moment: datetime) -> str:
    """Return an instant as text that sorts as time does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
