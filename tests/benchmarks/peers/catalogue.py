"""Which peers there are, and how each is made ready and started."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.machine import release
from tests.benchmarks.table import Progress
from tests.services.state import FOLDER

HERE = Path(__file__).parent
BUILT = FOLDER / "bench"
_HEAP = "-Xmx512m"


class Absent(Exception):
    """A peer cannot be run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A listener of others that can be started."""

    name: str
    """With its version, as the table names it."""
    command: Sequence[str]
    warm_up: int = 200
    """Messages that it takes before any figure counts: a virtual machine compiles what it runs often."""
    orders_acks: bool = True
    """Whether answers on one connection come in the order of the messages."""


def ready(
    names: Sequence[str], progress: Progress, folder: Path = BUILT
) -> tuple[dict[str, Peer], list[str]]:
    """The peers of these names that can be run, built where need be, and for each other one why not."""
    found: dict[str, Peer] = {}
    absent: list[str] = []
    for name in names:
        try:
            found[name] = PEERS[name](progress, folder / name)
        except Absent as error:
            absent.append(str(error))
    return found, absent


def python_hl7(progress: Progress, folder: Path) -> Peer:
    """python-hl7's asyncio server."""
    found = release("hl7")
    if not found:
        raise Absent("the peer python-hl7 is not installed: pip install -e '.[bench]'")
    return Peer(
        f"python-hl7 {found} asyncio server", [sys.executable, "-m", "tests.benchmarks.peers.python_hl7"]
    )


def hapi_hl7v2(progress: Progress, folder: Path) -> Peer:
    """HAPI HL7v2's SimpleServer, built by Maven."""
    sources = HERE / "hapi_hl7v2"
    java = _version(["java", "-version"], "HAPI HL7v2")
    for tool in ("javac", "mvn"):
        _needed(tool, "HAPI HL7v2")
    target = folder / "target"
    build = ["mvn", "-B", "-ntp", f"-Dout={target}", "package"]
    _built("HAPI HL7v2", sources, folder, build, sources, progress)
    wanted = re.search("<hapi.version>(.+)</hapi.version>", (sources / "pom.xml").read_text(encoding="utf-8"))
    assert wanted is not None
    classes = f"{target / 'listener.jar'}:{target / 'lib'}/*"
    return Peer(
        f"HAPI HL7v2 {wanted[1]} SimpleServer, Java {java}",
        ["java", _HEAP, "-cp", classes, "prelim.bench.Listener"],
        warm_up=10_000,
        orders_acks=False,
    )


def medplum_hl7(progress: Progress, folder: Path) -> Peer:
    """@medplum/hl7's Hl7Server on Node."""
    sources = HERE / "medplum_hl7"
    node = _version(["node", "--version"], "@medplum/hl7")
    _needed("npm", "@medplum/hl7")
    install = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    _built("@medplum/hl7", sources, folder, install, folder, progress)
    wanted = json.loads((sources / "package.json").read_text(encoding="utf-8"))["dependencies"][
        "@medplum/hl7"
    ]
    return Peer(f"@medplum/hl7 {wanted} Hl7Server, Node {node}", ["node", str(folder / "server.mjs")], 1_000)


PEERS: dict[str, Callable[[Progress, Path], Peer]] = {
    "python-hl7": python_hl7,
    "hapi": hapi_hl7v2,
    "medplum": medplum_hl7,
}


def _needed(tool: str, peer: str) -> None:
    if shutil.which(tool) is None:
        raise Absent(f"the peer {peer} needs {tool}, which is not installed")


def _version(command: list[str], peer: str) -> str:
    _needed(command[0], peer)
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"[0-9]+(\.[0-9]+)*", said.stdout + said.stderr)
    if found is None:
        raise Absent(f"the peer {peer} needs {command[0]}, which does not say its version")
    return found[0]


def _built(peer: str, sources: Path, folder: Path, command: list[str], cwd: Path, progress: Progress) -> None:
    """Build a peer into `folder`, which gets a copy of its sources, unless it was built from these very ones.

    Raises Absent when the build fails.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in sources.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(sources)).encode())
        digest.update(path.read_bytes())
    stamp, log = folder / "built-from", folder / "build.log"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == digest.hexdigest():
        return
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sources, folder)
    progress(f"building {peer} (log: {log})")
    with log.open("wb") as output:
        made = subprocess.run(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT, check=False)
    if made.returncode != 0:
        raise Absent(
            f"the peer {peer} could not be built: {command[0]} ended with {made.returncode}; see {log}"
        )
    stamp.write_text(digest.hexdigest(), encoding="utf-8")
