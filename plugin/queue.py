"""Durable jobs on DBOS: enqueued in the caller's transaction, done by any worker, in order per accession."""

from __future__ import annotations

from dbos import DBOSClient, EnqueueOptions
from sqlalchemy.orm import Session

from plugin.casework import Job
from plugin.db import Database

APPLICATION = "prelim"
APPLICATION_VERSION = "1"
"""Pinned: a new release picks up the work that an old one left. Raised only when a job's arguments change."""

DRAFTS = "prelim-drafts"
REPORTS = "prelim-reports"
QUEUES = {
    "draft": DRAFTS,
    "conclude": DRAFTS,
    "publish": REPORTS,
    "withdraw": REPORTS,
    "retire": REPORTS,
    "attest": REPORTS,
}


class WorkQueue:
    """Puts jobs in the queue; needs no worker in this process."""

    def __init__(self, database: Database) -> None:
        self._client = DBOSClient(
            system_database_engine=database.engine,
            application_name=APPLICATION,
            lazy=True,
            # A sender waits for its answer: a database that is away is said, not waited for.
            retry_connection_errors=False,
        )

    def enqueue(self, session: Session, job: Job) -> None:
        """Add a job in the session's own transaction; the same job twice is one job."""
        options: EnqueueOptions = {
            "workflow_name": job.kind,
            "queue_name": QUEUES[job.kind],
            "workflow_id": f"{job.kind}-{job.case_id}-{job.number}-{job.attempt}",
            "app_version": APPLICATION_VERSION,
            # A case is an accession; its own id keeps the accession number out of the queue's tables.
            "queue_partition_key": job.case_id,
        }
        if job.delay_seconds:
            options["delay_seconds"] = job.delay_seconds
        self._client.enqueue_in_transaction(session, options, job.case_id, job.number, job.attempt)

    def close(self) -> None:
        """Let go of the database."""
        self._client.destroy()
