"""Reports that others wrote, from ORU^R01 (v2.5.1 section 7.3.1). Their arrival alone signs nothing. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
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

MESSAGE_TYPE = "ORU^R01"
CHANNEL = "hl7-oru"

_TEXT_TYPES = frozenset({"TX", "FT", "ST"})
_DICOM_STUDY = ("113014", "DCM")
"""IHE RAD-128 lists every study that a report covers under this concept."""
_UID = re.compile(r"[0-9]+(\.[0-9]+){5,}")

# HL7 table 0123 (OBR-25) and, in words, what some senders write there.
_STATUSES = {
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
# HL7 table 0085 (OBX-11) where it says otherwise than table 0123.
_LINE_STATUSES = {
    **_STATUSES,
    "A": ReportStatus.AMENDED,
    "B": ReportStatus.APPENDED,
    "S": ReportStatus.PARTIAL,
    "U": ReportStatus.FINAL,
    "V": ReportStatus.FINAL,
    "D": ReportStatus.ENTERED_IN_ERROR,
    "W": ReportStatus.ENTERED_IN_ERROR,
}
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


@dataclass(slots=True)
class ResultGroup:
    """One OBR with the observations under it."""

    pid: Segment
    orc: Segment
    obr: Segment
    observations: list[Segment] = field(default_factory=list)
    others: list[Segment] = field(default_factory=list)

    @property
    def lines(self) -> list[Segment]:
        """The OBX segments that hold text of the report."""
        return [obx for obx in self.observations if obx.value(2).upper() in _TEXT_TYPES and not _is_uid(obx)]


def signed_reports(
    message: Message, places: Places = DEFAULT_PLACES, zone: tzinfo | None = None
) -> tuple[SignedReport, ...]:
    """Every report of an ORU^R01, one for each OBR, in order.

    text: the TX, FT and ST observations, one a line, without those marked deleted or wrong (OBX-11 D
    or W); empty for a report that comes only as a document (ED). signer: None unless a place of
    `places.signer` gives a name; an identifier alone names nobody (21 CFR 11.50 wants the printed name).
    zone: of times without an offset; None is the zone of this machine.

    Raises NotHl7 (a Malformed) when the message is no ORU^R01, or a report lacks accession or patient.
    """
    if message.type != MESSAGE_TYPE:
        raise NotHl7(f"expected a result, {MESSAGE_TYPE}, in MSH-9", location="MSH-9", code=200)
    groups = list(_groups(message))
    if not groups:
        raise NotHl7("expected at least one OBR segment, found none", location="OBR", code=100)
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
    lines = group.lines
    return SignedReport(
        accession=accession(segments, places),
        patient=patient(group.pid, places),
        status=report_status(obr.value(25), [obx.value(11) for obx in lines or group.observations]),
        text=_text(lines),
        channel=CHANNEL,
        source=message.source,
        signer=_signer(group, lines, places),
        signed_at=_signed_at(message, obr, zone),
        study_instance_uid=_study_uid(group, segments),
        report_identifier=obr.value(3) or group.orc.value(3),
        version=message.control_id,
    )


def report_status(obr_25: str, obx_11: list[str]) -> ReportStatus:
    """The status that OBR-25 and the OBX-11 of the text support together.

    A code or word that is not known is UNKNOWN, and a final OBR-25 over text that is not final is
    what the text is: neither is ever guessed to be final.
    """
    stated = _STATUSES.get(_plain(obr_25), ReportStatus.UNKNOWN) if obr_25.strip() else None
    of_lines = [
        _LINE_STATUSES.get(_plain(code), ReportStatus.UNKNOWN)
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


def _is_uid(obx: Segment) -> bool:
    return concept(obx.field(3)) == _DICOM_STUDY or _UID.fullmatch(obx.value(5)) is not None


def _text(lines: list[Segment]) -> str:
    """The words as they are read: repetitions and escaped line breaks are line breaks (section 7.4.2.5)."""
    written = (
        repetition.text
        for obx in lines
        if _plain(obx.value(11)) not in {"D", "W"}
        for repetition in (obx.field(5).repetitions or (obx.field(5),))
    )
    whole = "\n".join(written).replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line.rstrip() for line in whole.split("\n")).strip("\n")


def _signer(group: ResultGroup, lines: list[Segment], places: Places) -> Practitioner | None:
    """The first place that names somebody; several names in OBX-16 are no one signer."""
    for place in places.signer:
        if place == "OBX-16":
            named = {practitioner(obx.field(16)) for obx in lines} - {None}
            found = named.pop() if len(named) == 1 else None
        else:
            found = practitioner(group.obr.field(32) if place == "OBR-32" else group.orc.field(11))
        if found is not None and (found.family_name or found.given_name):
            return found
    return None


def _signed_at(message: Message, obr: Segment, zone: tzinfo | None) -> datetime | None:
    """OBR-22 (status change), else the end of the interpretation (OBR-32.3), else OBR-7."""
    interpreted = obr.value(32, 3) if obr.field(32).has_subcomponents() else ""
    candidates = (obr.value(22), interpreted, obr.value(7))
    return next((at for text in candidates if (at := moment(text, message, zone))), None)


def _study_uid(group: ResultGroup, segments: list[Segment]) -> str:
    """The stated study, or the only one listed; a report on several studies is matched by accession."""
    stated = agreed_study_uid(stated_study_uids(segments))
    if stated:
        return stated
    listed = {
        study_uid(o.value(5), "OBX-5") for o in group.observations if concept(o.field(3)) == _DICOM_STUDY
    }
    return listed.pop() if len(listed) == 1 else ""
