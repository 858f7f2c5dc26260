"""Keycloak, the OAuth 2.0 server: its distribution from Maven Central, in development mode on loopback."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

from tests.services import fhir
from tests.services.loopback import HOST, answers, free_port
from tests.services.process import ServiceError, launch, say

VERSION = "26.7.3"
ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
REALM = "prelim"
USER = "prelim"
SCOPE = "system/*.cruds"
TOKEN_SECONDS = 60
BUILT = 10
"""Keycloak's exit status when it only took its build options in."""
THREADS = "io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory"


def missing_packages() -> list[str]:
    """Debian packages that fetching and running Keycloak still needs."""
    return fhir.missing_packages()


def build(folder: Path) -> None:
    """Fetch the distribution into `folder`/server unless this version is there."""
    home = _home(folder)
    if home.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    log, fetched, fresh = folder / "fetch.log", folder / "fetched", folder / "unpacked"
    say(f"keycloak: fetching {VERSION} with Maven (log: {log})")
    fetch = ["mvn", "-B", "-ntp", COPY, f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={fetched}"]
    for last_try in (False, True):  # a registry may stumble once
        with log.open("wb") as output:
            made = subprocess.run(fetch, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False)
        if made.returncode == 0:
            break
        if last_try:
            end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise ServiceError(f"Maven failed with {made.returncode}; {log} ends with:\n{end}")
    shutil.rmtree(fresh, ignore_errors=True)
    with zipfile.ZipFile(fetched / f"keycloak-quarkus-dist-{VERSION}.zip") as archive:
        archive.extractall(fresh)
    say("keycloak: taking its build options in")
    unpacked = fresh / home.name
    with log.open("ab") as output:
        take_in = command(unpacked, 0, built=False)
        made = subprocess.run(take_in, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False)
    if made.returncode != BUILT:
        raise ServiceError(f"Keycloak ended with {made.returncode} instead of {BUILT}; see {log}")
    unpacked.rename(home)
    shutil.rmtree(fetched)
    shutil.rmtree(fresh)


def realm() -> dict[str, object]:
    """The realm that is imported at every start; tests add clients of their own by the admin's REST API."""
    return {
        "realm": REALM,
        "enabled": True,
        "sslRequired": "none",
        "accessTokenLifespan": TOKEN_SECONDS,
        "clientScopes": [
            {
                "name": SCOPE,
                "protocol": "openid-connect",
                "attributes": {"include.in.token.scope": "true"},
            }
        ],
    }


def command(home: Path, port: int, *, built: bool = True) -> list[str]:
    """How the server is started: on loopback, its database in memory, fetching changed keys at once.

    It is java itself: kc.sh would stand before it, and whoever ends kc.sh by force leaves java behind.
    built: False puts these options into the distribution and ends with BUILT.
    """
    return [
        "java",
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",  # a test server lives for minutes: start-up matters
        *(["-Dkc.config.built=true"] if built else []),
        f"-Dkc.home.dir={home}",
        f"-Djboss.server.config.dir={home / 'conf'}",
        "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
        f"-Djava.util.concurrent.ForkJoinPool.common.threadFactory={THREADS}",
        "--add-opens=java.base/java.util=ALL-UNNAMED",
        "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
        "--add-opens=java.base/java.security=ALL-UNNAMED",
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        "-cp",
        str(home / "lib" / "quarkus-run.jar"),
        "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
        "start-dev",
        f"--http-host={HOST}",
        f"--http-port={port}",
        "--db=dev-mem",
        "--cache=local",
        "--import-realm",
        # It counts whole seconds: 0 would refuse a second fetch within the second of the first.
        "--spi-public-key-storage--infinispan--min-time-between-requests=-1",
    ]


def start(folder: Path) -> tuple[int, dict[str, str], Path]:
    """Start the server. Gives its process id, what to write down, and its log."""
    home, port, log, password = _home(folder), free_port(), folder / "keycloak.log", secrets.token_hex(16)
    imported = home / "data" / "import"
    imported.mkdir(parents=True, exist_ok=True)
    (imported / f"{REALM}-realm.json").write_text(json.dumps(realm()), encoding="utf-8")
    environment = {
        **os.environ,
        "KC_BOOTSTRAP_ADMIN_USERNAME": USER,
        "KC_BOOTSTRAP_ADMIN_PASSWORD": password,
    }
    process = launch(command(home, port), log, cwd=folder, env=environment)
    return process.pid, {"keycloak": f"http://{USER}:{password}@{HOST}:{port}"}, log


def is_healthy(services: dict[str, str]) -> bool:
    """Whether the realm answers."""
    return answers(f"{root(services['keycloak'])}/realms/{REALM}/.well-known/openid-configuration")


def root(address: str) -> str:
    """The address without the admin's name and password."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}:{parts.port}"


def _home(folder: Path) -> Path:
    return folder / f"keycloak-{VERSION}"
