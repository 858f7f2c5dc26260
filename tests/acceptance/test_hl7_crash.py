"""The listener is killed in the middle of a burst, again and again: what was acknowledged is there, once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.exchange import Order
from connectors.hl7.ack import read_ack
from connectors.hl7.frames import Deframer, framed
from connectors.sandbox.ris import order_message
from plugin.db import Database
from plugin.messages import PROCESSED
from plugin.tables import AuditLeaf, Case, Message
from tests.case_samples import fresh_url, holds
from tests.services.state import ROOT
from tests.site import new_order, until

CONNECTIONS = 4
ORDERS = 1200
KILLS = 3
ACKNOWLEDGED_FIRST = 150
"""How many acknowledgements of a burst come before the listener is killed."""
DEAF = 100
"""Orders of a burst whose acknowledgements do not come through."""
SECONDS = 60.0


class Listening:
    """`prelim serve --only listen` as a process of its own, on a free port."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PRELIM_")
        }
        # The code beside these tests, whatever else is installed.
        self._environment |= {"PYTHONPATH": str(ROOT), "PRELIM_DATABASE_URL": database_url}
        self._environment |= {"PRELIM_MLLP_PORT": "0"}
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it and wait until it says where it listens."""
        command = [sys.executable, "-c", "from plugin.cli import main; main()", "serve", "--only", "listen"]
        with (self._folder / "listen.log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, "--json"],
                env=self._environment,
                cwd=self._folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        told = ""
        for line in self._process.stdout:
            told += line
            if line.startswith("}"):
                self.port = int(json.loads(told)["mllp"].rpartition(":")[2])
                return
        raise AssertionError(f"it ended: {(self._folder / 'listen.log').read_text()}")

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it politely, where it runs."""
        if self._process is not None:
            self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(number)
        process.wait(timeout=SECONDS)
        assert process.stdout is not None
        process.stdout.close()


class Sender:
    """A RIS that keeps each order until it is acknowledged, and sends it in the same bytes until then."""

    def __init__(self, orders: dict[str, bytes]) -> None:
        """orders: by their MSH-10."""
        self._orders = orders
        self.acknowledged: dict[str, list[str]] = {name: [] for name in orders}
        """The codes that came for each order."""
        self._came = threading.Condition()

    @property
    def unacknowledged(self) -> list[str]:
        """The orders to send again."""
        return [name for name, codes in self.acknowledged.items() if not codes]

    @property
    def count(self) -> int:
        """How many orders were acknowledged."""
        return len(self._orders) - len(self.unacknowledged)

    def burst(self, port: int, deaf: Collection[str] = ()) -> list[threading.Thread]:
        """Pipeline what is unacknowledged on several connections at once; the threads end with those.

        deaf: orders whose acknowledgements are lost on their way; they go on one more connection.
        """
        heard = [name for name in self.unacknowledged if name not in deaf]
        parts = [heard[number::CONNECTIONS] for number in range(CONNECTIONS)]
        threads = [threading.Thread(target=self._pipeline, args=(port, part)) for part in parts]
        if deaf:
            threads.append(threading.Thread(target=self._pipeline, args=(port, deaf, True)))
        for thread in threads:
            thread.start()
        return threads

    def wait_for(self, count: int) -> None:
        """Until so many orders were acknowledged."""
        with self._came:
            assert self._came.wait_for(lambda: self.count >= count, SECONDS), "no acknowledgements come"

    def _pipeline(self, port: int, names: Collection[str], deaf: bool = False) -> None:
        """Write all orders without waiting, and read acknowledgements beside it, as long as it is let."""
        with closing(socket.create_connection(("127.0.0.1", port), SECONDS)) as connection:
            writing = threading.Thread(target=self._write, args=(connection, names))
            writing.start()
            deframer, missing = Deframer(), len(names)
            try:
                while missing and (data := connection.recv(65536)):
                    missing -= 0 if deaf else self._read(deframer, data)
            except ConnectionError:
                pass
            writing.join()

    def _write(self, connection: socket.socket, names: Collection[str]) -> None:
        try:
            for name in names:
                connection.sendall(framed(self._orders[name]))
        except OSError:
            pass

    def _read(self, deframer: Deframer, data: bytes) -> int:
        found = 0
        with self._came:
            while (frame := deframer.next(data)) is not None:
                ack, data = read_ack(frame), b""
                self.acknowledged[ack.control_id].append(ack.code.value)
                found += 1
            self._came.notify_all()
        return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """The one that the listener writes, for a look at what is in it."""
    database = Database(fresh_url(tmp_path))
    try:
        yield database
    finally:
        database.close()


@pytest.fixture
def listening(database: Database, tmp_path: Path) -> Iterator[Listening]:
    listening = Listening(database.engine.url.render_as_string(), tmp_path)
    try:
        yield listening
    finally:
        listening.stop()


def stored(database: Database) -> list[str]:
    """MSH-10 of every message in the store, in the order in which they came."""
    with database.read() as session:
        return list(session.scalars(sa.select(Message.control_id).order_by(Message.id)))


def until_one_is_stored(database: Database, names: Collection[str]) -> None:
    """Wait until one of these messages is in the store."""
    until(lambda: not set(names).isdisjoint(stored(database)), "one of them is stored")


def leaves(database: Database, action: str) -> list[AuditLeaf]:
    """What the audit log says of this."""
    with database.read() as session:
        chosen = sa.select(AuditLeaf).where(AuditLeaf.action == action).order_by(AuditLeaf.position)
        return list(session.scalars(chosen))


def test_a_listener_killed_in_mid_burst_loses_no_acknowledged_order_and_takes_none_twice(
    listening: Listening, database: Database
) -> None:
    """After every kill what was acknowledged is stored; after the last each order is one case.

    1. Orders are pipelined on several connections, one of which hears no acknowledgement; the listener is
       killed while they are on their way.
    2. At that moment every acknowledged order is in the store: the acknowledgement follows the commit.
    3. The listener starts again, and what was not acknowledged is sent again in the same bytes.
    4. In the end each order was acknowledged with AA, is one message and one case, and the log verifies.
    """
    orders: dict[str, Order] = {f"M{number}": new_order() for number in range(ORDERS)}
    at = datetime.now(UTC)
    sender = Sender({name: order_message(order, name, at) for name, order in orders.items()})
    unheard: list[str] = []
    for _ in range(KILLS):
        listening.start()
        before = sender.count
        deaf = sender.unacknowledged[-DEAF:]
        threads = sender.burst(listening.port, deaf)  # 1, 3
        sender.wait_for(before + ACKNOWLEDGED_FIRST)
        until_one_is_stored(database, deaf)
        listening.kill()
        for thread in threads:
            thread.join(SECONDS)
        assert sender.unacknowledged, "the burst was over before the kill"
        kept = set(stored(database))  # 2
        assert set(orders) - set(sender.unacknowledged) <= kept
        unheard += kept & set(sender.unacknowledged)
        assert unheard
        assert holds(database)

    listening.start()
    for thread in sender.burst(listening.port):
        thread.join(SECONDS)
    listening.stop()

    assert sender.acknowledged == {name: ["AA"] for name in orders}  # 4
    assert Counter(stored(database)) == Counter(list(orders))
    with database.read() as session:
        assert set(session.scalars(sa.select(Message.state))) == {PROCESSED}
        names = dict(session.execute(sa.select(Message.id, Message.control_id)).all())
        cases = session.scalars(sa.select(Case)).all()
    assert Counter(case.accession for case in cases) == Counter(order.accession for order in orders.values())
    assert {case.state for case in cases} == {"RECEIVED"}
    placed = leaves(database, "order.taken")
    assert Counter(leaf.case_id for leaf in placed) == Counter(case.id for case in cases)
    # Only those whose acknowledgement a kill cut off came twice, and no more often than it did.
    repeated = [names[leaf.message_id or 0] for leaf in leaves(database, "message.repeated")]
    assert set(repeated) == set(unheard)
    assert Counter(repeated) <= Counter(unheard)
    assert holds(database)
