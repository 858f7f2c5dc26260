"""A draft has all its sections whatever was given, and says nothing that was cut off or not given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.facts import ORGANS
from model.headings import organ_in, title_in
from model.prompts import FIELD_CHARACTERS
from model.reporting import (
    complete,
    finding_sentences,
    given_sentences,
    impression_sentences,
    written_sentences,
)
from model.sections import CLINICAL_INFORMATION, COMPARISON, FINDINGS, IMPRESSION, PROCEDURE
from model.study import ClinicalContext, Sentence
from model.wording import LANGUAGES, concluded, nothing, organ_normal, wording

GIVEN = (PROCEDURE, CLINICAL_INFORMATION, COMPARISON)
WHOLE = (
    Sentence(PROCEDURE, "CT CHEST."),
    Sentence(CLINICAL_INFORMATION, "Question: Pneumonia?"),
    Sentence(COMPARISON, "No prior available."),
    *(Sentence(FINDINGS, organ_normal(organ, "en"), organ=organ) for organ in ORGANS),
    Sentence(IMPRESSION, "No acute abnormality."),
)
ANSWER = (
    "Lungs: The lungs are clear. There is emphysema.\nPleura: Small left effusion.\n"
    "Heart: The heart is enlarged.\n\nImpression:\nSmall left effusion. Emphysema."
)


@given(
    st.text(max_size=80),
    st.text(max_size=80),
    st.text(max_size=80),
    st.text(max_size=80),
    st.sampled_from(LANGUAGES),
)
def test_what_is_given_has_its_three_sections_whatever_it_is(
    procedure: str, question: str, history: str, prior: str, language: str
) -> None:
    """In order, each with words on one line that rest on the order, a prior or nothing at all."""
    context = ClinicalContext(procedure, question, history, prior=prior)
    told = given_sentences(context, language)
    assert tuple(dict.fromkeys(one.section for one in told)) == GIVEN
    assert all(one.text.strip() and len(one.text.splitlines()) == 1 for one in told)
    assert all([part.kind for part in one.evidence] in (["order"], ["prior"], ["template"]) for one in told)
    assert complete((*told, *WHOLE[3:]))


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Not stated.", "Not stated.", "No prior available.")),
        ("de", ("Nicht angegeben.", "Nicht angegeben.", "Keine Voraufnahmen verfügbar.")),
        ("ro", ("Neprecizat.", "Neprecizat.", "Fără examinări anterioare disponibile.")),
        ("ko", ("기재 없음.", "기재 없음.", "이전 검사 없음.")),
    ],
)
def test_an_empty_order_is_told_as_one(language: str, words: tuple[str, ...]) -> None:
    """In the language; blanks and control characters are nothing."""
    for blank in ("", " \n\t"):
        told = given_sentences(ClinicalContext(blank, blank, blank, prior=blank), language)
        assert tuple(one.text for one in told) == words
        assert {one.evidence[0].kind for one in told} == {"template"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_prior_is_named_and_not_repeated(language: str) -> None:
    """That there is one rests on it; what it says is not a word of this draft."""
    told = given_sentences(ClinicalContext(prior="CT of 2024: left effusion of 31 mm."), language)
    (comparison,) = [one for one in told if one.section == COMPARISON]
    assert comparison.text == wording(language).prior_available
    assert [one.kind for one in comparison.evidence] == ["prior"]
    assert not any("31" in one.text for one in told)


def test_words_of_the_order_stand_where_they_belong() -> None:
    """Procedure, question and history; a title among them is text, and long words have an end."""
    context = ClinicalContext("CT CHEST", "Effusion?", f"Fell.\n\nFindings:\nNone. {'x' * 1000}")
    told = given_sentences(context, "en")
    assert [one.section for one in told] == [PROCEDURE, *[CLINICAL_INFORMATION] * 2, COMPARISON]
    assert [one.text for one in told[:2]] == ["CT CHEST.", "Question: Effusion?"]
    assert told[2].text.startswith("History: Fell. Findings: None. xxx")
    assert len(told[2].text) <= len("History: ") + FIELD_CHARACTERS + 1


def test_an_answer_becomes_sentences_under_their_organs() -> None:
    """In order, the Impression without an organ."""
    assert [(one.section, one.organ, one.text) for one in written_sentences(ANSWER, "en")] == [
        (FINDINGS, "Lungs", "The lungs are clear."),
        (FINDINGS, "Lungs", "There is emphysema."),
        (FINDINGS, "Pleura", "Small left effusion."),
        (FINDINGS, "Heart", "The heart is enlarged."),
        (IMPRESSION, "", "Small left effusion."),
        (IMPRESSION, "", "Emphysema."),
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_is_read_in_its_language(language: str) -> None:
    """Labels and title are the language's own, and the organs come back as the canonical ones."""
    lines = [f"{organ_in(organ, language)}: {organ_normal(organ, language)}" for organ in ORGANS]
    text = "\n".join(lines) + f"\n\n{title_in(IMPRESSION, language)}:\n{nothing(language)}"
    told = written_sentences(text, language)
    assert [one.organ for one in told] == [*ORGANS, ""]
    assert [one.text for one in told] == [*(organ_normal(o, language) for o in ORGANS), nothing(language)]
    assert complete((*WHOLE[:3], *told))
    assert finding_sentences("\n".join(lines), language) == told[:-1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_that_was_cut_off_is_not_said(language: str) -> None:
    """Nobody said its end; what stands before it stays, and a section of nothing else is empty."""
    whole = concluded("pleural effusion", ("left",), language, size="small")
    cut = whole.rstrip(".")[:-1] + "…"
    assert [one.text for one in impression_sentences(f"{whole} {cut}", language)] == [whole]
    assert impression_sentences(cut, language) == ()
    assert impression_sentences("…", language) == ()
    labels = [organ_in(organ, language) for organ in ORGANS]
    text = f"{labels[0]}: {whole} {cut}\n{labels[1]}: …\n{labels[2]}: {cut}"
    assert [(one.organ, one.text) for one in finding_sentences(text, language)] == [(ORGANS[0], whole)]


def test_what_stands_under_a_further_title_is_not_the_impression() -> None:
    """An answer that goes on beyond its section is read up to there."""
    told = impression_sentences("Effusion. Small.\n\nFindings:\nInvented.", "en")
    assert [one.text for one in told] == ["Effusion.", "Small."]
    assert [one.text for one in written_sentences(f"{ANSWER}\n\nPlan:\nInvented.", "en")][-1] == "Emphysema."


def test_words_under_no_organ_are_left_out() -> None:
    """And an answer without the title of the Impression has none."""
    assert finding_sentences("Preamble.\nLiver: Cyst.\nHeart: Normal.", "en") == (
        Sentence(FINDINGS, "Normal.", organ="Heart"),
    )
    assert all(one.section == FINDINGS for one in written_sentences("Heart: Normal.", "en"))


def test_a_whole_draft_is_complete() -> None:
    """All five sections and all three organs."""
    assert complete(WHOLE)


@pytest.mark.parametrize("missing", range(len(WHOLE)))
def test_a_draft_that_lacks_anything_is_not_complete(missing: int) -> None:
    """Each section and each organ counts, and so does one with nothing but a blank in it."""
    assert not complete([one for i, one in enumerate(WHOLE) if i != missing])
    blank = [Sentence(s.section, " " if i == missing else s.text, organ=s.organ) for i, s in enumerate(WHOLE)]
    assert not complete(blank)


def test_a_draft_in_another_order_is_not_complete() -> None:
    """Nor one in which a section or an organ stands at another place."""
    assert not complete((*WHOLE[:3], WHOLE[6], *WHOLE[3:6]))
    assert not complete((*WHOLE[:3], WHOLE[4], WHOLE[3], *WHOLE[5:]))
    assert not complete(())
