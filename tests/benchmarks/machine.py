"""What the figures were taken on: processor, load, and the versions of all that took part."""

from __future__ import annotations

import os
import platform
import sqlite3
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "sqlalchemy",
    "dbos",
    "psycopg",
    "hl7",
    "hl7apy",
    "httpx",
    "pydicom",
    "dicomweb-client",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
)


def release(package: str) -> str:
    """The installed version of a package; empty when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def processor() -> str:
    """The model of the processor, as Linux names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def load() -> str:
    """The load average over 1, 5 and 15 minutes."""
    return " ".join(f"{average:.2f}" for average in os.getloadavg())


def facts() -> dict[str, str]:
    """What a reader needs to judge the figures by, in reading order."""
    packages = ", ".join(f"{name} {found}" for name in PACKAGES if (found := release(name)))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}",
        "packages": packages,
    }
