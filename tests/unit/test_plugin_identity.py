"""Whether order, images and report speak of the same patient, accession and study."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange import Patient
from plugin.identity import disagreements

P, Q, NONE = Patient("P1", "A"), Patient("P2", "A"), Patient("", "A")
IDENTIFIERS = st.sampled_from(["", "P1", "P2", " P1 ", "p1"])


def told(one: Patient = P, other: Patient = P, **others: tuple[str, str]) -> tuple[str, ...]:
    return disagreements("the order", "the images", patients=(one, other), **others)


def test_the_same_identifiers_agree() -> None:
    """Nothing is said where patient, accession and study are the same."""
    assert told(accessions=("A1", "A1"), studies=("1.2", "1.2")) == ()


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (P, Q, "The patient identifier of the order is not that of the images."),
        (P, NONE, "No patient identifier comes with the images."),
        (NONE, P, "No patient identifier comes with the order."),
        (NONE, NONE, "No patient identifier comes with the order."),
        (
            P,
            Patient("P1", "B"),
            "The patient identifiers of the order and the images come from different authorities.",
        ),
    ],
)
def test_another_patient_disagrees(one: Patient, other: Patient, words: str) -> None:
    """A patient who differs, or whom one side does not name, is one sentence that names the sides."""
    assert told(one, other) == (words,)


@pytest.mark.parametrize("authorities", [("", ""), ("A", ""), ("", "A"), ("A", "A"), ("A", " A ")])
def test_an_authority_that_is_left_out_disagrees_with_none(authorities: tuple[str, str]) -> None:
    """Archives often do not keep the assigning authority; only two that differ disagree."""
    assert told(Patient("P1", authorities[0]), Patient("P1", authorities[1])) == ()


@pytest.mark.parametrize("kind", ["accessions", "studies"])
@pytest.mark.parametrize(
    ("pair", "agree"),
    [
        (("1", "1"), True),
        (("1", "2"), False),
        (("", "2"), True),
        (("1", ""), True),
        (("1 ", "1"), True),
        (("a", "A"), False),
    ],
)
def test_an_accession_or_study_disagrees_only_when_both_say_it(
    kind: str, pair: tuple[str, str], agree: bool
) -> None:
    """What one side leaves out is matched by the rest; white space counts for nothing, capitals do."""
    assert (told(**{kind: pair}) == ()) is agree


def test_every_disagreement_is_told() -> None:
    """One sentence each, in the order patient, accession, study."""
    found = told(P, Q, accessions=("1", "2"), studies=("1.2", "1.3"))
    assert [sentence.split()[1] for sentence in found] == ["patient", "accession", "study"]


def test_a_sentence_never_repeats_an_identifier() -> None:
    """Reasons are read by people who may not see the patient."""
    one, other = Patient("SECRET-ONE", "AUTH-ONE"), Patient("SECRET-TWO", "AUTH-TWO")
    words = " ".join(told(one, other, accessions=("ACC-ONE", "ACC-TWO"), studies=("1.2.3", "1.2.4")))
    words += " ".join(told(one, Patient("SECRET-ONE", "AUTH-TWO")))
    assert not [part for part in ("SECRET", "AUTH-", "ACC-", "1.2.3", "1.2.4") if part in words]


@given(IDENTIFIERS, IDENTIFIERS, IDENTIFIERS, IDENTIFIERS)
def test_disagreeing_is_mutual(a: str, b: str, c: str, d: str) -> None:
    """It does not matter which of two sources is named first."""
    forward = told(Patient(a), Patient(b), accessions=(c, d))
    backward = told(Patient(b), Patient(a), accessions=(d, c))
    assert bool(forward) == bool(backward)
    assert bool(told(Patient(a), Patient(b))) == (not a or not b or a.strip() != b.strip())
