"""One draft held against the truth of its case: all that the figures need, and no volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.facts import head_name, split_head_name
from model.readings import Box
from model.sections import FINDINGS, IMPRESSION
from model.statements import Statement, statements_of
from model.study import Draft, Evidence, Sentence
from training.facts import FactRecord
from training.judging.form import form_faults
from training.reading import contradictions, read_record

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Spoken:
    """One sentence that says something of the image."""

    confidence: float
    """Between 0 and 1, as the draft gives it."""
    right: bool
    """Whether every finding and side that it states or denies is there, or is not."""


@dataclass(frozen=True, slots=True)
class Pointed:
    """The evidence of one rightly stated finding and side."""

    head: str
    boxed: bool
    """Whether a box is shown at all."""
    hit: bool = False
    """Whether the middle of the box lies in the box around the true finding, widened by one voxel.

    In the box and not in the mask: air around a collapsed lung, and emphysema of both lungs, leave free the
    middle of even a perfect box. What a finding this large gives away is told by `chance`.
    """
    chance: bool | None = None
    """The same for the box of the same head in the case before that had one; None for the first."""
    overlap: float = 0.0
    """Intersection over union of the box and the box around the true finding."""
    held: float = 0.0
    """Share of the true finding's voxels that the box holds."""
    drop: float | None = None
    """Fall of the head's probability when what the box holds is taken out."""
    random_drop: float | None = None
    """The same for regions of its shape elsewhere in the body."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One case: what is true, what was said, and what the draft believed of it."""

    seed: int
    """Of the phantom."""
    truth: FactRecord
    said: FactRecord
    """Read back from the Findings."""
    concluded: FactRecord
    """Read back from the Impression."""
    written: FactRecord | None
    """Read back from the Findings as the language half wrote them, before the guard; None if not known."""
    findings_text: str
    text: str
    """The whole draft."""
    form_faults: tuple[str, ...] = ()
    contradictory: bool = False
    """Whether the Findings state and deny the same finding."""
    probabilities: Mapping[str, float] | None = None
    """Finding head -> probability; None where nothing was read."""
    confidence: float | None = None
    abstained: bool = False
    """Whether a reader would have got no draft."""
    unsupported_before: int | None = None
    """Claims without support as they were written; None where that is not known."""
    unsupported_after: int | None = None
    """The same once the guard has been through."""
    spoken: tuple[Spoken, ...] = ()
    pointed: tuple[Pointed, ...] = ()
    tokens: int = 0

    @property
    def exact(self) -> bool:
        """Whether every finding and side is right and nothing is added."""
        return self.truth.heads == self.said.heads


def judge(
    seed: int,
    draft: Draft,
    truth: FactRecord,
    masks: Mapping[str, Mask],
    *,
    earlier: Mapping[str, Box] | None = None,
    random_drops: Mapping[str, float] | None = None,
    unsupported: tuple[int | None, int | None] = (None, None),
    abstained: bool = False,
    written: Sequence[Sentence] | None = None,
) -> Judged:
    """Hold a draft against the truth.

    masks: finding head -> (slices, height, width) of what is true. earlier: the last box of each head among
    the cases before, to tell what pointing by chance is worth. unsupported: how many claims before and after
    the guard. written: the sentences before the guard.
    """
    findings = [s.text for s in draft.sentences if s.section == FINDINGS]
    impression = [s.text for s in draft.sentences if s.section == IMPRESSION]
    said = _findings_of(draft.sentences, draft.language)
    return Judged(
        seed=seed,
        truth=truth,
        said=said,
        concluded=read_record(impression, draft.language),
        written=None if written is None else _findings_of(written, draft.language),
        findings_text=" ".join(findings),
        text=draft.text,
        form_faults=form_faults(draft),
        contradictory=bool(contradictions(findings, draft.language)),
        probabilities=dict(draft.findings) or None,
        confidence=draft.confidence,
        abstained=abstained,
        unsupported_before=unsupported[0],
        unsupported_after=unsupported[1],
        spoken=tuple(
            Spoken(s.confidence, sentence_right(s.text, draft.language, truth))
            for s in draft.sentences
            if s.confidence is not None and s.section in (FINDINGS, IMPRESSION)
        ),
        pointed=_pointed(draft, truth.heads & said.heads, masks, earlier or {}, random_drops or {}),
        tokens=draft.tokens,
    )


def sentence_right(text: str, language: str, truth: FactRecord) -> bool:
    """Whether every finding and side that a sentence states is there, and none that it denies."""
    return all(statement_right(statement, truth.heads) for statement in statements_of(text, language))


def statement_right(statement: Statement, true: frozenset[str]) -> bool:
    """Whether a statement holds where these heads are true; without a side, on any side."""
    if statement.sides:
        named = {head_name(statement.finding, side) for side in statement.sides}
        return named <= true if statement.present else not named & true
    return statement.present == any(split_head_name(head)[0] == statement.finding for head in true)


def _findings_of(sentences: Sequence[Sentence], language: str) -> FactRecord:
    return read_record([s.text for s in sentences if s.section == FINDINGS], language)


def evidence_boxes(draft: Draft) -> dict[str, Evidence]:
    """Finding head -> the evidence that its sentence in the Findings shows; one with a box comes first."""
    found: dict[str, Evidence] = {}
    for sentence in draft.sentences:
        for one in sentence.evidence if sentence.section == FINDINGS else ():
            if one.kind == "image":
                name = head_name(one.finding, one.side)
                if name not in found or (found[name].box is None and one.box is not None):
                    found[name] = one
    return found


def boxes_overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:3], other[:3]), np.minimum(one[3:], other[3:])
    inside = float(np.prod(np.clip(high - low, 0, None)))
    union = _volume(one) + _volume(other) - inside
    return inside / union if union > 0 else 0.0


def points_at(box: Box, true: Box) -> bool:
    """Whether the middle of a box lies in the true box widened by one voxel on every side."""
    # A voxel i takes the place from i to i + 1: the middle is a place, and so are the edges.
    return all(true[axis] - 1 <= (box[axis] + box[axis + 3]) / 2 <= true[axis + 3] + 1 for axis in range(3))


def _pointed(
    draft: Draft,
    heads: frozenset[str],
    masks: Mapping[str, Mask],
    earlier: Mapping[str, Box],
    random_drops: Mapping[str, float],
) -> tuple[Pointed, ...]:
    shown = evidence_boxes(draft)
    found = []
    for head in sorted(heads):
        if (mask := masks.get(head)) is None:
            continue
        evidence = shown.get(head)
        true = box_around(mask)
        chance = points_at(earlier[head], true) if head in earlier else None
        drop = None if evidence is None else evidence.drop
        if evidence is None or evidence.box is None:
            found.append(Pointed(head, False, chance=chance, drop=drop, random_drop=random_drops.get(head)))
            continue
        box = evidence.box
        inside = mask[tuple(slice(box[axis], box[axis + 3]) for axis in range(3))]
        found.append(
            Pointed(
                head,
                True,
                hit=points_at(box, true),
                chance=chance,
                overlap=boxes_overlap(box, true),
                held=float(inside.sum() / mask.sum()),
                drop=drop,
                random_drop=random_drops.get(head),
            )
        )
    return tuple(found)


def box_around(mask: Mask) -> Box:
    """The smallest box around a mask that holds at least one voxel."""
    low, high = zip(*((int(i.min()), int(i.max()) + 1) for i in np.nonzero(mask)), strict=True)
    return (*low, *high)


def _volume(box: Sequence[int]) -> float:
    return float(np.prod([max(0, box[axis + 3] - box[axis]) for axis in range(3)]))
