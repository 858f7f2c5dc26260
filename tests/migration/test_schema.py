"""The migrations make exactly the tables that this version declares, on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from plugin import migrate as migrations
from plugin.audit.log import record
from plugin.db import Database
from plugin.migrate import OutOfDate, check_current, migrate, pending
from plugin.tables import APPEND_ONLY, Base

ROOT = Path(__file__).resolve().parents[2]
OURS = set(Base.metadata.tables) | {"alembic_version"}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    else:
        url = f"sqlite:///{tmp_path / 'prelim.sqlite'}"
    database = Database(url)
    yield database
    database.close()


def schema(database: Database) -> list[tuple[str, ...]]:
    """Every table, column, index, constraint and trigger of ours, as text."""
    inspector = sa.inspect(database.engine)
    told: list[tuple[str, ...]] = []
    for table in inspector.get_table_names():
        if table not in OURS:
            continue
        told += [
            (table, "column", c["name"], str(c["type"]), str(c["nullable"]))
            for c in inspector.get_columns(table)
        ]
        told += [
            (table, "index", str(i["name"]), str(i["column_names"])) for i in inspector.get_indexes(table)
        ]
        told += [(table, "unique", str(u["name"])) for u in inspector.get_unique_constraints(table)]
        told += [
            (table, "check", str(c["name"]), str(c["sqltext"]))
            for c in inspector.get_check_constraints(table)
        ]
        told += [(table, "foreign", str(f["name"])) for f in inspector.get_foreign_keys(table)]
    return sorted(told + triggers(database))


def triggers(database: Database) -> list[tuple[str, ...]]:
    """Every trigger on our tables and what it does."""
    queries = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT t.tgname, pg_get_triggerdef(t.oid) || pg_get_functiondef(t.tgfoid) "
        "FROM pg_trigger t "
        "JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE NOT t.tgisinternal AND n.nspname = 'public'",
    }
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql(queries[database.engine.dialect.name]).all()
    return sorted((str(name), str(text)) for name, text in rows)


def downgrade(database: Database, revision: str = "base") -> None:
    config = migrations._config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_migrations_make_exactly_what_is_declared(database: Database) -> None:
    """Alembic finds no difference between the migrated database and the tables in plugin.db."""
    migrate(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "table" or name in OURS,
            },
        )
        assert compare_metadata(context, Base.metadata) == []
    assert not pending(database)
    check_current(database)


def test_migrated_and_declared_are_one_even_where_alembic_does_not_look(
    database: Database, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Checks, constraint names and triggers too are those that create_all makes from the declaration."""
    Base.metadata.create_all(database.engine)
    declared = [row for row in schema(database) if row[0] != "alembic_version"]
    with database.engine.begin() as connection:
        if database.engine.dialect.name == "postgresql":
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        else:
            Base.metadata.drop_all(connection)
    migrate(database)
    assert [row for row in schema(database) if row[0] != "alembic_version"] == declared
    assert len(triggers(database)) == {"sqlite": 2, "postgresql": 1}[database.engine.dialect.name]


def test_migrating_twice_changes_nothing(database: Database) -> None:
    """A second start finds everything in place and keeps what is stored."""
    migrate(database)
    before = schema(database)
    with database.write() as session:
        record(session, "test", "case.ready")
    migrate(database)
    assert schema(database) == before
    with database.write() as session:
        assert record(session, "test", "case.ready") == 1


def test_down_to_nothing_and_up_again(database: Database) -> None:
    """A downgrade leaves none of our tables, triggers or functions, and the way up works again."""
    migrate(database)
    before = schema(database)
    downgrade(database)
    assert set(sa.inspect(database.engine).get_table_names()) & OURS == {"alembic_version"}
    assert triggers(database) == []
    assert pending(database)
    with pytest.raises(OutOfDate, match="prelim migrate"):
        check_current(database)
    migrate(database)
    assert schema(database) == before


def test_an_empty_database_is_pending(database: Database) -> None:
    """A database without tables is out of date, said in a sentence."""
    assert pending(database)
    with pytest.raises(OutOfDate):
        check_current(database)


@pytest.mark.parametrize("statement", ["UPDATE audit_leaves SET actor = 'x'", "DELETE FROM audit_leaves"])
def test_the_migrated_log_is_only_ever_added_to(database: Database, statement: str) -> None:
    """On either database a change of an entry is refused by the database itself."""
    migrate(database)
    with database.write() as session:
        record(session, "test", "case.ready")
    with pytest.raises(sa.exc.DBAPIError, match="only ever added"), database.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def test_postgresql_refuses_to_empty_the_log(postgres_url: str) -> None:
    """TRUNCATE is a change too."""
    database = Database(postgres_url)
    migrate(database)
    with pytest.raises(sa.exc.DBAPIError, match="only ever added"), database.engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE audit_leaves")
    database.close()


def test_every_statement_of_the_log_is_in_the_database(database: Database) -> None:
    """The triggers of plugin.db stand in the migrated database by name."""
    migrate(database)
    names = {name for name, _ in triggers(database)}
    told = " ".join(APPEND_ONLY[database.engine.dialect.name])
    assert names
    assert all(f"CREATE TRIGGER {name} " in told for name in names)


TOGETHER = """
import sys
from plugin.db import Database
from plugin.migrate import migrate
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
migrate(database)
database.close()
"""


def test_processes_that_start_together_all_succeed(database: Database) -> None:
    """Three processes that migrate one empty database at the same moment wait for each other."""
    url = database.url
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(3)
    ]
    for process in starters:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in starters:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=120) for process in starters]
    assert [process.returncode for process in starters] == [0, 0, 0], "".join(stderr for _, stderr in ends)
    check_current(database)
    with database.write() as session:
        assert record(session, "test", "case.ready") == 0
