"""A draft together with what came before it: for those who judge drafters. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from model.readings import Readings
from model.study import ClinicalContext, Draft, ModelCard, Sentence, Volume


@dataclass(frozen=True, slots=True)
class Watched:
    """One draft and the way to it."""

    draft: Draft
    """As it is given to a reader."""
    written: tuple[Sentence, ...]
    """The Findings and the Impression as the language half wrote them, before the guard."""
    readings: Readings
    """What the finding heads saw."""
    unsure: bool = False
    """Whether `draft` would have abstained."""
    random_drops: Mapping[str, float] = field(default_factory=dict)
    """Finding head -> mean fall of its probability when regions of the same shape, elsewhere in the body,
    are taken out instead of its own; only for heads whose own region was taken out, and only where asked."""


class WatchedDrafter(Protocol):
    """A drafter that lets itself be watched."""

    card: ModelCard

    def watch_many(
        self, volumes: Sequence[Volume], contexts: Sequence[ClinicalContext], *, random_regions: int = 0
    ) -> list[Watched]:
        """Draft a batch as `draft_many` does, and tell the way; an unsure draft is written nevertheless.

        random_regions: how many regions elsewhere each removal is compared with. Raises Unfit when any of
        the volumes is unfit for a reason other than doubt.
        """
        ...
