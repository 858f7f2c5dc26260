"""A signature on the FHIR server is attested there by a Provenance: on the sandbox and on HAPI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.exchange import Practitioner, ReportStatus
from connectors.fhir.client import version_of
from connectors.fhir.drafts.verifier import ATTESTATION
from connectors.sandbox.fhir_faults import FaultyTransport, first
from connectors.sandbox.fhir_radiologist import sign
from plugin.attesting import evidence_sha256
from plugin.casework import Job
from plugin.reports import check_report, take_report
from plugin.tables import SignOff
from plugin.translate import published
from tests.case_samples import AT, fresh_database, holds
from tests.fhir_room import Room
from tests.fhir_samples import ROSA, fhir_url  # noqa: F401 - a fixture
from tests.fhir_signoff import read_signoff


@pytest.fixture
def room(tmp_path: Path, fhir_url: str) -> Iterator[Room]:  # noqa: F811 - the fixture
    with fresh_database(tmp_path) as database:
        room = Room(database, fhir_url)
        with room.server:
            yield room
            assert holds(database)


def signed(
    room: Room,
    *,
    status: ReportStatus = ReportStatus.FINAL,
    who: Practitioner | None = ROSA,
    beside: bool = False,
) -> tuple[SignOff, dict[str, Any]]:
    """Have a person sign on the server, see it, and give the sign-off with the resource as it stands."""
    draft = room.draft
    resource = sign(
        room.server.base_url, draft.reference, who, "Their words.", status=status, as_new_report=beside
    )
    known = published(draft)
    assert known is not None
    report = read_signoff(
        room.server,
        known,
        accession=room.order.accession,
        patient=room.order.patient,
        study_instance_uid=room.order.study_instance_uid,
    )
    assert report is not None
    with room.database.write() as session:
        check_report(session, report)
        evidence = f"{report.source}/_history/{report.version}"
        row = take_report(session, report, evidence, "fhir-server", enqueue=room.jobs.enqueue)
        assert row is not None
    return row, resource


def attestations(room: Room, resource: dict[str, Any]) -> list[dict[str, Any]]:
    """The Provenances of a report that carry our tag of an attestation."""
    report = f"DiagnosticReport/{resource['id']}"
    places = [report, *(f"{report}/_history/{version_of(one)}" for one in room.server.history(report))]
    found = room.server.search("Provenance", {"target": ",".join(places)})
    return [
        one
        for one in found
        if any(tag["system"] == ATTESTATION for tag in one.get("meta", {}).get("tag", []))
    ]


@pytest.mark.parametrize("beside", [False, True])
def test_a_signature_is_attested_and_the_report_untouched(room: Room, beside: bool) -> None:
    """The Provenance names verifier, version and draft; the radiologist's resource keeps its version."""
    room.publish()
    row, resource = signed(room, beside=beside)
    assert room.do("attest") == []
    (provenance,) = attestations(room, resource)
    target = provenance["target"][0]
    assert target["reference"].startswith(f"DiagnosticReport/{resource['id']}")
    assert target["display"] == f"Version {resource['meta']['versionId']}"
    agents = {agent["type"]["coding"][0]["code"]: agent["who"] for agent in provenance["agent"]}
    assert agents["verifier"]["reference"] == resource["resultsInterpreter"][0]["reference"]
    assert agents["verifier"]["display"] == "Dr Elena Rosa"
    (entity,) = provenance["entity"]
    assert entity["role"] == ("source" if beside else "revision")
    assert entity["what"]["reference"].startswith(room.draft.reference)
    assert row.signed_at is not None
    now = room.server.read(f"DiagnosticReport/{resource['id']}")
    assert now["meta"]["versionId"] == resource["meta"]["versionId"]
    told = room.details("signature.attested")
    assert told["reference"] == f"Provenance/{provenance['id']}"
    assert told["signoff"] == row.id


def test_the_same_signature_is_attested_once(room: Room) -> None:
    """A job that is done twice, and one whose answer was lost, find what is there."""
    room.publish()
    row, resource = signed(room)
    faulty = FaultyTransport(first("POST", "/Provenance"))
    with room.through(faulty) as server:
        (again,) = room.do("attest", server)
    assert (again.kind, again.number, again.attempt) == ("attest", row.id, 1)
    assert room.case.reason == "Final report, signed by Dr Elena Rosa."
    assert room.do("attest") == []
    room.jobs.asked[:] = [Job("attest", room.case_id, row.id)]
    room.do("attest")
    assert len(attestations(room, resource)) == 1


@pytest.mark.parametrize(
    "name", ["source", "version", "status", "signer_name", "signer_identifier", "signed_at", "text_sha256"]
)
def test_what_is_attested_is_told_apart_by_all_that_was_seen(name: str) -> None:
    """The hash stands for one version of one report by one person, and not for how it was brought here."""
    told = {
        "source": "http://fhir.example/DiagnosticReport/17",
        "version": "3",
        "status": "final",
        "signer_name": "Dr. Elena Rosa",
        "signer_identifier": "D-77",
        "signed_at": AT,
        "text_sha256": "ab" * 32,
    }
    other = {**told, name: AT + timedelta(seconds=1) if name == "signed_at" else "other"}
    assert evidence_sha256(SignOff(**told)) != evidence_sha256(SignOff(**other))
    assert evidence_sha256(SignOff(**told)) == evidence_sha256(SignOff(**told, evidence="message 9:0", id=4))


def test_a_correction_is_attested_beside_the_first(room: Room) -> None:
    """Every signature has a Provenance of its own, for its own version."""
    room.publish()
    _, resource = signed(room)
    room.do("attest")
    corrected = {**resource, "status": "corrected", "conclusion": "Otherwise."}
    httpx.put(
        f"{room.server.base_url}/DiagnosticReport/{resource['id']}",
        json=corrected,
        headers={"Content-Type": "application/fhir+json"},
        trust_env=False,
        timeout=60,
    ).raise_for_status()
    report = read_signoff(
        room.server,
        published(room.draft),
        accession=room.order.accession,
        patient=room.order.patient,  # type: ignore[arg-type]
    )
    assert report is not None
    with room.database.write() as session:
        row = take_report(session, report, "again", "fhir-server", enqueue=room.jobs.enqueue)
    assert row is not None
    assert (row.verdict, row.status) == ("signed", "corrected")
    room.do("attest")
    versions = {one["target"][0]["display"] for one in attestations(room, resource)}
    newest_first = room.server.history(f"DiagnosticReport/{resource['id']}")
    assert versions == {f"Version {version_of(one)}" for one in newest_first[:2]}


@pytest.mark.parametrize(
    "seen",
    [
        lambda room: signed(room, who=None),
        lambda room: signed(room, status=ReportStatus.PRELIMINARY),
        lambda room: room.report(),
    ],
)
def test_only_a_signature_on_the_server_is_attested(room: Room, seen: Callable[[Room], object]) -> None:
    """Nobody named, not final, or by message: there is nothing to attest, even when asked."""
    room.publish()
    seen(room)
    assert [job.kind for job in room.jobs.asked if job.kind == "attest"] == []
    room.jobs.asked[:] = [Job("attest", room.case_id, 1)]
    room.do("attest")
    assert [action for action in room.actions if action.startswith("signature")] == []


def test_what_cannot_be_attested_is_said_and_still_counts(room: Room) -> None:
    """A server that takes no Provenance from us: the signature stands, the log says why there is none."""
    room.publish()
    signed(room)
    before = room.case.reason

    def refuse(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and request.url.path.endswith("/Provenance"):
            return httpx.Response(403)
        with httpx.HTTPTransport() as real:
            answer = real.handle_request(request)
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.read())

    with room.through(httpx.MockTransport(refuse)) as server:
        assert room.do("attest", server) == []
    assert room.details("signature.not-attested")["reason"]
    assert (room.case.state, room.case.reason) == ("SIGNED", before)


@pytest.mark.parametrize(
    "change", [{"version": ""}, {"source": "http://elsewhere.example/DiagnosticReport/1"}]
)
def test_a_signature_of_no_known_version_or_place_is_not_attested(
    room: Room,
    change: dict[str, str],
) -> None:
    """Nothing is guessed, and no other host is asked."""
    room.publish()
    row, resource = signed(room)
    with room.database.write() as session:
        stored = session.get_one(SignOff, row.id)
        for name, value in change.items():
            setattr(stored, name, value)
    room.do("attest")
    assert "signature.not-attested" in room.actions
    assert attestations(room, resource) == []


def test_in_shadow_mode_nothing_is_attested(room: Room) -> None:
    """Nothing is sent."""
    room.publish()
    _, resource = signed(room)
    room.do("attest", shadow=True)
    assert attestations(room, resource) == []
