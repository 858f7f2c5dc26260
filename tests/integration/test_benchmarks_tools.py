"""What the benchmarks measure with: the sender, the listeners, the peers, the messages."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from connectors.hl7.frames import END, START
from connectors.hl7.message import parse
from connectors.hl7.orders import orders
from connectors.hl7.results import signed_reports
from tests.benchmarks import bench_mllp
from tests.benchmarks.listeners import answering, started
from tests.benchmarks.memory import forget_peak, peak_bytes, resident_bytes
from tests.benchmarks.messages import imaging_order, result, result_with_document
from tests.benchmarks.peers import catalogue
from tests.benchmarks.sender import Shape, measure, send_orders

MEBIBYTE = 1024 * 1024


def quiet(line: str) -> None:
    """Takes progress and says nothing."""


def test_the_messages_are_what_they_are_called() -> None:
    """An order of about 1.5 kB, a report of about 4 kB and 40 lines, a document that is one field."""
    order, report = imaging_order("m1"), result("m1")
    assert 1_300 < len(order) < 1_600
    assert 3_900 < len(report) < 4_300
    assert [one.accession for one in orders(parse(order))] == ["Am1"]
    assert len(signed_reports(parse(report))[0].text.splitlines()) == 40
    large = result_with_document("m1", MEBIBYTE)
    assert MEBIBYTE - 4 < len(large) <= MEBIBYTE
    assert len(parse(large).all("OBX")[1].field(5).raw) > MEBIBYTE * 0.99


@contextmanager
def answers_with(answer: Callable[[list[bytes]], bytes]) -> Iterator[int]:
    """A listener that answers what it has read at once; gives its port. answer: from control ids to bytes."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            unread = b""
            while data := connection.recv(65536):
                *frames, unread = (unread + data).split(END)
                if frames:
                    connection.sendall(answer([frame.split(b"|", 10)[9] for frame in frames]))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def ack(code: bytes, control_id: bytes) -> bytes:
    """An acknowledgement in its frame."""
    return b"%bMSH|^~\\&|||||||ACK|1|P|2.5.1\rMSA|%b|%b\r%b" % (START, code, control_id, END)


@pytest.mark.parametrize("code", [b"AE", b"AR", b"CE", b"CR"])
def test_the_sender_takes_no_nack_for_an_answer(code: bytes) -> None:
    """A listener that refuses quickly would look fast: the sender stops."""
    with (
        answers_with(lambda names: b"".join(ack(code, name) for name in names)) as port,
        pytest.raises(RuntimeError, match="did not accept"),
    ):
        send_orders(port, Shape(1), 3)


def test_the_sender_takes_no_answer_to_another_message() -> None:
    """An acknowledgement counts only for the message whose MSH-10 it names."""
    with (
        answers_with(lambda names: ack(b"AA", b"another")) as port,
        pytest.raises(RuntimeError, match="did not accept"),
    ):
        send_orders(port, Shape(1), 3)


@pytest.mark.parametrize("code", [b"AA", b"CA"])
def test_the_sender_counts_every_message_once(code: bytes) -> None:
    """Each message is answered once; the first of the connection is sent and not measured."""
    with answers_with(lambda names: b"".join(ack(code, name) for name in names)) as port:
        found = send_orders(port, Shape(1, window=4), 20)
    assert (found.messages, found.sent, found.out_of_order) == (20, 21, 0)


def test_the_sender_keeps_no_more_unanswered_than_the_window() -> None:
    """What is read at once on a connection is never more than its window."""
    most: list[int] = []

    def answer(names: list[bytes]) -> bytes:
        most.append(len(names))
        return b"".join(ack(b"AA", name) for name in names)

    with answers_with(answer) as port:
        send_orders(port, Shape(1, window=4), 40)
    assert max(most) == 4


def test_answers_that_overtake_each_other_are_counted() -> None:
    """A listener that answers in another order than it was asked is seen, and ours may not be one."""
    with answers_with(lambda names: b"".join(ack(b"AA", name) for name in reversed(names))) as port:
        found = send_orders(port, Shape(1, window=4), 40)
    assert found.out_of_order > 0
    with pytest.raises(RuntimeError, match="out of order"):
        bench_mllp.checked(bench_mllp.OURS, {}, found)
    unordered = catalogue.Peer("Peer 1", (), orders_acks=False)
    assert bench_mllp.checked("peer", {"peer": unordered}, found) is found


def test_the_sender_runs_beside_the_benchmark() -> None:
    """`measure` sends from a process of its own, and passes on what stopped it."""
    with answering() as listener:
        assert measure(listener.port, Shape(5), 50).messages == 50
    with pytest.raises(RuntimeError, match="the sender of the benchmark"):
        measure(listener.port, Shape(1), 5)


def test_a_listener_that_prints_no_port_is_an_error() -> None:
    """A program that ends before it listens is said to have ended."""
    with (
        pytest.raises(RuntimeError, match=r"expected .+ to print its port"),
        started([sys.executable, "-c", ""]),
    ):
        pass


def test_the_peak_of_another_process_is_seen_and_forgotten() -> None:
    """A block that was held and released is in the peak, and no longer once the peak begins anew."""
    program = "import sys; block = bytearray(64 << 20); del block; print(1, flush=True); sys.stdin.read()"
    with started([sys.executable, "-c", program]) as listener:
        assert peak_bytes(listener.pid) - resident_bytes(listener.pid) > 60 * MEBIBYTE
        forget_peak(listener.pid)
        assert peak_bytes(listener.pid) - resident_bytes(listener.pid) < MEBIBYTE


@pytest.mark.parametrize("name", ["hapi", "medplum"])
def test_a_peer_without_its_tools_says_what_is_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Java or Node is not installed the row says so, and nothing is built."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found, absent = catalogue.ready((name,), quiet, tmp_path / "bench")
    assert found == {}
    assert len(absent) == 1
    assert "is not installed" in absent[0]
    assert not (tmp_path / "bench").exists()


def test_a_peer_is_built_once_and_again_when_its_sources_change(tmp_path: Path) -> None:
    """The build runs for new sources only, beside a copy of them and never beside the originals."""
    sources, built = tmp_path / "sources", tmp_path / "built"
    sources.mkdir()
    (sources / "a").write_text("1", encoding="utf-8")
    said: list[str] = []

    def build(program: str) -> None:
        command = [sys.executable, "-c", program]
        catalogue._built("Peer", sources, built, command, built, said.append)

    build("open('made', 'w')")
    build("raise SystemExit(1)")
    assert (built / "made").exists()
    assert len(said) == 1
    (sources / "a").write_text("2", encoding="utf-8")
    with pytest.raises(catalogue.Absent, match="could not be built"):
        build("raise SystemExit(1)")
    build("open('made again', 'w')")
    assert (built / "made again").exists()
    assert [path.name for path in sources.iterdir()] == ["a"]
