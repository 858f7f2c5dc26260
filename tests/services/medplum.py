"""Medplum's FHIR router over its memory, on Node; npm installs it from tests/services/medplum."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.services.loopback import HOST, answers, free_port
from tests.services.process import ServiceError, launch, say

SOURCES = Path(__file__).with_name("medplum")
_LOCKED = "package-lock.json"


def missing_packages() -> list[str]:
    """Debian packages that installing and running it still needs."""
    needs = {"node": "nodejs", "npm": "npm"}
    return [package for command, package in needs.items() if shutil.which(command) is None]


def install(folder: Path) -> None:
    """Install what the lock file names into `folder` unless that was installed from this very file."""
    locked = (SOURCES / _LOCKED).read_bytes()
    stamp = folder / "installed-from"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SOURCES / "server.mjs", folder)
    if stamp.exists() and stamp.read_bytes() == locked:
        return
    for name in ("package.json", _LOCKED):
        shutil.copy(SOURCES / name, folder)
    log = folder / "npm.log"
    say(f"medplum: installing with npm (log: {log})")
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    for last_try in (False, True):  # a registry may stumble once
        with log.open("wb") as output:
            made = subprocess.run(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False)
        if made.returncode == 0:
            stamp.write_bytes(locked)
            return
        if last_try:
            end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise ServiceError(f"npm failed with {made.returncode}; {log} ends with:\n{end}")


def start(folder: Path) -> tuple[int, dict[str, str], Path]:
    """Start the server. Gives its process id, what to write down, and its log."""
    install(folder)
    port = free_port()
    log = folder / "medplum.log"
    process = launch(["node", "server.mjs", str(port)], log, cwd=folder)
    return process.pid, {"medplum": f"http://{HOST}:{port}/fhir"}, log


def is_healthy(services: dict[str, str]) -> bool:
    """Whether the server gives its CapabilityStatement."""
    return answers(f"{services['medplum']}/metadata")
