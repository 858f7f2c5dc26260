"""Unseen phantoms drafted and judged, a batch at a time: no volume outlives its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from model.guard import unsupported_claims
from model.readings import Box
from model.sections import FINDINGS, IMPRESSION
from model.study import ClinicalContext, Sentence, Unfit, Volume
from model.watched import Watched, WatchedDrafter
from training.judging.figures import Blank
from training.judging.judged import Judged, evidence_boxes, judge
from training.phantoms import SHAPE, SPACING_MM, Phantom, phantom
from training.plan import TEST_SEEDS
from training.reading import read_record
from training.wordings import order_words

Progress = Callable[[int], None]
BATCH = 16


@dataclass(frozen=True, slots=True)
class Case:
    """One phantom that no training saw, with words of an order that say nothing about it."""

    seed: int
    made: Phantom
    context: ClinicalContext


def unseen_cases(
    count: int, language: str = "en", *, unseen_wordings: bool = False, first: int = TEST_SEEDS
) -> Iterator[Case]:
    """The phantoms of consecutive seeds, each made when it is asked for.

    unseen_wordings: orders in words that no training saw either. Raises ValueError for another language than
    those of model.wording.
    """
    for seed in range(first, first + count):
        words = order_words(np.random.default_rng(seed), language, held_out=unseen_wordings)
        yield Case(seed, phantom(seed), replace(words, language=language))


def judge_cases(
    drafter: WatchedDrafter,
    cases: Iterable[Case],
    *,
    batch: int = BATCH,
    random_regions: int = 1,
    progress: Progress = lambda _: None,
) -> Iterator[Judged]:
    """Draft and judge cases in their order, holding the volumes of one batch at a time.

    random_regions: with how many regions elsewhere the removal of each evidence is compared.
    """
    earlier: dict[str, Box] = {}
    waiting = iter(cases)
    while part := list(islice(waiting, batch)):
        watched = drafter.watch_many(
            [case.made.volume for case in part],
            [case.context for case in part],
            random_regions=random_regions,
        )
        for case, one in zip(part, watched, strict=True):
            yield _judged(case, one, earlier)
            shown = evidence_boxes(one.draft)
            earlier.update({head: e.box for head, e in shown.items() if e.box is not None})
        progress(len(part))


def blank_images(drafter: WatchedDrafter, language: str = "en") -> Blank:
    """Put images before the drafter that show no chest: air, water, noise around air, noise around water.

    What is right is to refuse them all (Unfit), or to be unsure of them.
    """
    said = []
    volumes = _blank_volumes()
    for volume in volumes:
        try:
            (watched,) = drafter.watch_many([volume], [ClinicalContext(modality="CT", language=language)])
        except Unfit:
            continue
        if not watched.unsure:
            bodies = [s.text for s in watched.draft.sentences if s.section == FINDINGS]
            said.append(read_record(bodies, watched.draft.language))
    return Blank(len(volumes), tuple(said))


def _judged(case: Case, watched: Watched, earlier: dict[str, Box]) -> Judged:
    draft = watched.draft

    def unsupported(sentences: Sequence[Sentence]) -> int:
        # The fixed sections repeat the order: what they say is not the model's claim.
        claiming = [one for one in sentences if one.section in (FINDINGS, IMPRESSION)]
        return len(unsupported_claims(claiming, watched.readings, case.context, draft.language))

    return judge(
        case.seed,
        draft,
        case.made.record,
        case.made.masks,
        earlier=earlier,
        random_drops=watched.random_drops,
        unsupported=(unsupported(watched.written), unsupported(draft.sentences)),
        abstained=watched.unsure,
        written=watched.written,
    )


def _blank_volumes() -> list[Volume]:
    rng = np.random.default_rng(0)
    quiet = [np.full(SHAPE, hu, dtype=np.float32) for hu in (-1000.0, 0.0)]
    noisy = [level + rng.normal(0, 40, SHAPE).astype(np.float32) for level in quiet]
    return [
        Volume(voxels, SPACING_MM, "CT", f"2.25.{number}", f"2.25.{number}.1")
        for number, voxels in enumerate([*quiet, *noisy], start=1)
    ]
