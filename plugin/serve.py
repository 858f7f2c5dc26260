"""Prelim as a service: the listener, the worker and the pages, together or each in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection
from contextlib import ExitStack

import sqlalchemy as sa
from waitress.server import create_server

from connectors.hl7.mllp import MllpServer, running
from plugin.migrate import migrate
from plugin.pipeline import Pipeline
from plugin.settings import SettingError, Settings
from plugin.web.app import create_app
from plugin.worker import Worker

PARTS = ("listen", "work", "web")
WEB_PULSE_SECONDS = 0.25
WEB_THREADS = 8

log = logging.getLogger(__name__)


class Service:
    """The running parts. `start` returns when all of them take work."""

    def __init__(self, settings: Settings, parts: Collection[str] = PARTS) -> None:
        self._settings = settings
        self._parts = parts
        self.mllp_port = 0
        self.http_port = 0
        self._stopping = threading.Event()
        self._running = ExitStack()

    def start(self) -> None:
        """Migrate, then start each part. Raises SettingError or NameTaken; nothing is left running then."""
        with self._running:
            self.pipeline = Pipeline(self._settings)
            self._running.callback(self.pipeline.close)
            try:
                migrate(self.pipeline.database)
            except sa.exc.OperationalError as error:
                raise SettingError(
                    f"PRELIM_DATABASE_URL: the database does not answer ({type(error.orig).__name__})."
                ) from None
            for part, start in (
                ("listen", self._start_listener),
                ("web", self._start_web),
                ("work", self._start_worker),
            ):
                if part in self._parts:
                    start()
            # All of them run: from here on they end with `stop`, not with this block.
            self._running = self._running.pop_all()

    def stop(self) -> None:
        """Stop the parts, the latest started first; the worker finishes the jobs in hand."""
        self._stopping.set()
        self._running.close()

    def _start_worker(self) -> None:
        jobs = {"draft": self.pipeline.drafting().draft}
        if not self._settings.shadow:
            jobs["publish"] = self.pipeline.publishing().publish
            jobs["deliver"] = self.pipeline.delivering().deliver
        worker = Worker(self._settings, self.pipeline.database, jobs)
        worker.start()
        self._running.callback(worker.stop)
        watching = threading.Thread(target=self._watch, name="prelim-watch", daemon=True)
        watching.start()
        self._running.callback(watching.join)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                self.pipeline.watch.round()
            except Exception as error:
                # Only the kind of error: its words may quote a patient.
                log.error("A watch round ended with %s; the next one follows.", type(error).__name__)
            self._stopping.wait(self._settings.poll_seconds)

    def _start_listener(self) -> None:
        async def handle(payload: bytes, peer: str) -> bytes:
            return await asyncio.to_thread(self.pipeline.intake.receive, payload, peer)

        settings = self._settings
        server = MllpServer(
            settings.mllp_host,
            settings.mllp_port,
            handle,
            frame_cap_bytes=settings.mllp_frame_bytes,
            idle_timeout_seconds=settings.mllp_idle_seconds,
            max_connections=settings.mllp_connections,
        )
        try:
            self.mllp_port = self._running.enter_context(running(server))
        except OSError as error:
            raise _taken("PRELIM_MLLP", settings.mllp_host, settings.mllp_port, error) from None

    def _start_web(self) -> None:
        settings = self._settings
        app = create_app(self.pipeline.database, settings)
        try:
            server = create_server(
                app, host=settings.http_host, port=settings.http_port, ident=None, threads=WEB_THREADS
            )
        except OSError as error:
            raise _taken("PRELIM_HTTP", settings.http_host, settings.http_port, error) from None
        self.http_port = int(server.effective_port)

        def run() -> None:
            # waitress's own loop only ends by a signal; closing it from another thread breaks it mid-poll.
            while not self._stopping.is_set():
                server.asyncore.loop(timeout=WEB_PULSE_SECONDS, map=server._map, count=1)
            server.task_dispatcher.shutdown()
            server.close()

        serving = threading.Thread(target=run, name="prelim-web", daemon=True)
        serving.start()
        self._running.callback(serving.join)
        self._running.callback(self._stopping.set)


def _taken(prefix: str, host: str, port: int, error: OSError) -> SettingError:
    return SettingError(
        f"{prefix}_HOST and {prefix}_PORT: {host}:{port} cannot be listened on ({error.strerror or error})."
    )
