"""A draft as ORU^R01: what it says, and what can never leave."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange import (
    Coding,
    DraftAuthor,
    DraftReport,
    DraftStatus,
    Patient,
    Practitioner,
    ReportStatus,
)
from connectors.hl7.drafts import ForbiddenResult, check_egress, draft_message, withdrawal_message
from connectors.hl7.message import parse
from connectors.hl7.results import signed_reports
from plugin.signoff import Verdict, judge
from tests.fhir_samples import a_draft

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PDF = b"%PDF-1.7 made up"
CODES = {DraftStatus.PRELIMINARY: "P", DraftStatus.PARTIAL: "R"}


def message(draft: DraftReport) -> bytes:
    return draft_message(draft, control_id="PRELIM1", at=AT)


@pytest.mark.parametrize("status", list(DraftStatus))
def test_a_draft_leaves_with_a_status_that_is_not_final(status: DraftStatus) -> None:
    """OBR-25 and every OBX-11 say preliminary or not verified, and the check lets that pass."""
    body = message(replace(a_draft(), status=status))
    read = parse(body)
    assert {read.first("OBR").value(25), *(obx.value(11) for obx in read.all("OBX"))} == {CODES[status]}
    check_egress(body)


def test_the_notice_is_the_first_line_of_the_text() -> None:
    """Whoever reads the result reads first that a machine wrote it."""
    draft = a_draft()
    texts = [obx.field(5).text for obx in parse(message(draft)).all("OBX") if obx.value(2) == "TX"]
    assert texts[0] == draft.notice


def test_our_own_draft_that_comes_back_is_nobodys_report() -> None:
    """A RIS that forwards our draft to us signs nothing."""
    (report,) = signed_reports(parse(message(a_draft())))
    assert report.status is ReportStatus.PRELIMINARY
    assert report.signer is None
    assert judge(report) is Verdict.OURS


def test_every_line_says_how_it_was_made() -> None:
    """OBX-17 names artificial intelligence on every observation; one without it never leaves."""
    body = draft_message(a_draft(), control_id="1", at=AT, pdf=PDF)
    assert {obx.value(17) for obx in parse(body).all("OBX")} == {"AIAST"}
    for value in ("", "human", "aiast"):
        with pytest.raises(ForbiddenResult, match="OBX-17"):
            check_egress(_changed(body, "OBX", 17, value))


@pytest.mark.parametrize("with_text", [True, False])
def test_a_pdf_goes_out_beside_the_text_or_under_the_notice_alone(with_text: bool) -> None:
    """The ED holds the very bytes; the notice comes first in either form."""
    draft = a_draft()
    body = draft_message(draft, control_id="1", at=AT, pdf=PDF, with_text=with_text)
    check_egress(body)
    lines = parse(body).all("OBX")
    assert [obx.value(1) for obx in lines] == [str(number) for number in range(1, len(lines) + 1)]
    assert [lines[-1].value(2), lines[-1].value(5, 2), lines[-1].value(5, 3)] == ["ED", "Application", "PDF"]
    assert base64.b64decode(lines[-1].value(5, 5)) == PDF
    (report,) = signed_reports(parse(body))
    assert [document.sha256 for document in report.documents] == [hashlib.sha256(PDF).hexdigest()]
    assert report.text.startswith(draft.notice)
    assert ("The lungs are clear." in report.text) is with_text


def test_a_message_without_text_and_without_pdf_is_not_written() -> None:
    """There would be nothing to read."""
    with pytest.raises(ValueError, match="text, a PDF or both"):
        draft_message(a_draft(), control_id="1", at=AT, with_text=False)


def test_a_draft_of_a_conclusion_alone_is_sent() -> None:
    """Only an impression: notice, heading and text, the impression under its own concept."""
    draft = replace(a_draft(), sections=(("Impression", "Normal."),), conclusion="Normal.")
    body = message(draft)
    check_egress(body)
    (report,) = signed_reports(parse(body))
    assert report.text == f"{draft.notice}\nImpression:\nNormal."
    assert parse(body).all("OBX")[-1].value(3) == "19005-8"


def test_findings_that_say_what_the_impression_says_are_no_impression() -> None:
    """Of two sections with the same words the last is the impression."""
    draft = replace(a_draft(), sections=(("Findings", "Same."), ("Impression", "Same.")), conclusion="Same.")
    concepts = [obx.value(3) for obx in parse(message(draft)).all("OBX") if obx.value(2) == "TX"]
    assert concepts == ["18748-4", "18748-4", "18748-4", "19005-8", "19005-8"]


@pytest.mark.parametrize("pdf", [None, PDF])
def test_a_withdrawal_takes_the_same_report_back(pdf: bytes | None) -> None:
    """Status X everywhere, the same identifiers, the reason, and none of the draft's text."""
    draft = a_draft()
    sent = parse(draft_message(draft, control_id="1", at=AT, pdf=pdf))
    body = withdrawal_message(draft, "the order was cancelled", control_id="2", at=AT)
    check_egress(body)
    taken = parse(body)
    for name, numbers in (("PID", (3, 5, 7, 8)), ("OBR", (2, 3, 4, 18))):
        for number in numbers:
            assert taken.first(name).field(number).raw == sent.first(name).field(number).raw
    assert {taken.first("OBR").value(25), *(obx.value(11) for obx in taken.all("OBX"))} == {"X"}
    (report,) = signed_reports(taken)
    assert report.status is ReportStatus.CANCELLED
    assert report.text == "This AI draft is withdrawn: the order was cancelled"
    assert judge(report) is Verdict.OURS


def test_a_withdrawal_says_why() -> None:
    """A reason is required."""
    with pytest.raises(ValueError, match="reason"):
        withdrawal_message(a_draft(), "  ", control_id="2", at=AT)


@pytest.mark.parametrize("place", ["OBR-25", "OBX-11"])
@pytest.mark.parametrize("code", ["P", "R", "F", ""])
def test_a_withdrawal_is_one_in_every_status_or_does_not_leave(place: str, code: str) -> None:
    """X beside anything else is stopped: half a withdrawal could be read as a result."""
    segment, number = place.split("-")
    body = withdrawal_message(a_draft(), "cancelled", control_id="2", at=AT)
    with pytest.raises(ForbiddenResult):
        check_egress(_changed(body, segment, int(number), code))


def test_a_draft_without_a_notice_or_with_a_humans_status_is_not_written() -> None:
    """What does not say that it is a draft is no draft."""
    for changes in ({"notice": " "}, {"status": ReportStatus.FINAL}, {"status": "final"}):
        with pytest.raises(ForbiddenResult):
            message(a_draft(**changes))


TEXT = st.text(max_size=30) | st.sampled_from(
    ["F|F", "\rOBR|1|||||||||||F", "~F", "^F", "\\X0D\\OBX", "\x1c\r", '""']
)
DRAFTS = st.builds(
    DraftReport,
    case_id=TEXT,
    number=st.integers(1, 9),
    accession=TEXT,
    patient=st.builds(Patient, TEXT, TEXT, TEXT, TEXT, st.none() | st.dates(), TEXT),
    study_instance_uid=TEXT,
    procedure=st.builds(Coding, TEXT, TEXT, TEXT),
    status=st.sampled_from(DraftStatus),
    sections=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    conclusion=TEXT,
    notice=TEXT.filter(str.strip),
    issued_at=st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    author=st.builds(DraftAuthor, TEXT, TEXT, TEXT, TEXT),
    placer_order_number=TEXT,
    filler_order_number=TEXT,
    ordering_provider=st.none() | st.builds(Practitioner, TEXT, TEXT, TEXT, TEXT),
    studied_on=st.none() | st.dates(),
)


def written(draft: DraftReport, pdf: bytes | None, reason: str) -> bytes:
    """The draft, or its withdrawal where a reason is given."""
    if reason.strip():
        return withdrawal_message(draft, reason, control_id="1", at=AT)
    return draft_message(draft, control_id="1", at=AT, pdf=pdf)


@given(DRAFTS, st.none() | st.binary(max_size=40), TEXT)
def test_no_draft_makes_bytes_of_another_status(draft: DraftReport, pdf: bytes | None, reason: str) -> None:
    """Whatever a draft holds, what is written passes the check and every status in it is ours."""
    body = written(draft, pdf, reason)
    check_egress(body)
    read = parse(body)
    said = {*(obr.field(25).raw for obr in read.all("OBR")), *(obx.field(11).raw for obx in read.all("OBX"))}
    assert said == ({"X"} if reason.strip() else {CODES[draft.status]})
    assert len(read.all("OBR")) == 1


@given(DRAFTS, st.none() | st.binary(max_size=40), TEXT, st.sampled_from("FCAUVDWOISN"), st.data())
def test_no_bytes_with_a_humans_status_pass(
    draft: DraftReport, pdf: bytes | None, reason: str, code: str, data: st.DataObject
) -> None:
    """One status that is not ours, wherever it stands and however it is repeated, stops the message."""
    lines = written(draft, pdf, reason).split(b"\r")
    places = [i for i, line in enumerate(lines) if line[:3] in (b"OBR", b"OBX")]
    at = data.draw(st.sampled_from(places))
    fields = lines[at].split(b"|")
    number = 25 if fields[0] == b"OBR" else 11
    kept = fields[number]
    fields[number] = (
        data.draw(st.sampled_from([b"%s", b"P~%s", b"%s^P", b"P^%s", b"P&%s", b" %s"])) % code.encode()
    )
    lines[at] = b"|".join(fields)
    assert fields[number] != kept
    with pytest.raises(ForbiddenResult):
        check_egress(b"\r".join(lines))


@given(st.binary(max_size=80))
def test_noise_never_leaves(body: bytes) -> None:
    """Bytes that nobody wrote as a result are stopped, whether or not they can be read."""
    for raw in (body, b"MSH|^~\\&|PRELIM|||||||1|P|2.5.1\r" + body):
        with pytest.raises(ForbiddenResult):
            check_egress(raw)


@pytest.mark.parametrize("segment", ["ORC|RE||||||||||9^Roe", "TXA|1", "NTE|1||F", "PV1|1", "ZZZ|1", "PRT|1"])
def test_a_segment_that_we_do_not_write_is_stopped(segment: str) -> None:
    """A segment that could name a verifier is no part of a draft."""
    body = message(a_draft())
    with pytest.raises(ForbiddenResult, match="another segment"):
        check_egress(body + segment.encode() + b"\r")


@given(st.text(max_size=200))
def test_text_never_makes_a_segment(words: str) -> None:
    """Whatever a section says, line breaks and delimiters included, the message keeps its segments."""
    draft = replace(a_draft(), sections=(("Findings", words),), conclusion="")
    read = parse(message(draft))
    assert {segment.name for segment in read.segments} == {"MSH", "PID", "OBR", "OBX"}
    assert len(read.all("OBR")) == 1
    check_egress(message(draft))


@pytest.mark.parametrize("code", ["F", "C", "X", "A", "", "f", "FINAL", "PF"])
@pytest.mark.parametrize("place", ["OBR-25", "OBX-11"])
def test_any_other_status_is_stopped(place: str, code: str) -> None:
    """A status of OBR-25, or of one OBX-11, that is not preliminary never leaves."""
    segment, number = place.split("-")
    body = _changed(message(a_draft()), segment, int(number), code)
    with pytest.raises(ForbiddenResult):
        check_egress(body)


@pytest.mark.parametrize(
    ("segment", "number"), [("OBR", 32), ("OBR", 33), ("OBR", 34), ("OBR", 35), ("OBX", 16), ("OBX", 25)]
)
def test_nobody_is_named_as_having_read_a_draft(segment: str, number: int) -> None:
    """A draft with an interpreter or observer never leaves: no human has read it."""
    with pytest.raises(ForbiddenResult):
        check_egress(_changed(message(a_draft()), segment, number, "R1^Somebody"))


@pytest.mark.parametrize("body", [b"", b"junk", b"MSH|^~\\&|OTHER|||||\rOBR|1\r"])
def test_nothing_but_our_own_results_leaves(body: bytes) -> None:
    """What is unreadable, or no ORU^R01 of ours, is stopped."""
    with pytest.raises(ForbiddenResult):
        check_egress(body)


def _changed(body: bytes, segment: str, number: int, value: str) -> bytes:
    """The message with one field of the last segment of a name set to a value."""
    lines = body.decode().split("\r")
    index = max(i for i, line in enumerate(lines) if line.startswith(segment))
    fields = lines[index].split("|")
    fields += [""] * (number + 1 - len(fields))
    fields[number] = value
    lines[index] = "|".join(fields)
    return "\r".join(lines).encode()
