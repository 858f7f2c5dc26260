"""One move of a case in the caller's transaction, with the leaf that says so."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from plugin.audit.log import record
from plugin.cases import MOVES, CaseState, check_move
from plugin.db import now
from plugin.tables import Case


@dataclass(frozen=True, slots=True)
class Job:
    """Work that a change causes."""

    kind: str
    """draft, conclude, publish, withdraw, retire or attest."""
    case_id: str
    number: int
    """The draft's number, for attest the sign-off's: the same job asked for twice is the same job."""
    attempt: int = 0
    delay_seconds: float = 0.0


_KNOWN = "known cases"
_CASES = sa.select(Case).where(Case.accession.in_(sa.bindparam("accessions", expanding=True)))

Enqueue = Callable[[Session, Job], None]
"""Adds a job in the session's own transaction."""


def move(
    session: Session,
    case: Case,
    state: CaseState,
    actor: str,
    *,
    reason: str = "",
    message_id: int | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Move a case, or keep its state and change the reason, and say so in the log."""
    before = CaseState(case.state)
    if before is not state:
        check_move(before, state)
    case.state = state.value
    case.reason = reason
    case.updated_at = now()
    record(
        session,
        actor,
        f"case.{state.value.lower()}",
        case_id=case.id,
        message_id=message_id,
        details={"from": before.value, "reason": reason, **(details or {})},
    )


def find_case(session: Session, accession: str) -> Case | None:
    """The case of an accession."""
    known: dict[str, Case | None] = session.info.get(_KNOWN, {})
    if accession in known:
        return known[accession]
    return session.scalar(sa.select(Case).where(Case.accession == accession))


def remember_cases(session: Session, accessions: Collection[str]) -> None:
    """Look up the cases of many accessions with one query; `find_case` then asks no more.

    For a writing session only: nobody else can open a case until it ends.
    """
    if not accessions:
        return
    known: dict[str, Case | None] = session.info.setdefault(_KNOWN, {})
    known.update(dict.fromkeys(accessions))
    found = session.scalars(_CASES, {"accessions": sorted(accessions)})
    known.update((case.accession, case) for case in found)


def open_case(session: Session, accession: str, actor: str, message_id: int | None, cause: str) -> Case:
    """A new case, with the leaf that says what opened it."""
    at = now()
    case = Case(
        id=uuid.uuid4().hex,
        accession=accession,
        state=CaseState.RECEIVED.value,
        reason="",
        order={},
        patient_identifier="",
        assigning_authority="",
        study_instance_uid="",
        draft_number=0,
        created_at=at,
        updated_at=at,
    )
    session.add(case)
    session.info.setdefault(_KNOWN, {})[accession] = case
    record(
        session, actor, "case.opened", case_id=case.id, message_id=message_id, details={"by": cause}, at=at
    )
    return case


def hold(session: Session, case: Case, actor: str, reason: str, message_id: int | None = None) -> None:
    """Hold a case: nothing leaves until a human replays it."""
    state = CaseState(case.state)
    if state is CaseState.HELD or CaseState.HELD in MOVES[state]:
        move(session, case, CaseState.HELD, actor, reason=reason, message_id=message_id)
    else:
        # A human's report stands: there is nothing left to hold, but what came is not forgotten.
        record(
            session,
            actor,
            "case.mismatch",
            case_id=case.id,
            message_id=message_id,
            details={"reason": reason},
        )
