"""`python -m tests.services start|stop|status`: start, end or show the peers of the integration tests."""

from __future__ import annotations

import fcntl
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.services import debian, fhir, keycloak, medplum, orthanc, postgres, process, state, validator

PEERS: dict[str, ModuleType] = {
    "fhir": fhir,
    "medplum": medplum,
    "validator": validator,
    "keycloak": keycloak,
    "orthanc": orthanc,
    "postgres": postgres,
}
BUILT = ("fhir", "validator")
"""Peers that run from what Maven builds, in one folder."""
# SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
POLITE_SIGNALS = {"postgres": signal.SIGINT}


@contextmanager
def only_one() -> Iterator[None]:
    """Keep two starters of one checkout apart."""
    state.FOLDER.mkdir(parents=True, exist_ok=True)
    with (state.FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_up(name: str, services: dict[str, Any]) -> bool:
    """Whether a peer that we started still runs and answers."""
    ours = services.get("processes", {}).get(name)
    return process.is_running(ours) and bool(PEERS[name].is_healthy(services))


def start() -> None:
    """Install what is missing, build, start what does not answer, wait until everything does.

    What runs and answers is kept.
    """
    began = time.monotonic()
    services = state.read()
    services.setdefault("processes", {})
    services.setdefault("logs", {})
    down = [name for name in PEERS if not is_up(name, services)]
    debian.install(
        [package for name in down for package in PEERS[name].missing_packages()], state.FOLDER / "apt.log"
    )
    if any(name in BUILT for name in down) and not fhir.is_built(state.FOLDER / "fhir"):
        # What runs from the old build cannot go on without its files.
        down = [name for name in PEERS if name in down or name in BUILT]
        for name in BUILT:
            _end(name, services)
        fhir.build(state.FOLDER / "fhir")
    if "keycloak" in down:
        keycloak.build(state.FOLDER / "keycloak")
    for name in down:
        _end(name, services)
        pid, addresses, log = PEERS[name].start(state.FOLDER / name)
        services.update(addresses)
        services["processes"][name] = process.identity(pid)
        services["logs"][name] = str(log)
        state.write(services)  # at once: what is started can be ended, whatever happens next
    for name in down:
        log = Path(services["logs"][name])
        process.wait_until(name, partial(PEERS[name].is_healthy, services), services["processes"][name], log)
    show(services)
    process.say(f"{len(down)} started, {len(PEERS) - len(down)} kept, {time.monotonic() - began:.0f} s")


def _end(name: str, services: dict[str, Any]) -> None:
    ours = services["processes"].pop(name, None)
    if ours:
        process.end(ours, politely=POLITE_SIGNALS.get(name, signal.SIGTERM))


def stop() -> None:
    """End the processes that `start` started, and nothing else."""
    services = state.read()
    for name in list(services.get("processes", {})):
        _end(name, services)
        process.say(f"{name}: ended")
    state.forget()


def show(services: dict[str, Any]) -> None:
    """Print where the peers answer; the password stays in services.json."""
    for key in ("fhir", "medplum", "validator", "keycloak", "orthanc", "dicomweb", "postgres"):
        address = services.get(key, "not started")
        shown = (
            address.partition("://")[0] + "://" + address.rpartition("@")[2] if "@" in address else address
        )
        process.say(f"{key:9} {shown}")
    process.say(f"all addresses are in {state.FOLDER / 'services.json'}")


def main(arguments: list[str]) -> int:
    """Run one command; gives the exit status."""
    commands: dict[str, Callable[[], None]] = {
        "start": start,
        "stop": stop,
        "status": lambda: show(state.read()),
    }
    if len(arguments) != 1 or arguments[0] not in commands:
        print("usage: python -m tests.services start|stop|status", file=sys.stderr)
        return 2
    try:
        with only_one():
            commands[arguments[0]]()
    except process.ServiceError as error:
        print(f"services: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
