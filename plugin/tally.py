"""How many messages stand where, and what waits to be sent; never a word about a patient."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from plugin.messages import DROPPED, IN, OUT, PROCESSED, QUARANTINED, REFUSED, SENT, STATES, WAITING
from plugin.tables import Delivery, Message

DIRECTIONS = (IN, OUT)
PLACES = (
    *((IN, state) for state in (PROCESSED, REFUSED, QUARANTINED)),
    *((OUT, state) for state in (WAITING, SENT, REFUSED, DROPPED)),
)
"""Every direction and state that a message can have."""


@dataclass(frozen=True, slots=True)
class Count:
    """Messages of one kind."""

    direction: str
    channel: str
    message_type: str
    state: str
    messages: int
    latest: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in the outbox for one destination."""

    destination: str
    messages: int
    since: datetime
    """When the oldest of them was written."""
    attempts: int
    """The most that any of them has had."""


def count_states(session: Session) -> dict[str, int]:
    """How many messages are in each state; every state is there."""
    counted = session.execute(sa.select(Message.state, sa.func.count()).group_by(Message.state))
    numbers = {str(state): int(number) for state, number in counted}
    return {state: numbers.get(state, 0) for state in STATES}


def count_places(session: Session, states: Collection[str] = STATES) -> dict[tuple[str, str], int]:
    """How many messages of each direction are in each of some states; every pair of PLACES is there."""
    pair = (Message.direction, Message.state)
    counted = sa.select(*pair, sa.func.count()).where(Message.state.in_(states)).group_by(*pair)
    numbers = {(str(way), str(state)): int(number) for way, state, number in session.execute(counted)}
    return {(way, state): numbers.get((way, state), 0) for way, state in PLACES if state in states}


def summarize(session: Session) -> Sequence[Count]:
    """Every kind of message that is there, by direction, channel, type and state."""
    kind = (Message.direction, Message.channel, Message.message_type, Message.state)
    counted = (
        sa.select(*kind, sa.func.count(), sa.func.max(Message.received_at)).group_by(*kind).order_by(*kind)
    )
    return [Count(*row) for row in session.execute(counted)]


def channels(session: Session) -> Sequence[str]:
    """Every listener and destination that a message names."""
    return session.scalars(sa.select(Message.channel).distinct().order_by(Message.channel)).all()


def waiting(session: Session) -> Sequence[Waiting]:
    """What waits in the outbox, by destination; nothing for an empty one."""
    counted = (
        sa.select(
            Delivery.destination,
            sa.func.count(),
            sa.func.min(Message.received_at),
            sa.func.max(Message.attempts),
        )
        .join(Message, Message.id == Delivery.message_id)
        .group_by(Delivery.destination)
        .order_by(Delivery.destination)
    )
    return [Waiting(*row) for row in session.execute(counted)]
