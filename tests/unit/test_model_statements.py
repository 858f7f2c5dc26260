"""A sentence is read for what it states, what it denies, and on which side; evidence follows."""

from __future__ import annotations

import pytest

from model.evidence import HeadReading, evidence_of
from model.facts import HEADS, head_name, split_head_name
from model.statements import Statement, statements_of
from model.study import Evidence

PRESENT = [
    ("There is a small left pleural effusion.", "pleural effusion", ("left",), "small", ""),
    (
        "Moderate bilateral pleural effusions are present.",
        "pleural effusion",
        ("right", "left"),
        "moderate",
        "",
    ),
    ("A large right pneumothorax is present.", "pneumothorax", ("right",), "large", ""),
    ("Consolidation is seen in the left lower zone.", "consolidation", ("left",), "", "lower"),
    ("A pulmonary nodule is seen in the right upper zone.", "pulmonary nodule", ("right",), "", "upper"),
    ("Pleural fluid on the right and on the left.", "pleural effusion", ("right", "left"), "", ""),
    ("The heart is enlarged.", "cardiomegaly", (), "", ""),
    ("Emphysematous changes are present in both lungs.", "emphysema", (), "", ""),
    ("There is a pleural effusion.", "pleural effusion", (), "", ""),
]


@pytest.mark.parametrize(("sentence", "finding", "sides", "size", "zone"), PRESENT)
def test_a_finding_is_read_with_its_side_size_and_zone(
    sentence: str, finding: str, sides: tuple[str, ...], size: str, zone: str
) -> None:
    """Each wording states one finding, and no side is read where none is said."""
    assert statements_of(sentence) == (Statement(finding, True, sides, size, zone),)


@pytest.mark.parametrize(
    ("sentence", "denied"),
    [
        ("No pleural effusion or pneumothorax.", {"pleural effusion", "pneumothorax"}),
        ("There is no left pleural effusion.", {"pleural effusion"}),
        ("Lungs are without consolidation.", {"consolidation"}),
        ("The lungs are clear.", {"consolidation", "atelectasis", "pulmonary nodule"}),
        ("The heart size is normal.", {"cardiomegaly"}),
        ("No acute abnormality.", {split_head_name(h)[0] for h in HEADS}),
    ],
)
def test_a_denied_finding_is_not_present(sentence: str, denied: set[str]) -> None:
    """Negations and phrases of normality deny what they speak of, and state nothing."""
    said = statements_of(sentence)
    assert {s.finding for s in said} == denied
    assert not any(s.present for s in said)


def test_a_side_belongs_to_the_nearest_finding() -> None:
    """Two findings in one sentence keep their own sides."""
    assert statements_of("Left pleural effusion and right pneumothorax.") == (
        Statement("pleural effusion", True, ("left",)),
        Statement("pneumothorax", True, ("right",)),
    )


def test_a_denial_ends_with_its_clause() -> None:
    """What stands after "but" is stated."""
    assert statements_of("No pneumothorax, but there is a left pleural effusion.") == (
        Statement("pneumothorax", False),
        Statement("pleural effusion", True, ("left",)),
    )


def test_a_sentence_without_findings_states_nothing() -> None:
    """Words that name no finding are no statement."""
    assert statements_of("Technique: axial slices of the chest.") == ()


def test_head_names_are_read_back() -> None:
    """Finding and side come back from every head's name."""
    assert all(head_name(*split_head_name(head)) == head for head in HEADS)


READINGS = {head: HeadReading(round(0.01 * i, 2), i) for i, head in enumerate(HEADS)}


def test_evidence_names_head_probability_side_and_slice() -> None:
    """A stated side brings the reading of just that head."""
    (evidence,) = evidence_of("There is a small left pleural effusion.", READINGS)
    reading = READINGS["pleural effusion, left"]
    assert evidence == Evidence("image", "pleural effusion", "left", reading.probability, reading.slice_index)


def test_evidence_of_both_sides_is_two_readings() -> None:
    """Each side stands by itself."""
    assert [e.side for e in evidence_of("Bilateral pleural effusions.", READINGS)] == ["right", "left"]


def test_evidence_against_a_sentence_is_not_hidden() -> None:
    """A finding that the head does not see keeps its low probability."""
    (evidence,) = evidence_of("There is a right pleural effusion.", READINGS)
    assert evidence.probability == 0.0


def test_a_denial_rests_on_the_surest_side() -> None:
    """What speaks most against the denial is what must be shown."""
    (evidence,) = evidence_of("No pneumothorax.", READINGS)
    assert (evidence.side, evidence.probability) == ("left", READINGS["pneumothorax, left"].probability)


def test_a_sentence_of_no_finding_rests_on_the_template() -> None:
    """It claims no support from the image."""
    assert evidence_of("Compared with nothing.", READINGS) == (Evidence("template"),)
