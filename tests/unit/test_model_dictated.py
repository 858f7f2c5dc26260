"""What is written of dictated words rests on them; whatever says more, or the contrary, is marked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.dictated import mended, rest_on_dictation
from model.facts import BY_NAME, HEART, LUNGS, ORGANS, PLEURA
from model.sections import FINDINGS, IMPRESSION
from model.statements import statements_of
from model.study import ClinicalContext, Sentence
from model.wording import LANGUAGES, absent, concluded, organ_normal, present

DICTATED = (
    "There is a small left pleural effusion. A nodule of 1.2 cm in the right upper zone. No pneumothorax."
)
NOT_DICTATED = "states a finding that was not dictated"
PARTICULARS = "states a side, size, zone or measurement that was not dictated"
DENIED = "denies a finding that was dictated"
UNSAID = "says what was not dictated"
PRIOR = "speaks of a prior examination that is not there"


def rested(text: str, dictated: str = DICTATED, prior: str = "", language: str = "en") -> Sentence:
    sentence = Sentence(IMPRESSION, text)
    (one,) = rest_on_dictation([sentence], dictated, ClinicalContext(prior=prior), language)
    assert (one.section, one.text) == (IMPRESSION, text)
    assert [part.kind for part in one.evidence] == ["findings"]
    assert (one.guarded == "marked") is bool(one.reason)
    return one


@pytest.mark.parametrize(
    "text",
    [
        "Small left pleural effusion.",
        "Left pleural effusion.",
        "Pleural effusion.",
        "Right upper zone nodule, 12 mm.",
        "Right upper zone nodule, 12.5 mm.",
        "Right upper zone nodule, 11.5 mm.",
        "Nodule of 1.2 cm.",
        # Denials that contradict nothing, and words of what no head looks for.
        "No pneumothorax or consolidation.",
        "The heart size is normal.",
        "Effusion on the left, small.",
    ],
)
def test_what_was_dictated_may_be_said(text: str) -> None:
    """As much of it or less, in other units too; and what the catalogue knows nothing of."""
    assert rested(text).reason == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Consolidation in the left lower zone.", NOT_DICTATED),
        ("Left pneumothorax.", NOT_DICTATED),
        ("Small right pleural effusion.", PARTICULARS),
        ("Small bilateral pleural effusions.", PARTICULARS),
        ("Large left pleural effusion.", PARTICULARS),
        ("Right lower zone nodule.", PARTICULARS),
        ("Right upper zone nodule, 12.6 mm.", PARTICULARS),
        ("Right upper zone nodule, 11.4 mm.", PARTICULARS),
        ("Left pleural effusion of 12 mm.", PARTICULARS),
        ("The aorta measures 4.5 cm.", PARTICULARS),
        ("Follow-up in three months is advised.", UNSAID),
        ("Fracture of the seventh rib.", UNSAID),
        ("No pleural effusion.", DENIED),
        ("The lungs are clear.", DENIED),
        ("No acute abnormality.", DENIED),
        ("Small left pleural effusion, unchanged.", PRIOR),
        ("The effusion has increased since the prior study.", PRIOR),
    ],
)
def test_more_or_other_than_was_dictated_is_marked(text: str, reason: str) -> None:
    """The words stay, for a person must read them; the mark says why."""
    assert rested(text).reason == reason


def test_words_that_no_head_knows_may_be_said_where_they_were_dictated() -> None:
    """Most of them, whatever their endings; half of them is too few."""
    dictated = "There is a displaced fracture of the seventh rib."
    assert rested("Displaced fractures of the seventh rib.", dictated).reason == ""
    assert rested("Displaced fracture, surgery advised.", dictated).reason == UNSAID


def test_two_sides_that_were_dictated_apart_are_both_sides() -> None:
    """The conclusion may join them; where sizes differ, none is that of both."""
    apart = "Small right pleural effusion. Small left pleural effusion."
    assert rested("Small bilateral pleural effusions.", apart).reason == ""
    differing = "Small right pleural effusion. Large left pleural effusion."
    assert rested("Bilateral pleural effusions.", differing).reason == ""
    assert rested("Small bilateral pleural effusions.", differing).reason == PARTICULARS


@pytest.mark.parametrize(
    ("dictated", "prior"), [(DICTATED, "CT of 2024."), (f"Compared with 2024. {DICTATED} Unchanged.", "")]
)
def test_a_prior_may_be_spoken_of_where_there_is_one(dictated: str, prior: str) -> None:
    """Given with the order, or dictated."""
    assert rested("Small left pleural effusion, unchanged.", dictated, prior).reason == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_is_held_against_its_dictation(language: str) -> None:
    """The same finding rests; another side, another finding and its denial are marked."""
    dictated = " ".join(
        (
            present("pleural effusion", ("left",), language, size="small"),
            absent(("pneumothorax",), language),
        )
    )

    def reason(text: str) -> str:
        return rested(text, dictated, language=language).reason

    assert reason(concluded("pleural effusion", ("left",), language, size="small")) == ""
    assert reason(concluded("pleural effusion", ("right",), language, size="small")) == PARTICULARS
    assert reason(concluded("pleural effusion", ("left",), language, size="large")) == PARTICULARS
    assert reason(concluded("cardiomegaly", (), language)) == NOT_DICTATED
    assert reason(organ_normal("Pleura", language)) == DENIED


@given(st.text(max_size=120), st.lists(st.text(max_size=60), max_size=4), st.sampled_from(LANGUAGES))
def test_no_text_is_lost_whatever_was_dictated(dictated: str, told: list[str], language: str) -> None:
    """Sentences keep their words, their place and their organ."""
    sentences = [Sentence(FINDINGS, text, organ=ORGANS[0]) for text in told]
    rested_on = rest_on_dictation(sentences, dictated, ClinicalContext(), language)
    assert [(s.section, s.text, s.organ) for s in rested_on] == [(FINDINGS, t, ORGANS[0]) for t in told]
    assert all(s.evidence[0].kind == "findings" for s in rested_on)


@given(st.sampled_from(sorted(BY_NAME)), st.sampled_from(LANGUAGES))
def test_nothing_dictated_supports_no_finding(finding: str, language: str) -> None:
    """Where nothing was said, whatever is said to be there is marked."""
    text = concluded(finding, ("left",) if BY_NAME[finding].lateral else (), language)
    assert rested(text, "", language=language).reason == NOT_DICTATED


def mend(texts: list[str], dictated: str, section: str = IMPRESSION, organ: str = "") -> tuple[Sentence, ...]:
    written = [Sentence(section, text, organ=organ) for text in texts]
    return mended(rest_on_dictation(written, dictated, ClinicalContext(), "en"), dictated, "en", section)


def test_what_was_dictated_stands_in_place_of_what_contradicts_it() -> None:
    """A wrong side goes, the right one is written; what was not dictated at all stays marked."""
    told = mend(["Small right pleural effusion.", "Fracture of the seventh rib."], DICTATED)
    assert [one.text for one in told] == [
        "Fracture of the seventh rib.",
        "Small left pleural effusion.",
        "Right upper zone pulmonary nodule, 12 mm.",
    ]
    assert [one.guarded for one in told] == ["marked", "rewritten", "rewritten"]


def test_a_conclusion_that_is_right_is_not_touched() -> None:
    """Nothing is added where all that was dictated is told."""
    texts = ["Small left pleural effusion.", "Right upper zone nodule, 12 mm."]
    told = mend(texts, DICTATED)
    assert [one.text for one in told] == texts
    assert not any(one.guarded for one in told)


def test_nothing_dictated_is_concluded_as_nothing() -> None:
    """An invented finding leaves the sentence that there is none."""
    told = mend(["Large left pneumothorax."], "The lungs are clear. No pleural effusion.")
    assert [one.text for one in told] == ["No acute abnormality."]


def test_detailed_findings_tell_every_organ() -> None:
    """What the impression says under its organ; an organ that it leaves out is told as normal."""
    told = mend(["There is emphysema."], "Small left pleural effusion. Emphysema.", FINDINGS, LUNGS)
    assert [(one.organ, one.text) for one in told] == [
        (LUNGS, "There is emphysema."),
        (PLEURA, "There is a small left pleural effusion."),
        (HEART, "The heart size is normal."),
    ]
    assert [one.evidence[0].kind for one in told] == ["findings", "findings", "template"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("section", [FINDINGS, IMPRESSION])
def test_what_is_mended_rests_on_the_dictation(language: str, section: str) -> None:
    """In every language, from nothing that was written: no sentence of it would be marked."""
    dictated = " ".join(
        (
            present("pleural effusion", ("left",), language, size="small"),
            present("pulmonary nodule", ("right",), language, zone="upper", millimetres=12),
            present("cardiomegaly", (), language),
        )
    )
    told = mended((), dictated, language, section)
    rested_again = rest_on_dictation(told, dictated, ClinicalContext(), language)
    assert [one.reason for one in rested_again if one.guarded == "marked"] == []
    stated = {said.finding for one in told for said in statements_of(one.text, language) if said.present}
    assert stated == {"pleural effusion", "pulmonary nodule", "cardiomegaly"}


def test_no_normal_chest_is_concluded_of_words_that_were_not_read() -> None:
    """Where nothing written holds: normal only if every dictated sentence was read and states nothing."""
    wrong = Sentence(IMPRESSION, "Left pleural effusion.")
    for dictated, texts in (
        ("No pneumothorax. The lungs are clear.", ["No acute abnormality."]),
        ("No pneumothorax. Fracture of the seventh rib.", []),
    ):
        rested_on = rest_on_dictation([wrong], dictated, ClinicalContext(), "en")
        assert [one.text for one in mended(rested_on, dictated, "en", IMPRESSION)] == texts
