"""The nonces of signed messages that were accepted, so that none is accepted twice."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "vtn_0003"
down_revision: Final = "vtn_0002"

_KEY: Final = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table; there were no signatures before."""
    op.create_table(
        "nonces",
        sa.Column("nonce", _KEY, primary_key=True),
        sa.Column("signed_at", _KEY, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_nonces_signed_at", "nonces", ["signed_at"])
