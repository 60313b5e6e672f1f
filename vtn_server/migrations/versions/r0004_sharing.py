"""What several processes share on PostgreSQL: deliveries of events, and the changes of who is who."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "vtn_0004"
down_revision: Final = "vtn_0003"

_KEY: Final = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables; on SQLite they stay empty."""
    op.create_table(
        "deliveries",
        sa.Column("ven_id", _KEY, primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        prefixes=["UNLOGGED"] if op.get_bind().dialect.name == "postgresql" else [],
    )
    op.create_table(
        "identities",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("ven_id", _KEY, nullable=False),
    )
