"""The way of a case from order to signature, read from its audit leaves. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from plugin.cases import CaseState
from plugin.tables import AuditLeaf

WAY = (CaseState.RECEIVED, CaseState.READY, CaseState.DRAFTED, CaseState.PUBLISHED, CaseState.SIGNED)
"""The states that a report passes when nothing stops it."""
_ARRIVALS = {"case.opened": CaseState.RECEIVED} | {
    f"case.{state.value.lower()}": state for state in CaseState
}


@dataclass(frozen=True, slots=True)
class Step:
    """One stop on the way."""

    state: CaseState
    at: datetime | None
    """When the case came here; None where it has not been."""
    stage: str
    """done, now, skipped or ahead."""


def life_line(leaves: Iterable[AuditLeaf], state: CaseState) -> tuple[Step, ...]:
    """The stops of a case that is in `state`, from its leaves in order.

    A case that goes back (a redone draft) has not been at the later stops any more. A case that left the
    way has the state it is in as its last stop, in place of those that were ahead.
    """
    reached: dict[CaseState, datetime] = {}
    left_at: datetime | None = None
    for leaf in leaves:
        arrived = _ARRIVALS.get(leaf.action)
        if arrived is None or json.loads(leaf.entry)["details"].get("from") == arrived.value:
            continue
        if arrived not in WAY:
            left_at = leaf.at
            continue
        reached[arrived] = leaf.at
        for later in WAY[WAY.index(arrived) + 1 :]:
            reached.pop(later, None)
    if state not in WAY:
        kept = [Step(stop, reached[stop], "done") for stop in WAY if stop in reached]
        return (*kept, Step(state, left_at, "now"))
    here = WAY.index(state)
    return tuple(
        Step(stop, reached.get(stop), _stage(place, here, stop in reached)) for place, stop in enumerate(WAY)
    )


def _stage(place: int, here: int, reached: bool) -> str:
    if place == here:
        return "now"
    if place > here:
        return "ahead"
    return "done" if reached else "skipped"
