"""How much memory another process holds, as Linux counts it (proc(5))."""

from __future__ import annotations

from pathlib import Path

_FORGET_PEAK = "5"


def resident_bytes(pid: int) -> int:
    """What the process holds in memory now."""
    return _status_bytes(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """The most that it ever held, or since `forget_peak`."""
    return _status_bytes(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the peak begin anew at what the process holds now. Raises OSError where the system keeps it."""
    Path(f"/proc/{pid}/clear_refs").write_text(_FORGET_PEAK, encoding="ascii")


def _status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"expected {name} in /proc/{pid}/status, found none")
