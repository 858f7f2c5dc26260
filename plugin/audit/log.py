"""Writing to the audit log and searching it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from plugin.audit.tail import Tail
from plugin.audit.tree import leaf_hash
from plugin.db import TAIL, now
from plugin.tables import AuditLeaf, Case, SignOff

SEARCH_LIMIT = 1000
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical(entry: Mapping[str, Any]) -> str:
    """The one JSON text of an entry: keys sorted, no spaces, characters as they are."""
    return _ENCODER.encode(entry)


def moment(at: datetime) -> str:
    """A moment as entries write it: UTC, microseconds, ISO 8601."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def record(
    session: Session,
    actor: str,
    action: str,
    *,
    case_id: str | None = None,
    message_id: int | None = None,
    details: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> int:
    """Add one leaf in the caller's transaction and return its position.

    An entry names cases, messages and hashes, never a patient: what identifies one stays in the tables
    that the entry points to.
    """
    at = at or now()
    tail: Tail = session.info[TAIL]
    position = tail.tree.size
    entry = canonical(
        {
            "position": position,
            "at": moment(at),
            "actor": actor,
            "action": action,
            "case": case_id,
            "message": message_id,
            "details": dict(details or {}),
        }
    )
    leaf = leaf_hash(entry.encode())
    row = {
        "position": position,
        "at": at,
        "actor": actor,
        "action": action,
        "case_id": case_id,
        "message_id": message_id,
        "entry": entry,
        "leaf_hash": leaf.hex(),
    }
    tail.append(row, leaf)
    return position


@dataclass(frozen=True, slots=True)
class Query:
    """What an auditor looks for; everything given must hold."""

    case_id: str = ""
    accession: str = ""
    actor: str = ""
    action: str = ""
    """An action or the beginning of one: case finds case.ready and case.drafted."""
    signer: str = ""
    """Part of the printed name of the human who signed."""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 200
    after: int = -1
    """Only leaves behind this position, to read on from an earlier answer."""


def search(session: Session, query: Query) -> Sequence[AuditLeaf]:
    """The leaves that match, oldest first, at most `query.limit` (1 to 1,000)."""
    if not 1 <= query.limit <= SEARCH_LIMIT:
        raise ValueError(f"The limit must be from 1 to {SEARCH_LIMIT}; it is {query.limit}.")
    found = sa.select(AuditLeaf).where(AuditLeaf.position > query.after)
    if query.case_id:
        found = found.where(AuditLeaf.case_id == query.case_id)
    if query.accession:
        found = found.where(
            AuditLeaf.case_id.in_(sa.select(Case.id).where(Case.accession == query.accession))
        )
    if query.actor:
        found = found.where(AuditLeaf.actor == query.actor)
    if query.action:
        found = found.where(AuditLeaf.action.startswith(query.action, autoescape=True))
    if query.signer:
        signed = sa.select(SignOff.case_id).where(
            SignOff.signer_name.icontains(query.signer, autoescape=True)
        )
        found = found.where(AuditLeaf.case_id.in_(signed))
    if query.since:
        found = found.where(AuditLeaf.at >= query.since)
    if query.until:
        found = found.where(AuditLeaf.at <= query.until)
    return session.scalars(found.order_by(AuditLeaf.position).limit(query.limit)).all()
