"""The life of one case, as one table of allowed moves. Pure: no database, no wires."""

from __future__ import annotations

from enum import StrEnum


class CaseState(StrEnum):
    """Where a report stands."""

    RECEIVED = "RECEIVED"
    """An order is here, its images are not, or the other way round."""
    READY = "READY"
    """Order and images agree; a draft is due."""
    DRAFTED = "DRAFTED"
    """A draft is stored and not yet written to the FHIR server."""
    PUBLISHED = "PUBLISHED"
    """The draft stands on the FHIR server as preliminary and was read back."""
    SIGNED = "SIGNED"
    """A named human finalised the report."""
    SUPERSEDED = "SUPERSEDED"
    """A human wrote a report of their own that is not final yet; Prelim stays out of it."""
    WITHHELD = "WITHHELD"
    """A human's version was there before the draft; the draft is kept and not sent."""
    HELD = "HELD"
    """Identifiers disagree, or a cancellation is asked for: nothing leaves until a human decides."""
    FAILED = "FAILED"
    """Something could not be done; the reason says what, and the case can be replayed."""
    CANCELLED = "CANCELLED"
    """The order was cancelled."""


class ForbiddenMove(Exception):
    """A case was asked to make a move that its life does not have."""


S = CaseState
MOVES: dict[CaseState, frozenset[CaseState]] = {
    S.RECEIVED: frozenset({S.READY, S.HELD, S.FAILED, S.CANCELLED, S.SUPERSEDED, S.SIGNED}),
    S.READY: frozenset({S.DRAFTED, S.HELD, S.FAILED, S.CANCELLED, S.SUPERSEDED, S.SIGNED}),
    S.DRAFTED: frozenset(
        {S.PUBLISHED, S.READY, S.WITHHELD, S.HELD, S.FAILED, S.CANCELLED, S.SUPERSEDED, S.SIGNED}
    ),
    S.PUBLISHED: frozenset({S.READY, S.HELD, S.CANCELLED, S.SUPERSEDED, S.SIGNED}),
    S.HELD: frozenset({S.RECEIVED, S.READY, S.CANCELLED, S.SUPERSEDED, S.SIGNED}),
    S.FAILED: frozenset({S.READY, S.HELD, S.CANCELLED, S.SUPERSEDED, S.SIGNED}),
    S.CANCELLED: frozenset({S.RECEIVED, S.READY, S.HELD, S.SUPERSEDED, S.SIGNED}),
    S.SUPERSEDED: frozenset({S.SIGNED}),
    S.WITHHELD: frozenset({S.SUPERSEDED, S.SIGNED}),
    S.SIGNED: frozenset(),
}
"""From each state, the states it may move to. A human's word (SUPERSEDED, SIGNED) is never left again."""

OF_A_HUMAN = frozenset({S.SIGNED, S.SUPERSEDED, S.WITHHELD})
"""States in which a human's report stands: it is never taken back, and nothing of ours stands beside it for
long."""

OURS_TO_DRAFT = frozenset({S.RECEIVED, S.READY, S.DRAFTED, S.PUBLISHED, S.FAILED})
"""States in which a new order, or more images, may lead to a draft."""


def check_move(now: CaseState, then: CaseState) -> None:
    """Raise ForbiddenMove unless the table allows the move."""
    if then not in MOVES[now]:
        allowed = ", ".join(sorted(MOVES[now])) or "nothing"
        raise ForbiddenMove(f"A case in {now} can move to {allowed}; it was asked to move to {then}.")
