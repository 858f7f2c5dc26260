"""A withdrawn draft as FHIR: its words kept, its withdrawal above them, and only of what is ours."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Rejected
from connectors.exchange import DraftStatus, PublishedReport, ReportStatus, WithdrawalStatus
from connectors.fhir.attachment import plain, presented_text
from connectors.fhir.drafts.report import draft_bundle
from connectors.fhir.drafts.withdrawn import sentence_of, withdrawal_bundle, withdrawn_report
from connectors.fhir.egress import ForbiddenStatus, check_egress
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.ours import draft_numbers, step_of, withdrawn_numbers
from tests.fhir_samples import a_draft, redone

SYSTEMS = IdentifierSystems()
AT = datetime(2026, 3, 5, 6, 7, 8, tzinfo=UTC)
STANDING = PublishedReport("DiagnosticReport/7", "3", "http://fhir.test/DiagnosticReport/7")
CANCELLED, IN_ERROR = WithdrawalStatus.CANCELLED, WithdrawalStatus.ENTERED_IN_ERROR


def standing(draft: Any = None) -> dict[str, Any]:
    """A draft as a server gives it back."""
    report: dict[str, Any] = draft_bundle(draft or a_draft())["entry"][2]["resource"]
    return {
        **report,
        "id": "7",
        "meta": {**report["meta"], "versionId": "3", "lastUpdated": "2026-03-04T05:06:08Z", "source": "#x"},
        "subject": {**report["subject"], "reference": "Patient/5"},
    }


def withdrawn(
    report: dict[str, Any], status: WithdrawalStatus = CANCELLED, reason: str = "The order was cancelled."
) -> dict[str, Any]:
    return withdrawn_report(report, status, reason, systems=SYSTEMS, at=AT)


@pytest.mark.parametrize("status", list(WithdrawalStatus))
def test_every_form_says_first_that_it_is_withdrawn_and_keeps_its_words(status: WithdrawalStatus) -> None:
    """Narrative, attachment, its title and the conclusion start with the sentence, and nothing is lost."""
    report = standing()
    gone = withdrawn(report, status)
    sentence = sentence_of(status, "The order was cancelled.")
    assert plain(gone["text"]["div"]) == f"{sentence}\n{plain(report['text']['div'])}"
    assert presented_text(gone) == f"{sentence}\n{presented_text(report)}"
    assert gone["conclusion"] == f"{sentence}\n{report['conclusion']}"
    (form,) = gone["presentedForm"]
    assert form["title"].startswith(sentence)
    assert form["size"] == len(base64.b64decode(form["data"]))


@pytest.mark.parametrize("status", list(WithdrawalStatus))
def test_only_status_words_and_times_differ(status: WithdrawalStatus) -> None:
    """Identifiers, patient, order, study, code and label stay; the status is the withdrawal's."""
    report = standing()
    gone = withdrawn(report, status)
    changed = {"meta", "text", "status", "issued", "conclusion", "presentedForm"}
    assert {name for name in report if gone[name] != report[name]} == changed
    assert gone["status"] == status.value
    assert gone["meta"]["security"] == report["meta"]["security"]
    assert gone["issued"] == "2026-03-05T06:07:08.000Z"


def test_what_the_server_wrote_into_meta_is_not_sent_back() -> None:
    """Version, time and source are the server's to say; foreign tags stay."""
    report = standing()
    report["meta"]["tag"].append({"system": "urn:site", "code": "kept"})
    meta = withdrawn(report)["meta"]
    assert set(meta) == {"security", "tag"}
    assert [tag["system"] for tag in meta["tag"]] == ["urn:site", SYSTEMS.draft]


def test_label_that_a_server_lost_is_written_again() -> None:
    """A withdrawal is labelled as a machine's even where the draft no longer was."""
    report = standing()
    report["meta"]["security"] = [{"system": "urn:site", "code": "R"}]
    assert [label["code"] for label in withdrawn(report)["meta"]["security"]] == ["R", "AIAST"]


def test_withdrawn_version_is_known_as_ours_and_as_no_draft() -> None:
    """Its tag proves it; the draft's tag no longer does, even where a server carries it over."""
    report = standing(redone(a_draft()))
    gone = withdrawn(report)
    gone["meta"]["tag"] += report["meta"]["tag"]
    assert withdrawn_numbers(gone, SYSTEMS) == [2]
    assert draft_numbers(gone, SYSTEMS) == []
    assert withdrawn_numbers(report, SYSTEMS) == []


@pytest.mark.parametrize(
    "change",
    [
        {"status": "entered-in-error"},
        {"status": "preliminary"},
        {"status": "final"},
        {"conclusion": "Changed."},
        {"presentedForm": []},
        {"resultsInterpreter": [{"display": "Dr Rosa"}]},
        {"performer": [{"display": "Dr Rosa"}]},
    ],
    ids=str,
)
def test_withdrawal_is_ours_until_anything_a_person_does(change: dict[str, Any]) -> None:
    """Another status, other words or a named person: no longer ours."""
    assert step_of({**withdrawn(standing()), **change}, SYSTEMS) is None


def test_draft_that_a_person_cancelled_is_not_our_withdrawal() -> None:
    """The status alone, on our unchanged words, is somebody else's word."""
    for status in WithdrawalStatus:
        assert step_of({**standing(), "status": status.value}, SYSTEMS) is None


def test_each_status_of_a_draft_comes_later_than_the_one_before() -> None:
    """Draft, cancelled, entered in error, and then the next draft."""
    first, second = standing(), standing(redone(a_draft()))
    cancelled = withdrawn(first)
    steps = [step_of(one, SYSTEMS) for one in (first, cancelled, withdrawn(cancelled, IN_ERROR), second)]
    assert steps == [(1, 0), (1, 1), (1, 2), (2, 0)]


@pytest.mark.parametrize("status", list(WithdrawalStatus))
@pytest.mark.parametrize("draft", list(DraftStatus))
def test_bundle_may_leave_and_names_the_version_it_replaces(
    status: WithdrawalStatus, draft: DraftStatus
) -> None:
    """PUT under If-Match and a Provenance with activity and reason, valid R4, past the last door."""
    bundle = withdrawal_bundle(
        standing(a_draft(status=draft)), STANDING, status, "Wrong.", systems=SYSTEMS, at=AT
    )
    check_egress(bundle)
    report, provenance = bundle["entry"]
    assert report["request"] == {"method": "PUT", "url": "DiagnosticReport/7", "ifMatch": 'W/"3"'}
    assert provenance["request"] == {"method": "POST", "url": "Provenance"}
    said = provenance["resource"]
    code = {CANCELLED: "CANCEL", IN_ERROR: "NULLIFY"}[status]
    assert said["activity"]["coding"][0]["code"] == code
    assert said["reason"] == [{"text": "Wrong"}]
    assert said["target"] == [{"reference": "DiagnosticReport/7"}]
    assert said["entity"][0]["what"]["reference"] == "DiagnosticReport/7/_history/3"
    assert said["agent"][0]["who"]["type"] == "Device"


@pytest.mark.parametrize(
    "status",
    [*(one for one in ReportStatus if one not in {"cancelled", "entered-in-error"}), "Cancelled", ""],
)
def test_any_other_status_is_not_built(status: Any) -> None:
    """A status that slipped past the types stops where the withdrawal is built."""
    with pytest.raises(ForbiddenStatus):
        withdrawal_bundle(standing(), STANDING, status, "Wrong.", systems=SYSTEMS, at=AT)


@pytest.mark.parametrize("reason", ["", " \n", ".", "\x00"])
def test_withdrawal_without_a_reason_is_not_built(reason: str) -> None:
    """Whoever reads a withdrawn draft is told why."""
    with pytest.raises(Rejected, match="reason"):
        withdrawn(standing(), reason=reason)


def test_version_of_somebody_else_is_not_built_upon() -> None:
    """Words that are not ours are not withdrawn, whatever status they have."""
    with pytest.raises(Rejected, match="Prelim wrote"):
        withdrawn({**standing(), "conclusion": "Resident's words."})


@given(st.text(max_size=80))
def test_reason_is_text_and_nothing_else(reason: str) -> None:
    """Markup in a reason is shown, not obeyed: the narrative stays one well-formed div."""
    reason = f"<script>alert(1)</script> & {reason}"
    div = withdrawn(standing(), reason=reason)["text"]["div"]
    root = ElementTree.fromstring(div)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {"div", "p", "b", "h3", "br"}


@pytest.mark.parametrize("div", ["", "words", "<div", "<p>words</p>", "<div>words"])
def test_narrative_that_is_no_div_gives_way_to_the_sentence(div: str) -> None:
    """A server's own narrative, or none, never hides the withdrawal."""
    gone = withdrawn({**standing(), "text": {"status": "generated", "div": div}})
    assert plain(gone["text"]["div"]) == sentence_of(CANCELLED, "The order was cancelled.")
