"""HAPI FHIR: its JPA server for R4 on Jetty with H2 in memory, built by Maven from tests/services/hapi."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from tests.services.loopback import HOST, answers, free_port
from tests.services.process import ServiceError, launch, say

SOURCES = Path(__file__).with_name("hapi")
JAVA_WANTED = 17


def missing_packages() -> list[str]:
    """Debian packages that building and running HAPI still needs."""
    packages = []
    if shutil.which("javac") is None or _java_release() < JAVA_WANTED:
        packages.append("default-jdk-headless")
    if shutil.which("mvn") is None:
        packages.append("maven")
    return packages


def _java_release() -> int:
    if shutil.which("java") is None:
        return 0
    shown = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', shown)
    return int(found.group(1)) if found else 0


def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in SOURCES.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(SOURCES)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_built(folder: Path) -> bool:
    """Whether `folder`/target was built from these very sources."""
    stamp = folder / "built-from"
    return stamp.exists() and stamp.read_text(encoding="utf-8") == _sources()


def build(folder: Path) -> None:
    """Build the server and the validator into `folder`/target unless they are built already."""
    if is_built(folder):
        return
    stamp = folder / "built-from"
    target, log = folder / "target", folder / "build.log"
    shutil.rmtree(target, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    say(f"fhir: building HAPI FHIR with Maven (log: {log})")
    maven = ["mvn", "-B", "-ntp", f"-Dout={target}", "package"]
    for last_try in (False, True):  # a registry may stumble once; what it gave stays in ~/.m2
        with log.open("wb") as output:
            made = subprocess.run(maven, cwd=SOURCES, stdout=output, stderr=subprocess.STDOUT, check=False)
        if made.returncode == 0:
            stamp.write_text(_sources(), encoding="utf-8")
            return
        if last_try:
            end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise ServiceError(f"Maven failed with {made.returncode}; {log} ends with:\n{end}")


def start(folder: Path) -> tuple[int, dict[str, str], Path]:
    """Start the server. Gives its process id, what to write down, and its log."""
    port = free_port()
    log = folder / "hapi.log"
    process = launch(command(folder / "target", "prelim.hapi.Peer", port, "1536m"), log, cwd=folder)
    return process.pid, {"fhir": f"http://{HOST}:{port}/fhir"}, log


def command(target: Path, main: str, port: int, memory: str) -> list[str]:
    """How one of the programs that were built is started. memory: at most so much, as java -Xmx takes it."""
    return [
        "java",
        f"-Xmx{memory}",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",  # a test server lives for minutes: start-up matters, peak speed does not
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-cp",
        f"{target / 'hapi.jar'}:{target / 'lib'}/*",
        main,
        str(port),
    ]


def is_healthy(services: dict[str, str]) -> bool:
    """Whether the server gives its CapabilityStatement."""
    return answers(f"{services['fhir']}/metadata")
