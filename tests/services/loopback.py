"""Ports and first answers on 127.0.0.1."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

HOST = "127.0.0.1"


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers(url: str, seconds: float = 20.0) -> bool:
    """Whether a GET is answered with 200. Proxies are ignored: the peer is on this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=seconds) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
