"""Reports that others wrote, from ORU^R01 (v2.5.1 section 7.3.1). Their arrival alone signs nothing. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo

from connectors.exchange import Practitioner, ReportStatus, SignedReport
from connectors.hl7.datatypes import moment, practitioner
from connectors.hl7.identifiers import (
    DEFAULT_PLACES,
    Places,
    accession,
    agreed_study_uid,
    concept,
    patient,
    stated_study_uids,
    study_uid,
)
from connectors.hl7.message import Message, NotHl7, Segment
from connectors.hl7.observations import DICOM_STUDY, contents, text_lines
from connectors.hl7.parts import check_parts

MESSAGE_TYPE = "ORU^R01"
CHANNEL = "hl7-oru"

STATUSES = {
    **dict.fromkeys(("O", "I", "S", "N"), ReportStatus.REGISTERED),
    **dict.fromkeys(
        ("A", "R", "PARTIAL", "UNVERIFIED", "NOT VERIFIED", "RELEASED NOT VERIFIED"), ReportStatus.PARTIAL
    ),
    **dict.fromkeys(("P", "PRELIM", "PRELIMINARY", "PRELIMINARY REPORT"), ReportStatus.PRELIMINARY),
    **dict.fromkeys(
        (
            "F",
            "FINAL",
            "FINALIZED",
            "FINALISED",
            "FINAL REPORT",
            "FINAL RESULT",
            "FINAL RESULTS",
            "VERIFIED",
            "SIGNED",
        ),
        ReportStatus.FINAL,
    ),
    **dict.fromkeys(("C", "CORRECTED", "CORRECTION"), ReportStatus.CORRECTED),
    **dict.fromkeys(("AMENDED",), ReportStatus.AMENDED),
    **dict.fromkeys(("APPENDED", "ADDENDUM", "ADDENDED"), ReportStatus.APPENDED),
    **dict.fromkeys(("X", "CANCELLED", "CANCELED"), ReportStatus.CANCELLED),
    **dict.fromkeys(("ENTERED IN ERROR", "ENTERED-IN-ERROR"), ReportStatus.ENTERED_IN_ERROR),
}
"""OBR-25: HL7 table 0123 and, in words, what some senders write there."""
LINE_STATUSES = {
    **STATUSES,
    "A": ReportStatus.AMENDED,
    "B": ReportStatus.APPENDED,
    "S": ReportStatus.PARTIAL,
    "U": ReportStatus.FINAL,
    "V": ReportStatus.FINAL,
    "D": ReportStatus.ENTERED_IN_ERROR,
    "W": ReportStatus.ENTERED_IN_ERROR,
}
"""OBX-11: HL7 table 0085 where it says otherwise than table 0123."""
_NO_RESULT = frozenset({"", "N", "O"})
"""OBX-11 of an observation that says nothing about the report: not asked, or detail of the order."""
_WEAKEST_FIRST = (
    ReportStatus.UNKNOWN,
    ReportStatus.REGISTERED,
    ReportStatus.PARTIAL,
    ReportStatus.PRELIMINARY,
    ReportStatus.FINAL,
    ReportStatus.AMENDED,
    ReportStatus.APPENDED,
    ReportStatus.CORRECTED,
)


FIELDS = {
    "ORC-3": "identifier of the report, where OBR-3 is empty",
    "OBR-3": "identifier of the report",
    "OBR-7": "when it was signed, where OBR-22 and OBR-32 do not say",
    "OBR-18": "accession number",
    "OBR-22": "when it was signed",
    "OBR-25": "status of the report",
    "OBR-32": "signer; when it was signed, where OBR-22 is empty",
    "IPC-1": "accession number",
    "IPC-3": "study instance UID",
    "ZDS-1": "study instance UID",
    "OBX-2": "type: TX, FT and ST are text, ED is a document, RP a pointer to one",
    "OBX-3": "section, or that OBX-5 is a study instance UID (DCM 110180, 113014)",
    "OBX-5": "text, document or study instance UID",
    "OBX-11": "status of the line",
    "OBX-16": "signer, only where the site says so",
    "ORC-11": "signer, only where the site says so",
}
"""What is read of a result, and what it means here."""


@dataclass(slots=True)
class ResultGroup:
    """One OBR with the observations under it."""

    pid: Segment
    orc: Segment
    obr: Segment
    observations: list[Segment] = field(default_factory=list)
    others: list[Segment] = field(default_factory=list)


def signed_reports(
    message: Message, places: Places = DEFAULT_PLACES, zone: tzinfo | None = None
) -> tuple[SignedReport, ...]:
    """Every report of an ORU^R01, one for each OBR, in order.

    text: the TX, FT and ST observations, one a line, without those marked deleted or wrong (OBX-11 D
    or W), else the words of a CDA, HTML or plain text document; empty for a report that comes only as
    another document. signer: None unless a place of
    `places.signer` gives a name; an identifier alone names nobody (21 CFR 11.50 wants the printed name).
    zone: of times without an offset; None is the zone of this machine.

    Raises NotHl7 (a Malformed) when the message is no ORU^R01, a report lacks accession or patient, or a
    document cannot be decoded.
    """
    if message.type != MESSAGE_TYPE:
        raise NotHl7(f"expected a result, {MESSAGE_TYPE}, in MSH-9", location="MSH-9", code=200)
    groups = list(_groups(message))
    if not groups:
        raise NotHl7(
            "expected at least one OBR segment, found none; have the sender add it, for it names the order",
            location="OBR",
            code=100,
        )
    check_parts(len(groups), "OBR segments", "OBR")
    return tuple(_report(message, group, places, zone) for group in groups)


def _groups(message: Message) -> Iterator[ResultGroup]:
    """Cut the message at each OBR; a PID begins the results of the next patient."""
    pid = orc = absent = Segment("PID", (), message.encoding)
    group: ResultGroup | None = None
    specimen = False
    for segment in message.segments:
        if segment.name in {"PID", "ORC", "OBR"}:
            if group is not None:
                yield group
            group, specimen = None, False
        if segment.name == "PID":
            pid, orc = segment, absent
        elif segment.name == "ORC":
            orc = segment
        elif segment.name == "OBR":
            group, orc = ResultGroup(pid, orc, segment), absent
        elif segment.name == "SPM":
            specimen = True  # OBX after SPM describe the specimen, not the result.
        elif group is not None and segment.name == "OBX" and not specimen:
            group.observations.append(segment)
        elif group is not None:
            group.others.append(segment)
    if group is not None:
        yield group


def _report(message: Message, group: ResultGroup, places: Places, zone: tzinfo | None) -> SignedReport:
    obr = group.obr
    segments = [group.orc, obr, *group.observations, *group.others]
    lines, brought = text_lines(group.observations), contents(group.observations, message)
    return SignedReport(
        accession=accession(segments, places),
        patient=patient(group.pid, places),
        status=report_status(obr.value(25), [obx.value(11) for obx in lines or group.observations]),
        text=brought.text,
        channel=CHANNEL,
        source=message.source,
        signer=_signer(group, lines, places),
        signed_at=_signed_at(message, obr, zone),
        study_instance_uid=covered_study(segments),
        report_identifier=obr.value(3) or group.orc.value(3),
        version=message.control_id,
        documents=brought.documents,
    )


def report_status(obr_25: str, obx_11: list[str]) -> ReportStatus:
    """The status that OBR-25 and the OBX-11 of the text support together.

    A code or word that is not known is UNKNOWN, and a final OBR-25 over text that is not final is
    what the text is: neither is ever guessed to be final.
    """
    stated = STATUSES.get(_plain(obr_25), ReportStatus.UNKNOWN) if obr_25.strip() else None
    return supported(stated, obx_11)


def supported(stated: ReportStatus | None, obx_11: list[str]) -> ReportStatus:
    """What the whole states, as far as its observations bear it out. stated: None when it is not valued."""
    of_lines = [
        LINE_STATUSES.get(_plain(code), ReportStatus.UNKNOWN)
        for code in obx_11
        if _plain(code) not in _NO_RESULT
    ]
    standing = [s for s in of_lines if s not in {ReportStatus.ENTERED_IN_ERROR, ReportStatus.CANCELLED}]
    if of_lines and not standing and (stated is None or stated.is_final):
        return of_lines[0]
    if stated is not None and not stated.is_final:
        return stated
    weakest = min(standing, key=_WEAKEST_FIRST.index, default=None)
    if stated is None or weakest is None:
        return stated or weakest or ReportStatus.UNKNOWN
    if not weakest.is_final:
        return weakest
    strongest = max(standing, key=_WEAKEST_FIRST.index)
    return strongest if stated is ReportStatus.FINAL else stated


def _plain(code: str) -> str:
    return " ".join(re.sub(r"[\s_,]+", " ", code.upper()).split())


def _signer(group: ResultGroup, lines: list[Segment], places: Places) -> Practitioner | None:
    """Who stands in the first place that names somebody; several names in OBX-16 are no one signer."""
    for place in places.signer:
        found = None
        if place == "OBX-16":
            named = {practitioner(obx.field(16)) for obx in lines} - {None}
            found = named.pop() if len(named) == 1 else None
        elif place == "OBR-32":
            found = practitioner(group.obr.field(32))
        elif place == "ORC-11":
            found = practitioner(group.orc.field(11))
        if found is not None and (found.family_name or found.given_name):
            return replace(found, role=place)
    return None


def _signed_at(message: Message, obr: Segment, zone: tzinfo | None) -> datetime | None:
    """OBR-22 (status change), else the end of the interpretation (OBR-32.3), else OBR-7."""
    interpreted = obr.value(32, 3) if obr.field(32).has_subcomponents() else ""
    candidates = (obr.value(22), interpreted, obr.value(7))
    return next((at for text in candidates if (at := moment(text, message, zone))), None)


def covered_study(segments: list[Segment]) -> str:
    """The stated study, or the only one listed; a report on several studies is matched by accession."""
    stated = agreed_study_uid(stated_study_uids(segments))
    if stated:
        return stated
    listed = {
        study_uid(segment.value(5), "OBX-5")
        for segment in segments
        if segment.name == "OBX" and concept(segment.field(3)) == DICOM_STUDY
    }
    return listed.pop() if len(listed) == 1 else ""
