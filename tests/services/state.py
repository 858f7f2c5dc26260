"""Where the peers answer and which processes are ours: `.services/services.json`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".services"
NAMES = ("fhir", "medplum", "validator", "keycloak", "orthanc", "postgres")


def read(folder: Path = FOLDER) -> dict[str, Any]:
    """What services.json says; empty when nothing was started.

    Keys: `fhir` (base URL of HAPI), `medplum` (base URL), `validator` (root URL), `keycloak` (root URL with
    the admin's password), `orthanc` (root URL), `dicomweb` (base URL), `postgres` (SQLAlchemy URL),
    `processes` (name -> {"pid", "started"}), `logs` (name -> path).
    """
    try:
        return dict(json.loads((folder / "services.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def write(services: dict[str, Any], folder: Path = FOLDER) -> None:
    """Replace services.json in one step; only its owner may read it, for it holds a password."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / "services.json.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(services, file, indent=2)
        file.write("\n")
    fresh.replace(folder / "services.json")


def forget(folder: Path = FOLDER) -> None:
    """Remove services.json."""
    (folder / "services.json").unlink(missing_ok=True)
