"""Runs the migrations on the connection, and in the transaction, of whoever asks."""

from __future__ import annotations

from alembic import context

from vtn_server.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # on SQLite too, since the store begins its transactions itself
)
with context.begin_transaction():
    context.run_migrations()
