"""Trying again later, durably: the wait is a job in the queue, not a sleeping thread."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from plugin.audit.log import record
from plugin.casework import Enqueue, Job
from plugin.db import now
from plugin.settings import Settings
from plugin.tables import Case

LONGEST_SECONDS = 300.0
LONGEST_ASKED_SECONDS = 3600.0
"""A peer may ask to be left alone for so long; what it asks beyond that is tried anyway."""


def delay_seconds(attempt: int, first_seconds: float) -> float:
    """How long to wait after the given attempt (0 for the first): doubling, at most five minutes."""
    return min(first_seconds * 2.0 ** min(attempt, 30), LONGEST_SECONDS)


def retry(
    session: Session,
    case: Case,
    job: Job,
    reason: str,
    settings: Settings,
    enqueue: Enqueue,
    actor: str,
    *,
    asked_seconds: float | None = None,
) -> None:
    """Ask for a job again in the caller's transaction; the case says what it waits for and keeps its state.

    asked_seconds: how long the peer asked to be left alone (Unreachable.retry_after_seconds).
    There is no last attempt: a peer that is down for a weekend finds every draft on Monday.
    """
    asked = min(asked_seconds or 0.0, LONGEST_ASKED_SECONDS)
    wait = max(delay_seconds(job.attempt, settings.retry_seconds), asked)
    case.reason = f"Waiting: {reason} Attempt {job.attempt + 2} follows in {wait:g} s."
    case.updated_at = now()
    record(
        session,
        actor,
        f"{job.kind}.waits",
        case_id=case.id,
        details={"attempt": job.attempt + 1, "again_in_seconds": wait, "reason": reason},
    )
    enqueue(session, replace(job, attempt=job.attempt + 1, delay_seconds=wait))
