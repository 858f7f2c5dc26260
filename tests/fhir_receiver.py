"""A place on loopback that notifications can be sent to: it keeps what came, for tests to wait for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

import pytest

from connectors.fhir.notices.notifications import Notification, read_notification

PATH = "/notify/fhir"


@dataclass(frozen=True)
class Call:
    """One request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def read(self, base_url: str) -> Notification:
        """What our own reader makes of it."""
        return read_notification(self.body, self.path.removeprefix(PATH), base_url=base_url)


class Receiver:
    """Answers every request with `status`."""

    def __init__(self) -> None:
        calls: Queue[Call] = Queue()
        self.calls = calls
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                # Answered only once it is kept: whoever sent it may ask at once what came.
                calls.put(Call(self.command, self.path, dict(self.headers.items()), body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_PUT = do_DELETE = _take  # noqa: N815 - the parent's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's word
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}{PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def next(self) -> Call:
        """The next request, waited for."""
        return self.calls.get(timeout=60)

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of notifications, of this test alone."""
    receiver = Receiver()
    yield receiver
    receiver.close()
