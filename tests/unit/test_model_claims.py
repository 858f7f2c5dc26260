"""What a whole draft claims, and how it reaches the resources: above all, its sides."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange import DraftStatus
from connectors.fhir.drafts.observations import PRESENT, SIDES
from connectors.fhir.drafts.report import draft_bundle
from model.claims import Claim, claims_of
from model.facts import BY_NAME, CATALOGUE, LEFT, RIGHT, Finding
from model.sections import COMPARISON, FINDINGS, IMPRESSION
from model.study import Draft, Evidence, Sentence
from model.terminology import FINDINGS as CODES
from model.terminology import body_site
from plugin import translate
from plugin.tables import Case
from tests.case_samples import AT, CARD, UID, an_order


def claims(*texts: str, section: str = FINDINGS) -> list[tuple[str, bool, str]]:
    found = claims_of(Sentence(section, text) for text in texts)
    return [(claim.finding, claim.present, claim.side) for claim in found]


@pytest.mark.parametrize(
    ("texts", "claimed"),
    [
        (["There is a small left pleural effusion."], [("pleural effusion", True, LEFT)]),
        (["There are bilateral pleural effusions."], [("pleural effusion", True, "bilateral")]),
        (
            ["Right effusion.", "Left effusion."],
            [("pleural effusion", True, RIGHT), ("pleural effusion", True, LEFT)],
        ),
        (["Small left effusion.", "Effusion."], [("pleural effusion", True, LEFT)]),
        (["Effusion."], [("pleural effusion", True, "")]),
        (["No pneumothorax."], [("pneumothorax", False, "")]),
        (["No right effusion.", "Small left effusion."], [("pleural effusion", True, LEFT)]),
        (["The heart is of normal size."], [("cardiomegaly", False, "")]),
        (["There is cardiomegaly on the left."], [("cardiomegaly", True, "")]),
        (["No acute abnormality."], []),
        (["Correlate clinically."], []),
    ],
)
def test_the_sentences_say_what_is_claimed(texts: list[str], claimed: list[tuple[str, bool, str]]) -> None:
    """What is there wins over what is denied, sides are never added up, and general words deny nothing."""
    assert claims(*texts) == claimed


def test_only_findings_and_impression_claim_anything() -> None:
    """What an earlier examination showed is no finding of this one."""
    assert claims("Left pleural effusion in 2024.", section=COMPARISON) == []
    assert claims("Left pleural effusion.", section=IMPRESSION) == [("pleural effusion", True, LEFT)]


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("de", ["Kein Pneumothorax.", "Kleiner Pleuraerguss links."]),
        ("ro", ["Fără pneumotorax.", "Revărsat pleural stâng mic."]),
        ("ko", ["기흉은 없음.", "좌측 소량 흉수."]),
    ],
)
def test_a_draft_claims_in_its_own_language(language: str, texts: list[str]) -> None:
    """Read as English, "Kein Pneumothorax" would state one; in an unknown language nothing is claimed."""
    sentences = [Sentence(FINDINGS, text) for text in texts]
    found = [(one.finding, one.present, one.side) for one in claims_of(sentences, language)]
    assert found == [("pneumothorax", False, ""), ("pleural effusion", True, LEFT)]
    assert claims_of(sentences, "fr") == ()


@pytest.mark.parametrize(
    ("text", "probability"),
    [
        ("Left effusion.", 0.9),
        ("Right effusion.", 0.6),
        ("Bilateral effusions.", 0.6),
        ("Effusion.", 0.9),
        ("No effusion.", 0.9),
    ],
)
def test_a_claim_is_as_probable_as_the_heads_of_its_side(text: str, probability: float) -> None:
    """Of one side its own head, of both the lesser, of none the surest."""
    heads = (
        Evidence("image", "pleural effusion", LEFT, 0.9, 3),
        Evidence("image", "pleural effusion", RIGHT, 0.6, 4),
        Evidence("image", "pneumothorax", LEFT, 0.99, 5),
    )
    assert claims_of([Sentence(FINDINGS, text, heads)])[0].probability == probability


def test_a_claim_without_a_head_has_no_probability() -> None:
    """Half of a pair is none either."""
    left = (Evidence("image", "pleural effusion", LEFT, 0.9, 3),)
    assert claims_of([Sentence(FINDINGS, "Bilateral effusions.", left)])[0].probability is None
    assert claims_of([Sentence(FINDINGS, "Right effusion.", left)])[0].probability is None
    template = (Evidence("template"),)
    assert claims_of([Sentence(FINDINGS, "Right effusion.", template)]) == (
        Claim("pleural effusion", True, RIGHT),
    )


def test_every_finding_of_the_catalogue_has_its_code_and_place() -> None:
    """Codes are different, and each side of a finding that has sides has a place of its own."""
    assert set(CODES) == set(BY_NAME)
    assert len({code for code, _ in CODES.values()}) == len(CODES)
    for finding in CATALOGUE:
        sides = ("", LEFT, RIGHT, "bilateral") if finding.lateral else ("",)
        places = [body_site(finding.name, side) for side in sides]
        assert all(code.isdecimal() and name for code, name in places)
        if finding.lateral:
            assert "left" in places[1][1].lower()
            assert "right" in places[2][1].lower()
            assert places[1][0] != places[2][0]


def written(draft: Draft) -> list[dict[str, Any]]:
    """The Observations of a draft, by the whole way: model, table, clinical words, FHIR."""
    order = an_order()
    case = Case(
        id="case-1",
        accession=order.accession,
        state="DRAFTED",
        reason="",
        order=translate.order_to_json(order),
        study_instance_uid=UID,
        draft_number=1,
        created_at=AT,
        updated_at=AT,
    )
    row = translate.draft_row(case, draft, DraftStatus.PRELIMINARY, AT)
    entries = draft_bundle(translate.draft_report(case, row))["entry"]
    return [e["resource"] for e in entries if e["resource"]["resourceType"] == "Observation"]


def test_the_observations_of_a_german_draft_are_those_of_its_text() -> None:
    """By the whole way: what it denies is not there, and its side is the side of the text."""
    sentences = (Sentence(FINDINGS, "Kein Pneumothorax."), Sentence(FINDINGS, "Kleiner Pleuraerguss links."))
    told = {
        one["code"]["coding"][0]["code"]: one["valueCodeableConcept"]["coding"] == [PRESENT]
        for one in written(Draft(sentences, CARD, language="de"))
    }
    assert told == {CODES["pneumothorax"][0]: False, CODES["pleural effusion"][0]: True}


SIDE_WORDS = {LEFT: ("left",), RIGHT: ("right",), "bilateral": ("bilateral", "right and left")}
STATED = st.lists(
    st.tuples(
        st.sampled_from([finding for finding in CATALOGUE if finding.lateral]),
        st.sampled_from(sorted(SIDE_WORDS)),
        st.integers(0, 1),
        st.sampled_from(["There is {side} {word}.", "A small {side} {word} is present.", "{side} {word}."]),
        st.integers(0, 20),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda stated: stated[0].name,
)


@given(STATED)
def test_the_side_of_an_observation_is_the_side_of_the_text(
    stated: list[tuple[Finding, str, int, str, int]],
) -> None:
    """For every finding, every word for it and every side: coded, in the body site and in the identifier."""
    sentences, expected = [], {}
    for finding, side, wording, template, word in stated:
        words = SIDE_WORDS[side]
        told = {"side": words[wording % len(words)], "word": finding.words[word % len(finding.words)]}
        sentences.append(Sentence(FINDINGS, template.format(**told)))
        expected[CODES[finding.name][0]] = side
    found = written(Draft(tuple(sentences), CARD))
    assert {one["code"]["coding"][0]["code"] for one in found} == set(expected)
    for one in found:
        side = expected[one["code"]["coding"][0]["code"]]
        assert one["valueCodeableConcept"]["coding"] == [PRESENT]
        assert one["component"][0]["valueCodeableConcept"]["coding"] == [SIDES[side]]
        place = one["bodySite"]["coding"][0]["display"].lower()
        assert {LEFT: "left" in place, RIGHT: "right" in place, "bilateral": True}[side]
        assert not {LEFT: "right" in place, RIGHT: "left" in place}.get(side, "left " in place)
        assert one["identifier"][0]["value"].endswith(f"/{side}")
