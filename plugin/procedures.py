"""Which examinations are ordered, and which of them the hospital's map of codes lacks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.exchange import Coding
from connectors.fhir.drafts.codes import CodeMap, key_of
from plugin.tables import Case


@dataclass(frozen=True, slots=True)
class Ordered:
    """One procedure that cases were opened for."""

    procedure: Coding
    cases: int
    newest: datetime
    """When the newest of them was opened."""


def unmapped(session: Session, codes: CodeMap, since: datetime | None = None) -> list[Ordered]:
    """The procedures of cases that the map lacks, the most frequent first, then the newest.

    since: only of cases that were opened then or later. Nothing of a patient is read.
    """
    procedure = Case.order["procedure"]
    ordered_in = sa.select(
        *(procedure[name].as_string().label(name) for name in ("system", "code", "text")), Case.created_at
    )
    if since is not None:
        ordered_in = ordered_in.where(Case.created_at >= since)
    # Grouped outside: PostgreSQL sees two different expressions where the path is a parameter each time.
    told = ordered_in.subquery().c
    chosen = (
        sa.select(
            told.system, told.code, sa.func.max(told.text), sa.func.count(), sa.func.max(told.created_at)
        )
        .where(told.code.is_not(None))
        .group_by(told.system, told.code)
    )
    found: dict[tuple[str, str], Ordered] = {}
    for in_system, of_code, text, count, newest in session.execute(chosen):
        ordered = Ordered(Coding(of_code, text or "", in_system or ""), count, newest)
        # Systems that differ in case only are one to the map.
        other = found.get(key := key_of(ordered.procedure))
        if other is not None:
            ordered = Ordered(other.procedure, other.cases + count, max(other.newest, newest))
        found[key] = ordered
    lacking = [one for one in found.values() if not codes.knows(one.procedure)]
    return sorted(lacking, key=lambda one: (-one.cases, -one.newest.timestamp(), key_of(one.procedure)))
