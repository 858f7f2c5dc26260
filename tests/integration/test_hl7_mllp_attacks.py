"""Attacks on a listener in a process of its own: each ends in a nack or a close, and disturbs nobody.

The process has the default limits of a listener, but for its patience. Its memory is read from /proc.
"""

from __future__ import annotations

import asyncio
import logging
import re
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from connectors.hl7.ack import AckCode, read_ack
from connectors.hl7.frames import END, FRAME_CAP_BYTES, START, Deframer, framed
from connectors.hl7.mllp import MllpClient, MllpServer
from connectors.tls import client_context, server_context
from tests.certificates import Authority
from tests.integration.test_hl7_mllp import SECRET, accept, connect, message, until_closed

ROOT = Path(__file__).resolve().parents[2]
GROWTH_BYTES = 64 * 2**20
OPEN_CONNECTIONS = 2_000


class Target:
    """A listener in a process of its own."""

    def __init__(self, port: int, pid: int, log: Path) -> None:
        self.port = port
        self._pid = pid
        self._log = log
        self.at_rest_bytes = self._memory("VmRSS")

    @property
    def growth_bytes(self) -> int:
        """How much its resident memory has grown at its peak."""
        return self._memory("VmHWM") - self.at_rest_bytes

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii")
        found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text(encoding="utf-8")

    def until_logged(self, words: str) -> None:
        """Wait until it has logged these words."""
        ended = threading.Event()
        for _ in range(2000):
            if words in self.log:
                return
            ended.wait(0.01)
        pytest.fail(f"the listener never logged {words!r}")


@contextmanager
def listening(folder: Path, *tls: Path, patience_seconds: float = 1.0) -> Iterator[Target]:
    """A listener; tls: its certificate and key. patience_seconds: its idle time."""
    log = folder / "log"
    arguments = [str(patience_seconds), *map(str, tls)]
    command = [sys.executable, "-m", "tests.integration.test_hl7_mllp_attacks", *arguments]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            target = Target(int(process.stdout.readline()), process.pid, log)
            yield target
            assert process.poll() is None, "the listener ended"
        finally:
            process.terminate()
    assert SECRET not in target.log
    assert "Traceback" not in target.log


@contextmanager
def honest(port: int, count: int = 50) -> Iterator[None]:
    """A sender that is acknowledged before, during and after what happens meanwhile."""
    with MllpClient("127.0.0.1", port, timeout_seconds=20) as client, ThreadPoolExecutor(1) as pool:
        assert client.send(message("before")).accepted
        during = pool.submit(lambda: [client.send(message(str(n))).control_id for n in range(count)])
        yield
        assert during.result() == [str(n) for n in range(count)]
        assert client.send(message("after")).accepted


def endless(connection: socket.socket) -> None:
    """A frame that never ends, as fast as it is taken, far beyond the cap."""
    block = SECRET.encode() * 20_000
    connection.sendall(START + message("77"))
    with suppress(OSError):
        for _ in range(20 * FRAME_CAP_BYTES // len(block)):
            connection.sendall(block)


def unended(connection: socket.socket) -> None:
    """A message and no end block."""
    connection.sendall(START + message("77"))


def dripping(connection: socket.socket) -> None:
    """A byte at a time."""
    ended = threading.Event()
    with suppress(OSError):
        for byte in START + message("77") * 100:
            connection.sendall(bytes([byte]))
            ended.wait(0.02)


@pytest.mark.parametrize(
    ("attack", "line"),
    [
        (endless, f"a frame is larger than {FRAME_CAP_BYTES} bytes"),
        (unended, "no whole message in time"),
        (dripping, "no whole message in time"),
        (lambda connection: None, "no whole message in time"),
        (lambda connection: connection.sendall(SECRET.encode()), "start block"),
    ],
    ids=["endless", "no end block", "a byte at a time", "silence", "no frame"],
)
def test_a_frame_that_is_none_is_closed(
    tmp_path: Path, attack: Callable[[socket.socket], None], line: str
) -> None:
    """The connection is closed within bounds of time and memory, with one line, and others are served."""
    with listening(tmp_path) as target, honest(target.port):
        with connect(target.port) as connection:
            attack(connection)
            with suppress(OSError):
                until_closed(connection)
        target.until_logged(line)
        assert target.growth_bytes <= GROWTH_BYTES
        assert target.log.count(line) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"<?xml version='1.0'?><ClinicalDocument>" + SECRET.encode() + b"</ClinicalDocument>",
        b"MSH" + SECRET.encode(),
        b"MSH|||||||||||||" + SECRET.encode(),
        b"MSH|||||^~" + b"|" * 100_000 + SECRET.encode(),
        b"MSH^^^^^^|" + SECRET.encode() * 10_000,
        b"MSH|^~\\&&&&&&|" + SECRET.encode(),
        b"MSHAAAAA" + SECRET.encode(),
        b"MSH\x00\x00\x00\x00\x00",
        b"MSH|^~\\&|A|B|C|D|2026||ORM^O01|77|P|2.5.1\r" + b"PID|1\r" * 200_000,
        b"MSH|^~\\&|A|B|C|D|2026||ORM^O01|77|P|2.5.1||||||XX\rPID|\xff" + SECRET.encode(),
        b"\xff\xfeM\x00S\x00H\x00|\x00",
        b"",
    ],
    ids=[
        "XML",
        "no delimiters",
        "one delimiter for all",
        "separators",
        "the same twice",
        "six encoding characters",
        "letters",
        "NUL",
        "segments",
        "unknown character set",
        "UTF-16",
        "nothing",
    ],
)
def test_a_hostile_message_is_nacked(target: Target, body: bytes) -> None:
    """What cannot be read is answered with AR, the connection lives, and nothing grows."""
    with connect(target.port) as connection:
        connection.sendall(framed(body) + framed(message("next")))
        deframer = Deframer()
        acks = [read_ack(payload) for payload in frames(connection, deframer, 2)]
    assert acks[0].code is AckCode.AR
    assert acks[1].control_id == "next"
    assert acks[1].accepted
    assert target.growth_bytes <= GROWTH_BYTES
    assert SECRET not in target.log


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One listener for all hostile messages: it has to outlive them."""
    with listening(tmp_path_factory.mktemp("hostile"), patience_seconds=60) as found:
        yield found


def frames(connection: socket.socket, deframer: Deframer, count: int) -> Iterator[bytes]:
    """So many frames."""
    for _ in range(count):
        payload = deframer.next()
        while payload is None:
            data = connection.recv(65536)
            assert data, "closed before the acknowledgement"
            payload = deframer.next(data)
        yield payload


def test_plaintext_on_a_tls_port_is_closed(tmp_path: Path) -> None:
    """A plain message gets no answer in the clear, its line no word of it, and a TLS sender is served."""
    authority = Authority(tmp_path)
    own = authority.issue("listener")
    with listening(tmp_path, own.certificate, own.key, patience_seconds=60) as target:
        context = client_context(authority.certificate)
        with MllpClient("127.0.0.1", target.port, ssl_context=context) as client:
            assert client.send(message("1")).accepted
            with connect(target.port) as connection:
                connection.sendall(framed(message("77")))
                assert b"MSA" not in until_closed(connection)
            target.until_logged("no TLS handshake")
            assert client.send(message("2")).accepted
        assert target.growth_bytes <= GROWTH_BYTES


def test_many_open_connections_disturb_nobody(tmp_path: Path) -> None:
    """2,000 connections are open, each with half a frame; one more is refused, and all of them are served."""
    with many_files(), listening(tmp_path, patience_seconds=60) as target, honest(target.port):
        opened: list[socket.socket] = []
        try:
            for _ in range(OPEN_CONNECTIONS - 1):
                connection = socket.create_connection(("127.0.0.1", target.port), 20)
                opened.append(connection)
                connection.sendall(START + message("77")[:100])
            with closing(socket.create_connection(("127.0.0.1", target.port), 20)) as refused:
                assert until_closed(refused) == b""
            assert f"refused: {OPEN_CONNECTIONS} are open" in target.log
            for connection in opened[::200]:
                connection.sendall(message("77")[100:] + END)
                (ack,) = frames(connection, Deframer(), 1)
                assert read_ack(ack).control_id == "77"
        finally:
            for connection in opened:
                connection.close()
        assert target.growth_bytes <= GROWTH_BYTES


def test_many_unended_frames_are_closed_within_bounds(tmp_path: Path) -> None:
    """A hundred frames of 4 MiB that never end are cut off before they fill the memory; small ones pass."""
    with listening(tmp_path, patience_seconds=60) as target, honest(target.port):
        opened = [socket.create_connection(("127.0.0.1", target.port), 20) for _ in range(100)]
        half = START + message("77", "x" * (4 * 2**20))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda connection: attempt(connection, half), opened))
        target.until_logged("too many large messages")
        for connection in opened:
            connection.close()
        assert target.growth_bytes <= GROWTH_BYTES


def attempt(connection: socket.socket, data: bytes) -> None:
    """Send, for as long as it is taken."""
    with suppress(OSError):
        connection.sendall(data)


@contextmanager
def many_files() -> Iterator[None]:
    """Let this process and those that it starts open enough sockets. Skips where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * OPEN_CONNECTIONS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this machine lets a process open {hard} files; {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def listen(patience_seconds: str, *tls: str) -> None:
    """What runs in the process of its own."""
    logging.basicConfig(level=logging.INFO)
    server = MllpServer(
        "127.0.0.1",
        0,
        accept,
        gather_cap_bytes=32 * 2**20,
        idle_timeout_seconds=float(patience_seconds),
        max_connections=OPEN_CONNECTIONS,
        ssl_context=server_context(Path(tls[0]), Path(tls[1])) if tls else None,
    )
    print(await server.start(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(listen(*sys.argv[1:]))
