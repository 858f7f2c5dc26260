"""Listeners in processes of their own, each on a free port of loopback."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from connectors.hl7.ack import Verdict, answers
from connectors.hl7.message import parse
from connectors.hl7.mllp import MllpServer, Peer
from plugin.serve import Service
from plugin.settings import Settings

STOP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener that runs."""

    port: int
    pid: int


@contextmanager
def started(command: Sequence[str], told: str = "", cwd: Path | None = None) -> Iterator[Listener]:
    """Start a program that prints its port as its first line, and ends when its input ends.

    told: its first line of input, for what may not be an argument. Raises RuntimeError when no port comes.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if told:
                process.stdin.write(f"{told}\n")
                process.stdin.flush()
            line = process.stdout.readline().strip()
            if not line.isdigit():
                raise RuntimeError(f"expected {command[0]} to print its port, it ended; its words are above")
            yield Listener(int(line), process.pid)
        finally:
            process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def prelim(url: str) -> Iterator[Listener]:
    """Prelim's listener on this database, which may be empty. The URL may hold a password: no argument."""
    with started([sys.executable, "-m", "tests.benchmarks.listeners", "prelim"], told=url) as listener:
        yield listener


@contextmanager
def answering() -> Iterator[Listener]:
    """Our MLLP server alone: it parses and answers, and keeps nothing."""
    with started([sys.executable, "-m", "tests.benchmarks.listeners", "answering"]) as listener:
        yield listener


def _prelim() -> None:
    service = Service(Settings(database_url=sys.stdin.readline().strip(), mllp_port=0), parts=("listen",))
    service.start()
    print(service.mllp_port, flush=True)
    sys.stdin.read()
    service.stop()


async def _answering() -> None:
    async def answer(payload: bytes, _peer: Peer) -> tuple[bytes, ...]:
        return answers(parse(payload), Verdict.ACCEPT).in_order

    server = MllpServer("127.0.0.1", 0, answer)
    print(await server.start(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


if __name__ == "__main__":
    if sys.argv[1:] == ["prelim"]:
        _prelim()
    else:
        asyncio.run(_answering())
