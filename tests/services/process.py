"""Processes that outlive the command that started them, and are ended only while they are the same ones."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SECONDS_BETWEEN_LOOKS = 0.25
SECONDS_BETWEEN_LINES = 5.0


class ServiceError(Exception):
    """A peer could not be installed or started; the message says which, why, and where its log is."""


def say(line: str) -> None:
    """Print one line of progress at once, also into a pipe."""
    print(f"services: {line}", flush=True)


def launch(
    command: Sequence[str],
    log: Path,
    *,
    cwd: Path,
    user: str | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, writing to `log`; `user` (root only) gives up privileges."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(
            list(command),
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command name (proc(5)); None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def identity(pid: int) -> dict[str, int]:
    """A process as it is written down: its id and its start, in clock ticks since boot.

    The id alone may since have gone to a stranger's process.
    """
    fields = _stat(pid)
    return {"pid": pid, "started": int(fields[19]) if fields else -1}


def is_running(process: dict[str, Any] | None) -> bool:
    """Whether this very process still runs (a zombie does not)."""
    if not process:
        return False
    fields = _stat(int(process["pid"]))
    return fields is not None and fields[0] not in "ZX" and int(fields[19]) == process["started"]


def end(process: dict[str, Any], *, politely: int = signal.SIGTERM, seconds: float = 20.0) -> None:
    """End one of our processes: `politely` first, SIGKILL after `seconds`; a stranger is left alone."""
    for number, patience in ((politely, seconds), (signal.SIGKILL, 5.0)):
        if not is_running(process):
            return
        os.kill(int(process["pid"]), number)
        deadline = time.monotonic() + patience
        while is_running(process) and time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"


def wait_until(
    name: str, healthy: Callable[[], bool], process: dict[str, Any], log: Path, *, seconds: float = 240.0
) -> None:
    """Look until `healthy` says yes, with a line of progress every few seconds.

    Raises ServiceError when the process ends first or `seconds` pass; the message shows the end of its log.
    """
    began = time.monotonic()
    next_line = began + SECONDS_BETWEEN_LINES
    while not healthy():
        now = time.monotonic()
        if not is_running(process):
            raise ServiceError(f"{name} ended while starting; its log {log} ends with:\n{tail(log)}")
        if now - began > seconds:
            raise ServiceError(
                f"{name} did not answer in {seconds:.0f} s; its log {log} ends with:\n{tail(log)}"
            )
        if now > next_line:
            say(f"{name}: waiting for its first answer, {now - began:.0f} s")
            next_line = now + SECONDS_BETWEEN_LINES
        time.sleep(SECONDS_BETWEEN_LOOKS)
    say(f"{name}: answers after {time.monotonic() - began:.1f} s")
