"""A draft with organs, marks and a language of its own, from the model through the tables onto each wire."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.exchange import DraftReport, DraftStatus, WithdrawalStatus
from connectors.fhir.attachment import presented_text
from connectors.fhir.drafts.report import draft_bundle
from connectors.fhir.drafts.withdrawn import withdrawn_report
from connectors.fhir.identifiers import IdentifierSystems
from connectors.hl7.drafts import draft_message
from connectors.hl7.message import parse
from connectors.pdf import report_pdf
from plugin import translate
from plugin.db import Database
from plugin.orders import take_order
from plugin.tables import Case, DraftRecord
from tests.case_samples import AT, Jobs, an_order, fresh_database
from tests.web_site import guarded_draft

SYSTEMS = IdentifierSystems()
GERMAN = [
    "Voraufnahmen:",
    "No prior available.",
    "Befund:",
    "Lunge: 12 mm nodule. [unsicher]",
    "Pleura: Small left effusion. No pneumothorax.",
    "Herz: The heart is of normal size.",
    "Beurteilung:",
    "Small left effusion.",
]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh_database(tmp_path) as database:
        yield database


def sent(database: Database, language: str) -> DraftReport:
    """The draft as it was stored, read again and made ready to be sent."""
    with database.write() as session:
        case_id = take_order(session, an_order(), Jobs().enqueue, "hl7:RIS").id
        case = session.get_one(Case, case_id)
        session.add(translate.draft_row(case, guarded_draft(language), DraftStatus.PRELIMINARY, AT))
    with database.read() as session:
        row = session.query(DraftRecord).one()
        assert (row.language, row.confidence) == (language, 0.74)
        return translate.draft_report(session.get_one(Case, case_id), row)


def test_every_line_of_a_section_is_a_line_of_the_result(database: Database) -> None:
    """OBX-5: titles in the language, an organ a line, marks behind sentences; the impression is coded."""
    lines = parse(draft_message(sent(database, "de"), control_id="1", at=AT)).all("OBX")
    told = [(obx.field(5).text, obx.value(3)) for obx in lines if obx.value(2) == "TX"][1:]
    assert [text for text, _ in told] == GERMAN
    assert {text for text, code in told if code == "19005-8"} == set(GERMAN[-2:])


def test_the_report_on_the_server_is_told_in_the_language(database: Database) -> None:
    """FHIR: the form names its language and keeps the lines, and the conclusion is the impression alone."""
    (report,) = [
        entry["resource"]
        for entry in draft_bundle(sent(database, "de"))["entry"]
        if entry["resource"]["resourceType"] == "DiagnosticReport"
    ]
    (form,) = report["presentedForm"]
    assert form["language"] == "de"
    assert b'<html lang="de">' in base64.b64decode(form["data"])
    text = presented_text(report).splitlines()
    assert [line for line in text if line in GERMAN] == [line for line in GERMAN if not line.endswith(":")]
    assert report["conclusion"] == "Small left effusion."
    gone = withdrawn_report(report, WithdrawalStatus.CANCELLED, "no report is wanted", systems=SYSTEMS, at=AT)
    assert [form["language"] for form in gone["presentedForm"]] == ["de"]


@pytest.mark.parametrize("language", ["en", "de", "ro", "ko"])
def test_titles_organs_and_marks_of_every_language_can_be_printed(database: Database, language: str) -> None:
    """The fonts of the PDF have them."""
    assert report_pdf(sent(database, language)).startswith(b"%PDF")
