"""Bringing a database to the schema that this version declares."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from dbos import DBOS

from plugin.db import Database

# Two processes that start together migrate one after the other ("prelim" as a number).
_LOCK = 0x7072656C696D


def _config() -> Config:
    # Found, not imported: migrations import the tables, never the other way round.
    found = importlib.util.find_spec("migrations")
    assert found is not None
    assert found.origin is not None
    return Config(str(Path(found.origin).with_name("alembic.ini")))


def migrate(database: Database, revision: str = "head") -> None:
    """Create or upgrade Prelim's tables, then the queue's own."""
    config = _config()
    with database.engine.execution_options(prelim_write=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    # DBOS locks out other migrators itself; a lock of ours would hold a snapshot that its concurrent
    # index builds wait for.
    DBOS.migrate(database.url)


class OutOfDate(Exception):
    """The database's tables are not those of this version."""


def check_current(database: Database) -> None:
    """Raise OutOfDate unless the database is at the newest revision."""
    if pending(database):
        raise OutOfDate("The database's tables are not those of this version; run `prelim migrate` first.")


def pending(database: Database) -> bool:
    """Whether the database is not at the newest revision; a SQLite file that is not there is not made."""
    file = Path(database.engine.url.database or "")
    # In a folder that is not there either, connecting says more.
    if database.engine.dialect.name == "sqlite" and file.parent.is_dir() and not file.exists():
        return True
    with database.engine.connect() as connection:
        at = MigrationContext.configure(connection).get_current_revision()
    return at != ScriptDirectory.from_config(_config()).get_current_head()
