"""Results: what a report says, how far it got, and who signed it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connectors.exchange import Practitioner, ReportStatus, SignedReport
from connectors.hl7.identifiers import Places
from connectors.hl7.message import NotHl7, parse
from connectors.hl7.results import report_status, signed_reports

PID = "PID|1||4711^^^HOSP^MR||Doe^Jane||19700203|F"
UID = "1.2.840.99.1"


def obr(
    accession: str = "ACC1", status: str = "F", signer: str = "9&Roe&Rita&&&Dr", at: str = "20260102"
) -> str:
    """An OBR with OBR-3, 7, 18, 22, 25 and 32."""
    fields = ["OBR", *[""] * 32]
    fields[3], fields[7], fields[18], fields[22] = "F1", "20260101", accession, at
    fields[25], fields[32] = status, signer
    return "|".join(fields)


def obx(
    text: str, kind: str = "TX", status: str = "F", concept: str = "18748-4^Report^LN", who: str = ""
) -> str:
    """An OBX with OBX-2, 3, 5, 11 and 16."""
    return f"OBX|1|{kind}|{concept}||{text}||||||{status}|||||{who}"


def read(*segments: str, places: Places | None = None, kind: str = "ORU^R01") -> tuple[SignedReport, ...]:
    """The reports of a message made of these segments, times being UTC."""
    raw = "\r".join([f"MSH|^~\\&|RIS|HOSP|||20260101120000||{kind}|42|P|2.5.1", *segments])
    return signed_reports(parse(raw.encode()), places or Places(), UTC)


def test_a_signed_report_is_read_whole() -> None:
    """Every word of an ORU^R01 lands where exchange.SignedReport has a place for it."""
    (report,) = read(PID, obr(), obx("Normal."), obx(UID, "ST", concept="113014^DICOM Study^DCM"))
    assert (report.accession, report.patient.identifier, report.status) == (
        "ACC1",
        "4711",
        ReportStatus.FINAL,
    )
    assert (report.text, report.channel, report.source) == ("Normal.", "hl7-oru", "RIS|HOSP")
    assert report.signer == Practitioner("9", "Roe", "Rita", "Dr", role="OBR-32")
    assert report.signed_at == datetime(2026, 1, 2, tzinfo=UTC)
    assert (report.study_instance_uid, report.report_identifier, report.version) == (UID, "F1", "42")


def test_text_comes_one_observation_a_line_with_breaks_of_every_kind() -> None:
    """OBX segments, `~`, `\\.br\\` and an escaped CR LF are line breaks; bare delimiters are text."""
    (report,) = read(
        PID,
        obr(),
        obx("FINDINGS:  "),
        obx(r"a\.br\b~c\X0D0A\d", "FT"),
        obx(""),
        obx("5 & 6 ^ 7", "ST"),
        obx("ED^x", "ED"),
    )
    assert report.text == "FINDINGS:\na\nb\nc\nd\n\n5 & 6 ^ 7"


def test_deleted_and_wrong_lines_are_no_text() -> None:
    """OBX-11 D and W take a line back; the lines that stand give the status."""
    (report,) = read(PID, obr(), obx("stands"), obx("deleted", status="D"), obx("wrong", status="W"))
    assert (report.text, report.status) == ("stands", ReportStatus.FINAL)


def test_uids_are_no_text_of_the_report() -> None:
    """Study, series and instance UIDs that come as ST observations are left out of the text."""
    (report,) = read(PID, obr(), obx("1.2.840.113.9.8.7", "ST", concept="^SR Instance UID"), obx("Normal."))
    assert report.text == "Normal."


def test_observations_of_a_specimen_are_no_text() -> None:
    """OBX after SPM describe the specimen."""
    (report,) = read(PID, obr(), obx("Normal."), "SPM|1", obx("formalin"))
    assert report.text == "Normal."


def test_several_obrs_are_several_reports_each_with_its_own_text() -> None:
    """One report dictated for several cases comes as several OBRs; a new PID is a new patient."""
    other = PID.replace("4711", "4712")
    found = read(
        PID,
        obr("A1"),
        obx("one"),
        "ORC|RE",
        obr("A2", "P"),
        obx("two", status="P"),
        other,
        obr("A3"),
        obx("three"),
    )
    assert [(r.accession, r.text, r.status.value, r.patient.identifier) for r in found] == [
        ("A1", "one", "final", "4711"),
        ("A2", "two", "preliminary", "4711"),
        ("A3", "three", "final", "4712"),
    ]


@pytest.mark.parametrize(
    ("obr_25", "obx_11", "status"),
    [
        ("F", ["F", "F"], "final"),
        ("F", [], "final"),
        ("F", ["", "O", "N"], "final"),
        ("", ["F"], "final"),
        (" f ", ["F"], "final"),
        ("Final", ["F"], "final"),
        ("FINAL_REPORT", [], "final"),
        ("Verified", [], "final"),
        ("P", ["F"], "preliminary"),
        ("Preliminary", [], "preliminary"),
        ("R", ["F"], "partial"),
        ("Released, not verified", [], "partial"),
        ("A", [], "partial"),
        ("I", [], "registered"),
        ("O", [], "registered"),
        ("S", [], "registered"),
        ("X", [], "cancelled"),
        ("C", ["F"], "corrected"),
        ("C", ["C"], "corrected"),
        ("F", ["F", "C"], "corrected"),
        ("F", ["A"], "amended"),
        ("Addendum", ["F"], "appended"),
        ("F", ["F", "P"], "preliminary"),
        ("C", ["R"], "partial"),
        ("F", ["F", "?"], "unknown"),
        ("F", ["W", "W"], "entered-in-error"),
        ("", ["X"], "cancelled"),
        ("F", ["X", "F"], "final"),
        ("", [], "unknown"),
        ("", ["F", "P"], "preliminary"),
        ("F1", [], "unknown"),
        ("not final", [], "unknown"),
        ("Complete", [], "unknown"),
        ("Y", [], "unknown"),
        ("Z", ["F"], "unknown"),
    ],
)
def test_the_status_is_what_obr_25_and_obx_11_support_together(
    obr_25: str, obx_11: list[str], status: str
) -> None:
    """Codes and whole words are read, the weaker of the two counts, what is unknown is never final."""
    assert report_status(obr_25, obx_11) is ReportStatus(status)


@pytest.mark.parametrize(
    ("signer", "name"),
    [
        ("9&Roe&Rita&&&Dr", "Dr Rita Roe"),
        ("&Roe&Rita", "Rita Roe"),
        ("9&Roe", "Roe"),
        ("9&Roe&Rita^20260101^20260102", "Rita Roe"),
        ("9^Roe^Rita^^^Dr", "Dr Rita Roe"),
        ("^Roe^Rita", "Rita Roe"),
    ],
)
def test_the_signer_is_read_as_ndl_or_as_xcn(signer: str, name: str) -> None:
    """OBR-32 is read with subcomponents or with components, as senders write it."""
    (report,) = read(PID, obr(signer=signer), obx("x"))
    assert report.signer is not None
    assert report.signer.printed_name == name


@pytest.mark.parametrize("signer", ["", '""', "9", "9^20260101120000", "&&", "^^^^Dr"])
def test_a_final_without_a_named_human_has_no_signer(signer: str) -> None:
    """An identifier alone, a time or nothing names nobody."""
    (report,) = read(PID, obr(signer=signer), obx("x", who="8^Obs^Olga"))
    assert (report.status, report.signer) == (ReportStatus.FINAL, None)


def test_the_responsible_observer_signs_only_where_the_site_says_so() -> None:
    """OBX-16 counts only where the settings name it, after OBR-32, and only if all lines agree."""
    places = Places(signer=("OBR-32", "OBX-16"))
    (report,) = read(PID, obr(signer=""), obx("x", who="8^Obs^Olga"), obx("y"), places=places)
    assert report.signer == Practitioner("8", "Obs", "Olga", role="OBX-16")
    (report,) = read(PID, obr(), obx("x", who="8^Obs^Olga"), places=places)
    assert report.signer is not None
    assert report.signer.identifier == "9"
    (report,) = read(
        PID, obr(signer=""), obx("x", who="8^Obs^Olga"), obx("y", who="7^An^Otto"), places=places
    )
    assert report.signer is None


def test_places_of_documents_name_nobody_in_a_result() -> None:
    """TXA-22 and TXA-9 among the places leave ORC-11 of a result alone."""
    places = Places(signer=("TXA-22", "TXA-9"))
    orc = "ORC|RE|||||||||" + "|7^Veri^Vera"
    (report,) = read(PID, orc, obr(signer=""), obx("x"), places=places)
    assert report.signer is None
    (report,) = read(PID, orc, obr(signer=""), obx("x"), places=Places(signer=("ORC-11",)))
    assert report.signer == Practitioner("7", "Veri", "Vera", role="ORC-11")


@pytest.mark.parametrize("place", ["OBR-16", "ORC-12", "PV1-8", "OBR-28", "TXA-11"])
def test_who_ordered_can_never_be_configured_as_who_signed(place: str) -> None:
    """Only fields of interpreters and verifiers may name a signer."""
    with pytest.raises(ValueError, match="signers stand in"):
        Places(signer=(place,))


def test_the_time_of_signing_is_the_status_change_else_the_interpretation_else_the_observation() -> None:
    """OBR-22, then OBR-32.3, then OBR-7."""
    signed = [
        read(PID, obr(at="20260105"), obx("x"))[0].signed_at,
        read(PID, obr(at="", signer="9&Roe&Rita^20260102^20260103"), obx("x"))[0].signed_at,
        read(PID, obr(at=""), obx("x"))[0].signed_at,
    ]
    assert signed == [datetime(2026, 1, day, tzinfo=UTC) for day in (5, 3, 1)]


def test_a_report_on_several_studies_is_matched_by_accession() -> None:
    """Several listed studies (113014) leave the study empty; a stated study (110180) must be one."""
    listed = [obx(uid, "ST", concept="113014^DICOM Study^DCM") for uid in (UID, "1.2.3")]
    assert read(PID, obr(), *listed)[0].study_instance_uid == ""
    stated = [obx(uid, "ST", concept="110180^Study Instance UID^DCM") for uid in (UID, "1.2.3")]
    assert read(PID, obr(), stated[0], *listed)[0].study_instance_uid == UID
    with pytest.raises(NotHl7, match="different study"):
        read(PID, obr(), *stated)


def test_the_accession_is_looked_for_where_the_site_says() -> None:
    """Results use the same places as orders, and are refused without an accession."""
    assert read(PID, obr(""), obx("x"), places=Places(accession=("OBR-18", "OBR-3")))[0].accession == "F1"
    with pytest.raises(NotHl7, match="IPC-1, OBR-18") as caught:
        read(PID, obr(""), obx("x"))
    assert caught.value.location == "OBR-18"


def test_what_is_no_result_is_refused() -> None:
    """Another type, no OBR, or no patient is refused with the place."""
    for segments, kind, location in (
        ([PID, obr()], "ADT^A01", "MSH-9"),
        ([PID], "ORU^R01", "OBR"),
        ([obr()], "ORU^R01", "PID-3"),
    ):
        with pytest.raises(NotHl7) as caught:
            read(*segments, kind=kind)
        assert caught.value.location == location
