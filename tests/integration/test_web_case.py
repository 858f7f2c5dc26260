"""The page of one case."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.exchange import Coding, Patient, PriorReport, ReportDocument, ReportStatus
from plugin.audit.verify import verify
from plugin.cases import CaseState
from plugin.tables import Case, DraftRecord
from tests.web_site import NOTICE, SECTIONS, SIGNER, WebSite, png

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}"


@pytest.fixture
def site(tmp_path: Path) -> WebSite:
    return WebSite(tmp_path)


def test_every_state_has_a_page_and_a_twin(site: WebSite) -> None:
    """None of the ten states is forgotten."""
    for state, case_id in site.every_state().items():
        page = site.get(f"/cases/{case_id}")
        assert site.json(f"/api/cases/{case_id}")["state"] == state.value
        assert page.count('aria-current="step"') == 1


@pytest.mark.parametrize("state", [CaseState.HELD, CaseState.FAILED])
def test_a_stopped_case_says_why_and_what_to_do(site: WebSite, state: CaseState) -> None:
    """The reason and the command that goes on, with this case's id."""
    case_id = site.every_state()[state]
    page = site.get(f"/cases/{case_id}")
    assert f"prelim case replay {case_id} --why" in page
    assert site.json(f"/api/cases/{case_id}")["reason"] in page


def test_an_unsigned_draft_says_so_before_its_first_word(site: WebSite) -> None:
    """The notice stands above the text."""
    page = site.get(f"/cases/{site.published('A1')}")
    assert page.index("AI draft, not signed") < page.index(NOTICE) < page.index(f"<p>{SECTIONS[1]}")
    assert "Signed by" not in page


def test_a_sentence_shows_what_it_rests_on(site: WebSite) -> None:
    """Finding with its side, probability, and the slice with a link to its picture."""
    page = site.get(f"/cases/{site.drafted('A1')}")
    assert "pleural effusion, left" in page
    assert "97 %" in page
    assert '<a href="#picture-1-0">slice 9</a>' in page
    assert 'id="picture-1-0"' in page


def test_a_picture_is_served_as_it_is_kept(site: WebSite) -> None:
    """The address on the page answers with the PNG."""
    case_id = site.drafted("A1")
    path = site.json(f"/api/cases/{case_id}")["drafts"][0]["pictures"][0]["path"]
    answer = site.client.get(path)
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "image/png", png())
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "drafts/2/pictures/0.png",
        "drafts/1/pictures/1.png",
        "drafts/x/pictures/0.png",
        f"drafts/{'9' * 5000}/pictures/0.png",
    ],
)
def test_a_picture_that_is_not_there_is_not_found(site: WebSite, path: str) -> None:
    """Another draft, another picture, no number, or a number without end."""
    assert site.client.get(f"/cases/{site.drafted('A1')}/{path}").status_code == 404


def test_a_picture_is_found_under_its_own_case_only(site: WebSite) -> None:
    """The case in the address is checked, not decoration."""
    site.drafted("A1")
    other = site.order("A2")
    assert site.client.get(f"/cases/{other}/drafts/1/pictures/0.png").status_code == 404


def test_a_signed_case_shows_who_when_and_what_was_changed(site: WebSite) -> None:
    """Printed name, time, status, verdict, channel, and each word taken out or put in."""
    case_id = site.published("A1")
    site.report("A1", "Findings\nThere is a large left pleural effusion.")
    page = site.get(f"/cases/{case_id}")
    for words in ("Dr. Kwame Osei", "2026-03-02 09:30:00", "final", "signed", "HL7 ORU", "1 word changed"):
        assert words in page
    assert re.search(r"<del>.*small.*</del>", page)
    assert re.search(r"<ins>.*large.*</ins>", page)
    assert "AI draft, not signed" not in page
    assert "AI draft, kept as it was before the signature" in page
    signoff = site.json(f"/api/cases/{case_id}")["signoffs"][0]
    assert (signoff["edit_distance"], signoff["is_signature"], signoff["draft"]) == (1, True, 1)


def test_a_draft_signed_as_it_was_is_called_untouched(site: WebSite) -> None:
    """Nothing is marked when nothing changed."""
    case_id = site.published("A1")
    site.report("A1", f"Findings\n{SECTIONS[1]}")
    page = site.get(f"/cases/{case_id}")
    assert "untouched" in page
    assert "<ins>" not in page


def test_a_signature_shows_role_time_and_evidence(site: WebSite) -> None:
    """In what role the signer stands there, how long after the draft, and where it can be read again."""
    case_id = site.published("A1")
    with site.database.read() as session:
        published_at = session.scalars(sa.select(DraftRecord.published_at)).one()
    assert published_at is not None
    site.report(
        "A1",
        f"Findings\n{SECTIONS[1]}",
        signer=replace(SIGNER, role="OBR-32"),
        evidence="message 12:0",
        signed_at=published_at + timedelta(hours=2, minutes=5, seconds=9),
    )
    page = site.get(f"/cases/{case_id}")
    for words in ("principal result interpreter (OBR-32)", "2 h 5 min after the draft", "Untouched"):
        assert words in page
    assert '<a href="/messages/12" rel="noreferrer">message 12:0</a>' in page
    (signoff,) = site.json(f"/api/cases/{case_id}")["signoffs"]
    assert (signoff["untouched"], signoff["seconds_to_sign"], signoff["signer_role"]) == (
        True,
        7509.0,
        "OBR-32",
    )


@pytest.mark.parametrize(
    ("source", "version", "link"),
    [
        (
            "https://fhir.example/DiagnosticReport/7",
            "3",
            "https://fhir.example/DiagnosticReport/7/_history/3",
        ),
        ("https://fhir.example/DiagnosticReport/7", "", "https://fhir.example/DiagnosticReport/7"),
        ("https://fhir.example/DiagnosticReport/7", '"><b>', "https://fhir.example/DiagnosticReport/7"),
        ("javascript:alert(1)", "3", ""),
        ("RIS|HOSP", "3", ""),
    ],
)
def test_the_evidence_is_a_web_address_or_no_link(
    site: WebSite, source: str, version: str, link: str
) -> None:
    """The version of the resource where it is one; nothing that a source made up becomes a link."""
    case_id = site.published("A1")
    site.report("A1", "Findings\nNone.", channel="fhir", source=source, version=version, evidence="there")
    assert site.json(f"/api/cases/{case_id}")["signoffs"][0]["evidence_path"] == link
    assert ('rel="noreferrer">there</a>' in site.get(f"/cases/{case_id}")) is bool(link)


def test_a_correction_shows_what_it_changed_since_the_signature_before(site: WebSite) -> None:
    """Both signatures stand on the page, the newest first, each with its own difference."""
    case_id = site.published("A1")
    site.report("A1", f"Findings\n{SECTIONS[1]}")
    site.report("A1", f"Findings\n{SECTIONS[1]} Rib fracture.", ReportStatus.CORRECTED)
    page = site.get(f"/cases/{case_id}")
    assert "2 words changed; 2 since the signature before" in page
    assert page.index("Rib fracture.") < page.index("Signed by a named human · final · Dr. Kwame Osei")


def test_words_in_another_order_are_not_called_untouched(site: WebSite) -> None:
    """Nothing was changed in any section, and yet it was not signed as it was drafted."""
    case_id = site.published("A1")
    site.report("A1", f"Findings\n{SECTIONS[1]}\nFindings\n")
    assert "Untouched" not in site.get(f"/cases/{case_id}")
    assert "the same words in another order" in site.get(f"/cases/{case_id}")


def test_a_report_that_is_only_a_document_is_not_said_to_be_changed(site: WebSite) -> None:
    """Nobody read it: the page says so instead of a number."""
    case_id = site.published("A1")
    site.report("A1", "", documents=(ReportDocument("application/pdf", "ab" * 32, 9),))
    page = site.get(f"/cases/{case_id}")
    assert "was not compared with draft 1" in page
    assert "changed" not in page.partition("Audit log of this case")[0]


def test_a_final_report_without_a_name_is_shown_as_no_signature(site: WebSite) -> None:
    """The page must not call it signed."""
    case_id = site.published("A1")
    site.report("A1", "Findings\nEffusion.", signer=None)
    page = site.get(f"/cases/{case_id}")
    assert "nobody is named: no signature" in page
    assert "AI draft, not signed" in page


def test_the_signature_stands_first_and_the_earlier_report_is_kept(site: WebSite) -> None:
    """A resident's report before the signature stays readable."""
    case_id = site.published("A1")
    site.report("A1", "Findings\nResident words.", ReportStatus.PRELIMINARY)
    site.report("A1", "Findings\nFinal words.")
    page = site.get(f"/cases/{case_id}")
    assert page.index("Signed by a named human") < page.index("own report, not final yet")
    assert "Resident words." in page


def test_a_report_without_a_draft_is_shown_in_full(site: WebSite) -> None:
    """A human was faster: there is nothing to compare, and no order either."""
    site.report("A1", "No acute disease.")
    page = site.get(f"/cases/{site.id_of('A1')}")
    assert "No acute disease." in page
    assert "No order has come" in page


def test_an_earlier_draft_is_kept_on_the_page(site: WebSite) -> None:
    """The newest on top, the one before it folded away with its own notice."""
    case_id = site.published("A1", "First wording.")
    site.move(case_id, CaseState.READY, "More images came.")
    with site.database.write() as session:
        session.get_one(Case, case_id).draft_number = 2
    site.draft_again(case_id, "Second wording.")
    page = site.get(f"/cases/{case_id}")
    assert page.index("Second wording.") < page.index("First wording.")
    assert page.count(NOTICE) == 2


def test_the_link_to_the_report_is_a_web_address_or_no_link(site: WebSite) -> None:
    """A server's answer cannot put a script behind a link."""
    case_id = site.published("A1")
    assert 'href="https://fhir.example/DiagnosticReport/7"' in site.get(f"/cases/{case_id}")
    with site.database.write() as session:
        session.get_one(DraftRecord, 1).url = "javascript:alert(1)"
    assert "javascript:" not in site.get(f"/cases/{case_id}")


def test_no_words_from_outside_become_markup(site: WebSite) -> None:
    """Names, order words, draft, reason, report and signer are text wherever they stand."""
    words = {"patient": Patient("1", ATTACK, ATTACK, ATTACK), "procedure": Coding(ATTACK, ATTACK)}
    case_id = site.published("A1", ATTACK, clinical_question=ATTACK, history=ATTACK, modality=ATTACK, **words)
    site.report("A1", f"Findings\n{ATTACK} more", patient=words["patient"])
    with site.database.write() as session:
        row = session.get_one(DraftRecord, 1)
        row.sections = [[ATTACK, ATTACK]]
        row.findings = {ATTACK: 0.5}
        row.notice = row.model_name = row.url = ATTACK
    page = site.get(f"/cases/{case_id}")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "{{7*7}}" in page
    assert not re.search(r"<[^>]* onerror", page)


def test_opening_a_case_is_logged_before_it_is_shown(site: WebSite) -> None:
    """The page's own entry stands in the log that it shows, and the log still verifies."""
    case_id = site.order("A1")
    assert "case.viewed" in site.get(f"/cases/{case_id}")
    (leaf,) = site.leaves("case.viewed")
    assert (leaf.actor, leaf.case_id) == ("web", case_id)
    with site.database.read() as session:
        assert verify(session).verified


def test_the_twin_is_logged_as_well(site: WebSite) -> None:
    """JSON shows the same patient."""
    site.json(f"/api/cases/{site.order('A1')}")
    assert json.loads(site.leaves("case.viewed")[0].entry)["details"] == {"as": "json"}


def test_the_proxys_user_is_named_in_the_log(tmp_path: Path) -> None:
    """The configured header says who looked."""
    site = WebSite(tmp_path, web_user_header="X-Remote-User")
    site.get(f"/cases/{site.order('A1')}", headers={"X-Remote-User": "anna"})
    assert site.leaves("case.viewed")[0].actor == "web/anna"


def test_a_head_request_shows_nothing_and_logs_nothing(site: WebSite) -> None:
    """Nobody has seen the case."""
    case_id = site.order("A1")
    assert site.client.head(f"/cases/{case_id}").status_code == 200
    assert site.client.head(f"/api/cases/{case_id}").status_code == 200
    assert site.leaves("case.viewed") == []


@pytest.mark.parametrize("case_id", ["0" * 32, "x", "0" * 31, "A" * 32, "%00"])
def test_a_case_that_is_not_there_is_not_found_and_not_logged(site: WebSite, case_id: str) -> None:
    """Unknown and impossible ids look the same."""
    assert site.client.get(f"/cases/{case_id}").status_code == 404
    assert site.json(f"/api/cases/{case_id}", 404)["error"].endswith(".")
    assert site.leaves("case.viewed") == []


def test_what_an_order_tells_of_side_and_earlier_reports_is_shown(site: WebSite) -> None:
    """The reader sees the side that was ordered and every prior report, its words as text, not as markup."""
    prior = PriorReport(date(2025, 3, 4), Coding("1", "CT thorax"), "No <b>effusion</b>.")
    case_id = site.order("A1", laterality="left", prior_reports=(prior,))
    page = site.get(f"/cases/{case_id}")
    assert "<dt>Side</dt><dd>left</dd>" in page
    assert "Prior report of 2025-03-04: CT thorax" in page
    assert "No &lt;b&gt;effusion&lt;/b&gt;." in page
    (told,) = site.json(f"/api/cases/{case_id}")["order"]["prior_reports"]
    assert told["performed_on"] == "2025-03-04"
