"""Installs Debian packages that are missing, without starting the system services that come with them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.services.process import ServiceError, say

# Debian's packages start their service when installed; policy-rc.d answering 101 forbids that. A file
# that is already there belongs to the machine and stays as it is.
INSTALL = """
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\\nexit 101\\n' > "$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get -q update
apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@"
"""


def install(packages: Sequence[str], log: Path) -> None:
    """Install packages with apt-get, as root or through sudo.

    Raises ServiceError when this is no Debian, when neither root nor sudo is there, or when apt fails.
    """
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise ServiceError(f"expected Debian's apt-get, found none: install {' '.join(packages)} by hand")
    command = ["sh", "-c", INSTALL, "install", *packages]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            raise ServiceError(f"expected root or sudo to install {' '.join(packages)}: install them by hand")
        command = ["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", *command]
    say(f"installing {' '.join(packages)} (log: {log})")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        finished = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if finished.returncode != 0:
        end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise ServiceError(f"apt-get failed with {finished.returncode}; {log} ends with:\n{end}")
