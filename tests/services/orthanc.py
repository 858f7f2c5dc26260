"""Orthanc with its DICOMweb plugin, from Debian's packages, with storage and settings of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.services.loopback import HOST, answers, free_port
from tests.services.process import ServiceError, launch

BINARIES = (Path("/usr/sbin/Orthanc"), Path("/usr/bin/Orthanc"))
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SECONDS_UNTIL_STABLE = 1


def missing_packages() -> list[str]:
    """Debian packages that Orthanc still needs."""
    packages = []
    if not any(path.exists() for path in BINARIES):
        packages.append("orthanc")
    if not PLUGIN.exists():
        packages.append("orthanc-dicomweb")
    return packages


def settings(folder: Path, port: int) -> dict[str, object]:
    """What Orthanc is told: loopback only, no password, no DIMSE, studies stable after a second."""
    return {
        "Name": "Prelim tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "StableAge": SECONDS_UNTIL_STABLE,
        "SaveJobs": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False, "Host": HOST, "Ssl": False},
    }


def start(folder: Path) -> tuple[int, dict[str, str], Path]:
    """Start Orthanc with an empty archive. Gives its process id, what to write down, and its log."""
    binary = next((path for path in BINARIES if path.exists()), None)
    if binary is None:
        raise ServiceError("expected Orthanc in /usr/sbin after its package was installed, found none")
    shutil.rmtree(folder / "storage", ignore_errors=True)
    (folder / "storage").mkdir(parents=True)
    port = free_port()
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings(folder, port), indent=2), encoding="utf-8")
    log = folder / "orthanc.log"
    process = launch([str(binary), str(configuration)], log, cwd=folder)
    root = f"http://{HOST}:{port}"
    return process.pid, {"orthanc": root, "dicomweb": f"{root}/dicom-web"}, log


def is_healthy(services: dict[str, str]) -> bool:
    """Whether both the archive and its DICOMweb plugin answer."""
    return answers(f"{services['orthanc']}/system") and answers(f"{services['dicomweb']}/studies?limit=1")
