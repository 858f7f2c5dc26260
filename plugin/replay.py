"""Trying a case again because a human asks for it, inside the caller's transaction."""

from __future__ import annotations

from sqlalchemy.orm import Session

from plugin.audit.log import record
from plugin.cases import CaseState
from plugin.casework import Enqueue, move
from plugin.orders import match
from plugin.tables import Case

REPLAYABLE = frozenset(
    {CaseState.HELD, CaseState.FAILED, CaseState.RECEIVED, CaseState.DRAFTED, CaseState.PUBLISHED}
)


class NotReplayable(Exception):
    """The case's state leaves nothing to try again."""


def replay_case(session: Session, case: Case, enqueue: Enqueue, *, who: str, why: str) -> None:
    """Compare order and images anew and make a new draft due; what still disagrees holds the case again.

    Raises NotReplayable for a case that a human finished, that was cancelled, or that is being drafted.
    """
    state = CaseState(case.state)
    if state not in REPLAYABLE:
        raise NotReplayable(f"A case that is {state} cannot be replayed; one that is {_listed()} can.")
    if not case.order:
        raise NotReplayable("The case has no order yet; it is replayed when the order comes.")
    record(session, who, "case.replayed", case_id=case.id, details={"why": why, "from": state.value})
    if state is CaseState.HELD:
        move(session, case, CaseState.RECEIVED, who, reason="Compared again.")
    match(session, case, enqueue, who, None)


def _listed() -> str:
    return ", ".join(sorted(REPLAYABLE))
