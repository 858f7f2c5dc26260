"""Acknowledgements a second, and how long each takes, against python-hl7's asyncio server in the same run.

`measure` can be pointed at any MLLP listener. The peer only parses and answers: it commits nothing,
so a listener that commits before it answers is at a disadvantage that is part of the figure. `run` measures
our server doing no more than the peer does; bench_orders measures it with the commit.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from connectors.hl7.ack import Verdict, acknowledge, code_for
from connectors.hl7.frames import END, framed
from connectors.hl7.message import build, parse
from connectors.hl7.mllp import MllpServer
from tests.benchmarks.machine import release
from tests.benchmarks.table import Progress, Row, figure, skipped

CONNECTIONS = (1, 50)
MESSAGES = 1_000
"""Of one measurement, a multiple of the connections."""
TURNS = 3
"""Each measurement is taken this often, in turn with the peer."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one listener did."""

    connections: int
    messages: int
    acks_per_second: float
    median_seconds: float
    """From the first byte of a message to the last byte of its acknowledgement."""
    p95_seconds: float


def imaging_order(control_id: str) -> bytes:
    """An OMI^O23 of about 1.5 kB, with identifiers of its own so that no listener sees a duplicate."""
    note = "Known pulmonary nodule, follow-up after six months; no contrast allergy reported by the patient. "
    kind, doctor, exam = ("OMI", "O23", "OMI_O23"), ("77", "House", "Greg"), ("24627-2", "CT Chest", "LN")
    placer, filler = f"O{control_id}", f"F{control_id}"
    return build(
        [
            ("MSH", {3: "BENCH", 4: "HOSP", 7: "20260101120000+0000", 9: kind, 10: control_id, 12: "2.5.1"}),
            ("PID", {3: (f"P{control_id}", "", "", "HOSP", "MR"), 5: ("Doe", "Jane"), 7: "19700203", 8: "F"}),
            ("PV1", {1: "1", 2: "I", 3: ("WARD", "1", "2"), 8: doctor}),
            ("ORC", {1: "NW", 2: placer, 3: filler, 5: "SC", 12: doctor}),
            ("TQ1", {9: "R"}),
            ("OBR", {2: placer, 3: filler, 4: exam, 31: ("", note)}),
            *[("NTE", {1: str(number), 3: note}) for number in range(1, 10)],
            ("IPC", {1: f"A{control_id}", 2: f"R{control_id}", 3: f"2.25.{uuid4().int}", 5: "CT"}),
        ]
    )


def measure(
    host: str,
    port: int,
    connections: int,
    messages: int,
    make: Callable[[str], bytes] = imaging_order,
) -> Measurement:
    """Send messages over so many connections at once, each connection one message after another.

    messages: all of them together, a multiple of connections. make: a message from its MSH-10. Raises
    RuntimeError when one is not accepted: a listener that refuses quickly would look fast.
    """
    return asyncio.run(_measure(host, port, connections, messages, make))


async def _measure(
    host: str, port: int, connections: int, messages: int, make: Callable[[str], bytes]
) -> Measurement:
    run = uuid4().hex[:8]
    each = messages // connections
    prepared = [
        [(f"{run}{connection}x{n}", framed(make(f"{run}{connection}x{n}"))) for n in range(each)]
        for connection in range(connections)
    ]
    latencies: list[float] = []

    async def client(frames: list[tuple[str, bytes]], ready: asyncio.Barrier) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        await ready.wait()
        for control_id, frame in frames:
            began = time.perf_counter()
            writer.write(frame)
            ack = await reader.readuntil(END)
            latencies.append(time.perf_counter() - began)
            if f"MSA|AA|{control_id}".encode() not in ack and f"MSA|CA|{control_id}".encode() not in ack:
                raise RuntimeError("the listener did not accept a message of the benchmark")
        writer.close()

    ready = asyncio.Barrier(connections + 1)
    clients = [asyncio.create_task(client(frames, ready)) for frames in prepared]
    await ready.wait()
    began = time.perf_counter()
    await asyncio.gather(*clients)
    elapsed = time.perf_counter() - began
    ordered = sorted(latencies)
    return Measurement(
        connections,
        len(ordered),
        len(ordered) / elapsed,
        statistics.median(ordered),
        ordered[max(0, round(len(ordered) * 0.95) - 1)],
    )


@contextmanager
def listener(role: str) -> Iterator[int]:
    """A listener that only answers, in a process of its own; gives its port. role: ours, or peer."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_mllp", role]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def run(messages: int = MESSAGES, turns: int = TURNS, progress: Progress = print) -> list[Row]:
    """Rows for our MLLP server alone, only answering as the peer does."""
    if not release("hl7"):
        return [skipped("mllp", "the peer python-hl7 is not installed: pip install -e '.[bench]'")]
    rows: list[Row] = []
    for connections in CONNECTIONS:
        taken: dict[str, list[Measurement]] = {"ours": [], "peer": []}
        for turn in range(turns):
            progress(f"mllp: {so_many(connections)}, turn {turn + 1} of {turns}")
            for role, measurements in taken.items():
                with listener(role) as port:
                    measure("127.0.0.1", port, connections, max(connections, messages // 10))
                    measurements.append(measure("127.0.0.1", port, connections, messages))
        for what, key, unit, scale, less in (
            ("acks a second", "acks_per_second", "1/s", 1, False),
            ("median time to ack", "median_seconds", "ms", 1000, True),
            ("95th percentile of it", "p95_seconds", "ms", 1000, True),
        ):
            rows.append(
                figure(
                    "mllp",
                    f"{what}, {so_many(connections)}",
                    unit,
                    [getattr(one, key) * scale for one in taken["ours"]],
                    [getattr(one, key) * scale for one in taken["peer"]],
                    f"python-hl7 {release('hl7')} asyncio server",
                    less_is_better=less,
                )
            )
    return rows


def so_many(connections: int) -> str:
    """The number of connections, in words of the table."""
    return "1 connection" if connections == 1 else f"{connections} connections"


async def _listen_as_ours() -> None:
    async def answer(payload: bytes, peer: str) -> bytes:
        message = parse(payload)
        code = code_for(message, Verdict.ACCEPT)
        return acknowledge(message, code) if code else b""

    print(await MllpServer("127.0.0.1", 0, answer).start(), flush=True)
    await asyncio.Event().wait()


async def _listen_as_peer() -> None:
    from hl7.mllp import start_hl7_server  # type: ignore[import-not-found,unused-ignore]

    async def answer(reader, writer):  # type: ignore[no-untyped-def]
        while not writer.is_closing():
            try:
                message = await reader.readmessage()
            except asyncio.IncompleteReadError:
                break
            writer.writemessage(message.create_ack())
            await writer.drain()
        writer.close()

    server = await start_hl7_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_listen_as_peer() if sys.argv[1:] == ["peer"] else _listen_as_ours())
