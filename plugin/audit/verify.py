"""Checking the audit log from its first entry, trusting no stored hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from plugin.audit.log import canonical, moment
from plugin.audit.tree import EMPTY_ROOT, Frontier, leaf_hash
from plugin.tables import AuditHead, AuditLeaf

PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the log found."""

    verified: bool
    size: int
    root: str
    """Merkle tree hash over the entries as they are now, in hexadecimal."""
    problem: str = ""
    """What does not hold, with the position where it shows; empty when all holds."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A size and a root that somebody wrote down earlier, somewhere else."""

    size: int
    root: str

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read SIZE:ROOT, as `prelim audit verify` prints it. Raises ValueError."""
        size, _, root = text.strip().partition(":")
        if not size.isdigit() or len(root) != 64 or set(root.lower()) - set("0123456789abcdef"):
            raise ValueError("A checkpoint is SIZE:ROOT, with a root of 64 hexadecimal digits.")
        return cls(int(size), root.lower())


def verify(
    session: Session, against: Checkpoint | None = None, progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Check the whole log.

    1. Positions run from 0 without a gap.
    2. Every entry is canonical and says what its columns say (position, time, actor, action, case, message).
    3. Every stored leaf hash is the hash of its entry, computed anew.
    4. The tree over the recomputed hashes is the tree that the head holds (RFC 6962 section 2.1).
    5. With `against`: the first `against.size` entries still have the root that was written down then,
       so that nothing before it was changed, even by somebody who recomputed the whole tree.
    """
    tree = Frontier()
    past = EMPTY_ROOT
    total = session.scalar(sa.select(sa.func.count()).select_from(AuditLeaf)) or 0

    def failed(problem: str) -> Verification:
        return Verification(False, tree.size, tree.root.hex(), problem)

    while True:
        # The first page has no lower bound: an entry put before the first one is found as well.
        chosen = (
            sa.select(AuditLeaf).where(AuditLeaf.position >= tree.size) if tree.size else sa.select(AuditLeaf)
        )
        page = session.scalars(
            chosen.order_by(AuditLeaf.position).limit(PAGE).execution_options(populate_existing=True)
        ).all()
        for leaf in page:
            if leaf.position != tree.size:  # 1
                return failed(f"Entry {tree.size} is missing.")
            if leaf.entry != _retell(leaf):  # 2
                return failed(f"Entry {leaf.position} does not say what its columns say.")
            computed = leaf_hash(leaf.entry.encode())
            if computed.hex() != leaf.leaf_hash:  # 3
                return failed(f"Entry {leaf.position} was changed after it was written.")
            tree = tree.append(computed)
            if against and tree.size == against.size:
                past = tree.root
        session.expunge_all()
        if progress:
            progress(tree.size, total)
        if len(page) < PAGE:
            break
    head = session.get(AuditHead, 1)
    kept = (head.size, tuple(head.roots)) if head else (0, ())
    if kept != (tree.size, tuple(root.hex() for root in tree.roots)):  # 4
        return failed(f"The head holds {kept[0]} entries; {tree.size} are there and make another tree.")
    if against:  # 5
        if against.size > tree.size:
            return failed(f"The checkpoint is over {against.size} entries; only {tree.size} are there.")
        if past.hex() != against.root:
            return failed(f"The first {against.size} entries are not those of the checkpoint.")
    return Verification(True, tree.size, tree.root.hex())


def _retell(leaf: AuditLeaf) -> str:
    try:
        details = json.loads(leaf.entry)["details"]
    except (ValueError, KeyError, TypeError):
        details = None
    return canonical(
        {
            "position": leaf.position,
            "at": moment(leaf.at),
            "actor": leaf.actor,
            "action": leaf.action,
            "case": leaf.case_id,
            "message": leaf.message_id,
            "details": details,
        }
    )
