"""Does the queue's jobs, keeps its lease alive, and takes over the jobs of workers that died."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig

from plugin.audit.log import record
from plugin.cases import MOVES, CaseState
from plugin.casework import move
from plugin.db import Database, now
from plugin.queue import APPLICATION, APPLICATION_VERSION, DRAFTS, REPORTS
from plugin.settings import Settings
from plugin.tables import Case, WorkerLease

ACTOR = "prelim/worker"
BESIDE = frozenset({"retire", "attest"})
"""Jobs about a human's report: they are of account whichever draft is the newest."""
JobFunction = Callable[[str, int, int], None]
"""Takes case id, draft number and attempt."""
DATABASE_PAUSE_SECONDS = 1.0
PEER_THREADS = 4
LAST_JOB_SECONDS = 30
"""How long a worker that stops waits for the jobs in hand."""
QUEUE_POLL_SECONDS = 0.5
"""The longest that a job waits in a queue while a worker is free."""

log = logging.getLogger(__name__)


class NameTaken(Exception):
    """Another live worker has this worker's name."""


class Worker:
    """One worker process: DBOS, its lease, and the watch over the leases of others."""

    def __init__(self, settings: Settings, database: Database, jobs: Mapping[str, JobFunction]) -> None:
        self._settings = settings
        self._database = database
        self._jobs = jobs
        self._stopping = threading.Event()
        self._in_hand: set[tuple[str, str, int]] = set()
        self._pulse = threading.Thread(target=self._keep_alive, name="prelim-lease", daemon=True)

    def start(self) -> None:
        """Take the lease, then start doing jobs; jobs that this worker left behind come first.

        Raises NameTaken when a live worker has the same name.
        """
        self._take_lease()
        for kind, function in self._jobs.items():
            DBOS.workflow(name=kind)(self._guarded(kind, function))
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._database.url,
            "application_version": APPLICATION_VERSION,
            "executor_id": self._settings.executor_id,
            "run_migrations": False,
            "log_level": "WARNING",
        }
        DBOS(config=config)
        DBOS.launch()
        polling = min(self._settings.poll_seconds, QUEUE_POLL_SECONDS)
        DBOS.register_queue(
            DRAFTS,
            worker_concurrency=self._settings.worker_threads,
            partition_concurrency=1,
            polling_interval_sec=polling,
        )
        DBOS.register_queue(
            REPORTS,
            worker_concurrency=PEER_THREADS,
            partition_concurrency=1,
            polling_interval_sec=polling,
        )
        self._pulse.start()

    def stop(self) -> None:
        """Finish the jobs in hand, give the lease back, and stop."""
        self._stopping.set()
        if self._pulse.is_alive():
            self._pulse.join()
        DBOS.destroy(workflow_completion_timeout_sec=LAST_JOB_SECONDS, destroy_registry=True)
        if self._in_hand:
            # The lease runs out by itself, and then another worker takes over what we could not finish.
            log.warning("%d jobs did not finish in time; another worker takes them over.", len(self._in_hand))
            return
        with self._database.write() as session:
            lease = session.get(WorkerLease, self._settings.executor_id)
            if lease:
                session.delete(lease)

    def _guarded(self, kind: str, function: JobFunction) -> JobFunction:
        """A job that loses no case to an error nobody foresaw, and waits for a database that is away."""

        def job(case_id: str, number: int, attempt: int) -> None:
            work = function
            self._in_hand.add((kind, case_id, number))
            while True:
                try:
                    work(case_id, number, attempt)
                except sa.exc.OperationalError:
                    log.warning("The database did not answer during a %s job; it is tried again.", kind)
                    self._stopping.wait(DATABASE_PAUSE_SECONDS)
                except Exception as error:
                    if work is not function:
                        self._in_hand.discard((kind, case_id, number))
                        raise
                    # Only the kind of error: its words may quote a patient.
                    log.error("A %s job failed with %s.", kind, type(error).__name__)
                    work = self._failed(kind, type(error).__name__)
                else:
                    self._in_hand.discard((kind, case_id, number))
                    return

        job.__qualname__ = job.__name__ = kind
        return job

    def _failed(self, kind: str, error: str) -> JobFunction:
        """What is done after an error that nobody foresaw: the case says so, and fails where it still can."""
        reason = f"An error that nobody foresaw ({error}) in a {kind} job."

        def tell(case_id: str, number: int, _attempt: int) -> None:
            with self._database.write() as session:
                case = session.get_one(Case, case_id)
                if case.draft_number != number and kind not in BESIDE:
                    return  # A newer draft is due: what became of this one is of no account.
                if kind not in BESIDE and CaseState.FAILED in MOVES[CaseState(case.state)]:
                    move(session, case, CaseState.FAILED, ACTOR, reason=reason, details={"draft": number})
                else:
                    case.reason = reason if kind not in BESIDE else f"{case.reason} {reason}".lstrip()
                    details = {"number" if kind == "attest" else "draft": number, "reason": reason}
                    record(session, ACTOR, f"{kind}.failed", case_id=case_id, details=details)

        return tell

    # --- leases -------------------------------------------------------------------------------------

    def _take_lease(self) -> None:
        """Wait until no live worker has our name (a restart after a crash waits for its own old lease)."""
        name = self._settings.executor_id
        lease = timedelta(seconds=self._settings.worker_lease_seconds)
        first_seen = None
        while True:
            with self._database.write() as session:
                row = session.get(WorkerLease, name)
                if row is None or row.seen_at < now() - lease:
                    session.merge(WorkerLease(executor_id=name, seen_at=now()))
                    return
                seen = row.seen_at
            if first_seen is not None and seen != first_seen:
                raise NameTaken(
                    f"A worker named {name!r} is alive. Give this one another PRELIM_WORKER_NAME."
                )
            first_seen = seen
            self._stopping.wait(self._settings.worker_lease_seconds / 3)

    def _keep_alive(self) -> None:
        while not self._stopping.wait(self._settings.worker_lease_seconds / 3):
            try:
                self._renew()
            except sa.exc.OperationalError:
                log.warning("The database did not answer; the lease of this worker was not renewed.")

    def _renew(self) -> None:
        name = self._settings.executor_id
        limit = now() - timedelta(seconds=self._settings.worker_lease_seconds)
        with self._database.write() as session:
            session.merge(WorkerLease(executor_id=name, seen_at=now()))
            dead = session.scalars(
                sa.select(WorkerLease.executor_id).where(WorkerLease.seen_at < limit)
            ).all()
        if not dead:
            return
        # The queue hands each job of the dead to one live worker, however many of us ask.
        DBOS._recover_pending_workflows(list(dead))
        with self._database.write() as session:
            gone = sa.delete(WorkerLease).where(
                WorkerLease.executor_id.in_(dead), WorkerLease.seen_at < limit
            )
            if session.execute(gone).rowcount:  # type: ignore[attr-defined]
                record(
                    session, ACTOR, "worker.lost", details={"workers": sorted(dead), "taken_over_by": name}
                )
