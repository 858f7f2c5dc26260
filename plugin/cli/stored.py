"""The database of the settings, for commands that look into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from plugin.db import Database
from plugin.migrate import check_current
from plugin.settings import load


@contextmanager
def stored() -> Iterator[Database]:
    """Open the site's database. Raises OutOfDate when its tables are not those of this version."""
    database = Database(load().database_url)
    try:
        check_current(database)
        yield database
    finally:
        database.close()
