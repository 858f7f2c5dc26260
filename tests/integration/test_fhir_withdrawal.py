"""Withdrawing a draft, and what comes after: the same rules for the sandbox and for HAPI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from connectors.errors import Conflict, Rejected
from connectors.exchange import DraftReport, PublishedReport, ReportStatus, SignedReport, WithdrawalStatus
from connectors.fhir.attachment import presented_text
from connectors.fhir.client import FhirClient, version_of
from connectors.fhir.drafts.publish import HumanVersion, NotKept, publish
from connectors.fhir.drafts.withdrawal import withdraw
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.outcome import Absent
from connectors.sandbox.fhir_faults import FaultyTransport, first
from connectors.sandbox.fhir_radiologist import sign
from tests.fhir_samples import ROSA, SIGNER, Meddling, a_draft, fhir_url, raw_put, redone  # noqa: F401 - a fixture
from tests.fhir_signoff import read_signoff

SYSTEMS = IdentifierSystems()
CANCELLED, IN_ERROR = WithdrawalStatus.CANCELLED, WithdrawalStatus.ENTERED_IN_ERROR
WHY = "The order was cancelled."


@pytest.fixture
def client(fhir_url: str) -> Iterator[FhirClient]:  # noqa: F811 - the fixture
    with FhirClient(fhir_url, timeout_seconds=60) as client:
        yield client


@pytest.fixture
def draft() -> DraftReport:
    return a_draft()


@pytest.fixture
def known(client: FhirClient, draft: DraftReport) -> PublishedReport:
    return publish(client, draft)


def withdrawn(
    client: FhirClient,
    draft: DraftReport,
    known: PublishedReport,
    status: WithdrawalStatus = CANCELLED,
) -> PublishedReport:
    return withdraw(client, draft.case_id, known, status, WHY)


def signoff(client: FhirClient, draft: DraftReport, published: PublishedReport) -> SignedReport | None:
    return read_signoff(
        client,
        published,
        accession=draft.accession,
        patient=draft.patient,
        study_instance_uid=draft.study_instance_uid,
    )


def versions(client: FhirClient, known: PublishedReport) -> int:
    """How often the report was written; HAPI counts a history anew once a minute, Medplum numbers none."""
    number = version_of(client.read(known.reference))
    return int(number) if number.isdecimal() else len(client.history(known.reference))


def stands(client: FhirClient, known: PublishedReport) -> tuple[str, str]:
    """(status, version) of the report now."""
    report = client.read(known.reference)
    return str(report["status"]), version_of(report)


@pytest.mark.parametrize("status", list(WithdrawalStatus))
def test_draft_is_withdrawn_and_read_back(
    client: FhirClient, draft: DraftReport, known: PublishedReport, status: WithdrawalStatus
) -> None:
    """The same report stands with the status, still labelled and identified, its words below the sentence."""
    gone = withdrawn(client, draft, known, status)
    report = client.read(known.reference)
    assert gone.reference == known.reference
    assert stands(client, known) == (status.value, gone.version)
    assert "AIAST" in {label["code"] for label in report["meta"]["security"]}
    before = client.vread(known.reference, known.version)
    for kept in ("identifier", "subject", "code", "imagingStudy", "basedOn"):
        assert report[kept] == before[kept]
    assert presented_text(report).startswith("Withdrawn")
    assert presented_text(report).endswith(presented_text(before))
    assert report["conclusion"].startswith("Withdrawn")
    assert report["conclusion"].endswith(draft.conclusion)


def test_withdrawal_says_in_a_provenance_what_did_it_and_why(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """Beside the Provenance of the draft stands one whose activity is CANCEL, with the reason."""
    withdrawn(client, draft, known)
    found = client.search("Provenance", {"target": known.reference})
    (said,) = [one for one in found if "activity" in one]
    assert len(found) == 2
    assert said["activity"]["coding"][0]["code"] == "CANCEL"
    assert said["reason"][0]["text"] == "The order was cancelled"


def test_same_withdrawal_twice_is_one_version(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """A repeat, knowing the draft or its withdrawal, finds it done and writes nothing."""
    gone = withdrawn(client, draft, known)
    assert withdrawn(client, draft, known) == gone
    assert withdrawn(client, draft, gone) == gone
    assert versions(client, known) == 2


def test_lost_answer_and_a_repeat_give_exactly_one_withdrawal(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """The transaction arrives, its answer does not: it is found done, and a repeat finds it too."""
    faulty = FaultyTransport(first("POST", "/fhir"))
    with FhirClient(client.base_url, transport=faulty, timeout_seconds=60) as ours:
        gone = withdrawn(ours, draft, known)
        assert withdrawn(ours, draft, known) == gone
    assert versions(client, known) == 2
    assert len(client.search("Provenance", {"target": known.reference})) == 2


def test_later_draft_of_ours_is_withdrawn_too(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """A redone draft whose answer was lost stands: it is ours, and it goes."""
    publish(client, redone(draft), known=known)
    gone = withdrawn(client, draft, known)
    assert stands(client, known) == ("cancelled", gone.version)


def test_cancelled_draft_can_still_turn_out_to_be_an_error(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """Cancelled becomes entered in error, never the other way round."""
    cancelled = withdrawn(client, draft, known)
    in_error = withdrawn(client, draft, cancelled, IN_ERROR)
    assert stands(client, known) == ("entered-in-error", in_error.version)
    assert withdrawn(client, draft, in_error) == in_error
    assert withdrawn(client, draft, known, IN_ERROR) == in_error
    assert versions(client, known) == 3


@pytest.mark.parametrize("status", list(ReportStatus))
def test_version_of_a_person_is_never_withdrawn(
    client: FhirClient, draft: DraftReport, known: PublishedReport, status: ReportStatus
) -> None:
    """Whatever status a person gave their words: HumanVersion, and nothing is written."""
    signed = sign(client.base_url, known.reference, ROSA, "Their words.", status=status)
    for withdrawal in WithdrawalStatus:
        with pytest.raises(HumanVersion):
            withdrawn(client, draft, known, withdrawal)
    assert stands(client, known) == (status.value, version_of(signed))
    assert len(client.search("Provenance", {"target": known.reference})) == 1


def test_draft_saved_again_by_somebody_is_not_withdrawn(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """Our words, stored again with a remark: that version is not ours to retire."""
    raw_put(client, {**client.read(known.reference), "conclusionCode": [{"text": "Follow up"}]})
    with pytest.raises(HumanVersion):
        withdrawn(client, draft, known)
    assert versions(client, known) == 2


@pytest.mark.parametrize("status", list(WithdrawalStatus))
def test_draft_that_somebody_else_cancelled_is_left_to_them(
    client: FhirClient, draft: DraftReport, known: PublishedReport, status: WithdrawalStatus
) -> None:
    """Only the status was changed: their withdrawal stands, and is not taken for ours."""
    raw_put(client, {**client.read(known.reference), "status": status.value})
    with pytest.raises(HumanVersion):
        withdrawn(client, draft, known)
    with pytest.raises(HumanVersion):
        publish(client, redone(draft), known=known)
    assert versions(client, known) == 2


def test_report_of_another_case_is_not_withdrawn(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """The identifier must be that of the case."""
    with pytest.raises(HumanVersion):
        withdraw(client, f"{draft.case_id}-other", known, CANCELLED, WHY)
    assert versions(client, known) == 1


def test_deleted_draft_is_said_to_be_gone(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """Nothing is left to withdraw: Absent, and nothing is written."""
    for resource in client.search("Provenance", {"target": known.reference}):
        httpx.delete(f"{client.base_url}/Provenance/{resource['id']}", trust_env=False).raise_for_status()
    httpx.delete(f"{client.base_url}/{known.reference}", trust_env=False).raise_for_status()
    with pytest.raises(Absent, match="gone"):
        withdrawn(client, draft, known)


@pytest.mark.parametrize(("status", "reason"), [("final", WHY), ("preliminary", WHY), (CANCELLED, " . ")])
def test_withdrawal_that_cannot_be_said_asks_the_server_nothing(status: Any, reason: str) -> None:
    """Another status or no reason: refused before the first request."""

    def refusing(_: httpx.Request) -> httpx.Response:
        raise AssertionError("the request reached the network")

    nowhere = PublishedReport("DiagnosticReport/1", "1", "")
    with (
        FhirClient("http://fhir.test/r4", transport=httpx.MockTransport(refusing)) as client,
        pytest.raises(Rejected),
    ):
        withdraw(client, "case-1", nowhere, status, reason)


@pytest.mark.parametrize("altered", ["label", "words"])
def test_read_back_that_differs_is_noticed(
    client: FhirClient, draft: DraftReport, known: PublishedReport, altered: str
) -> None:
    """A server that rewrites a withdrawal on its way in is found out."""
    words = {"label": b'"AIAST"', "words": draft.conclusion.encode()}[altered]
    other = {"label": b'"OTHER"', "words": draft.conclusion[::-1].encode()}[altered]
    if altered == "label":
        # HAPI carries labels over from the version before; the sandbox does not, and does not know this.
        report = client.read(known.reference)
        httpx.post(
            f"{client.base_url}/{known.reference}/$meta-delete",
            json={
                "resourceType": "Parameters",
                "parameter": [{"name": "meta", "valueMeta": {"security": report["meta"]["security"]}}],
            },
            trust_env=False,
        )

    class Rewriting(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST" and request.url.path.endswith("/fhir"):
                headers = {k: v for k, v in request.headers.items() if k != "content-length"}
                content = request.read().replace(words, other)
                request = httpx.Request("POST", request.url, headers=headers, content=content)
            return super().handle_request(request)

    with (
        FhirClient(client.base_url, transport=Rewriting(), timeout_seconds=60) as ours,
        pytest.raises(NotKept, match={"label": "machine label", "words": "text"}[altered]),
    ):
        withdrawn(ours, draft, known)


def test_signature_between_look_and_withdrawal_wins(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """A person signs in the moment before our write: Conflict, and their version stands."""
    meddling = Meddling(before=lambda: sign(client.base_url, known.reference, ROSA, "Signed words."))
    with FhirClient(client.base_url, transport=meddling, timeout_seconds=60) as ours:
        with pytest.raises(Conflict):
            withdrawn(ours, draft, known)
        with pytest.raises(HumanVersion):
            withdrawn(client, draft, known)
    assert client.read(known.reference)["status"] == "final"


def test_signature_between_withdrawal_and_read_back_is_noticed(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """A person signs in the moment after our write: we do not take their version for our withdrawal."""
    meddling = Meddling(after=lambda: sign(client.base_url, known.reference, ROSA, "Signed words."))
    with (
        FhirClient(client.base_url, transport=meddling, timeout_seconds=60) as ours,
        pytest.raises(HumanVersion),
    ):
        withdrawn(ours, draft, known)
    assert client.read(known.reference)["status"] == "final"


def test_server_that_ignores_if_match_is_found_out(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """ifMatch has no effect and a person's version was withdrawn: the history tells, and so do we."""
    meddling = Meddling(
        before=lambda: sign(client.base_url, known.reference, ROSA, "Signed words."), strip=True
    )
    with (
        FhirClient(client.base_url, transport=meddling, timeout_seconds=60) as ours,
        pytest.raises(HumanVersion, match="Restore"),
    ):
        withdrawn(ours, draft, known)


@pytest.mark.parametrize("status", list(WithdrawalStatus))
def test_our_withdrawal_is_nobodys_signoff(
    client: FhirClient, draft: DraftReport, known: PublishedReport, status: WithdrawalStatus
) -> None:
    """Neither seen from the draft nor from itself is it a human's word."""
    gone = withdrawn(client, draft, known, status)
    assert signoff(client, draft, known) is None
    assert signoff(client, draft, gone) is None


def test_signature_over_our_withdrawal_is_read(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """A person who reports all the same is heard."""
    gone = withdrawn(client, draft, known)
    sign(client.base_url, known.reference, ROSA, "Reported all the same.")
    for seen in (known, gone):
        signed = signoff(client, draft, seen)
        assert signed is not None
        assert (signed.status, signed.signer) == (ReportStatus.FINAL, SIGNER)
        assert signed.text == "Reported all the same."


@pytest.mark.parametrize("remembered", ["withdrawal", "draft", "nothing"])
def test_order_placed_again_is_drafted_over_the_cancelled_report(
    client: FhirClient, draft: DraftReport, known: PublishedReport, remembered: str
) -> None:
    """The next draft is the next version of the same report, and is nobody's sign-off."""
    gone = withdrawn(client, draft, known)
    remember = {"withdrawal": gone, "draft": known, "nothing": None}[remembered]
    again = publish(client, redone(draft), known=remember)
    assert again.reference == known.reference
    assert stands(client, known) == ("preliminary", again.version)
    assert "Withdrawn" not in presented_text(client.read(known.reference))
    assert versions(client, known) == 3
    assert signoff(client, redone(draft), gone) is None


def test_draft_placed_again_can_be_withdrawn_again(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """An order may be cancelled more than once."""
    again = publish(client, redone(draft), known=withdrawn(client, draft, known))
    gone = withdrawn(client, draft, again)
    assert stands(client, known) == ("cancelled", gone.version)
    assert versions(client, known) == 4


def test_late_repeat_of_the_withdrawn_draft_does_not_bring_it_back(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """Only a later draft may follow a cancelled one."""
    gone = withdrawn(client, draft, known)
    for remembered in (gone, known, None):
        with pytest.raises(Conflict, match="later draft"):
            publish(client, draft, known=remembered)
    assert stands(client, known) == ("cancelled", gone.version)


def test_report_entered_in_error_never_comes_back(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """No draft is written over it: Conflict, and it stays what it is."""
    gone = withdrawn(client, draft, known, IN_ERROR)
    for remembered in (gone, known, None):
        with pytest.raises(Conflict, match="entered in error"):
            publish(client, redone(draft), known=remembered)
    assert stands(client, known) == ("entered-in-error", gone.version)


def test_withdrawal_that_somebody_took_back_is_theirs(
    client: FhirClient, draft: DraftReport, known: PublishedReport
) -> None:
    """A person restores our draft: their decision is neither withdrawn again nor drafted over."""
    gone = withdrawn(client, draft, known)
    raw_put(client, client.vread(known.reference, known.version))
    for remembered in (gone, known):
        with pytest.raises(HumanVersion):
            withdrawn(client, draft, remembered)
        with pytest.raises(HumanVersion):
            publish(client, redone(draft), known=remembered)
    assert versions(client, known) == 3
