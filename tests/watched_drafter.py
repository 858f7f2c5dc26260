"""A drafter of phantoms that knows their truth: what evaluation must find of it is known beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from model.facts import BY_NAME, HEADS, ORGANS, head_name
from model.readings import HeadReading
from model.sections import FINDINGS, IMPRESSION, TITLES
from model.study import ClinicalContext, Draft, Evidence, ModelCard, Sentence, Unfit, Volume
from model.watched import Watched
from training.facts import Fact, FactRecord
from training.phantoms import Phantom, phantom

CARD = ModelCard("oracle", "1", "0" * 64, "2", "Demonstration.")
FIRST = 1 << 100
"""Phantoms name their studies 2.25.N with N this and the seed."""


def worded(fact: Fact) -> str:
    """A sentence in English."""
    sides = "bilateral" if len(fact.sides) == 2 else "".join(fact.sides)
    zone = fact.zone and f"in the {fact.zone} zone"
    measure = "" if fact.millimetres is None else f"of {fact.millimetres} mm"
    words = " ".join(part for part in (fact.size, sides, fact.finding, measure, zone) if part)
    return f"There is {words}."


def oracle_draft(record: FactRecord, made: Phantom | None = None, sure: float = 0.9) -> Draft:
    """A draft of a record in due form; with a phantom, every finding shows its true box."""
    boxes = {} if made is None else made.boxes
    sentences = [Sentence(title, "As asked.", ()) for title in TITLES if title not in (FINDINGS, IMPRESSION)]
    for organ in ORGANS:
        facts = [fact for fact in record.facts if BY_NAME[fact.finding].organ == organ]
        for fact in facts:
            evidence = tuple(
                Evidence(
                    "image",
                    fact.finding,
                    side,
                    sure,
                    0,
                    boxes.get(head_name(fact.finding, side)),
                    drop=0.8 if boxes else None,
                )
                for side in fact.sides or ("",)
            )
            sentences.append(Sentence(FINDINGS, worded(fact), evidence, organ, sure))
        if not facts:
            sentences.append(Sentence(FINDINGS, "Nothing to report.", (), organ))
    concluded = [Sentence(IMPRESSION, worded(fact)) for fact in record.facts]
    sentences += concluded or [Sentence(IMPRESSION, "No acute abnormality.")]
    findings = {head: sure if head in record.heads else 1 - sure for head in HEADS}
    return Draft(tuple(sentences), CARD, findings, confidence=sure, tokens=10)


class Oracle:
    """Drafts what is true of the phantom whose study it is given; refuses what is none."""

    card = CARD

    def __init__(self) -> None:
        """Remembers the sizes of the batches that it is asked for."""
        self.batches: list[int] = []

    def watch_many(
        self, volumes: Sequence[Volume], contexts: Sequence[ClinicalContext], *, random_regions: int = 0
    ) -> list[Watched]:
        """Drafts without a fault."""
        self.batches.append(len(volumes))
        return [self._watched(volume, random_regions) for volume in volumes]

    def _watched(self, volume: Volume, random_regions: int) -> Watched:
        seed = int(volume.study_instance_uid.removeprefix("2.25.")) - FIRST
        if seed < 0:
            raise Unfit("the image is blank")
        made = phantom(seed)
        draft = oracle_draft(made.record, made)
        readings = {
            head: HeadReading(p, 0, made.boxes.get(head), 0.8 if p > 0.5 else None)
            for head, p in draft.findings.items()
        }
        elsewhere = dict.fromkeys(made.record.heads, 0.1) if random_regions else {}
        claims = tuple(s for s in draft.sentences if s.section in (FINDINGS, IMPRESSION))
        return Watched(draft, claims, readings, random_drops=elsewhere)
