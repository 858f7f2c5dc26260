"""A draft as ORU^R01 (v2.5.1 section 7.3.1), its withdrawal, and the check of what leaves. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime

from connectors.errors import Rejected
from connectors.exchange import DraftReport, DraftStatus
from connectors.hl7.message import NotHl7, Value, build, parse
from connectors.hl7.written import ce, pid, ts, xcn

APPLICATION = "PRELIM"
"""MSH-3 of everything that we send; a report that comes from there is no human's."""

STATUSES = {DraftStatus.PRELIMINARY: "P", DraftStatus.PARTIAL: "R"}
"""OBR-25 and OBX-11 (HL7 tables 0123 and 0085): preliminary, or entered and not verified."""
WITHDRAWN = "X"
"""OBR-25 and OBX-11 of a report that is taken back: no results available, results cannot be obtained."""
METHOD = ("AIAST", "Artificial Intelligence asserted", "v3-ObservationValue")
"""OBX-17 of every observation: how it was made, for whoever shows lines apart from each other."""
SEGMENTS = ("MSH", "PID", "OBR", "OBX")
NOBODY = {"OBR": (32, 33, 34, 35), "OBX": (16, 25)}
"""Fields that name who read, helped, typed, observed or directs: empty in all that we send."""

_IMPRESSION = ("19005-8", "Radiology imaging study Impression", "LN")
_REPORT = ("18748-4", "Diagnostic imaging study", "LN")
_STUDY = ("110180", "Study Instance UID", "DCM")

Segments = list[tuple[str, Mapping[int, Value]]]


class ForbiddenResult(Rejected):
    """A message on its way out says something that only a human may say."""

    next_step = "This is a defect of Prelim: nothing was sent, report it."


def draft_message(
    draft: DraftReport, *, control_id: str, at: datetime, pdf: bytes | None = None, with_text: bool = True
) -> bytes:
    """The ORU^R01 of a draft: the notice first, then one OBX a line, nobody named as having read it.

    control_id: MSH-10; the same for every attempt, so that a RIS that counts repeats sees one message.
    pdf: the same draft as PDF (`connectors.pdf`), sent as ED after the text. with_text: False sends the
    notice and the PDF only. Raises ValueError when there would be neither text nor PDF, ForbiddenResult
    when the draft has no notice or a status that no draft may have.
    """
    if pdf is None and not with_text:
        raise ValueError("expected text, a PDF or both to send")
    code = STATUSES.get(draft.status)
    if code is None or not draft.notice.strip():
        raise ForbiddenResult("expected a draft that says it is one, found another status or no notice")
    lines: list[tuple[Value, Value, str]] = [("TX", _REPORT, draft.notice)]
    # The impression is the last section that says what the conclusion says: findings may say the same.
    same = [number for number, (_, text) in enumerate(draft.sections) if text and text == draft.conclusion]
    for number, (title, text) in enumerate(draft.sections if with_text else ()):
        concept = _IMPRESSION if number in same[-1:] else _REPORT
        lines += [("TX", concept, f"{title}:"), *(("TX", concept, line) for line in text.splitlines())]
    message = _result(draft, lines, code, control_id, at)
    if pdf is not None:
        data: Value = ("", "Application", "PDF", "Base64", base64.b64encode(pdf).decode("ascii"))
        message.append(_observation(len(message) - 2, "ED", _REPORT, data, code))
    return build(message)


def withdrawal_message(draft: DraftReport, reason: str, *, control_id: str, at: datetime) -> bytes:
    """The ORU^R01 that takes a draft back: the same report with status X and the reason, without its text.

    reason: for a person, without patient data. Raises ValueError when it is empty.
    """
    if not reason.strip():
        raise ValueError("expected a reason for the withdrawal")
    words = [("TX", _REPORT, f"This AI draft is withdrawn: {reason}")]
    return build(_result(draft, words, WITHDRAWN, control_id, at))


def _result(
    draft: DraftReport, lines: Sequence[tuple[Value, Value, str]], code: str, control_id: str, at: datetime
) -> Segments:
    """MSH, PID, OBR, the study UID and these (OBX-2, OBX-3, OBX-5), all of one status."""
    message: Segments = [
        (
            "MSH",
            {3: APPLICATION, 7: ts(at), 9: ("ORU", "R01", "ORU_R01"), 10: control_id, 11: "P", 12: "2.5.1"},
        ),
        ("PID", pid(draft.patient)),
        (
            "OBR",
            {
                1: "1",
                2: draft.placer_order_number,
                3: draft.filler_order_number,
                4: ce(draft.procedure),
                7: draft.studied_on.strftime("%Y%m%d") if draft.studied_on else "",
                16: xcn(draft.ordering_provider),
                18: draft.accession,
                22: ts(draft.issued_at),
                25: code,
            },
        ),
        _observation(1, "ST", _STUDY, draft.study_instance_uid, code),
    ]
    for number, (kind, concept, value) in enumerate(lines, 2):
        message.append(_observation(number, kind, concept, value, code))
    return message


def _observation(
    number: int, kind: Value, concept: Value, value: Value, code: str
) -> tuple[str, Mapping[int, Value]]:
    return "OBX", {1: str(number), 2: kind, 3: concept, 5: value, 11: code, 17: METHOD}


def check_egress(message: bytes) -> None:
    """Look at the bytes that are about to leave. Raises ForbiddenResult.

    1. It must be an ORU^R01 of ours, of no other segments than we write.
    2. Every OBR-25 and every OBX-11 must say preliminary or not verified, or every one withdrawn; none
       may be missing, and none may say two things.
    3. Nobody may be named as interpreter (OBR-32 to OBR-35), as responsible observer (OBX-16) or as
       medical director (OBX-25).
    4. Every observation must say that a machine made it (OBX-17).
    """
    try:
        read = parse(message)
    except NotHl7:
        raise ForbiddenResult("expected a result message of ours, found something unreadable") from None
    if read.type != "ORU^R01" or read.sending_application != APPLICATION:  # 1
        raise ForbiddenResult("expected an ORU^R01 of ours, found another message")
    if not {segment.name for segment in read.segments} <= set(SEGMENTS):
        raise ForbiddenResult(f"expected only {', '.join(SEGMENTS)}, found another segment")
    results, lines = read.all("OBR"), read.all("OBX")
    said = {*(obr.field(25).raw for obr in results), *(obx.field(11).raw for obx in lines)}
    drafted = set(STATUSES.values())
    if not results or not lines or not (said <= drafted or said == {WITHDRAWN}):  # 2
        allowed = " and ".join(sorted(drafted))
        raise ForbiddenResult(
            f"expected only the statuses {allowed}, or {WITHDRAWN} everywhere, found another"
        )
    for segment in (*results, *lines):  # 3
        named = next((number for number in NOBODY[segment.name] if segment.field(number)), None)
        if named is not None:
            raise ForbiddenResult(f"expected nobody in {segment.name}-{named}, found somebody")
    if any(obx.value(17) != METHOD[0] for obx in lines):  # 4
        raise ForbiddenResult(f"expected {METHOD[0]} in every OBX-17, found an observation without it")
