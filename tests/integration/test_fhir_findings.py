"""Findings on real servers: written once with their report, retired with it, never over a person."""

from __future__ import annotations

import dataclasses
from typing import Any

import httpx
import pytest

from connectors.exchange import PublishedReport, WithdrawalStatus
from connectors.fhir.client import FhirClient, version_of
from connectors.fhir.drafts.findings import findings_of
from connectors.fhir.drafts.publish import publish
from connectors.fhir.drafts.withdrawal import withdraw
from tests.fhir_findings import EFFUSION, FINDINGS
from tests.fhir_samples import a_draft, fhir_url, redone

__all__ = ["fhir_url"]

Resource = dict[str, Any]


def findings(client: FhirClient, published: PublishedReport) -> list[Resource]:
    """What a version of the report names, as it is now."""
    report = client.vread(published.reference, published.version)
    found = findings_of(client, report)
    assert len(found) == len(report["result"])
    return found


def touch(client: FhirClient, finding: Resource) -> Resource:
    """A person makes a finding their own."""
    theirs = {**finding, "status": "final", "performer": [{"display": "Dr Rosa"}]}
    answer = httpx.put(
        f"{client.base_url}/Observation/{finding['id']}",
        json=theirs,
        headers={"Content-Type": "application/fhir+json"},
        trust_env=False,
        timeout=60,
    )
    answer.raise_for_status()
    return theirs


@pytest.mark.usefixtures("fhir_url")
def test_findings_are_written_with_their_report_and_once(fhir_url: str) -> None:
    """The report names each; the same draft again writes none."""
    draft = a_draft(findings=FINDINGS)
    with FhirClient(fhir_url) as client:
        published = publish(client, draft)
        found = findings(client, published)
        assert sorted(one["code"]["text"] for one in found) == sorted(one.name for one in FINDINGS)
        assert {one["status"] for one in found} == {"preliminary"}
        subject = client.read(published.reference)["subject"]["reference"]
        assert {one["subject"]["reference"] for one in found} == {subject}
        assert publish(client, draft, known=published) == published
        identifier = found[0]["identifier"][0]
        token = f"{identifier['system']}|{identifier['value']}"
        assert len(client.search("Observation", {"identifier": token})) == 1


def test_a_later_draft_cancels_the_findings_of_the_earlier(fhir_url: str) -> None:
    """The new report names its own; the old ones keep their words in a version before."""
    draft = a_draft(findings=FINDINGS)
    with FhirClient(fhir_url) as client:
        published = publish(client, draft)
        later = redone(draft, findings=(dataclasses.replace(EFFUSION, side="right"),))
        again = publish(client, later, known=published)
        assert {one["status"] for one in findings(client, published)} == {"cancelled"}
        (found,) = findings(client, again)
        assert found["status"] == "preliminary"
        assert found["component"][0]["valueCodeableConcept"]["text"] == "right"


def test_a_finding_that_a_person_touched_is_never_written_over(fhir_url: str) -> None:
    """Neither by a later draft nor by a withdrawal; the others are retired all the same."""
    draft = a_draft(findings=FINDINGS)
    with FhirClient(fhir_url) as client:
        published = publish(client, draft)
        first = findings(client, published)
        touch(client, first[0])
        again = publish(client, redone(draft, findings=FINDINGS), known=published)
        second = findings(client, again)
        touch(client, second[0])
        withdraw(client, draft.case_id, again, WithdrawalStatus.ENTERED_IN_ERROR, "wrong patient")
        for touched, others, status in (
            (first[0], first[1:], "cancelled"),
            (second[0], second[1:], "entered-in-error"),
        ):
            kept = client.read(f"Observation/{touched['id']}")
            assert (kept["status"], kept["performer"]) == ("final", [{"display": "Dr Rosa"}])
            for other in others:
                now = client.read(f"Observation/{other['id']}")
                assert now["status"] == status
                assert version_of(now) != version_of(other)
                assert now["valueCodeableConcept"] == other["valueCodeableConcept"]
