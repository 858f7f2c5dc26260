"""Prelim as a service: the listener, the worker and the pages, together or each in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection
from contextlib import ExitStack

from waitress.server import create_server

from connectors.hl7.mllp import MllpServer, running
from plugin.migrate import migrate
from plugin.pipeline import Pipeline
from plugin.settings import Settings
from plugin.web.app import create_app
from plugin.worker import Worker

PARTS = ("listen", "work", "web")
WEB_PULSE_SECONDS = 0.25

log = logging.getLogger(__name__)


class Service:
    """The running parts. `start` returns when all of them take work; `stop` ends them in reverse order."""

    def __init__(self, settings: Settings, parts: Collection[str] = PARTS) -> None:
        self._settings = settings
        self._parts = parts
        self.mllp_port = 0
        self.http_port = 0
        self._stopping = threading.Event()
        self._listening = ExitStack()

    def start(self) -> None:
        """Migrate, then start each part. Raises SettingError, NameTaken, OSError (a port that is in use)."""
        self.pipeline = Pipeline(self._settings)
        migrate(self.pipeline.database)
        if "work" in self._parts:
            self._start_worker()
        if "listen" in self._parts:
            self._start_listener()
        if "web" in self._parts:
            self._start_web()

    def stop(self) -> None:
        """Stop listening first, then the pages, then the worker when it has finished the jobs in hand."""
        self._stopping.set()
        if "listen" in self._parts:
            self._listening.close()
        if "web" in self._parts:
            self._web_thread.join()
        if "work" in self._parts:
            self._watching.join()
            self._worker.stop()
        self.pipeline.close()

    def _start_worker(self) -> None:
        jobs = {"draft": self.pipeline.drafting().draft}
        if not self._settings.shadow:
            jobs["publish"] = self.pipeline.publishing().publish
            jobs["deliver"] = self.pipeline.delivering().deliver
        self._worker = Worker(self._settings, self.pipeline.database, jobs)
        self._worker.start()
        self._watching = threading.Thread(target=self._watch, name="prelim-watch", daemon=True)
        self._watching.start()

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
        self.mllp_port = self._listening.enter_context(running(server))

    def _start_web(self) -> None:
        app = create_app(self.pipeline.database, self._settings)
        self._web = create_server(
            app, host=self._settings.http_host, port=self._settings.http_port, ident=None, threads=8
        )
        self.http_port = self._web.effective_port
        self._web_thread = threading.Thread(target=self._run_web, name="prelim-web", daemon=True)
        self._web_thread.start()

    def _run_web(self) -> None:
        # waitress's own loop only ends by a signal; closing it from another thread breaks it mid-poll.
        while not self._stopping.is_set():
            self._web.asyncore.loop(timeout=WEB_PULSE_SECONDS, map=self._web._map, count=1)
        self._web.task_dispatcher.shutdown()
        self._web.close()
