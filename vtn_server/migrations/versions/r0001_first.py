"""The tables as they were before there were migrations."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "vtn_0001"
down_revision: Final = None

_KEY: Final = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make all tables."""
    meta = op.create_table(
        "meta",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
    )
    op.bulk_insert(meta, [{"id": 1, "schema_version": 1}])
    op.create_table(
        "vens",
        sa.Column("ven_id", _KEY, primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("event_id", _KEY, primary_key=True),
        sa.Column("over_at", _KEY, nullable=False),
        sa.Column("body", sa.String(), nullable=False),
    )
    op.create_index("ix_events_over_at", "events", ["over_at"])
    op.create_table(
        "event_versions",
        sa.Column("event_id", _KEY, primary_key=True),
        sa.Column("modification_number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("body", sa.String(), nullable=False),
    )
    op.create_table(
        "event_opts",
        sa.Column("event_id", _KEY, primary_key=True),
        sa.Column("ven_id", _KEY, primary_key=True),
        sa.Column("body", sa.String(), nullable=False),
    )
    op.create_table(
        "readings",
        sa.Column("report_specifier_id", _KEY, primary_key=True),
        sa.Column("start", _KEY, primary_key=True),
        sa.Column("ven_id", _KEY, primary_key=True),
        sa.Column("r_id", _KEY, primary_key=True),
        sa.Column("report_request_id", sa.String(), nullable=False),
        sa.Column("report_name", sa.String(), nullable=False),
        sa.Column("duration", sa.String()),
        sa.Column("value", sa.Float()),
        sa.Column("status", sa.String()),
        sa.Column("data_quality", sa.String()),
        sa.Column("received_at", sa.String(), nullable=False),
    )
