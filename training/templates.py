"""A fact record as report text, in many wordings.

Two styles: the plain list of what is seen and not seen, which the base learns from, and the sectioned
report of the house, which the adapter learns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.facts import CATALOGUE
from model.sections import FINDINGS, IMPRESSION, build
from model.study import ClinicalContext
from training.facts import Fact, FactRecord

PLAIN_TASK = "Facts"
"""The title under which the plain list is asked for."""

_PRESENT = {
    "pleural effusion": (
        "There is a {size} {side} pleural effusion.",
        "A {size} {side} pleural effusion is present.",
    ),
    "pneumothorax": (
        "There is a {size} {side} pneumothorax.",
        "A {size} {side} pneumothorax is present.",
    ),
    "consolidation": (
        "There is consolidation in the {side} {zone} zone.",
        "Consolidation is seen in the {side} {zone} zone.",
    ),
    "atelectasis": (
        "There is linear atelectasis in the {side} {zone} zone.",
        "Linear atelectasis is seen in the {side} {zone} zone.",
    ),
    "pulmonary nodule": (
        "There is a pulmonary nodule in the {side} {zone} zone.",
        "A pulmonary nodule is seen in the {side} {zone} zone.",
    ),
    "cardiomegaly": ("The heart is enlarged.", "There is cardiomegaly."),
    "emphysema": ("There is emphysema.", "Emphysematous changes are present."),
}
_PRESENT_BOTH = {
    "pleural effusion": (
        "There are {size} bilateral pleural effusions.",
        "Bilateral {size} pleural effusions are present.",
    ),
    "consolidation": (
        "There is bilateral consolidation in the {zone} zones.",
        "Bilateral consolidation is seen in the {zone} zones.",
    ),
    "atelectasis": (
        "There is bilateral linear atelectasis in the {zone} zones.",
        "Bilateral linear atelectasis is seen in the {zone} zones.",
    ),
}
_CONCLUDED = {
    "pleural effusion": ("{size} {side} pleural effusion.",),
    "pneumothorax": ("{size} {side} pneumothorax.",),
    "consolidation": ("{side} {zone} zone consolidation.",),
    "atelectasis": ("{side} {zone} zone atelectasis.",),
    "pulmonary nodule": ("{side} {zone} zone pulmonary nodule.",),
    "cardiomegaly": ("cardiomegaly.",),
    "emphysema": ("emphysema.",),
}
_PLURAL = {"pleural effusion": "pleural effusions"}
_NORMAL_HEART = ("The heart size is normal.", "The heart is of normal size.")
_NOTHING = ("No acute abnormality.", "No acute cardiopulmonary abnormality.")
_ORDER = ("consolidation", "atelectasis", "pulmonary nodule", "emphysema")


def house_report(record: FactRecord, rng: np.random.Generator) -> str:
    """The Findings and Impression sections of the house style."""
    facts = {fact.finding: fact for fact in record.facts}
    lines: list[str] = []

    # Lungs, then pleura, then heart; what is absent is denied where it would have stood.
    lungs = [facts[name] for name in _ORDER if name in facts]
    lines += [_sentence(fact, rng) for fact in lungs]
    if not any(name in facts for name in _ORDER[:3]):
        lines.append("The lungs are clear." if not lungs else "The lungs are otherwise clear.")
    else:
        absent = [name for name in _ORDER[:3] if name not in facts]
        lines += [f"No {' or '.join(absent)}."] if absent else []
    pleura = ("pleural effusion", "pneumothorax")
    lines += [_sentence(facts[name], rng) for name in pleura if name in facts]
    denied = [name for name in pleura if name not in facts]
    lines += [f"No {' or '.join(denied)}."] if denied else []
    lines.append(
        _sentence(facts["cardiomegaly"], rng) if "cardiomegaly" in facts else _pick(rng, _NORMAL_HEART)
    )

    conclusions = [_conclusion(fact, rng) for fact in record.facts] or [_pick(rng, _NOTHING)]
    return build(((FINDINGS, " ".join(lines)), (IMPRESSION, " ".join(conclusions))))


def plain_list(record: FactRecord) -> str:
    """What is seen and what is not, in one fixed wording."""
    seen = []
    for fact in record.facts:
        side = " and ".join(fact.sides)
        words = (part for part in (fact.size, side, fact.zone and f"{fact.zone} zone", fact.finding) if part)
        seen.append(" ".join(words))
    present = {fact.finding for fact in record.facts}
    unseen = [finding.name for finding in CATALOGUE if finding.name not in present]
    return f"Seen: {'; '.join(seen) or 'nothing'}.\nNot seen: {'; '.join(unseen)}."


def _sentence(fact: Fact, rng: np.random.Generator) -> str:
    pool = _PRESENT_BOTH if len(fact.sides) == 2 else _PRESENT
    return _filled(_pick(rng, pool[fact.finding]), fact)


def _conclusion(fact: Fact, rng: np.random.Generator) -> str:
    text = _filled(_pick(rng, _CONCLUDED[fact.finding]), fact)
    if len(fact.sides) == 2:
        text = text.replace(fact.finding, _PLURAL.get(fact.finding, fact.finding))
    return text[0].upper() + text[1:]


def _filled(template: str, fact: Fact) -> str:
    side = "bilateral" if len(fact.sides) == 2 else "".join(fact.sides)
    return template.format(size=fact.size, side=side, zone=fact.zone)


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


_PROCEDURES = ("CT CHEST", "CT chest without contrast", "CT thorax", "CT CHEST WITH CONTRAST", "")
_QUESTIONS = (
    "Pneumonia?",
    "Rule out pulmonary embolism",
    "Please assess for pleural effusion",
    "Pneumothorax after line placement?",
    "Nodule follow-up",
    "Cause of dyspnea?",
    "Heart failure?",
    "Query left lower zone collapse",
    "Right sided chest pain, cause?",
    "",
)
_HISTORIES = (
    "Cough and fever for three days",
    "Known left pleural effusion",
    "Known right pleural effusion, drained last week",
    "Smoker, 40 pack years, emphysema",
    "Fall from a ladder, pain on the left",
    "Shortness of breath, previous right pneumothorax",
    "Breast cancer, staging",
    "Hypertension and cardiomegaly on radiograph",
    "No previous illness",
    "Weight loss",
    "",
)


def clinical_context(rng: np.random.Generator) -> ClinicalContext:
    """Words of an order that say nothing of what this image shows: the draft must not follow them."""
    return ClinicalContext(
        procedure=_pick(rng, _PROCEDURES),
        clinical_question=_pick(rng, _QUESTIONS),
        history=_pick(rng, _HISTORIES),
        modality="CT",
        sex=_pick(rng, ("female", "male", "unknown", "other")),
        age_years=int(rng.integers(18, 95)) if rng.random() < 0.8 else None,
    )
