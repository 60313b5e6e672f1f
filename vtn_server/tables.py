"""The tables of the store.

Aggregates and records are JSON in a ``body`` column, beside the columns that are searched by. Times are
ISO 8601 text in UTC, which sorts as time does. A change here needs a migration; a test compares both.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Dialect, Integer, String, UniqueConstraint
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import Field, SQLModel

__all__ = [
    "Base",
    "DeliveryRow",
    "EventOptRow",
    "EventRow",
    "EventVersionRow",
    "IdentityRow",
    "KeyText",
    "NonceRow",
    "ReadingBlockRow",
    "VenRow",
]


class KeyText(TypeDecorator[str]):
    """Text that sorts by code points on every database, whatever its language."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Return the column type of a database."""
        return dialect.type_descriptor(String(collation="C" if dialect.name == "postgresql" else None))


class Base(SQLModel, registry=registry()):
    """The tables of this product only, apart from whatever else uses SQLModel in the process."""


class VenRow(Base, table=True):
    """A VEN's aggregate; a commit is conditional on ``version``, which may be ahead of the body's."""

    __tablename__: ClassVar[str] = "vens"
    ven_id: str = Field(primary_key=True, sa_type=KeyText)
    version: int
    body: str


class EventRow(Base, table=True):
    """An event; ``over_at`` is empty for an open-ended one.

    ``version`` is the newest modificationNumber; a commit is conditional on it.
    """

    __tablename__: ClassVar[str] = "events"
    event_id: str = Field(primary_key=True, sa_type=KeyText)
    over_at: str = Field(index=True, sa_type=KeyText)
    version: int
    body: str


class EventVersionRow(Base, table=True):
    """One version of an event."""

    __tablename__: ClassVar[str] = "event_versions"
    event_id: str = Field(primary_key=True, sa_type=KeyText)
    modification_number: int = Field(primary_key=True)
    body: str


class EventOptRow(Base, table=True):
    """A VEN's answer to an event."""

    __tablename__: ClassVar[str] = "event_opts"
    event_id: str = Field(primary_key=True, sa_type=KeyText)
    ven_id: str = Field(primary_key=True, sa_type=KeyText)
    body: str


class NonceRow(Base, table=True):
    """The nonce of a signed message that was accepted; its key decides, for all processes, who was first."""

    __tablename__: ClassVar[str] = "nonces"
    __table_args__: ClassVar[dict[str, bool]] = {"sqlite_with_rowid": False}
    nonce: str = Field(primary_key=True, sa_type=KeyText)
    signed_at: str = Field(index=True, sa_type=KeyText)


class ReadingBlockRow(Base, table=True):
    """Readings of one VEN and rID that start within an hour of the clock; see :mod:`vtn_server.blocks`.

    ``start`` and ``last`` are the first and the last start, ``layout`` says which others there are. Where
    rows overlap, the one with the higher ``seq`` counts.
    """

    __tablename__: ClassVar[str] = "reading_blocks"
    KEY: ClassVar[tuple[str, ...]] = ("report_specifier_id", "start", "last", "ven_id", "r_id", "layout")
    __table_args__: ClassVar[tuple[UniqueConstraint]] = (UniqueConstraint(*KEY, name="uq_reading_blocks"),)
    seq: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer(), "sqlite"))
    report_specifier_id: str = Field(sa_type=KeyText)
    start: str = Field(sa_type=KeyText)
    last: str = Field(sa_type=KeyText)
    ven_id: str = Field(sa_type=KeyText)
    r_id: str = Field(sa_type=KeyText)
    layout: str = Field(sa_type=KeyText)
    count: int
    report_request_id: str
    report_name: str
    received_at: str
    body: str


class DeliveryRow(Base, table=True):
    """How far a VEN is with its events; on PostgreSQL only, where processes share it.

    It may be lost with the database's memory: then each set of events goes out once more. So PostgreSQL keeps
    no log of it, and whoever writes nothing else does not wait for the disk.
    """

    __tablename__: ClassVar[str] = "deliveries"
    ven_id: str = Field(primary_key=True, sa_type=KeyText)
    version: int
    body: str


class IdentityRow(Base, table=True):
    """A change of who is who; on PostgreSQL only. The key decides, for all processes, whose turn it was."""

    __tablename__: ClassVar[str] = "identities"
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    ven_id: str = Field(sa_type=KeyText)
