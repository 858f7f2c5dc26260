"""Whether a draft has the form of a report, and whether drafts are more than one text over and over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Protocol

from model.facts import ORGANS
from model.sections import FINDINGS, IMPRESSION, TITLES
from model.study import Draft
from training.facts import FactRecord

COLLAPSED_SHARE = 0.5
"""Drafts of which more than this share say the same have collapsed: of the phantoms a quarter is normal."""


class Worded(Protocol):
    """What a draft says, as words and as facts."""

    @property
    def findings_text(self) -> str: ...

    @property
    def said(self) -> FactRecord: ...


def form_faults(draft: Draft) -> tuple[str, ...]:
    """What is missing or out of place: every section in its order, every organ in its order under the
    Findings, a sentence in each. Empty when nothing is."""
    faults = []
    titles = tuple(dict.fromkeys(sentence.section for sentence in draft.sentences))
    runs = _runs([sentence.section for sentence in draft.sentences])
    faults += [f"no section {title}" for title in TITLES if title not in titles]
    faults += [f"unknown section {title}" for title in titles if title not in TITLES]
    if runs != sorted(runs, key=lambda title: TITLES.index(title) if title in TITLES else len(TITLES)):
        faults.append("sections out of order")
    organs = _runs([s.organ for s in draft.sentences if s.section == FINDINGS])
    faults += [f"no findings of {organ}" for organ in ORGANS if organ not in organs]
    faults += [f"unknown organ {organ}" for organ in organs if organ not in ORGANS]
    if [organ for organ in organs if organ in ORGANS] != [organ for organ in ORGANS if organ in organs]:
        faults.append("organs out of order")
    if any(not s.text.strip() for s in draft.sentences if s.section in (FINDINGS, IMPRESSION)):
        faults.append("a sentence without words")
    return tuple(faults)


def commonest(drafts: Sequence[Worded]) -> tuple[float, float]:
    """Share of the commonest Findings text, and of the commonest set of facts; between 0 and 1."""
    return (
        _share([draft.findings_text for draft in drafts]),
        _share([draft.said.heads for draft in drafts]),
    )


def collapsed(drafts: Sequence[Worded]) -> bool:
    """Whether most drafts say the same, in words or in facts, as weights do that look at nothing."""
    return len(drafts) > 1 and max(commonest(drafts)) > COLLAPSED_SHARE


def _share(said: Sequence[Hashable]) -> float:
    return max(Counter(said).values()) / len(said) if said else 0.0


def _runs(names: Sequence[str]) -> list[str]:
    """Each name where it differs from the one before it: a name that comes back stands twice."""
    return [name for i, name in enumerate(names) if not i or name != names[i - 1]]
