"""The sender of the benchmarks: one loop over plain sockets, in a process of its own.

It does as little as can be done for a message, so that what is measured is the listener; bench_mllp shows how
far it gets against a listener that does next to nothing.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from uuid import uuid4

from connectors.hl7.frames import END, framed
from tests.benchmarks.messages import imaging_order

HOST = "127.0.0.1"
PATIENCE_SECONDS = 60.0
_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Shape:
    """How messages are sent."""

    connections: int
    window: int = 1
    """Messages that one connection may have without an answer. 1 is how most senders work."""

    def __str__(self) -> str:
        """In words of the table."""
        said = "1 connection" if self.connections == 1 else f"{self.connections} connections"
        return said if self.window == 1 else f"{said}, {self.window} unanswered"


SHAPES = (Shape(1), Shape(50), Shape(1, window=64))


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one listener did."""

    messages: int
    """That the figures are of."""
    sent: int
    """All that were acknowledged, with the first of each connection, which no figure counts."""
    acks_per_second: float
    median_seconds: float
    """From handing a message to the system until its whole acknowledgement is read."""
    p95_seconds: float
    out_of_order: int
    """Acknowledgements that overtook another of their connection."""


def measure(port: int, shape: Shape, messages: int) -> Measurement:
    """Send imaging orders, each with a new accession, from another process to a listener on this machine.

    messages: all connections together; what is over a multiple of the connections is left out. Raises
    RuntimeError when one is not accepted or not answered: a listener that refuses quickly would look fast.
    """
    job = (port, shape.connections, shape.window, messages)
    command = [sys.executable, "-m", "tests.benchmarks.sender", *map(str, job)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        said = finished.stderr.strip().splitlines() or ["no word"]
        raise RuntimeError(f"the sender of the benchmark ended with {finished.returncode}: {said[-1]}")
    return Measurement(**json.loads(finished.stdout))


class _Connection:
    """One connection with the messages that it has still to send, and those that wait for an answer."""

    def __init__(self, port: int, frames: dict[str, bytes]) -> None:
        self.socket = socket.create_connection((HOST, port), PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._frames: Iterator[tuple[str, bytes]] = iter(frames.items())
        self._began: dict[str, float] = {}
        self._unread = b""
        self.latencies: list[float] = []
        self.out_of_order = 0

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._began)

    def send(self, count: int) -> None:
        """Send so many more, or what is left; waits while the system takes no more."""
        parts: list[bytes] = []
        began = time.perf_counter()
        for control_id, frame in self._frames:
            self._began[control_id] = began
            parts.append(frame)
            if len(parts) == count:
                break
        if parts:
            self.socket.sendall(parts[0] if len(parts) == 1 else b"".join(parts))

    def take(self) -> int:
        """Read what has come; how many acknowledgements it was."""
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise RuntimeError("the listener closed a connection of the benchmark")
        *acks, self._unread = (self._unread + data).split(END)
        now = time.perf_counter()
        for ack in acks:
            _, _, answer = ack.partition(b"\rMSA|")
            code, control_id = answer.split(b"\r", 1)[0].split(b"|")[:2]
            name = control_id.decode("ascii")
            if code not in (b"AA", b"CA") or name not in self._began:
                raise RuntimeError("the listener did not accept a message of the benchmark")
            self.out_of_order += name != next(iter(self._began))
            self.latencies.append(now - self._began.pop(name))
        return len(acks)


def send_orders(port: int, shape: Shape, messages: int) -> Measurement:
    """Send from this process; as `measure` otherwise."""
    run, each = uuid4().hex[:8], messages // shape.connections
    connections = []
    for number in range(shape.connections):
        # The first is answered before the clock starts: by then the listener has taken the connection.
        names = [f"{run}{number}x{ordinal}" for ordinal in range(each + 1)]
        connections.append(_Connection(port, {name: framed(imaging_order(name)) for name in names}))
    _drive(connections, 1, more=False)
    for connection in connections:
        connection.latencies.clear()
    began = time.perf_counter()
    _drive(connections, shape.window, more=True)
    elapsed = time.perf_counter() - began
    for connection in connections:
        connection.socket.close()
    ordered = sorted(latency for connection in connections for latency in connection.latencies)
    return Measurement(
        messages=len(ordered),
        sent=len(ordered) + len(connections),
        acks_per_second=len(ordered) / elapsed,
        median_seconds=statistics.median(ordered),
        p95_seconds=ordered[max(0, round(len(ordered) * 0.95) - 1)],
        out_of_order=sum(connection.out_of_order for connection in connections),
    )


def _drive(connections: list[_Connection], window: int, *, more: bool) -> None:
    """Send `window` on each connection, and with `more` another for each answer; until all are answered."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        for connection in connections:
            connection.send(window)
        busy = len(connections)
        while busy:
            ready = selector.select(PATIENCE_SECONDS)
            if not ready:
                raise RuntimeError(f"no acknowledgement within {PATIENCE_SECONDS:.0f} s")
            for key, _ in ready:
                taken = key.data.take()
                if more and taken:
                    key.data.send(taken)
                if not key.data.busy:
                    selector.unregister(key.fileobj)
                    busy -= 1


if __name__ == "__main__":
    port, connections, window, messages = map(int, sys.argv[1:])
    print(json.dumps(asdict(send_orders(port, Shape(connections, window), messages))))
