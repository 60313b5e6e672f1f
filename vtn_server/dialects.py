"""Everything in which SQLite and PostgreSQL differ for the store.

A store is named by a URL: ``sqlite:///relative/path``, ``sqlite:////absolute/path``, ``postgresql://...``,
or the path of a SQLite file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.dml import Insert

from vtn_server.store import BadStoreUrl
from vtn_server.tables import Base

__all__ = [
    "Address",
    "address_of",
    "connection_bounds",
    "consistent_reads",
    "insert_and_tell",
    "insert_unless_there",
    "is_alone",
    "is_locked",
    "is_passing",
    "one_at_a_time",
    "open_engine",
    "replace_by",
    "schema_of",
    "settle_engine",
    "upsert",
]

_CONNECTION: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""How long a PostgreSQL server may be silent before it counts as gone: by itself the system would wait for a
quarter of an hour, and of one that is asked nothing for hours."""
_BUSY_TIMEOUT_MS: Final = 5000
_PAGES_KIB: Final = 1024
"""Of a connection, in memory; what is not there is in the system's memory, a few microseconds away."""
_LOCKED: Final = "55P03"
"""The SQLSTATE where a lock was not to be had in time."""
_PASSING: Final = ("40001", "40P01", _LOCKED)
"""Likewise, and those of a serialization failure and of a deadlock."""
_ADVISORY_KEY: Final = 0x6665_6564_6C6F_6F70
"""The key of the lock under which a PostgreSQL schema is made or upgraded: no meaning, only ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a store is.

    Attributes:
        file: The SQLite file; None for PostgreSQL.
    """

    url: URL
    file: Path | None

    def __str__(self) -> str:
        """The address without its password."""
        return str(self.file) if self.file is not None else self.url.render_as_string(hide_password=True)


def address_of(store_url: str | Path) -> Address:
    """Return where a store is.

    Raises:
        BadStoreUrl: for a URL that names no file and no PostgreSQL database.
    """
    if isinstance(store_url, Path) or "://" not in store_url:
        path = Path(store_url)
        if not path.name:
            raise BadStoreUrl(f"not a file: {str(store_url)!r}")
        return Address(url=URL.create("sqlite", database=str(path)), file=path)
    try:
        url = make_url(store_url)
    except (ArgumentError, ValueError) as err:
        raise BadStoreUrl("the store's URL cannot be read") from err
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return Address(url=url.set(drivername="postgresql+psycopg"), file=None)
    if url.drivername != "sqlite" or url.host is not None or url.query:
        raise BadStoreUrl(f"{url.drivername}: a store is sqlite:///path or postgresql://...")
    if not url.database or url.database == ":memory:":
        raise BadStoreUrl("a store in memory would not survive")
    return Address(url=url, file=Path(url.database))


def open_engine(address: Address) -> Engine:
    """Return the engine of a store; nothing is connected yet, and nothing of the database is changed."""
    if address.file is not None:
        engine = create_engine(address.url)
        event.listen(engine, "connect", _sqlite_connected)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    engine = create_engine(address.url, connect_args=connection_bounds(address.url), pool_pre_ping=True)
    event.listen(engine, "connect", _postgresql_connected)
    return engine


def connection_bounds(url: URL) -> dict[str, int]:
    """Return how long a connection to PostgreSQL may be silent, as far as its URL does not say so."""
    return {name: value for name, value in _CONNECTION.items() if name not in url.query}


def _sqlite_connected(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    del entry
    # the driver's own idea of transactions leaves reads and DDL outside them; we say BEGIN ourselves
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    cursor.execute(f"PRAGMA cache_size={-_PAGES_KIB}")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _postgresql_connected(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """Insist on durable commits where the server's default is off; a stricter default stays."""
    del entry
    cursor = connection.cursor()
    cursor.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'"
    )
    cursor.close()
    connection.commit()


def settle_engine(engine: Engine) -> None:
    """Prepare a database that is known to be ours for the store's work."""
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL").close()
        finally:
            connection.close()


def one_at_a_time(connection: Connection) -> None:
    """Wait for whoever else makes or upgrades the schema; a SQLite file has its lock already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})


def is_alone(connection: Connection) -> bool:
    """Return whether no other process deletes what is old, until the transaction ends."""
    if connection.dialect.name != "postgresql":
        return True
    mine = "SELECT pg_try_advisory_xact_lock(hashtext('feederloop pruning'), hashtext(current_schema()))"
    return bool(connection.execute(text(mine)).scalar_one())


def is_passing(err: DBAPIError) -> bool:
    """Return whether a transaction failed only because others were in its way, and may be begun anew."""
    return getattr(err.orig, "sqlstate", None) in _PASSING


def is_locked(err: DBAPIError) -> bool:
    """Return whether a transaction failed because others held what it needs for too long."""
    return getattr(err.orig, "sqlstate", None) == _LOCKED


def schema_of(engine: Engine) -> str:
    """Return the name of the PostgreSQL schema in which the tables are."""
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT current_schema()")).scalar_one())


def consistent_reads(engine: Engine) -> Engine:
    """Return the engine for reading: all statements of a transaction see one state."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine  # so it is anyway in write-ahead mode


def _insert(dialect: str, row: type[Base]) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(row) if dialect == "sqlite" else postgresql.insert(row)


def insert_unless_there(connection: Connection, row: type[Base]) -> Insert:
    """Return the statement that inserts rows and leaves alone those whose key exists."""
    return _insert_unless_there(connection.dialect.name, row)


@cache
def _insert_unless_there(dialect: str, row: type[Base]) -> Insert:
    return _insert(dialect, row).on_conflict_do_nothing()


def insert_and_tell(
    connection: Connection, row: type[Base], rows: Sequence[Mapping[str, object]]
) -> set[str]:
    """Insert rows whose one key is text, leave alone those whose key exists, and return the new keys.

    On SQLite by the driver itself: with a short row for each signed message this is where the time goes.
    """
    key = next(each.name for each in _table(row).columns if each.primary_key)
    if connection.dialect.name != "sqlite":
        statement = insert_unless_there(connection, row).returning(_table(row).columns[key])
        return set(connection.execute(statement, [dict(each) for each in rows]).scalars())
    text, names = _sqlite_insert(row)
    cursor = connection.connection.cursor()
    try:
        return {
            str(each[key]) for each in rows if cursor.execute(text, [each[name] for name in names]).rowcount
        }
    finally:
        cursor.close()


@cache
def _sqlite_insert(row: type[Base]) -> tuple[str, tuple[str, ...]]:
    """Return the text of an insert that leaves existing keys alone, and the order of its parameters."""
    compiled = sqlite.insert(row).on_conflict_do_nothing().compile(dialect=sqlite.dialect(paramstyle="qmark"))
    return str(compiled), tuple(compiled.positiontup or ())


def _table(row: type[Base]) -> Table:
    return Base.metadata.tables[str(row.__tablename__)]


def upsert(connection: Connection, row: type[Base]) -> Insert:
    """Return the statement that inserts rows and replaces those whose key exists."""
    return _upsert(connection.dialect.name, row)


@cache
def _upsert(dialect: str, row: type[Base]) -> Insert:
    statement = _insert(dialect, row)
    table = statement.table
    columns = [each.name for each in table.columns if not each.primary_key]
    return statement.on_conflict_do_update(
        index_elements=[each.name for each in table.columns if each.primary_key],
        set_={name: statement.excluded[name] for name in columns},
    )


def replace_by(connection: Connection, row: type[Base], key: tuple[str, ...]) -> Insert:
    """Return the statement that inserts rows and takes away those of the same key.

    The new row has a primary key of its own, which is greater than all that are there.
    """
    return _replace_by(connection.dialect.name, row, key)


@cache
def _replace_by(dialect: str, row: type[Base], key: tuple[str, ...]) -> Insert:
    if dialect == "sqlite":
        return sqlite.insert(row).prefix_with("OR REPLACE")
    statement = postgresql.insert(row)
    columns = [each.name for each in statement.table.columns if each.name not in key]
    return statement.on_conflict_do_update(
        index_elements=list(key), set_={name: statement.excluded[name] for name in columns}
    )
