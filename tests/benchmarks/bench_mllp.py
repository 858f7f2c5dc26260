"""Acknowledgements a second, and how long each takes, against python-hl7's asyncio server in the same run.

`measure` can be pointed at any MLLP listener. The peer only parses and answers: it commits nothing,
so a listener that commits before it answers is at a disadvantage that is part of the figure.
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from connectors.hl7.ack import Verdict, acknowledge, code_for
from connectors.hl7.frames import END, framed
from connectors.hl7.message import build, parse
from connectors.hl7.mllp import MllpServer

CONNECTIONS = (1, 50)
MESSAGES = 2_000


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


def measure(host: str, port: int, connections: int, messages: int) -> Measurement:
    """Send messages over so many connections at once, each connection one message after another.

    messages: all of them together, a multiple of connections. Raises RuntimeError when one is not
    accepted: a listener that refuses quickly would look fast.
    """
    return asyncio.run(_measure(host, port, connections, messages))


async def _measure(host: str, port: int, connections: int, messages: int) -> Measurement:
    run = uuid4().hex[:8]
    each = messages // connections
    prepared = [
        [(f"{run}{connection}x{n}", framed(imaging_order(f"{run}{connection}x{n}"))) for n in range(each)]
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
def _process(role: str) -> Iterator[int]:
    """This module in a process of its own as a listener; gives its port."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_mllp", role]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def run(listener: tuple[str, int] | None = None, messages: int = MESSAGES) -> list[dict[str, object]]:
    """One row for each number of connections and each figure: ours, the peer's, and the ratio.

    listener: (host, port) of the listener to measure; None measures our MLLP server alone, only
    answering as the peer does. A ratio above one means that ours is better, for times too.
    """
    if importlib.util.find_spec("hl7") is None:
        return [{"benchmark": "mllp", "skipped": "the peer is not installed: pip install hl7"}]
    rows: list[dict[str, object]] = []
    for connections in CONNECTIONS:
        with _process("peer") as port:
            measure("127.0.0.1", port, connections, messages // 10)
            peer = measure("127.0.0.1", port, connections, messages)
        if listener is not None:
            ours = measure(*listener, connections, messages)
        else:
            with _process("ours") as port:
                measure("127.0.0.1", port, connections, messages // 10)
                ours = measure("127.0.0.1", port, connections, messages)
        figures = (
            ("acks per second", ours.acks_per_second, peer.acks_per_second, False),
            ("median seconds to ack", ours.median_seconds, peer.median_seconds, True),
            ("p95 seconds to ack", ours.p95_seconds, peer.p95_seconds, True),
        )
        for figure, our, their, less_is_better in figures:
            rows.append(
                {
                    "benchmark": "mllp",
                    "figure": figure,
                    "connections": connections,
                    "ours": our,
                    "peer": their,
                    "peer_name": "python-hl7 asyncio server, only answering",
                    "ratio": their / our if less_is_better else our / their,
                }
            )
    return rows


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
    if sys.argv[1:] == ["peer"]:
        asyncio.run(_listen_as_peer())
    elif sys.argv[1:] == ["ours"]:
        asyncio.run(_listen_as_ours())
    else:
        for row in run():
            print(row)
