"""A database of the store that is open: locked, checked, with tables of today."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from vtn_server import dialects
from vtn_server.filelock import FileLock
from vtn_server.schema import migrate
from vtn_server.store import StoreUnavailable, UnknownSchema

__all__ = ["Database"]


class Database:
    """The connections to one database, from construction to :meth:`close`.

    An empty database gets its tables, one of an older version is brought up to date, in one transaction.

    Args:
        url: A URL or the path of a SQLite file; made where it does not exist.

    Attributes:
        engine: For writing.
        reading: For reading: one transaction sees one state.

    Raises:
        BadStoreUrl: if the URL names neither a SQLite file nor a PostgreSQL database.
        StoreInUse: if another process uses the SQLite file.
        StoreUnavailable: if the database cannot be reached.
        UnknownSchema: if it was written by a version this program does not know; it is left as it was.
    """

    def __init__(self, url: str | Path) -> None:
        self.address = dialects.address_of(url)
        self._lock = None if self.address.file is None else FileLock(self.address.file)
        self.engine: Engine = dialects.open_engine(self.address)
        self.reading: Engine = dialects.consistent_reads(self.engine)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    @property
    def is_shared(self) -> bool:
        """Whether other processes may use it at the same time."""
        return self._lock is None

    def _prepare(self) -> None:
        try:
            with self.engine.begin() as connection:
                dialects.one_at_a_time(connection)
                migrate(connection)
            dialects.settle_engine(self.engine)
        except OperationalError as err:
            raise StoreUnavailable(f"{self.address}: {err.orig}") from err
        except DatabaseError as err:
            raise UnknownSchema(f"{self.address} is not a database of a VTN: {err.orig}") from err

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()
        if self._lock is not None:
            self._lock.release()
