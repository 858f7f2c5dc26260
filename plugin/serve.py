"""Prelim as a service: the listener, the worker and the pages, together or each in a process of its own."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack

import sqlalchemy as sa
from waitress.server import create_server

from connectors.errors import ExchangeError
from connectors.hl7.ack import AckMode
from connectors.hl7.mllp import MllpServer, Senders, running
from connectors.tls import TlsFileError, server_context
from plugin.listeners import Listener
from plugin.migrate import migrate
from plugin.pipeline import Pipeline
from plugin.pruning import prune_due
from plugin.reception import Reception
from plugin.settings import SettingError, Settings
from plugin.web.app import create_app
from plugin.worker import Worker

PARTS = ("listen", "work", "web")
WEB_PULSE_SECONDS = 0.25
WEB_THREADS = 8
PRUNING_SECONDS = 3600.0
"""How often the bodies of old messages are erased."""
COLLECT_AFTER = 50_000
"""New objects between two rounds of Python's search for circles."""
_HOST_AND_PORT = "PRELIM_{0}_HOST and PRELIM_{0}_PORT"

log = logging.getLogger(__name__)


class Service:
    """The running parts. `start` returns when all of them take work."""

    def __init__(self, settings: Settings, parts: Collection[str] = PARTS) -> None:
        self._settings = settings
        self._parts = parts
        self.mllp_ports: dict[str, int] = {}
        self.http_port = 0
        self._stopping = threading.Event()
        self._noticed = threading.Event()
        """The FHIR server told of something that waits to be looked at."""
        self._running = ExitStack()

    @property
    def mllp_port(self) -> int:
        """The port of the first HL7 listener; 0 where none runs."""
        return next(iter(self.mllp_ports.values()), 0)

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
                ("listen", self._start_listeners),
                ("web", self._start_web),
                ("work", self._start_worker),
            ):
                if part in self._parts:
                    start()
            _calm_collector()
            # All of them run: from here on they end with `stop`, not with this block.
            self._running = self._running.pop_all()

    def stop(self) -> None:
        """Stop the parts, the latest started first; the worker finishes the jobs in hand."""
        self._stopping.set()
        self._noticed.set()
        self._running.close()

    def _start_worker(self) -> None:
        pipeline = self.pipeline
        drafter = pipeline.drafter()
        withdrawing = pipeline.withdrawing()
        jobs = {
            "draft": pipeline.drafting(drafter).draft,
            "conclude": pipeline.concluding(drafter).conclude,
            "withdraw": withdrawing.withdraw,
            "retire": withdrawing.retire,
            "attest": pipeline.attesting().attest,
        }
        if not self._settings.shadow:
            jobs["publish"] = pipeline.publishing().publish
        senders = pipeline.senders()
        casting = pipeline.casting() if self._settings.fhircast_hub else None
        worker = Worker(self._settings, pipeline.database, jobs)
        worker.start()
        self._running.callback(worker.stop)
        self._in_thread("prelim-watch", self._repeat, "watch", pipeline.watch.round, self._stopping)
        if pipeline.following:
            self._in_thread("prelim-following", self._repeat, "FHIR", pipeline.following.round, self._noticed)
            self._running.callback(self._noticed.set)
        for sender in senders:
            self._in_thread("prelim-sender", sender.run, self._stopping)
        if casting:
            self._in_thread("prelim-cast", casting.run, self._stopping)
        if self._settings.message_days:
            self._in_thread("prelim-pruning", self._prune)

    def _in_thread(self, name: str, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, name=name, daemon=True)
        thread.start()
        self._running.callback(thread.join)
        self._running.callback(self._stopping.set)

    def _repeat(self, name: str, look: Callable[[], None], sooner: threading.Event) -> None:
        """Look again and again, and at once when `sooner` says so, which must be set to end it."""
        while not self._stopping.is_set():
            try:
                look()
            except ExchangeError as error:
                log.warning("A %s round ended early: %s", name, error)
            except Exception as error:
                # Only the kind of error: its words may quote a patient.
                log.error("A %s round ended with %s; the next one follows.", name, type(error).__name__)
            if sooner.wait(self._settings.poll_seconds) and not self._stopping.is_set():
                sooner.clear()

    def _prune(self) -> None:
        while not self._stopping.is_set():
            try:
                done = prune_due(self.pipeline.database, self._settings)
                if done.messages:
                    log.info("The bodies of %d old messages were erased.", done.messages)
            except Exception as error:
                log.error("Erasing old messages ended with %s; it is tried again.", type(error).__name__)
            self._stopping.wait(PRUNING_SECONDS)

    def _start_listeners(self) -> None:
        reception = Reception(self.pipeline.intake)
        reception.start()
        self._running.callback(reception.stop)
        for listener in self._settings.hl7_listeners:
            server = _server(listener, reception)
            try:
                self.mllp_ports[listener.name] = self._running.enter_context(running(server))
            except OSError as error:
                own = self._settings.listeners
                name = f"PRELIM_LISTENERS, {listener.name}" if own else _HOST_AND_PORT.format("MLLP")
                raise _taken(name, listener.host, listener.port, error) from None

    def _start_web(self) -> None:
        settings = self._settings
        app = create_app(self.pipeline.database, settings, self.pipeline.intake, self._noticed.set)
        try:
            server = create_server(
                app, host=settings.http_host, port=settings.http_port, ident=None, threads=WEB_THREADS
            )
        except OSError as error:
            name = _HOST_AND_PORT.format("HTTP")
            raise _taken(name, settings.http_host, settings.http_port, error) from None
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


def _calm_collector() -> None:
    """What is loaded by now stays, and a message makes thousands of objects that die with it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _server(listener: Listener, reception: Reception) -> MllpServer:
    tls = None
    if listener.tls_certificate and listener.tls_key:
        try:
            tls = server_context(listener.tls_certificate, listener.tls_key, listener.tls_client_ca)
        except TlsFileError as error:
            raise SettingError(f"PRELIM_LISTENERS, {listener.name}: {error}") from None
    return MllpServer(
        listener.host,
        listener.port,
        reception.receive,
        name=listener.name,
        mode=AckMode(listener.ack_mode),
        frame_cap_bytes=listener.frame_bytes,
        idle_timeout_seconds=listener.idle_seconds,
        quiet_timeout_seconds=listener.quiet_seconds,
        max_connections=listener.connections,
        ssl_context=tls,
        senders=Senders.of(listener.allowed_addresses, listener.allowed_certificates),
    )


def _taken(name: str, host: str, port: int, error: OSError) -> SettingError:
    return SettingError(f"{name}: {host}:{port} cannot be listened on ({error.strerror or error}).")
