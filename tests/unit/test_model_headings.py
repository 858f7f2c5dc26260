"""How a draft is put together as text: titles, organs and marks in its language."""

from __future__ import annotations

import pytest

from model.facts import ORGANS
from model.headings import LANGUAGES, UNCERTAIN, organ_in, title_in, titles_of
from model.sections import FINDINGS, IMPRESSION, TITLES
from model.study import Draft, Sentence
from tests.case_samples import CARD

TOLD = (
    Sentence(FINDINGS, "Clear.", organ="Lungs"),
    Sentence(FINDINGS, "No effusion.", organ="Pleura"),
    Sentence(FINDINGS, "Small nodule.", organ="Lungs", guarded="marked"),
    Sentence(FINDINGS, "Normal size.", organ="Heart", guarded="rewritten"),
    Sentence(IMPRESSION, "Small nodule.", organ="Lungs"),
)


@pytest.mark.parametrize(
    ("language", "findings", "impression"),
    [
        (
            "en",
            "Lungs: Clear. Small nodule. [uncertain]\nPleura: No effusion.\nHeart: Normal size.",
            "Impression",
        ),
        (
            "de",
            "Lunge: Clear. Small nodule. [unsicher]\nPleura: No effusion.\nHerz: Normal size.",
            "Beurteilung",
        ),
        (
            "ro",
            "Plămâni: Clear. Small nodule. [incert]\nPleură: No effusion.\nCord: Normal size.",
            "Concluzii",
        ),
        ("ko", "폐: Clear. Small nodule. [불확실]\n흉막: No effusion.\n심장: Normal size.", "결론"),
    ],
)
def test_findings_stand_under_their_organ_a_line_each(language: str, findings: str, impression: str) -> None:
    """Titles, organs and marks are those of the language; outside of the findings no organ is told."""
    draft = Draft(TOLD, CARD, language=language)
    assert draft.sections == ((title_in(FINDINGS, language), findings), (impression, "Small nodule."))
    assert draft.body_of(FINDINGS) == findings
    assert draft.body_of("Comparison") == ""


def test_findings_without_organs_are_one_line() -> None:
    """Sentences that stand under no organ follow each other, as in every other section."""
    draft = Draft((Sentence(FINDINGS, "One."), Sentence(FINDINGS, "Two.")), CARD)
    assert draft.sections == ((FINDINGS, "One. Two."),)


def test_a_language_has_a_word_of_its_own_for_everything() -> None:
    """No two titles, organs or marks of one language are the same, and all languages have their titles."""
    for language in LANGUAGES:
        assert len({title_in(title, language) for title in TITLES}) == len(TITLES)
        assert len({organ_in(organ, language) for organ in ORGANS}) == len(ORGANS)
    assert len(set(UNCERTAIN.values())) == len(UNCERTAIN) == len(LANGUAGES)
    assert all(len(titles_of(title)) == len(LANGUAGES) for title in TITLES)
