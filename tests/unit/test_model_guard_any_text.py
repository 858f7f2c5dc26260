"""Whatever a model writes, in whatever language, becomes a draft that holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.facts import HEADS, ORGANS
from model.guard import guard, unsupported_claims
from model.readings import HeadReading, Readings
from model.sections import COMPARISON, FINDINGS, IMPRESSION
from model.statements import statements_of
from model.study import ClinicalContext, Sentence
from model.wording import organ_normal

CONTEXT = ClinicalContext(procedure="CT chest", sex="male")
PRIOR = ClinicalContext(procedure="CT chest", sex="male", prior="CT of last year: no effusion.")
CLEAR = tuple(organ_normal(organ, "en") for organ in ORGANS)
VOCABULARY = (
    "no small large left right bilateral pleural effusion pneumothorax nodule 12 mm 3.5 cm 12mm upper lower "
    "zone heart enlarged lungs are clear compared prior prostate uterus but , . ; and "
    "Pleuraerguss rechts kein Rundherd links revărsat stâng fără nodul drept 우측 흉수 없음 결절 좌측 "
    "<|eot_id|> Impression:"
)
WORDS = st.sampled_from(VOCABULARY.split())
LIKELY = st.builds(
    "{} {} {} {} {}.".format,
    st.sampled_from(
        ["There is", "No", "Unchanged", "Compared with the prior,", "Compared with the prior, no"]
    ),
    st.sampled_from(["", "small", "large", "12 mm", "35 mm"]),
    st.sampled_from(["", "left", "right", "bilateral"]),
    st.sampled_from(["pleural effusion", "pneumothorax", "nodule", "cardiomegaly", "effusion and nodule"]),
    st.sampled_from(
        ["", "in the upper zone", "but no pneumothorax", "and left atelectasis", "of the uterus"]
    ),
)
NORMAL = st.sampled_from([*CLEAR, "No acute abnormality.", "Correlate clinically."])
TEXTS = st.one_of(LIKELY, LIKELY, NORMAL, st.text(max_size=40), st.lists(WORDS, max_size=9).map(" ".join))
SENTENCES = st.lists(
    st.builds(
        Sentence,
        section=st.sampled_from([FINDINGS, FINDINGS, IMPRESSION, COMPARISON, "Other"]),
        text=TEXTS,
        organ=st.sampled_from([*ORGANS, "", "Bones"]),
    ),
    max_size=6,
)
PROBABILITIES = st.sampled_from([0.0, 0.1, 0.34, 0.35, 0.4, 0.5, 0.6, 0.65, 0.66, 1.0])
READINGS = st.fixed_dictionaries(
    {
        head: st.builds(
            HeadReading,
            PROBABILITIES,
            st.just(1),
            millimetres=st.sampled_from([None, 0.2, 12.0, 35.0]),
            size=st.sampled_from(["", "small", "large"]),
            zone=st.sampled_from(["", "upper", "lower"]),
        )
        for head in HEADS
    }
)


@pytest.mark.parametrize("language", ["en", "de", "ro", "ko"])
@settings(max_examples=60, deadline=None)
@given(SENTENCES, READINGS, st.sampled_from([CONTEXT, PRIOR, ClinicalContext(procedure="CT left arm")]))
def test_any_text_becomes_a_draft_that_holds(
    language: str, given_: list[Sentence], seen: Readings, context: ClinicalContext
) -> None:
    """Nothing raises, a second pass changes nothing, every organ is told, every claim is supported or marked,
    Findings and Impression state the same, and nothing is stated and denied.
    """
    guarded = guard(given_, seen, context, language)
    assert guard(guarded, seen, context, language) == guarded
    assert set(ORGANS) <= {s.organ for s in guarded if s.section == FINDINGS}
    assert any(s.section == IMPRESSION for s in guarded)
    assert all(claim.marked for claim in unsupported_claims(guarded, seen, context, language))
    told = [(s.section, one) for s in guarded for one in statements_of(s.text, language)]
    stated = {
        section: {
            (one.finding, side)
            for at, one in told
            if at == section and one.present
            for side in one.sides or ("",)
        }
        for section in (FINDINGS, IMPRESSION)
    }
    assert stated[FINDINGS] == stated[IMPRESSION]
    denied = {one.finding for at, one in told if at in stated and not one.present and not one.sides}
    assert not denied & {finding for finding, _ in stated[FINDINGS]}
