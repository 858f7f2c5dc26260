"""Which case an opened report belongs to, in the caller's transaction.

What a FHIRcast event says is a hint from a workstation: ids of reports may be those of another system, so a
draft is offered only where the patient is named and is the case's, or where our own identifier stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.fhir.cast.events import Anchor
from connectors.fhir.identifiers import IdentifierSystems
from plugin.links import surviving
from plugin.tables import Case, DraftRecord
from plugin.translate import order_from_json


@dataclass(frozen=True, slots=True)
class Opened:
    """The case of an opened report."""

    case: Case
    certain: bool
    """Whether patient, accession and study agree as far as they are named, and enough is named."""


def case_of(session: Session, anchor: Anchor, systems: IdentifierSystems) -> Opened | None:
    """The case that an opened report belongs to; None when it is none of ours, or could be several.

    1. Our own identifier of the case stands in the report: that case.
    2. Else the report is one of our drafts by its place on our FHIR server: its case.
    3. Else the study, or the accession number: their one case.
    4. Whatever else the event names must be the case's; the patient must be named, except under 1.
    """
    own = {value for system, value in anchor.identifiers if system == systems.report}
    found = _cases(session, Case.id.in_(own)) if own else []  # 1
    if not found and anchor.reference:  # 2
        placed = sa.select(DraftRecord.case_id).where(DraftRecord.reference == anchor.reference)
        found = _cases(session, Case.id.in_(placed))
    if not found:  # 3
        found = _cases(
            session,
            sa.or_(
                Case.study_instance_uid.in_(anchor.studies - {""}),
                Case.accession.in_(anchor.accessions - {""}),
            ),
        )
    if len(found) != 1:
        return None
    case = found[0]
    return Opened(case, _agrees(session, case, anchor) and bool(own or anchor.patients))  # 4


def case_of_draft(session: Session, reference: str) -> Case | None:
    """The case whose draft stands at a place of our FHIR server; None for a place that is empty."""
    if not reference:
        return None  # Drafts that were not written yet have no place either.
    placed = sa.select(DraftRecord.case_id).where(DraftRecord.reference == reference)
    return session.scalars(sa.select(Case).where(Case.id.in_(placed))).first()


def _cases(session: Session, chosen: sa.ColumnElement[bool]) -> list[Case]:
    # Two are as good as many: it is then not known which one is meant.
    return list(session.scalars(sa.select(Case).where(chosen).limit(2)))


def _agrees(session: Session, case: Case, anchor: Anchor) -> bool:
    if not case.order:
        return False
    patient = order_from_json(case.order).patient
    known = {patient.identifier, surviving(session, patient).identifier}
    return (
        all(known & place for place in anchor.patients)
        and (not anchor.accessions or case.accession in anchor.accessions)
        and (not (anchor.studies and case.study_instance_uid) or case.study_instance_uid in anchor.studies)
    )
