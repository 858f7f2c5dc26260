"""What a fetched resource turns out to be: read from the bytes that are kept, or refused with the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.fhir.readers.dossier import Dossier
from plugin.answering import answers_to
from plugin.fetched import ACTOR, FHIR_RULES, READERS, read_fetched
from plugin.incoming import Arrival, Incoming
from plugin.messages import LONGEST
from tests.fhir_dossiers import BASE, PATIENT, REPORT, REQUEST, STUDY, dossier


def read(whole: Dossier, **arrival: Any) -> Incoming:
    """What becomes of a dossier."""
    return read_fetched(Arrival(whole.body(), BASE, FHIR_RULES, **arrival))


@pytest.mark.parametrize(
    ("focus", "kind", "name", "counts"),
    [
        (REQUEST, "ServiceRequest", "ServiceRequest/12/_history/3", (1, 0, 0)),
        (STUDY, "ImagingStudy", "ImagingStudy/20/_history/1", (0, 1, 0)),
        (REPORT, "DiagnosticReport", "DiagnosticReport/9/_history/2", (0, 0, 1)),
    ],
)
def test_each_type_is_read_into_its_clinical_words(
    focus: dict[str, Any], kind: str, name: str, counts: tuple[int, int, int]
) -> None:
    """Under the name of its version, as from the server that gave it."""
    found = read(dossier(focus))
    assert found.refusal is None
    assert (found.type, found.control_id, found.sender, found.actor) == (kind, name, BASE, ACTOR)
    assert (len(found.orders), len(found.studies), len(found.reports)) == counts
    assert found.is_resource
    assert [subject.accession for subject in found.subjects] == ["A1"]


def test_nobody_waits_for_an_answer() -> None:
    """Neither to what is taken nor to what is refused."""
    for found in (read(dossier(REQUEST)), read(dossier(REQUEST, status="x"))):
        assert answers_to(found, found.refusal) == answers_to(found, None)
        assert not answers_to(found, found.refusal).accept


@pytest.mark.parametrize(
    "focus",
    [
        {**REPORT, "issued": "yesterday"},
        {**REPORT, "colour": "crimson"},
        {**REQUEST, "status": "asked"},
        {**REQUEST, "intent": "plan"},
        {**STUDY, "status": "there"},
    ],
    ids=["wrong moment", "unknown element", "unknown status", "no order", "unknown study status"],
)
def test_what_cannot_be_read_says_whose_case_it_would_have_been(focus: dict[str, Any]) -> None:
    """By each identifier that it carries; nothing of its values is in the reason."""
    found = read(dossier(focus))
    assert found.refusal is not None
    assert {one.accession for one in found.subjects} == {
        identifier["value"] for identifier in focus["identifier"]
    }
    assert [*found.orders, *found.studies, *found.reports] == []
    assert "yesterday" not in str(found.refusal)
    assert "crimson" not in str(found.refusal)


@pytest.mark.parametrize("element", ["accession", "patient"])
@pytest.mark.parametrize("over", [0, 1])
def test_what_identifies_may_be_this_long_and_no_longer(element: str, over: int) -> None:
    """At the limit it is taken, one over it is refused; an identifier is never cut."""
    long = "9" * (LONGEST + over)
    if element == "accession":
        focus = {**REPORT, "identifier": [{"type": {"coding": [{"code": "ACSN"}]}, "value": long}]}
        whole = dossier(focus)
    else:
        identifier = [{"system": "urn:prelim:patient:HOSP", "value": long}]
        whole = dossier(REPORT)
        others = {**whole.others, "Patient/1": {**PATIENT, "identifier": identifier}}
        whole = replace(whole, others=others)
    found = read(whole)
    assert (found.refusal is not None) == bool(over), str(found.refusal)


def test_an_accession_that_was_looked_for_is_believed_of_an_untyped_number() -> None:
    """`expected` goes with the arrival."""
    whole = dossier(REPORT, identifier=[{"value": "A7"}])
    (plain,) = read(whole, expected=()).reports
    (believed,) = read(whole, expected=("A7",)).reports
    assert (plain.accession, believed.accession) == ("", "A7")


def test_the_release_of_the_site_decides_what_is_valid() -> None:
    """R5 has no imagingStudy in a report."""
    rules = replace(FHIR_RULES, release="R5")
    found = read_fetched(Arrival(dossier(REPORT).body(), BASE, rules))
    assert "DiagnosticReport" in str(found.refusal)
    assert read(dossier(REPORT)).refusal is None


def test_another_type_is_refused() -> None:
    """Only what has a reader is read."""
    found = read(Dossier(BASE, PATIENT))
    assert "another type of resource" in str(found.refusal)
    assert "Patient" not in READERS


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_nothing_is_raised(body: bytes) -> None:
    """What is no dossier has neither a name nor subjects."""
    found = read_fetched(Arrival(body, BASE, FHIR_RULES))
    assert found.refusal is not None
    assert (found.control_id, found.subjects) == ("", [])


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_any_value_of_an_element_is_read_or_refused(value: Any) -> None:
    """Nothing is raised, whatever stands where."""
    for focus in (REPORT, REQUEST, STUDY):
        for element in ("identifier", "subject", "status", "basedOn"):
            body = dossier({**focus, element: value}).body()
            assert json.loads(body)
            read_fetched(Arrival(body, BASE, FHIR_RULES))
