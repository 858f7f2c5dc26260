"""PostgreSQL with a cluster of its own; never as root, which the server refuses."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from tests.services.loopback import HOST, free_port
from tests.services.process import ServiceError, launch

NAME = "prelim"
SYSTEM_USER = "postgres"
VERSIONS = Path("/usr/lib/postgresql")
PROTOCOL_3 = 196608
"""Protocol version 3.0 as the startup message carries it (PostgreSQL documentation, 55.7)."""


def binaries() -> Path | None:
    """The bin folder of the newest server that Debian's packages installed."""
    found = [
        path for path in VERSIONS.glob("*/bin") if (path / "initdb").exists() and (path / "postgres").exists()
    ]
    return max(found, key=lambda path: float(path.parent.name), default=None)


def missing_packages() -> list[str]:
    """Debian packages that PostgreSQL still needs."""
    return ["postgresql"] if binaries() is None else []


def _as_whom(folder: Path) -> tuple[list[str], str | None]:
    """How to run the server: a command to put in front, and the user to become.

    A checkout in a folder that only root may enter, such as /root, is out of the server's reach: there it
    keeps the one capability that passes closed folders, and is otherwise the same unprivileged user.
    """
    if os.geteuid() != 0:
        return [], None
    reachable = subprocess.run(["test", "-x", str(folder)], user=SYSTEM_USER, group=SYSTEM_USER, check=False)
    if reachable.returncode == 0:
        return [], SYSTEM_USER
    capability = "+dac_override"
    prefix = ["setpriv", f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--clear-groups"]
    return [*prefix, f"--inh-caps={capability}", f"--ambient-caps={capability}", "--"], None


def start(folder: Path) -> tuple[int, dict[str, str], Path]:
    """Create a fresh cluster and start it. Gives the process id, what to write down, and the log."""
    found = binaries()
    if found is None:
        raise ServiceError(f"expected a server under {VERSIONS} after its package was installed, found none")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        shutil.chown(folder, SYSTEM_USER, SYSTEM_USER)
    prefix, user = _as_whom(folder)
    password = secrets.token_hex(16)
    data, password_file = folder / "data", folder / "password"
    password_file.write_text(password, encoding="utf-8")
    if os.geteuid() == 0:
        shutil.chown(password_file, SYSTEM_USER, SYSTEM_USER)
    password_file.chmod(0o600)
    initialise = [
        *prefix,
        str(found / "initdb"),
        f"--pgdata={data}",
        f"--username={NAME}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    ]
    made = subprocess.run(
        initialise, cwd=folder, user=user, group=user, capture_output=True, text=True, check=False
    )
    password_file.unlink()
    if made.returncode != 0:
        raise ServiceError(f"initdb failed with {made.returncode}: {made.stderr.strip()}")
    single = [*prefix, str(found / "postgres"), "--single", "-D", str(data), "postgres"]
    subprocess.run(
        single,
        cwd=folder,
        user=user,
        group=user,
        input=f"CREATE DATABASE {NAME};\n",
        capture_output=True,
        text=True,
        check=True,
    )
    port = free_port()
    options = {
        "listen_addresses": HOST,
        "port": port,
        # TCP is enough, and in a deep checkout a socket's path would exceed its 107 bytes.
        "unix_socket_directories": "",
        "max_connections": 100,
        "shared_buffers": "64MB",
    }
    command = [*prefix, str(found / "postgres"), "-D", str(data)]
    for key, value in options.items():
        command += ["-c", f"{key}={value}"]
    log = folder.parent / "postgres.log"
    process = launch(command, log, cwd=folder, user=user)
    return process.pid, {"postgres": f"postgresql+psycopg://{NAME}:{password}@{HOST}:{port}/{NAME}"}, log


def is_healthy(services: dict[str, str]) -> bool:
    """Whether the server answers a startup message by asking for the password: it then takes connections."""
    port = urlsplit(services["postgres"]).port
    body = struct.pack("!i", PROTOCOL_3) + f"user\0{NAME}\0database\0{NAME}\0\0".encode()
    try:
        with socket.create_connection((HOST, port), timeout=5) as connection:
            connection.sendall(struct.pack("!i", len(body) + 4) + body)
            return connection.recv(1) == b"R"
    except OSError:
        return False
