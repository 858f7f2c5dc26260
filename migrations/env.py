"""Runs migrations on the connection that the caller gives (see plugin.migrate)."""

from __future__ import annotations

from alembic import context

from plugin.db import METADATA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    transaction_per_migration=False,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
