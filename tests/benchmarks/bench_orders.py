"""From an order's first byte to its acknowledgement, with the commit in between.

Prelim's real listener runs in a process of its own; every OMI^O23 is a new accession and becomes a case with
its audit leaves before it is acknowledged. Beside it, in the same turn: listeners of others, which commit
nothing, and a loop that commits one row after another to the same kind of database.
"""

from __future__ import annotations

import secrets
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa

from plugin.db import Database
from plugin.messages import PROCESSED
from plugin.tables import Message
from tests.benchmarks.bench_mllp import OUR_WARM_UP, OURS, ack_rows, checked, start
from tests.benchmarks.listeners import prelim
from tests.benchmarks.messages import imaging_order
from tests.benchmarks.peers.catalogue import PEERS, Peer, ready
from tests.benchmarks.sender import SHAPES, Measurement, Shape, measure
from tests.benchmarks.table import Progress, Row, figure, skipped
from tests.services import state

MESSAGES = 2_000
"""Orders of one measurement."""
TURNS = 3
"""Each measurement is taken this often, in turn with its peers."""
GOALS = {"python-hl7": "≥ 3", "hapi": "≥ 0.5"}
"""Of acknowledgements a second, by peer: ours commits each order first, the peer nothing."""
FLOOR_GOAL = "≥ 0.333"
"""An order is several rows and an audit leaf, the floor is one row."""


def run(
    messages: int = MESSAGES,
    turns: int = TURNS,
    progress: Progress = print,
    peers: Sequence[str] = tuple(PEERS),
) -> list[Row]:
    """Rows for SQLite, and for PostgreSQL where one is started. peers: names of the catalogue.

    Raises RuntimeError when an acknowledged order is not in the database afterwards.
    """
    found, absent = ready(peers, progress)
    rows = [skipped("orders", why) for why in absent]
    with ExitStack() as running:
        ports = {name: listener.port for name, listener in start(found, running).items()}
        with tempfile.TemporaryDirectory(prefix="prelim-bench-") as folder:
            url = f"sqlite:///{Path(folder) / 'prelim.sqlite'}"
            floor = f"SQLite {sqlite3.sqlite_version}, WAL and FULL, one row a commit"
            rows += _rows("SQLite", url, floor, found, ports, messages, turns, progress)
        services = state.read()
        if "postgres" not in services:
            return [*rows, skipped("orders", "no PostgreSQL; run `make services`")]
        with _fresh(str(services["postgres"])) as (url, version):
            floor = f"PostgreSQL {version}, one row a commit"
            return rows + _rows("PostgreSQL", url, floor, found, ports, messages, turns, progress)


def _rows(
    database: str,
    url: str,
    floor_name: str,
    peers: Mapping[str, Peer],
    ports: Mapping[str, int],
    messages: int,
    turns: int,
    progress: Progress,
) -> list[Row]:
    rows: list[Row] = []
    with prelim(url) as listener:
        sent = measure(listener.port, Shape(1), OUR_WARM_UP).sent
        for shape in SHAPES:
            taken: dict[str, list[Measurement]] = {name: [] for name in (OURS, *peers)}
            floors: list[float] = []
            for turn in range(turns):
                progress(f"orders: {database}, {shape}, turn {turn + 1} of {turns}")
                for name, port in {OURS: listener.port, **ports}.items():
                    taken[name].append(checked(name, peers, measure(port, shape, messages)))
                sent += taken[OURS][-1].sent
                floors.append(_floor(url, messages))
            where = f"{database}, {shape}"
            rows += ack_rows("orders", where, taken, peers, GOALS, ", commits nothing")
            rows.append(
                figure(
                    "orders",
                    f"acks a second, {where}",
                    "1/s",
                    [one.acks_per_second for one in taken[OURS]],
                    floors,
                    floor_name,
                    goal=FLOOR_GOAL,
                )
            )
    _check_kept(url, sent)
    return rows


def _check_kept(url: str, sent: int) -> None:
    database = Database(url)
    try:
        with database.read() as session:
            count = sa.select(sa.func.count()).select_from(Message).where(Message.state == PROCESSED)
            kept = session.scalar(count)
    finally:
        database.close()
    if kept != sent:
        raise RuntimeError(f"{sent} orders were acknowledged, {kept} are in the database")


def _floor(url: str, messages: int) -> float:
    """Commits a second when each commits one row with the body of an order, and nothing else is done."""
    bodies = [imaging_order(f"floor{number}") for number in range(messages)]
    # Prelim's own way of opening the database: the same journal and the same flushes.
    database = Database(url)
    try:
        return _commits_per_second(database, bodies)
    finally:
        database.close()


def _commits_per_second(database: Database, bodies: list[bytes]) -> float:
    raw = database.engine.raw_connection()
    place = "?" if database.engine.dialect.name == "sqlite" else "%s"
    kind = "BLOB" if database.engine.dialect.name == "sqlite" else "BYTEA"
    took: list[float] = []
    try:
        cursor = raw.cursor()
        cursor.execute(f"CREATE TABLE IF NOT EXISTS bench_floor (body {kind})")
        raw.commit()
        for body in bodies:
            began = time.perf_counter()
            # SQLite commits by itself after each statement here: Prelim turns pysqlite's transactions off.
            cursor.execute(f"INSERT INTO bench_floor VALUES ({place})", (body,))
            raw.commit()
            took.append(time.perf_counter() - began)
        cursor.execute("DROP TABLE bench_floor")
        raw.commit()
    finally:
        raw.close()
    return 1 / statistics.mean(took)


@contextmanager
def _fresh(server_url: str) -> Iterator[tuple[str, str]]:
    """An empty PostgreSQL database, dropped afterwards; gives its URL and the server's version."""
    server = sa.create_engine(server_url, isolation_level="AUTOCOMMIT")
    name = f"bench_{secrets.token_hex(6)}"
    with server.connect() as connection:
        version = str(connection.exec_driver_sql("SHOW server_version").scalar()).split()[0]
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield server.url.set(database=name).render_as_string(hide_password=False), version
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        server.dispose()
