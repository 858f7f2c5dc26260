"""HAPI's validator for R4, US Core and R5, built with the server from tests/services/hapi."""

from __future__ import annotations

from pathlib import Path

from tests.services import fhir
from tests.services.loopback import HOST, answers, free_port
from tests.services.process import launch

missing_packages = fhir.missing_packages


def start(folder: Path) -> tuple[int, dict[str, str], Path]:
    """Start the validator. Gives its process id, what to write down, and its log."""
    port = free_port()
    log = folder / "validator.log"
    folder.mkdir(parents=True, exist_ok=True)
    # The definitions of two releases, which are read whole, take most of this.
    built = folder.parent / "fhir" / "target"
    process = launch(fhir.command(built, "prelim.hapi.Validator", port, "1g"), log, cwd=folder)
    return process.pid, {"validator": f"http://{HOST}:{port}"}, log


def is_healthy(services: dict[str, str]) -> bool:
    """Whether both releases are read."""
    return "validator" in services and answers(f"{services['validator']}/health")
