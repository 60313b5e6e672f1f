"""An event has a version that a commit is conditional on; alembic keeps the schema's version."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "vtn_0002"
down_revision: Final = "vtn_0001"


def upgrade() -> None:
    """Add the version, as the history has it; drop the table that alembic's replaces."""
    op.add_column("events", sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE events SET version = COALESCE((SELECT MAX(modification_number) FROM event_versions"
        " WHERE event_versions.event_id = events.event_id), 0)"
    )
    op.drop_table("meta")
