"""Erasing the bodies of old messages: what they were about, their hashes and their answers stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from plugin.audit.log import moment, record
from plugin.db import Database, now
from plugin.messages import DEAD_LETTERS
from plugin.settings import Settings
from plugin.tables import Message

BATCH = 500
"""Messages of one transaction: senders wait for it no longer than for a group of messages."""
ACTOR = "prelim/pruning"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was erased, or would be."""

    messages: int = 0
    size: int = 0
    """Their bodies together, in bytes."""
    first: int | None = None
    """The smallest number; None where there is no message."""
    last: int | None = None
    oldest: datetime | None = None
    newest: datetime | None = None

    def __add__(self, other: Pruned) -> Pruned:
        """Both together."""
        if not (self.messages and other.messages):
            return self if self.messages else other
        return Pruned(
            self.messages + other.messages,
            self.size + other.size,
            *_ends(self.first, self.last, other.first, other.last),
            *_ends(self.oldest, self.newest, other.oldest, other.newest),
        )


def _ends(*given: Any) -> tuple[Any, Any]:
    """The smallest and the largest of what is given."""
    there = [one for one in given if one is not None]
    return min(there), max(there)


def prunable(session: Session, days: int, at: datetime | None = None) -> Pruned:
    """What `prune` would erase: bodies older than `days` (1 or more) of messages that are done with."""
    return _summary(session, _old(days, at or now()))


def prune(
    database: Database,
    days: int,
    who: str,
    *,
    batch: int = BATCH,
    told: Callable[[int], None] | None = None,
) -> Pruned:
    """Erase the bodies of messages older than `days` (1 or more) that nobody has to deal with any more.

    Dead letters (plugin.messages.DEAD_LETTERS) keep theirs. Each batch is a transaction of its own, and its
    leaf says how many, from which number and time to which, and who: nothing is erased unlogged, even where
    this ends halfway. told: called with how many are done, after each batch.
    """
    old = _old(days, now())
    done = Pruned()
    while True:
        # Looked for outside of the writing transaction: among many messages it takes longer than to erase.
        with database.read() as session:
            numbers = session.scalars(
                sa.select(Message.id).where(*old).order_by(Message.id).limit(batch)
            ).all()
        if not numbers:
            return done
        with database.write() as session:
            if database.engine.dialect.name == "sqlite":
                # What is erased is overwritten in the file as well, not only let go.
                session.connection().exec_driver_sql("PRAGMA secure_delete = ON")
            chosen = (Message.id.in_(numbers), *old)
            found = _summary(session, chosen)
            if found.messages:
                session.execute(sa.update(Message).where(*chosen).values(body=b"", pruned_at=now()))
                record(session, who, "messages.pruned", details=_details(found, days))
        done += found
        if told:
            told(done.messages)


def prune_due(database: Database, settings: Settings) -> Pruned:
    """Erase what PRELIM_MESSAGE_DAYS says is due; nothing where that is 0."""
    return prune(database, settings.message_days, ACTOR) if settings.message_days else Pruned()


def _old(days: int, at: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    if days < 1:
        raise ValueError(f"The days must be 1 or more; they are {days}.")
    return (
        Message.received_at < at - timedelta(days=days),
        Message.pruned_at.is_(None),
        Message.state.not_in(sorted(DEAD_LETTERS)),
    )


def _summary(session: Session, chosen: tuple[sa.ColumnElement[bool], ...]) -> Pruned:
    count, size, first, last, oldest, newest = session.execute(
        sa.select(
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(Message.body_bytes), 0),
            sa.func.min(Message.id),
            sa.func.max(Message.id),
            sa.func.min(Message.received_at),
            sa.func.max(Message.received_at),
        ).where(*chosen)
    ).one()
    return Pruned(int(count), int(size), first, last, oldest, newest)


def _details(found: Pruned, days: int) -> dict[str, object]:
    return {
        "messages": found.messages,
        "bytes": found.size,
        "first": found.first,
        "last": found.last,
        "from": moment(found.oldest) if found.oldest else "",
        "to": moment(found.newest) if found.newest else "",
        "days": days,
    }
