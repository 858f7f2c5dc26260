"""A draft as ORU^R01: what it says, and what can never leave."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange import DraftReport, DraftStatus, ReportStatus
from connectors.hl7.drafts import ForbiddenResult, check_egress, draft_message
from connectors.hl7.message import parse
from connectors.hl7.results import signed_reports
from plugin.signoff import Verdict, judge
from tests.fhir_samples import a_draft

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
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
    ("segment", "number"), [("OBR", 32), ("OBR", 33), ("OBR", 34), ("OBR", 35), ("OBX", 16)]
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
