"""From an order's first byte to its acknowledgement, with the commit in between.

Prelim's real listener runs in a process of its own; every ORM^O01 is a new accession and becomes a case with
its audit leaves before it is acknowledged. Beside it, in the same turn: python-hl7's asyncio server, which
commits nothing, and a loop that commits one row after another to the same kind of database.
"""

from __future__ import annotations

import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from connectors.sandbox.ris import order_message
from plugin.db import Database
from plugin.intake import PROCESSED
from plugin.serve import Service
from plugin.settings import Settings
from plugin.tables import Message
from tests.benchmarks.bench_mllp import CONNECTIONS, Measurement, listener, measure, so_many
from tests.benchmarks.machine import release
from tests.benchmarks.table import Progress, Row, figure, skipped
from tests.services import state
from tests.site import new_order

MESSAGES = 500
"""Orders of one measurement, a multiple of the connections."""
TURNS = 3
"""Each measurement is taken this often, in turn with its peers."""
WARM_UP = 50


def new_order_message(control_id: str) -> bytes:
    """An ORM^O01 of a patient, an accession and a study that no other message names."""
    return order_message(new_order(), control_id, datetime.now(UTC))


def run(messages: int = MESSAGES, turns: int = TURNS, progress: Progress = print) -> list[Row]:
    """Rows for SQLite, and for PostgreSQL where one is started.

    Raises RuntimeError when an acknowledged order is not in the database afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="prelim-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'prelim.sqlite'}"
        floor = f"SQLite {sqlite3.sqlite_version}, WAL and FULL, one row a commit"
        rows = _rows("SQLite", url, floor, messages, turns, progress)
    services = state.read()
    if "postgres" not in services:
        return [*rows, skipped("orders", "no PostgreSQL; run `make services`")]
    with _fresh(str(services["postgres"])) as (url, version):
        floor = f"PostgreSQL {version}, one row a commit"
        return rows + _rows("PostgreSQL", url, floor, messages, turns, progress)


def _rows(
    database: str, url: str, floor_name: str, messages: int, turns: int, progress: Progress
) -> list[Row]:
    peer_name = f"python-hl7 {release('hl7')} asyncio server, commits nothing"
    rows: list[Row] = []
    floors: list[float] = []
    with_peer = bool(release("hl7"))
    if not with_peer:
        rows.append(skipped("orders", "the peer python-hl7 is not installed: pip install -e '.[bench]'"))
    sent = 0
    for connections in CONNECTIONS:
        ours: list[Measurement] = []
        peers: list[Measurement] = []
        for turn in range(turns):
            progress(f"orders: {database}, {so_many(connections)}, turn {turn + 1} of {turns}")
            with _prelim(url) as port:
                sent += _send(port, 1, WARM_UP).messages
                ours.append(_send(port, connections, messages))
                sent += ours[-1].messages
            if with_peer:
                with listener("peer") as port:
                    _send(port, 1, WARM_UP)
                    peers.append(_send(port, connections, messages))
            floors.append(_floor(url, messages))
        for what, key, unit, scale, less in (
            ("acks a second", "acks_per_second", "1/s", 1, False),
            ("median time to ack", "median_seconds", "ms", 1000, True),
            ("95th percentile of it", "p95_seconds", "ms", 1000, True),
        ):
            rows.append(
                figure(
                    "orders",
                    f"{what}, {database}, {so_many(connections)}",
                    unit,
                    [getattr(one, key) * scale for one in ours],
                    [getattr(one, key) * scale for one in peers],
                    peer_name if peers else "",
                    less_is_better=less,
                )
            )
        rows.append(
            figure(
                "orders",
                f"acks a second, {database}, {so_many(connections)}",
                "1/s",
                [one.acks_per_second for one in ours],
                floors[-turns:],
                floor_name,
            )
        )
    _check_kept(url, sent)
    return rows


def _send(port: int, connections: int, messages: int) -> Measurement:
    return measure("127.0.0.1", port, connections, messages, new_order_message)


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


@contextmanager
def _prelim(url: str) -> Iterator[int]:
    """The listener in a process of its own; gives its port. The URL may hold a password: not an argument."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_orders"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{url}\n")
        process.stdin.flush()
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()  # the end of its input ends it
            process.wait(timeout=60)


def _listen() -> None:
    service = Service(Settings(database_url=sys.stdin.readline().strip(), mllp_port=0), parts=("listen",))
    service.start()
    print(service.mllp_port, flush=True)
    sys.stdin.read()
    service.stop()


def _floor(url: str, messages: int) -> float:
    """Commits a second when each commits one row with the body of an order, and nothing else is done."""
    bodies = [new_order_message(f"floor{number}") for number in range(messages)]
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


if __name__ == "__main__":
    _listen()
