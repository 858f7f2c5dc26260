"""Findings by organ and the Impression of a fact record."""

from __future__ import annotations

import numpy as np

from model.facts import BY_NAME, CATALOGUE, ORGANS
from model.headings import title_in
from model.sections import IMPRESSION
from model.wording import wording
from training.facts import Fact, FactRecord
from training.wordings.composing import Wordings, capitalised, joined, wordings_of
from training.wordings.languages import WORDINGS

_NOT_OF_CLEAR_LUNGS = "emphysema"
"""Lungs that are clear of lesions can be emphysematous: it is denied by no phrase, and stated where it is."""


def report(record: FactRecord, rng: np.random.Generator, language: str, held_out: bool = False) -> str:
    """The answer of the report task: the Findings by organ, then the Impression under its title."""
    findings = findings_text(record, rng, language, held_out)
    impression = impression_text(record, rng, language, held_out)
    return f"{findings}\n\n{title_in(IMPRESSION, language)}:\n{impression}"


def findings_text(record: FactRecord, rng: np.random.Generator, language: str, held_out: bool = False) -> str:
    """A line for each organ: what is there, then what is not."""
    words, labels = WORDINGS[language], wording(language).organs
    facts = {fact.finding: fact for fact in record.facts}
    lines = []
    for organ in ORGANS:
        names = [finding.name for finding in CATALOGUE if finding.organ == organ]
        said = [_sentence(words, facts[name], rng, held_out) for name in names if name in facts]
        deniable = [name for name in names if name != _NOT_OF_CLEAR_LUNGS]
        missing = [name for name in deniable if name not in facts]
        if len(missing) == len(deniable):
            said.append(_pick(rng, wordings_of(words.normal[organ], held_out)))
        elif missing:
            said.append(_denial(words, missing, rng, held_out))
        lines.append(f"{labels[organ]}: {' '.join(said)}")
    return "\n".join(lines)


def impression_text(
    record: FactRecord, rng: np.random.Generator, language: str, held_out: bool = False
) -> str:
    """A sentence for each finding, or that there is none."""
    words = WORDINGS[language]
    if not record.facts:
        return _pick(rng, wordings_of(words.nothing, held_out))
    return " ".join(_conclusion(words, fact, rng, held_out) for fact in record.facts)


def plain_list(record: FactRecord) -> str:
    """What is seen and what is not, in one fixed English wording."""
    seen = []
    for fact in record.facts:
        length = f"{fact.millimetres} mm" if fact.millimetres else ""
        side, zone = " and ".join(fact.sides), fact.zone and f"{fact.zone} zone"
        parts = (part for part in (fact.size, length, side, zone, fact.finding) if part)
        seen.append(" ".join(parts))
    present = {fact.finding for fact in record.facts}
    unseen = [name for name in BY_NAME if name not in present]
    return f"Seen: {'; '.join(seen) or 'nothing'}.\nNot seen: {'; '.join(unseen)}."


def _sentence(words: Wordings, fact: Fact, rng: np.random.Generator, held_out: bool) -> str:
    pool = words.both if len(fact.sides) == 2 else words.present
    return _filled(words, _pick(rng, wordings_of(pool[fact.finding], held_out)), fact, rng)


def _conclusion(words: Wordings, fact: Fact, rng: np.random.Generator, held_out: bool) -> str:
    pool = words.concluded_both if len(fact.sides) == 2 else words.concluded
    return _filled(words, _pick(rng, wordings_of(pool[fact.finding], held_out)), fact, rng)


def _denial(words: Wordings, names: list[str], rng: np.random.Generator, held_out: bool) -> str:
    said = [_pick(rng, words.names[name]) for name in names]
    pattern = _pick(rng, wordings_of(words.absent, held_out))
    return capitalised(pattern.format(names=joined(said, _pick(rng, words.joined))))


def _filled(words: Wordings, template: str, fact: Fact, rng: np.random.Generator) -> str:
    side = _pick(rng, words.sides[fact.sides[0]]) if len(fact.sides) == 1 else ""
    return capitalised(
        template.format(
            side=side,
            size=_pick(rng, words.sizes[fact.size]) if fact.size else "",
            zone=_pick(rng, words.zones[fact.zone]) if fact.zone else "",
            mm=fact.millimetres or "",
        )
    )


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
