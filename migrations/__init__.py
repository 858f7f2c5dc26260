"""Alembic migrations of the case, message and audit tables."""
