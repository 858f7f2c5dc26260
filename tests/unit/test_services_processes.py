"""The starter of the real peers ends its own processes only, and says why a peer did not start."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import process

IDLE = [sys.executable, "-c", "import signal; print('ready', flush=True); signal.pause()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); signal.pause()",
]


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for a signal."""
    with subprocess.Popen(IDLE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield running
        running.kill()


def test_a_process_is_known_by_id_and_start(child: subprocess.Popen[bytes]) -> None:
    """The process that was written down is recognised."""
    assert process.is_running(process.identity(child.pid))


def test_a_process_that_took_over_an_id_is_a_stranger(child: subprocess.Popen[bytes]) -> None:
    """Another start under the same id is not ours, and ending it does nothing."""
    stranger = process.identity(child.pid) | {"started": process.identity(child.pid)["started"] - 1}
    assert not process.is_running(stranger)
    process.end(stranger)
    assert child.poll() is None


def test_nothing_written_down_is_not_running() -> None:
    """Without a record there is no process."""
    assert not process.is_running(None)


def test_a_zombie_is_not_running(child: subprocess.Popen[bytes]) -> None:
    """A process that ended but was not collected yet counts as ended."""
    ours = process.identity(child.pid)
    child.send_signal(signal.SIGKILL)
    process.end(ours, seconds=5)  # returns at once when the process is gone
    assert not process.is_running(ours)
    assert child.returncode is None


def test_ending_is_polite_first(child: subprocess.Popen[bytes]) -> None:
    """A process that obeys is ended by the polite signal."""
    process.end(process.identity(child.pid), politely=signal.SIGTERM)
    assert child.wait(timeout=10) == -signal.SIGTERM


def test_a_stubborn_process_is_killed() -> None:
    """A process that ignores the polite signal is killed when patience ends."""
    with subprocess.Popen(STUBBORN, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        process.end(process.identity(running.pid), seconds=0.3)
        assert running.wait(timeout=10) == -signal.SIGKILL


def test_a_peer_that_ends_while_starting_shows_its_log(tmp_path: Path) -> None:
    """The error carries the end of the log, where the reason stands."""
    log = tmp_path / "peer.log"
    peer = process.launch([sys.executable, "-c", "print('the reason')"], log, cwd=tmp_path)
    ours = process.identity(peer.pid)
    peer.wait(timeout=10)
    with pytest.raises(process.ServiceError, match="the reason"):
        process.wait_until("peer", lambda: False, ours, log)


def test_a_peer_that_never_answers_is_given_up(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Waiting has an end."""
    with pytest.raises(process.ServiceError, match="did not answer in 0 s"):
        process.wait_until(
            "peer", lambda: False, process.identity(child.pid), tmp_path / "peer.log", seconds=0.3
        )


def test_waiting_ends_with_the_first_good_answer(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """It looks again until the peer answers, and then no more."""
    answers = iter([False, False, True])
    process.wait_until("peer", lambda: next(answers), process.identity(child.pid), tmp_path / "peer.log")
    assert list(answers) == []
