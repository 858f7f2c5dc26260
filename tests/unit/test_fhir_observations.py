"""Findings as Observations: what each claims, that it is written once, and who may retire it."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Rejected
from connectors.exchange import DraftFinding, DraftStatus, WithdrawalStatus
from connectors.fhir.drafts.observations import (
    ABSENT,
    MAX_RESULTS,
    PRESENT,
    SIDES,
    finding_references,
    is_ours,
    observations_of,
    retirement,
)
from connectors.fhir.drafts.report import draft_bundle
from connectors.fhir.egress import ForbiddenStatus, check_egress
from tests.fhir_findings import EFFUSION, FINDINGS, NO_CARDIOMEGALY, SYSTEMS, UNCODED, again, first, standing
from tests.fhir_samples import a_draft

Resource = dict[str, Any]


def made(**changes: Any) -> list[Resource]:
    draft = a_draft(**{"findings": FINDINGS, **changes})
    return observations_of(draft, SYSTEMS, subject="Patient/1", device="Device/1")


def test_a_finding_says_what_where_and_on_which_side() -> None:
    """Code, body site, side, presence and the head's probability, as the draft has them."""
    effusion = made()[0]
    assert effusion["code"]["coding"][0]["code"] == "60046008"
    assert effusion["bodySite"]["coding"][0]["display"] == "Left pleura"
    assert effusion["valueCodeableConcept"]["coding"] == [PRESENT]
    side, probability = effusion["component"]
    assert side["valueCodeableConcept"]["coding"] == [SIDES["left"]]
    assert probability["valueQuantity"]["value"] == 0.9731
    assert effusion["note"][0]["text"] == a_draft().notice
    assert effusion["derivedFrom"][0]["identifier"]["system"] == "urn:dicom:uid"


def test_a_denied_finding_is_absent_and_has_no_side() -> None:
    """What is not there is said to be absent."""
    denied = made(findings=(NO_CARDIOMEGALY,))[0]
    assert denied["valueCodeableConcept"]["coding"] == [ABSENT]
    assert "component" not in denied
    assert "bodySite" not in denied


def test_a_finding_without_a_code_is_told_in_words() -> None:
    """No code is made up; the side is coded all the same."""
    told = made(findings=(UNCODED,))[0]
    assert told["code"] == {"text": "rib notching"}
    assert told["component"][0]["valueCodeableConcept"]["coding"] == [SIDES["bilateral"]]


@pytest.mark.parametrize("status", list(DraftStatus))
def test_findings_are_preliminary_whatever_the_draft(status: DraftStatus) -> None:
    """R4 has no partial for an Observation; every one is labelled as a machine's."""
    for finding in made(status=status):
        assert finding["status"] == "preliminary"
        assert finding["meta"]["security"][0]["code"] == "AIAST"
        assert "performer" not in finding


def test_a_repeated_draft_writes_the_same_findings_once() -> None:
    """Each is created unless its identifier of case, draft, finding and side is there."""
    draft = a_draft(findings=FINDINGS)
    entries = [draft_bundle(draft)["entry"][4:] for _ in range(2)]
    assert entries[0] == entries[1]
    values = [entry["resource"]["identifier"][0]["value"] for entry in entries[0]]
    assert values == [
        f"{draft.case_id}/1/pleural effusion/left",
        f"{draft.case_id}/1/cardiomegaly",
        f"{draft.case_id}/1/rib notching/bilateral",
    ]
    assert all("ifNoneExist" in entry["request"] for entry in entries[0])


def test_the_report_names_its_findings_and_their_codes() -> None:
    """result is every finding, conclusionCode those that are there and coded; Provenance targets them all."""
    entries = first()["entry"]
    report, provenance = entries[2]["resource"], entries[3]["resource"]
    urls = [entry["fullUrl"] for entry in entries[4:]]
    assert [one["reference"] for one in report["result"]] == urls
    assert [one["coding"][0]["code"] for one in report["conclusionCode"]] == ["60046008"]
    assert [one["reference"] for one in provenance["target"]] == [entries[2]["fullUrl"], *urls]


def test_a_later_draft_cancels_the_findings_of_the_earlier_one() -> None:
    """Those that are ours are retired in the same transaction, under If-Match, and not named any more."""
    entries = again()["entry"]
    retired = [entry for entry in entries if entry["resource"].get("status") == "cancelled"]
    assert len(retired) == len(FINDINGS)
    assert all(entry["request"]["ifMatch"] == 'W/"1"' for entry in retired)
    results = [one["reference"] for one in entries[2]["resource"]["result"]]
    assert results == [entries[4]["fullUrl"]]
    check_egress(again())


@pytest.mark.parametrize(
    "change",
    [
        {"status": "final"},
        {"status": "amended"},
        {"status": "cancelled"},
        {"valueCodeableConcept": {"coding": [ABSENT]}},
        {"bodySite": {"text": "Right pleura"}},
        {"component": []},
        {"note": [{"text": "Seen by me."}]},
        {"performer": [{"display": "Dr Rosa"}]},
        {"identifier": []},
        {"meta": {"versionId": "2"}},
        {"id": ""},
    ],
    ids=str,
)
def test_a_finding_that_anybody_touched_is_left_alone(change: Resource) -> None:
    """Only what still says what we wrote is retired."""
    case_id = "case-1"
    _, findings = standing(first(case_id=case_id))
    assert retirement(findings[0], case_id, WithdrawalStatus.CANCELLED, SYSTEMS) is not None
    assert retirement({**findings[0], **change}, case_id, WithdrawalStatus.CANCELLED, SYSTEMS) is None


def test_a_finding_of_another_case_is_left_alone() -> None:
    """Also of one whose id begins like ours."""
    _, findings = standing(first(case_id="case-12"))
    assert is_ours(findings[0], "case-12", SYSTEMS)
    assert not is_ours(findings[0], "case-1", SYSTEMS)


@pytest.mark.parametrize("status", ["final", "preliminary", "amended", ""])
def test_nothing_is_retired_with_another_status(status: Any) -> None:
    """cancelled and entered-in-error alone."""
    _, findings = standing(first(case_id="case-1"))
    with pytest.raises(ForbiddenStatus):
        retirement(findings[0], "case-1", status, SYSTEMS)


@pytest.mark.parametrize("finding", [DraftFinding("", True), DraftFinding("nodule", True, "middle")])
def test_a_finding_that_cannot_be_told_is_not_written(finding: DraftFinding) -> None:
    """A finding has a name, and a side that a reader knows."""
    with pytest.raises(Rejected):
        made(findings=(finding,))


def test_a_finding_cannot_be_there_and_not_be_there() -> None:
    """Two claims of one finding and side agree, and are one."""
    assert len(made(findings=(EFFUSION, EFFUSION))) == 1
    with pytest.raises(Rejected):
        made(findings=(EFFUSION, dataclasses.replace(EFFUSION, present=False)))


@pytest.mark.parametrize(("probability", "told"), [(0.0, 1), (1.0, 1), (1.01, 0), (-0.01, 0), (None, 0)])
def test_a_probability_lies_between_nought_and_one(probability: float | None, told: int) -> None:
    """One that does not is left out."""
    found = made(findings=(dataclasses.replace(UNCODED, side="", probability=probability),))[0]
    assert len(found.get("component", [])) == told


@given(st.sampled_from(["left", "right", "bilateral"]), st.booleans(), st.text(min_size=1, max_size=20))
def test_the_side_that_is_written_is_the_side_of_the_finding(side: str, present: bool, name: str) -> None:
    """Whatever the finding is called, its side is coded as it is."""
    try:
        found = made(findings=(DraftFinding(name, present, side),))[0]
    except Rejected:
        return
    assert found["component"][0]["valueCodeableConcept"] == {"coding": [SIDES[side]], "text": side}
    assert found["identifier"][0]["value"].endswith(f"/{side}")


def test_only_so_many_results_of_a_report_are_looked_at() -> None:
    """A report of somebody else may name thousands; and of other places none is asked for."""
    named = [{"reference": f"Observation/{number}"} for number in range(MAX_RESULTS + 1)]
    assert len(finding_references({"result": named[:-1]})) == MAX_RESULTS
    assert len(finding_references({"result": named})) == MAX_RESULTS
    elsewhere = ["http://other.test/Observation/1", "#contained", "urn:uuid:1", "Patient/1", 7, None]
    assert finding_references({"result": [{"reference": one} for one in elsewhere]}) == []


def test_building_a_bundle_changes_nothing_that_it_was_given() -> None:
    """What the server keeps is read, not written to."""
    _, findings = standing(first(case_id="case-1"))
    before = copy.deepcopy(findings)
    retirement(findings[0], "case-1", WithdrawalStatus.CANCELLED, SYSTEMS)
    assert findings == before
