"""Reports that come as documents: MDM with content, and their cancellation (v2.5.1 chapter 9). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, tzinfo

from connectors.exchange import Practitioner, ReportStatus, SignedReport
from connectors.hl7.datatypes import moment, practitioner
from connectors.hl7.identifiers import DEFAULT_PLACES, Places, accession, patient
from connectors.hl7.message import Field, Message, NotHl7, Segment
from connectors.hl7.observations import contents, text_lines
from connectors.hl7.parts import check_parts
from connectors.hl7.results import covered_study, report_status, supported

CHANNEL = "hl7-mdm"

EVENTS = {
    "MDM^T02": "original document with content",
    "MDM^T04": "document status change with content",
    "MDM^T06": "addendum with content",
    "MDM^T08": "edit with content",
    "MDM^T10": "replacement with content",
    "MDM^T11": "cancellation",
}
MESSAGE_TYPES = tuple(EVENTS)
WITHOUT_CONTENT = {"MDM^T01": "T02", "MDM^T03": "T04", "MDM^T05": "T06", "MDM^T07": "T08", "MDM^T09": "T10"}
"""Notifications without the text, and the event that brings it."""

COMPLETION = {
    "DI": ReportStatus.PARTIAL,
    "IP": ReportStatus.PARTIAL,
    "IN": ReportStatus.PARTIAL,
    "DO": ReportStatus.PRELIMINARY,
    "PA": ReportStatus.PRELIMINARY,
    "AU": ReportStatus.FINAL,
    "LA": ReportStatus.FINAL,
}
"""TXA-17, HL7 table 0271: dictated, in progress, incomplete, documented, pre-authenticated, authenticated,
legally authenticated."""
WITHDRAWN = {"CA": ReportStatus.ENTERED_IN_ERROR, "OB": ReportStatus.CANCELLED}
"""TXA-19, HL7 table 0273: removed from the record; obsolete, for another document replaces it."""
UNAVAILABLE = "UN"
"""TXA-19 of a document that is kept from patient care: however it was authenticated, it is not final yet."""
CHANGES = {
    "MDM^T06": ReportStatus.APPENDED,
    "MDM^T08": ReportStatus.AMENDED,
    "MDM^T10": ReportStatus.CORRECTED,
}
"""What an authenticated document is when it comes with this event."""

FIELDS = {
    "TXA-6": "when it was signed, where TXA-22, TXA-8 and TXA-7 do not say",
    "TXA-7": "when it was signed, where TXA-22 and TXA-8 do not say",
    "TXA-8": "when it was signed, where TXA-22 does not say",
    "TXA-9": "signer, only where the site says so",
    "TXA-12": "identifier of the report",
    "TXA-17": "status of the report",
    "TXA-19": "whether it may be used",
    "TXA-22": "signer, and in component 15 when it was signed",
    "OBR-18": "accession number",
    "OBR-25": "status of the order's results: what it denies is not final",
    "ZDS-1": "study instance UID",
    "OBX-2": "type: TX, FT and ST are text, ED is a document, RP a pointer to one",
    "OBX-3": "section, or that OBX-5 is a study instance UID (DCM 110180, 113014)",
    "OBX-5": "text, document or study instance UID",
    "OBX-11": "status of the line",
}
"""What is read of a document, and what it means here."""


def document_reports(
    message: Message, places: Places = DEFAULT_PLACES, zone: tzinfo | None = None
) -> tuple[SignedReport, ...]:
    """The report of an MDM, once for each accession that its OBR segments name.

    status: TXA-17 as far as TXA-19, OBR-25 and OBX-11 bear it out; T11 cancels. signer: the person of
    TXA-22; where several signed, the last by the time beside the name. The originator (TXA-9) counts
    only where `places.signer` says so, the transcriptionist (TXA-11) never.
    zone: of times without an offset; None is the zone of this machine.

    Raises NotHl7 (a Malformed) for another message, and for one without TXA, content, accession or patient.
    """
    if message.type not in EVENTS:
        better = WITHOUT_CONTENT.get(message.type)
        advice = f"; this one has no content, have the sender use {better}" if better else ""
        raise NotHl7(
            f"expected a document, one of {', '.join(MESSAGE_TYPES)}, in MSH-9{advice}",
            location="MSH-9",
            code=200,
        )
    headers = message.all("TXA")
    if len(headers) != 1:
        found = "several" if headers else "none"
        raise NotHl7(f"expected one TXA segment, found {found}", location="TXA", code=100)
    txa = headers[0]
    check_parts(len(message.all("OBR")), "OBR segments", "OBR")
    observations = message.all("OBX")
    if not observations and message.type != "MDM^T11":
        raise NotHl7("expected the content of the document in OBX, found none", location="OBX", code=100)
    who, brought = patient(message.first("PID"), places), contents(observations, message)
    lines = text_lines(observations)
    signer, signed_at = _authentication(txa, message, zone)
    if signer is None and "TXA-9" in places.signer:
        signer = _named(practitioner(txa.field(9)), "TXA-9")
    reports: dict[str, SignedReport] = {}
    for orc, obr in _orders(message):
        segments = [orc, obr, txa, *observations, *message.all("ZDS")]
        number = accession(segments, places)
        status = _status(message.type, txa, obr, [obx.value(11) for obx in lines or observations])
        reports[number] = SignedReport(
            accession=number,
            patient=who,
            status=status if number not in reports else _same(status, reports[number].status),
            text=brought.text,
            channel=CHANNEL,
            source=message.source,
            signer=signer,
            signed_at=signed_at,
            study_instance_uid=covered_study(segments),
            report_identifier=txa.value(12),
            version=message.control_id,
            documents=brought.documents,
        )
    return tuple(reports.values())


def _orders(message: Message) -> Iterator[tuple[Segment, Segment]]:
    """Each OBR with its ORC; one pair of absent ones for a document without orders."""
    orc = absent = Segment("ORC", (), message.encoding)
    found = False
    for segment in message.segments:
        if segment.name == "ORC":
            orc = segment
        elif segment.name == "OBR":
            found = True
            yield orc, segment
            orc = absent
    if not found:
        yield orc, Segment("OBR", (), message.encoding)


def _status(event: str, txa: Segment, obr: Segment, obx_11: list[str]) -> ReportStatus:
    """What the document is. Nothing is final that TXA-19, OBR-25 or the observations deny."""
    availability = txa.value(19).upper()
    if event == "MDM^T11":
        return ReportStatus.CANCELLED
    if availability in WITHDRAWN:
        return WITHDRAWN[availability]
    stated = COMPLETION.get(txa.value(17).upper(), ReportStatus.UNKNOWN)
    if stated.is_final and availability == UNAVAILABLE:
        return ReportStatus.PRELIMINARY
    ordered = report_status(obr.value(25), []) if obr.value(25) else stated
    if stated.is_final and not ordered.is_final:
        return ordered
    found = supported(stated, obx_11)
    return CHANGES.get(event, found) if found is ReportStatus.FINAL else found


def _same(one: ReportStatus, other: ReportStatus) -> ReportStatus:
    """The status of two OBR under one accession; unknown when they differ."""
    return one if one is other else ReportStatus.UNKNOWN


def _authentication(
    txa: Segment, message: Message, zone: tzinfo | None
) -> tuple[Practitioner | None, datetime | None]:
    """Who authenticated and when: TXA-22 (PPN, its time in component 15), else the times of the text.

    Of several people the last by their times signed; without times nobody can be told to be the last.
    """
    signed: list[tuple[datetime | None, Practitioner]] = []
    for repetition in txa.field(22).repetitions:
        person = _named(practitioner(repetition), "TXA-22")
        if person is not None:
            signed.append((_time(repetition, message, zone), person))
    timed = [(at, person) for at, person in signed if at is not None]
    written = (moment(txa.value(number), message, zone) for number in (8, 7, 6))
    otherwise = next((at for at in written if at is not None), None)
    if len({person for _, person in signed}) == 1:
        return signed[0][1], max((at for at, _ in timed), default=otherwise)
    if timed and len(timed) == len(signed):
        last = max(at for at, _ in timed)
        people = {person for at, person in timed if at == last}
        return (people.pop() if len(people) == 1 else None), last
    return None, otherwise


def _time(repetition: Field, message: Message, zone: tzinfo | None) -> datetime | None:
    return moment(repetition.component(15), message, zone)


def _named(person: Practitioner | None, place: str) -> Practitioner | None:
    """The person where a name is printed (21 CFR 11.50); an identifier alone names nobody."""
    named = person is not None and bool(person.family_name or person.given_name)
    return replace(person, role=place) if person is not None and named else None
