"""The life of a case with Prelim running, on the embedded hospital and on the real peers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.exchange import OrderAction, Practitioner, ReportStatus
from connectors.sandbox import fhir_radiologist
from connectors.sandbox.fhir import FhirServer
from connectors.sandbox.pacs import SandboxPacs
from connectors.sandbox.ris import order_message
from model.load import SCRIPTED_WEIGHTS
from plugin.audit.verify import verify
from plugin.queue import WorkQueue
from plugin.replay import replay_case
from plugin.tables import AuditLeaf, Message
from tests.site import RADIOLOGIST, Peers, Site, embedded, new_order, running, sqlite, study_of, until


@pytest.fixture(params=["embedded", "real peers, SQLite", "real peers, PostgreSQL"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Prelim among its peers."""
    with ExitStack() as stack:
        if request.param == "embedded":
            peers, _, _ = stack.enter_context(embedded())
        else:
            peers = Peers(
                request.getfixturevalue("hapi_url"),
                request.getfixturevalue("dicomweb_url"),
                request.getfixturevalue("orthanc_url"),
            )
        url = request.getfixturevalue("postgres_url") if "PostgreSQL" in request.param else sqlite(tmp_path)
        yield stack.enter_context(running(peers, url))


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[tuple[Site, SandboxPacs, FhirServer]]:
    """Prelim in the embedded hospital, for failures that a real peer cannot be made to have."""
    with embedded() as (peers, pacs, fhir), running(peers, sqlite(tmp_path)) as site:
        yield site, pacs, fhir


def test_an_order_and_its_images_become_a_preliminary_report_that_a_human_signs(site: Site) -> None:
    """Order and images lead to one preliminary report; a final one from a named human closes the case."""
    order = new_order()
    site.store(study_of(order))
    assert site.place(order) == "AA"
    case = site.comes_to(order, "PUBLISHED")
    (report,) = site.reports(case)
    assert report["status"] == "preliminary"
    assert "resultsInterpreter" not in report

    site.ris.sign(order, f"{site.drafts(case)[0].text} Seen and agreed.", RADIOLOGIST, at=datetime.now(UTC))
    case = site.comes_to(order, "SIGNED")
    (signoff,) = site.signoffs(case)
    assert (signoff.verdict, signoff.status, signoff.signer_name) == (
        "signed",
        "final",
        "Dr. Ines Castellanos",
    )
    assert signoff.edit_distance == 3
    with site.database.read() as session:
        assert verify(session).verified


def test_images_that_come_before_their_order_wait_for_it(site: Site) -> None:
    """The order of arrival of order and images does not matter."""
    order = new_order()
    assert site.place(order) == "AA"
    assert site.comes_to(order, "RECEIVED").reason == "Waiting for the images."
    site.store(study_of(order))
    site.comes_to(order, "PUBLISHED")


def test_a_signature_on_the_fhir_server_is_noticed(site: Site) -> None:
    """A final version of our report by a named human signs the case, without any message."""
    order = new_order()
    site.store(study_of(order))
    site.place(order)
    case = site.comes_to(order, "PUBLISHED")
    reference = site.drafts(case)[0].reference
    fhir_radiologist.sign(site.peers.fhir_url, reference, RADIOLOGIST, "Impression\nNormal chest.")
    case = site.comes_to(order, "SIGNED")
    (signoff,) = site.signoffs(case)
    assert (signoff.channel, signoff.verdict, signoff.text) == ("fhir", "signed", "Impression\nNormal chest.")


def test_a_signature_on_the_fhir_server_is_attested_there(site: Site) -> None:
    """Beside the signed version stands who verified it, and what that was drafted from."""
    order = new_order()
    site.store(study_of(order))
    site.place(order)
    case = site.comes_to(order, "PUBLISHED")
    reference = site.drafts(case)[0].reference
    fhir_radiologist.sign(site.peers.fhir_url, reference, RADIOLOGIST, "Impression\nNormal chest.")
    site.comes_to(order, "SIGNED")
    until(lambda: "signature.attested" in site.actions(case), "the signature is attested")
    (report,) = site.reports(case)
    assert (report["status"], report["meta"]["versionId"]) == ("final", "2")


@pytest.mark.parametrize("status", [ReportStatus.FINAL, ReportStatus.PRELIMINARY])
def test_a_humans_report_by_message_retires_the_draft_on_the_server(
    tmp_path: Path, status: ReportStatus
) -> None:
    """Nobody who opens the FHIR server finds our draft alive beside the human's report."""
    with embedded() as (peers, _, _), running(peers, sqlite(tmp_path), fhir_retire_seconds=0.1) as site:
        order = new_order()
        site.store(study_of(order))
        site.place(order)
        case = site.comes_to(order, "PUBLISHED")
        site.sign(order, "Findings\nNone.\nImpression\nNormal.", status=status)
        until(lambda: "draft.withdrawn" in site.actions(case), "the draft is retired")
        (report,) = site.reports(case)
        assert report["status"] == "cancelled"
        assert site.case(order.accession).state in {"SIGNED", "SUPERSEDED"}  # type: ignore[union-attr]


def test_images_of_another_patient_hold_the_case(site: Site) -> None:
    """When patient identifiers disagree the case is held with the reason, and nothing is written."""
    order = new_order()
    site.store(study_of(order, PatientID="SOMEBODY-ELSE"))
    site.place(order)
    case = site.comes_to(order, "HELD")
    assert case.reason == "The patient identifier of the order is not that of the images."
    assert site.drafts(case) == []
    assert site.reports(case) == []


def test_a_second_copy_of_an_order_changes_nothing(site: Site) -> None:
    """The same message again gets the same acknowledgement and no second draft."""
    order = new_order()
    site.store(study_of(order))
    message = order_message(order, "SAME-ID", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    first = site.ris.send(message)
    case = site.comes_to(order, "PUBLISHED")
    again = site.ris.send(message)
    assert again.raw == first.raw
    assert len(site.drafts(case)) == 1
    assert len(site.reports(case)) == 1
    assert site.comes_to(order, "PUBLISHED").draft_number == 1


def test_a_changed_order_supersedes_the_draft(site: Site) -> None:
    """A change of the order's words leads to a new draft, which replaces ours and nothing else."""
    order = new_order()
    site.store(study_of(order))
    site.place(order)
    case = site.comes_to(order, "PUBLISHED")
    site.place(replace(order, action=OrderAction.CHANGE, clinical_question="Pneumothorax?"))
    until(lambda: len([d for d in site.drafts(case) if d.reference]) == 2, "a second published draft")
    site.comes_to(order, "PUBLISHED")
    (report,) = site.reports(case)
    first, second = site.drafts(case)
    assert first.reference == second.reference
    assert first.version != second.version
    assert report["meta"]["versionId"] == second.version


def test_a_draft_that_comes_after_the_human_is_withheld(site: Site) -> None:
    """A final report that is there before the draft is never written over, and the draft is not sent."""
    order = new_order()
    site.ris.sign(order, "Impression\nNormal.", RADIOLOGIST, at=datetime.now(UTC))
    case = site.comes_to(order, "SIGNED")
    site.store(study_of(order))
    site.place(order)
    until(lambda: site.case(order.accession).order, "the late order is kept")  # type: ignore[union-attr]
    assert site.comes_to(order, "SIGNED").draft_number == 0
    assert site.reports(case) == []


def test_a_final_report_from_nobody_signs_nothing(hospital: tuple[Site, SandboxPacs, FhirServer]) -> None:
    """A final status without a named human is kept as what it is: unattributed."""
    site, _, _ = hospital
    order = new_order()
    site.store(study_of(order))
    site.place(order)
    case = site.comes_to(order, "PUBLISHED")
    site.ris.sign(order, "Impression\nNormal.", None, at=datetime.now(UTC))
    (signoff,) = site.signoffs(case)
    assert signoff.verdict == "final-unattributed"
    assert site.comes_to(order, "PUBLISHED")


def test_a_humans_preliminary_report_supersedes_the_draft(
    hospital: tuple[Site, SandboxPacs, FhirServer],
) -> None:
    """A human's own preliminary report is no signature, but Prelim stays out of the case from then on."""
    site, _, _ = hospital
    order = new_order()
    site.store(study_of(order))
    site.place(order)
    site.comes_to(order, "PUBLISHED")
    resident = Practitioner("R-99", "Brandt", "Timo")
    site.ris.sign(order, "Findings\nNone.", resident, at=datetime.now(UTC), status=ReportStatus.PRELIMINARY)
    case = site.comes_to(order, "SUPERSEDED")
    site.place(replace(order, action=OrderAction.CHANGE, clinical_question="Anything else?"))
    assert site.comes_to(order, "SUPERSEDED").draft_number == case.draft_number


def test_a_final_report_on_the_fhir_server_is_noticed_after_a_preliminary_one(
    hospital: tuple[Site, SandboxPacs, FhirServer],
) -> None:
    """A resident's preliminary report by message does not hide the attending's final one on the server."""
    site, _, _ = hospital
    order = new_order()
    site.store(study_of(order))
    site.place(order)
    case = site.comes_to(order, "PUBLISHED")
    resident = Practitioner("R-99", "Brandt", "Timo")
    site.ris.sign(order, "Findings\nNone.", resident, at=datetime.now(UTC), status=ReportStatus.PRELIMINARY)
    site.comes_to(order, "SUPERSEDED")
    reference = site.drafts(case)[0].reference
    fhir_radiologist.sign(site.peers.fhir_url, reference, RADIOLOGIST, "Impression\nNormal chest.")
    case = site.comes_to(order, "SIGNED")
    assert [signoff.verdict for signoff in site.signoffs(case)] == ["superseded", "signed"]


def test_a_report_of_another_patient_signs_nothing(hospital: tuple[Site, SandboxPacs, FhirServer]) -> None:
    """A report whose patient is not the case's is refused with AE and moves nothing."""
    site, _, _ = hospital
    order = new_order()
    site.store(study_of(order))
    site.place(order)
    case = site.comes_to(order, "PUBLISHED")
    other = replace(order, patient=replace(order.patient, identifier="SOMEBODY-ELSE"))
    ack = site.ris.sign(other, "Impression\nNormal.", RADIOLOGIST, at=datetime.now(UTC))
    assert ack.code == "AE"
    assert "patient identifier" in ack.text
    assert site.signoffs(case) == []
    assert site.comes_to(order, "PUBLISHED")


def test_a_fhir_server_that_is_down_makes_the_case_wait(tmp_path: Path) -> None:
    """While the FHIR server does not answer the draft waits and is retried; it is published once it does."""
    with embedded() as (peers, _, fhir):
        fhir.stop()
        port = int(peers.fhir_url.split(":")[2].split("/")[0])
        with running(peers, sqlite(tmp_path)) as site:
            order = new_order()
            site.store(study_of(order))
            site.place(order)
            case = until(
                lambda: c if (c := site.comes_to(order, "DRAFTED")).reason.startswith("Waiting:") else None,
                "the case says that it waits",
            )
            assert "Attempt" in case.reason
            with FhirServer(port=port):
                site.comes_to(order, "PUBLISHED")
                assert len(site.reports(case)) == 1
                assert site.case(order.accession).reason == ""  # type: ignore[union-attr]


def test_an_archive_that_is_down_makes_the_case_wait(
    hospital: tuple[Site, SandboxPacs, FhirServer],
) -> None:
    """While the archive does not answer the case stays READY and says that it waits."""
    site, pacs, _ = hospital
    order = new_order()
    site.place(order)
    site.store(study_of(order))
    site.comes_to(order, "PUBLISHED")
    port = int(site.peers.dicomweb_url.split(":")[2].split("/")[0])
    held = study_of(order)
    pacs.stop()
    site.place(replace(order, action=OrderAction.CHANGE, history="Smoker."))
    until(lambda: site.comes_to(order, "READY", "PUBLISHED").reason.startswith("Waiting:"), "the case waits")
    again = SandboxPacs(announce_stored=True)
    again.hold_files(held)
    again.start(port)
    try:
        assert site.comes_to(order, "PUBLISHED").draft_number == 2
    finally:
        again.stop()


def test_images_that_cannot_be_read_fail_the_case_and_can_be_replayed(
    hospital: tuple[Site, SandboxPacs, FhirServer],
) -> None:
    """A study that cannot be read makes the case FAILED with the reason; once mended, a replay drafts it."""
    site, pacs, _ = hospital
    order = new_order()
    # Two slices at the same place: no volume can be made of them.
    site.store(study_of(order, ImagePositionPatient=[0, 0, 0]))
    site.place(order)
    case = site.comes_to(order, "FAILED")
    assert case.reason.startswith("The study could not be read:")
    port = int(site.peers.dicomweb_url.split(":")[2].split("/")[0])
    pacs.stop()
    mended = SandboxPacs(announce_stored=True)
    mended.hold_files(study_of(order))
    mended.start(port)
    queue = WorkQueue(site.database)
    try:
        with site.database.write() as session:
            replay_case(session, session.merge(case), queue.enqueue, who="operator:test", why="mended")
        site.comes_to(order, "PUBLISHED")
    finally:
        queue.close()
        mended.stop()
    with site.database.read() as session:
        leaf = session.scalars(sa.select(AuditLeaf).where(AuditLeaf.action == "case.replayed")).one()
    assert '"why":"mended"' in leaf.entry


def test_a_draft_without_an_impression_is_not_kept(tmp_path: Path) -> None:
    """A model that leaves a section out has not drafted a report: the case fails and nothing is sent."""
    folder = tmp_path / "model"
    folder.mkdir()
    told = json.loads((SCRIPTED_WEIGHTS / "drafter.json").read_text(encoding="utf-8"))
    told["script"]["text"] = "Findings:\nThe lungs are clear."
    (folder / "drafter.json").write_text(json.dumps(told), encoding="utf-8")
    with embedded() as (peers, _, _), running(peers, sqlite(tmp_path), model=folder) as site:
        order = new_order()
        site.store(study_of(order))
        site.place(order)
        case = site.comes_to(order, "FAILED")
        assert case.reason == "The model wrote no Impression; nothing was kept."
        assert site.drafts(case) == []
        assert site.reports(case) == []


def test_an_order_cancelled_before_its_images_is_never_drafted(
    hospital: tuple[Site, SandboxPacs, FhirServer],
) -> None:
    """A cancelled order stays cancelled when its images come."""
    site, _, _ = hospital
    order = new_order()
    site.place(order)
    site.place(replace(order, action=OrderAction.CANCEL))
    site.comes_to(order, "CANCELLED")
    site.store(study_of(order))
    until(lambda: _actions(site, "study.announced"), "the study is announced")
    assert site.comes_to(order, "CANCELLED").draft_number == 0


def test_in_shadow_mode_nothing_is_sent(tmp_path: Path) -> None:
    """With PRELIM_SHADOW the draft is kept and the FHIR server hears nothing."""
    with embedded() as (peers, _, _), running(peers, sqlite(tmp_path), shadow=True) as site:
        order = new_order()
        site.store(study_of(order))
        site.place(order)
        case = site.comes_to(order, "DRAFTED")
        assert case.reason == "Shadow mode: the draft is kept and not sent."
        assert site.reports(case) == []


def test_a_message_that_cannot_be_read_is_refused_and_kept(
    hospital: tuple[Site, SandboxPacs, FhirServer],
) -> None:
    """Junk in a frame gets AR with an ERR that says why, and is stored."""
    site, _, _ = hospital
    ack = site.ris.send(b"this is no message")
    assert ack.code == "AR"
    assert ack.text
    with site.database.read() as session:
        kept = session.scalars(sa.select(Message).where(Message.state == "REFUSED")).one()
    assert kept.body == b"this is no message"


def _actions(site: Site, action: str) -> list[AuditLeaf]:
    with site.database.read() as session:
        return list(session.scalars(sa.select(AuditLeaf).where(AuditLeaf.action == action)))
