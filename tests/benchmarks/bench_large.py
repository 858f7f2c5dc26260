"""One large message: what it costs in memory, and how long its acknowledgement takes.

An ORU^R01 with a PDF in base64 goes to Prelim's real listener in a process of its own, which commits it.
Beside it hl7apy's MLLPServer, which keeps nothing, with a message of a size that it can take in seconds.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from connectors.hl7.frames import END, framed
from tests.benchmarks.listeners import Listener, prelim, started
from tests.benchmarks.machine import release
from tests.benchmarks.memory import forget_peak, peak_bytes, resident_bytes
from tests.benchmarks.messages import result, result_with_document
from tests.benchmarks.table import Progress, Row, figure, skipped

SIZE_BYTES = 10 * 1024 * 1024
SHARED_BYTES = 1024 * 1024
"""Of the message that the peer is sent too."""
TURNS = 3
"""Each measurement is taken this often, in turn with the peer, each time in a fresh process."""
GOAL = "≤ 4"
WARM_UP = 5
PATIENCE_SECONDS = 600.0
_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Cost:
    growth: float
    """Peak of the process over what it held idle, in sizes of the message."""
    seconds: float


def run(
    size_bytes: int = SIZE_BYTES,
    turns: int = TURNS,
    progress: Progress = print,
    shared_bytes: int = SHARED_BYTES,
) -> list[Row]:
    """Rows for a message of this size, and of the smaller one that hl7apy's server is sent as well."""
    large: list[_Cost] = []
    ours: list[_Cost] = []
    peer: list[_Cost] = []
    shared_bytes = min(shared_bytes, size_bytes)
    try:
        forget_peak(os.getpid())
    except OSError as error:
        return [skipped("large", f"this system does not let a peak of memory begin anew ({error.strerror})")]
    for turn in range(turns):
        progress(f"large: {_size(size_bytes)} and {_size(shared_bytes)}, turn {turn + 1} of {turns}")
        large.append(_prelim(size_bytes))
        ours.append(_prelim(shared_bytes))
        peer.append(_cost(_hl7apy, shared_bytes))
    name = f"hl7apy {release('hl7apy')} MLLPServer, commits nothing"
    what = f"ORU^R01 of {_size(size_bytes)}"
    shared = f"ORU^R01 of {_size(shared_bytes)}"
    return [
        figure(
            "large", f"peak memory over its size, {what}", "times", [one.growth for one in large], goal=GOAL
        ),
        figure("large", f"time to ack, {what}", "s", [one.seconds for one in large]),
        *(
            figure(
                "large",
                f"{said}, {shared}",
                unit,
                [getattr(one, key) for one in ours],
                [getattr(one, key) for one in peer],
                name,
                less_is_better=True,
            )
            for said, unit, key in (
                ("peak memory over its size", "times", "growth"),
                ("time to ack", "s", "seconds"),
            )
        ),
    ]


def _prelim(size_bytes: int) -> _Cost:
    with tempfile.TemporaryDirectory(prefix="prelim-bench-") as folder:
        return _cost(lambda: prelim(f"sqlite:///{Path(folder) / 'prelim.sqlite'}"), size_bytes)


def _hl7apy() -> AbstractContextManager[Listener]:
    return started([sys.executable, "-m", "tests.benchmarks.peers.hl7apy_server"])


def _cost(listening: Callable[[], AbstractContextManager[Listener]], size_bytes: int) -> _Cost:
    with listening() as listener:
        # Small ones first: what any first message loads is not the price of a large one.
        for _ in range(WARM_UP):
            _acknowledged(listener.port, result(uuid4().hex[:12]))
        message = result_with_document(uuid4().hex[:12], size_bytes)
        idle = resident_bytes(listener.pid)
        forget_peak(listener.pid)
        seconds = _acknowledged(listener.port, message)
        return _Cost((peak_bytes(listener.pid) - idle) / len(message), seconds)


def _acknowledged(port: int, message: bytes) -> float:
    """Seconds from the first byte of a message to the last of its ack; hl7apy takes one a connection."""
    frame = framed(message)
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
        began = time.perf_counter()
        connection.sendall(frame)
        answer = b""
        while not answer.endswith(END):
            data = connection.recv(_READ_BYTES)
            if not data:
                raise RuntimeError("the listener closed the connection of a large message unanswered")
            answer += data
        seconds = time.perf_counter() - began
    if b"\rMSA|AA|" not in answer and b"\rMSA|CA|" not in answer:
        raise RuntimeError("the listener did not accept a large message")
    return seconds


def _size(size_bytes: int) -> str:
    return f"{size_bytes / (1024 * 1024):.3g} MiB"
