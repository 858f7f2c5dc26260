"""Whether a drafter looks: facts read back from its drafts, with real, shuffled and blank images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.drafter import VisionPrefixDrafter
from model.sections import FINDINGS, IMPRESSION
from model.study import ClinicalContext, Draft, Volume
from training.facts import FactRecord
from training.metrics import Scores, finding_f1_of_each, interval, score
from training.phantoms import phantom
from training.plan import TEST_SEEDS
from training.reading import contradictions, read_record
from training.templates import clinical_context

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One phantom that no training saw, with words of an order that say nothing about it."""

    volume: Volume
    context: ClinicalContext
    record: FactRecord


def unseen_cases(count: int, first: int = TEST_SEEDS) -> list[Case]:
    """The phantoms of consecutive seeds."""
    cases = []
    for seed in range(first, first + count):
        made = phantom(seed)
        cases.append(Case(made.volume, clinical_context(np.random.default_rng(seed)), made.record))
    return cases


def draft_cases(
    drafter: VisionPrefixDrafter, cases: Sequence[Case], batch: int = 50, progress: Progress = lambda _: None
) -> list[Draft]:
    """A draft of every case, in batches."""
    drafts: list[Draft] = []
    for start in range(0, len(cases), batch):
        part = cases[start : start + batch]
        drafts += drafter.draft_many([c.volume for c in part], [c.context for c in part])
        progress(len(part))
    return drafts


def said_in(draft: Draft, section: str = FINDINGS) -> FactRecord:
    """What a draft states in one section."""
    return read_record(body for title, body in draft.sections if title == section)


def evaluate(
    drafter: VisionPrefixDrafter, cases: Sequence[Case], progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Judge a drafter on cases.

    Shuffled images are judged by holding each draft against the truth of another case; a blank image is
    one of air only, which `draft` refuses and which is put before the network here nevertheless.
    """
    started = time.perf_counter()
    drafts = draft_cases(drafter, cases, progress=progress)
    seconds = time.perf_counter() - started
    truth = [case.record for case in cases]
    said = [said_in(draft) for draft in drafts]
    scores = score(truth, said)
    blank = _blank(drafter, cases[0].context)
    tokens = sum(draft.tokens for draft in drafts)
    return {
        "model": {
            "name": drafter.card.name,
            "version": drafter.card.version,
            "sha256": drafter.card.weights_sha256,
        },
        "cases": len(cases),
        "real": scores.to_json(),
        "intervals_95": {
            "finding_f1": interval(truth, said, lambda s: s.finding_f1),
            "side_accuracy": interval(truth, said, lambda s: s.side_accuracy),
        },
        "shuffled": score(truth, said[1:] + said[:1]).to_json(),
        "blank": score(truth, [blank] * len(truth)).to_json(),
        "always_normal": score(truth, [FactRecord()] * len(truth)).to_json(),
        "finding_f1": finding_f1_of_each(truth, said),
        "impression_agrees": round(
            float(
                np.mean(
                    [
                        said_in(draft, IMPRESSION).heads == record.heads
                        for draft, record in zip(drafts, said, strict=True)
                    ]
                )
            ),
            4,
        ),
        "contradictory_drafts": sum(
            bool(contradictions(body for title, body in draft.sections if title == FINDINGS))
            for draft in drafts
        ),
        "distinct_drafts": len(
            {tuple(s.text for s in draft.sentences if s.section == FINDINGS) for draft in drafts}
        ),
        "tokens_per_second": round(tokens / seconds, 1),
        "seconds": round(seconds, 1),
    }


def table(result: dict[str, Any]) -> str:
    """The scores as a short table."""
    names = list(Scores.__dataclass_fields__)
    rows = [f"{'':14}" + "".join(f"{name:>16}" for name in names)]
    for condition in ("real", "shuffled", "blank", "always_normal"):
        rows.append(f"{condition:14}" + "".join(f"{result[condition][name]:16.3f}" for name in names))
    rows.append(
        f"{result['cases']} cases, {result['distinct_drafts']} distinct drafts, "
        f"{result['contradictory_drafts']} contradictory, {result['tokens_per_second']} tokens/s"
    )
    rows += [f"{name:20}{value:8.3f}" for name, value in result["finding_f1"].items()]
    return "\n".join(rows)


def _blank(drafter: VisionPrefixDrafter, context: ClinicalContext) -> FactRecord:
    import torch

    ids = drafter.speak(drafter.look(torch.zeros((1, *drafter.image.shape))), [context])[0]
    return read_record([drafter.language.words.decode(ids).split(f"{IMPRESSION}:")[0]])
