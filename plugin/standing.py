"""What is known of reports on the FHIR server: where drafts of ours stand, and which versions were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from connectors.exchange import PublishedReport
from plugin.audit.log import record
from plugin.cases import CaseState
from plugin.db import now
from plugin.fetched import ACTOR
from plugin.incoming import storable
from plugin.messages import IN
from plugin.tables import AuditLeaf, Case, DraftRecord, Message

GONE = "draft.gone"
AT_ONCE = 500
"""Values of one query: a database takes no more than it likes."""


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """What is known already of some reports: versions of ours, and versions that were taken."""

    ours: Mapping[str, PublishedReport]
    """By reference, where a draft of ours stands as last written."""
    taken: frozenset[str]
    """Names of the versions that were taken."""

    def is_new(self, reference: str, version: str) -> bool:
        """Whether a version is neither what we wrote last nor taken already.

        Where the server counts none, only the resource itself can tell.
        """
        if not version:
            return True
        ours = self.ours.get(reference)
        if ours is not None and ours.version == version:
            return False
        return storable(f"{reference}/_history/{version}") not in self.taken


def accessions_of_cases(
    session: Session, values: Sequence[str], case_ids: Sequence[str], reference: str
) -> tuple[str, ...]:
    """Accessions of the cases that a report may belong to: by what it names, or as a draft of ours once."""
    standing = sa.select(DraftRecord.case_id).where(DraftRecord.reference == reference)
    concerned = sa.or_(Case.accession.in_(list(values)), Case.id.in_(list(case_ids)), Case.id.in_(standing))
    return tuple(session.scalars(sa.select(Case.accession).where(concerned).order_by(Case.accession)))


def tell_gone(session: Session, case_id: str) -> None:
    """Say once of a case that somebody deleted its draft on the server."""
    told = sa.exists().where(AuditLeaf.case_id == case_id, AuditLeaf.action == GONE)
    if session.scalar(sa.select(told)):
        return
    case = session.get_one(Case, case_id)
    record(session, ACTOR, GONE, case_id=case_id)
    if CaseState(case.state) is CaseState.PUBLISHED:
        case.reason = "Somebody deleted the draft on the FHIR server."
        case.updated_at = now()


def standing_drafts(session: Session, case_ids: Sequence[str]) -> dict[str, str]:
    """The case of each draft of ours that stands on the server, by its reference."""
    found: dict[str, str] = {}
    for start in range(0, len(case_ids), AT_ONCE):
        chosen = sa.select(DraftRecord.reference, DraftRecord.case_id).where(
            DraftRecord.case_id.in_(case_ids[start : start + AT_ONCE]), DraftRecord.reference != ""
        )
        found.update((reference, case_id) for reference, case_id in session.execute(chosen))
    return found


def written(session: Session, reference: str) -> PublishedReport | None:
    """The version of ours that was written last under a reference."""
    chosen = (
        sa.select(DraftRecord)
        .where(DraftRecord.reference == reference)
        .order_by(DraftRecord.number.desc())
        .limit(1)
    )
    row = session.scalars(chosen).first()
    return PublishedReport(row.reference, row.version, row.url) if row else None


def was_taken(session: Session, base_url: str, name: str) -> bool:
    """Whether a version was taken, by the name of its dossier."""
    seen = sa.select(Message.id).where(
        Message.control_id == storable(name), Message.sender == storable(base_url), Message.direction == IN
    )
    return session.scalar(seen.limit(1)) is not None


def known_versions(session: Session, base_url: str, names: Sequence[tuple[str, str]]) -> KnownVersions:
    """What is known of some versions, each named by its reference and its version."""
    ours: dict[str, PublishedReport] = {}
    taken: set[str] = set()
    for start in range(0, len(names), AT_ONCE):
        part = names[start : start + AT_ONCE]
        rows = sa.select(DraftRecord.reference, DraftRecord.version, DraftRecord.url).where(
            DraftRecord.reference.in_({reference for reference, _ in part})
        )
        for reference, version, url in session.execute(rows.order_by(DraftRecord.number)):
            ours[reference] = PublishedReport(reference, version, url)
        versions = [storable(f"{reference}/_history/{version}") for reference, version in part]
        seen = sa.select(Message.control_id).where(
            Message.control_id.in_(versions),
            Message.sender == storable(base_url),
            Message.direction == IN,
        )
        taken.update(session.scalars(seen))
    return KnownVersions(ours, frozenset(taken))
