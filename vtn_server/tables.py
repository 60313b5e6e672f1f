"""The tables of the store.

Aggregates and records are JSON in a ``body`` column, beside the columns that are searched by. Times are
ISO 8601 text in UTC, which sorts as time does.
"""

from __future__ import annotations

from typing import ClassVar, Final

from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

__all__ = [
    "SCHEMA_VERSION",
    "Base",
    "EventOptRow",
    "EventRow",
    "EventVersionRow",
    "MetaRow",
    "ReadingRow",
    "VenRow",
]

SCHEMA_VERSION: Final = 1


class Base(SQLModel, registry=registry()):
    """The tables of this product only, apart from whatever else uses SQLModel in the process."""


class MetaRow(Base, table=True):
    """One row: the version of the schema."""

    __tablename__: ClassVar[str] = "meta"
    id: int = Field(primary_key=True)
    schema_version: int


class VenRow(Base, table=True):
    """A VEN's aggregate."""

    __tablename__: ClassVar[str] = "vens"
    ven_id: str = Field(primary_key=True)
    version: int
    body: str


class EventRow(Base, table=True):
    """An event; ``over_at`` is empty for an open-ended one."""

    __tablename__: ClassVar[str] = "events"
    event_id: str = Field(primary_key=True)
    over_at: str = Field(index=True)
    body: str


class EventVersionRow(Base, table=True):
    """One version of an event."""

    __tablename__: ClassVar[str] = "event_versions"
    event_id: str = Field(primary_key=True)
    modification_number: int = Field(primary_key=True)
    body: str


class EventOptRow(Base, table=True):
    """A VEN's answer to an event."""

    __tablename__: ClassVar[str] = "event_opts"
    event_id: str = Field(primary_key=True)
    ven_id: str = Field(primary_key=True)
    body: str


class ReadingRow(Base, table=True):
    """One value of a report; the latest content for its key."""

    __tablename__: ClassVar[str] = "readings"
    report_specifier_id: str = Field(primary_key=True)
    start: str = Field(primary_key=True)
    ven_id: str = Field(primary_key=True)
    r_id: str = Field(primary_key=True)
    report_request_id: str
    report_name: str
    duration: str | None
    value: float | None
    status: str | None
    data_quality: str | None
    received_at: str
