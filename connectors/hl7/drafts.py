"""A draft as ORU^R01 (v2.5.1 section 7.3.1), and the check that nothing final leaves. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from connectors.errors import Rejected
from connectors.exchange import DraftReport, DraftStatus
from connectors.hl7.message import NotHl7, Value, build, parse
from connectors.hl7.written import ce, pid, ts, xcn

APPLICATION = "PRELIM"
"""MSH-3 of everything that we send; a report that comes from there is no human's."""

_STATUSES = {DraftStatus.PRELIMINARY: "P", DraftStatus.PARTIAL: "R"}
"""OBR-25 and OBX-11 (HL7 tables 0123 and 0085): preliminary, or entered and not verified."""
_IMPRESSION = ("19005-8", "Radiology imaging study Impression", "LN")
_REPORT = ("18748-4", "Diagnostic imaging study", "LN")


class ForbiddenResult(Rejected):
    """A message on its way out says something that only a human may say."""

    next_step = "This is a defect of Prelim: nothing was sent, report it."


def draft_message(draft: DraftReport, *, control_id: str, at: datetime) -> bytes:
    """The ORU^R01 of a draft: one OBX a line, the notice first, nobody named as having read it.

    control_id: MSH-10; the same for every attempt, so that a RIS that counts repeats sees one message.
    """
    code = _STATUSES[draft.status]
    segments: list[tuple[str, Mapping[int, Value]]] = [
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
    ]
    lines = [(_REPORT, draft.notice)]
    for title, text in draft.sections:
        concept = _IMPRESSION if text and text == draft.conclusion else _REPORT
        lines += [(concept, f"{title}:"), *((concept, line) for line in text.splitlines())]
    study = ("110180", "Study Instance UID", "DCM")
    segments.append(("OBX", {1: "1", 2: "ST", 3: study, 5: draft.study_instance_uid, 11: code}))
    for number, (concept, line) in enumerate(lines, 2):
        segments.append(("OBX", {1: str(number), 2: "TX", 3: concept, 5: line, 11: code}))
    return build(segments)


def check_egress(message: bytes) -> None:
    """Look at the bytes that are about to leave. Raises ForbiddenResult.

    1. It must be an ORU^R01 of ours.
    2. Every OBR-25 and every OBX-11 must say preliminary or not verified; none may be missing.
    3. Nobody may be named as interpreter (OBR-32 to OBR-35) or as responsible observer (OBX-16).
    """
    try:
        read = parse(message)
    except NotHl7:
        raise ForbiddenResult("expected a result message of ours, found something unreadable") from None
    if read.type != "ORU^R01" or read.sending_application != APPLICATION:  # 1
        raise ForbiddenResult("expected an ORU^R01 of ours, found another message")
    allowed = set(_STATUSES.values())
    results, lines = read.all("OBR"), read.all("OBX")
    said = {*(obr.value(25) for obr in results), *(obx.value(11) for obx in lines)}
    if not results or not lines or not said <= allowed:  # 2
        raise ForbiddenResult(f"expected only the statuses {' and '.join(sorted(allowed))}, found another")
    if any(obr.field(number) for obr in results for number in range(32, 36)):  # 3
        raise ForbiddenResult("expected nobody in OBR-32 to OBR-35, found somebody")
    if any(obx.field(16) for obx in lines):
        raise ForbiddenResult("expected nobody in OBX-16, found somebody")
