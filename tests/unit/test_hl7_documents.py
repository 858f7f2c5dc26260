"""Documents: what an MDM says of a report, how far it got, and who authenticated it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange import Practitioner, ReportStatus, SignedReport
from connectors.hl7.documents import COMPLETION, EVENTS, WITHOUT_CONTENT, document_reports
from connectors.hl7.identifiers import Places
from connectors.hl7.message import NotHl7, parse
from plugin.signoff import Verdict, judge

PID = "PID|1||4711^^^HOSP^MR||Doe^Jane||19700203|F"
ORC, OBR = "ORC|RE|P1|F1", "OBR|1|P1|F1|24725-4^CT Head^LN||||||||||||||ACC1|||||||F"
OBX = "OBX|1|TX|18748-4^Report^LN||Normal.||||||F"
SIGNER = "9^Roe^Rita^^^Dr^^^^^^^^^20260103110000"


def txa(**fields: str) -> str:
    """A TXA of an authenticated document, with fields changed by number: txa(f17="DI")."""
    values = ["TXA", "1", "DI", "TX", "20260101", "", "20260102", *[""] * 16]
    values[9], values[11], values[12], values[17] = "8^Orig^Olga", "7^Typist^Tom", "DOC1", "AU"
    values[14], values[15], values[19], values[22] = "P1", "F1", "AV", SIGNER
    for name, value in fields.items():
        values[int(name[1:])] = value
    return "|".join(values)


def read(*segments: str, kind: str = "MDM^T02", places: Places | None = None) -> tuple[SignedReport, ...]:
    raw = "\r".join(
        [f"MSH|^~\\&|RIS|HOSP|||20260104120000||{kind}|42|P|2.5.1", "EVN|T02|20260104", *segments]
    )
    return document_reports(parse(raw.encode()), places or Places(), UTC)


def one(
    kind: str = "MDM^T02", obr: str = OBR, obx: str = OBX, places: Places | None = None, **fields: str
) -> SignedReport:
    (report,) = read(PID, ORC, obr, txa(**fields), obx, kind=kind, places=places)
    return report


def test_a_document_is_read_whole() -> None:
    """Every word of an MDM^T02 lands where exchange.SignedReport has a place for it."""
    uid = "OBX|2|ST|113014^DICOM Study^DCM||1.2.840.99.1||||||O"
    (report,) = read(PID, ORC, OBR, txa(), OBX, uid)
    assert report == SignedReport(
        accession="ACC1",
        patient=report.patient,
        status=ReportStatus.FINAL,
        text="Normal.",
        channel="hl7-mdm",
        source="RIS|HOSP",
        signer=Practitioner("9", "Roe", "Rita", "Dr", role="TXA-22"),
        signed_at=datetime(2026, 1, 3, 11, tzinfo=UTC),
        study_instance_uid="1.2.840.99.1",
        report_identifier="DOC1",
        version="42",
    )
    assert (report.patient.identifier, report.patient.family_name) == ("4711", "Doe")
    assert judge(report) is Verdict.SIGNED


@pytest.mark.parametrize(
    ("kind", "fields", "status"),
    [
        ("MDM^T02", {"f17": "DI"}, "partial"),
        ("MDM^T02", {"f17": "IP"}, "partial"),
        ("MDM^T02", {"f17": "IN"}, "partial"),
        ("MDM^T02", {"f17": "DO"}, "preliminary"),
        ("MDM^T02", {"f17": "PA"}, "preliminary"),
        ("MDM^T02", {"f17": "AU"}, "final"),
        ("MDM^T02", {"f17": "LA"}, "final"),
        ("MDM^T02", {"f17": "la"}, "final"),
        ("MDM^T02", {"f17": ""}, "unknown"),
        ("MDM^T02", {"f17": "XX"}, "unknown"),
        ("MDM^T02", {"f19": ""}, "final"),
        ("MDM^T02", {"f19": "UN"}, "preliminary"),
        ("MDM^T02", {"f17": "DI", "f19": "UN"}, "partial"),
        ("MDM^T02", {"f19": "CA"}, "entered-in-error"),
        ("MDM^T02", {"f19": "OB"}, "cancelled"),
        ("MDM^T04", {}, "final"),
        ("MDM^T06", {}, "appended"),
        ("MDM^T08", {}, "amended"),
        ("MDM^T10", {}, "corrected"),
        ("MDM^T10", {"f17": "LA"}, "corrected"),
        ("MDM^T10", {"f17": "DO"}, "preliminary"),
        ("MDM^T08", {"f17": "PA"}, "preliminary"),
        ("MDM^T10", {"f19": "UN"}, "preliminary"),
        ("MDM^T11", {}, "cancelled"),
        ("MDM^T11", {"f17": "LA"}, "cancelled"),
    ],
)
def test_the_status_is_that_of_txa_17_under_txa_19_and_the_event(
    kind: str, fields: dict[str, str], status: str
) -> None:
    """Authenticated is final, changed by T06, T08 and T10; unavailable, removed and cancelled are not."""
    assert one(kind, **fields).status is ReportStatus(status)


@pytest.mark.parametrize(
    ("obr_25", "obx_11", "status"),
    [
        ("F", "P", "preliminary"),
        ("F", "?", "unknown"),
        ("F", "C", "corrected"),
        ("P", "F", "preliminary"),
        ("R", "F", "partial"),
        ("??", "F", "unknown"),
        ("", "F", "final"),
        ("F", "", "final"),
    ],
)
def test_nothing_is_final_that_obr_25_or_obx_11_deny(obr_25: str, obx_11: str, status: str) -> None:
    """An authenticated document over text or an order that is not final is what those are."""
    assert one(obr=OBR[:-1] + obr_25, obx=OBX[:-1] + obx_11).status is ReportStatus(status)


@given(st.text(st.sampled_from("ADFILNOPU "), max_size=3))
def test_only_au_and_la_are_ever_final(code: str) -> None:
    """No other completion status closes a report."""
    assert one(f17=code).status.is_final == (code.strip() in {"AU", "LA"})


def test_a_cancellation_needs_no_content() -> None:
    """T11 takes a document back without repeating it."""
    (report,) = read(PID, ORC, OBR, txa(), kind="MDM^T11")
    assert (report.status, report.text) == (ReportStatus.CANCELLED, "")
    assert judge(report) is Verdict.NOTED


@pytest.mark.parametrize(
    ("txa_22", "name", "day"),
    [
        ("9^Roe^Rita^^^Dr^^^^^^^^^20260103", "Dr Rita Roe", 3),
        ("^Roe^Rita", "Rita Roe", 2),
        ("9^^^^^^^^^^^^^^20260103", None, 2),
        ("", None, 2),
        ("9^Roe^Rita^^^^^^^^^^^^20260103~8^Mae^Max^^^^^^^^^^^^20260105", "Max Mae", 5),
        ("8^Mae^Max^^^^^^^^^^^^20260105~9^Roe^Rita^^^^^^^^^^^^20260103", "Max Mae", 5),
        ("9^Roe^Rita~8^Mae^Max", None, 2),
        ("9^Roe^Rita^^^^^^^^^^^^20260103~8^Mae^Max", None, 2),
        ("9^Roe^Rita^^^^^^^^^^^^20260103~8^Mae^Max^^^^^^^^^^^^20260103", None, 3),
        ("9^Roe^Rita^^^^^^^^^^^^20260103~9^Roe^Rita^^^^^^^^^^^^20260104", "Rita Roe", 4),
    ],
)
def test_the_signer_is_the_last_named_person_of_txa_22(txa_22: str, name: str | None, day: int) -> None:
    """One person, or the last of several by their times; else nobody, and the time of the text."""
    report = one(f22=txa_22)
    assert (report.signer.printed_name if report.signer else None) == name
    assert report.signed_at == datetime(2026, 1, day, tzinfo=UTC)


def test_the_originator_signs_only_where_the_site_says_so_and_the_transcriptionist_never() -> None:
    """TXA-9 counts after TXA-22 and only where the settings name it; TXA-11 is nobody."""
    places = Places(signer=("OBR-32", "TXA-9"))
    assert one(f22="").signer is None
    assert one(f22="", places=places).signer == Practitioner("8", "Orig", "Olga", role="TXA-9")
    assert one(places=places).signer == Practitioner("9", "Roe", "Rita", "Dr", role="TXA-22")
    assert one(f22="", f9="8", places=places).signer is None
    with pytest.raises(ValueError, match="signers stand in"):
        Places(signer=("TXA-11",))


def test_a_document_names_no_signer_in_the_fields_of_a_result() -> None:
    """TXA places of the settings say nothing about an ORU, nor those of an ORU about an MDM."""
    obr = OBR + "|" * 6 + "|5&Inter&Ida"
    assert one(obr=obr, f22="").signer is None


@pytest.mark.parametrize(
    ("places", "number"),
    [
        (("OBR-18",), "ACC1"),
        (("TXA-15", "OBR-18"), "F1"),
        (("TXA-14",), "P1"),
        (("ORC-3",), "F1"),
        (("TXA-12",), "DOC1"),
    ],
)
def test_the_accession_is_looked_for_where_the_site_says(places: tuple[str, ...], number: str) -> None:
    """The places of orders and results serve for documents, those of TXA among them."""
    assert one(places=Places(accession=places)).accession == number


def test_a_document_without_orders_is_matched_by_its_own_numbers() -> None:
    """Before v2.5 there is no OBR: TXA-15 gives the accession where the site says so."""
    (report,) = read(PID, txa(), OBX, places=Places(accession=("OBR-18", "TXA-15")))
    assert report.accession == "F1"
    with pytest.raises(NotHl7, match="no accession number in IPC-1, OBR-18"):
        read(PID, txa(), OBX)


def test_one_document_for_several_accessions_is_a_report_of_each() -> None:
    """A report dictated for two orders comes once and stands for both; a repeated one counts once."""
    other = OBR.replace("ACC1", "ACC2")
    found = read(PID, ORC, OBR, ORC, other, OBR, txa(), OBX)
    assert [(report.accession, report.text) for report in found] == [("ACC1", "Normal."), ("ACC2", "Normal.")]


def test_two_orders_of_one_accession_that_differ_are_never_guessed_final() -> None:
    """An accession whose OBR segments disagree has no known status."""
    (report,) = read(PID, ORC, OBR, OBR[:-1] + "P", txa(), OBX)
    assert report.status is ReportStatus.UNKNOWN


def test_a_document_of_bytes_is_recorded() -> None:
    """A PDF in OBX leaves its hash; the signature stands without text."""
    data = base64.b64encode(b"%PDF-1.4").decode()
    report = one(obx=f"OBX|1|ED|18748-4||^application^pdf^Base64^{data}||||||F")
    assert [document.media_type for document in report.documents] == ["application/pdf"]
    assert (report.text, report.status) == ("", ReportStatus.FINAL)


@pytest.mark.parametrize(
    ("segments", "kind", "location"),
    [
        ([PID, OBR, txa(), OBX], "ORU^R01", "MSH-9"),
        ([PID, OBR, OBX], "MDM^T02", "TXA"),
        ([PID, OBR, txa(), txa(), OBX], "MDM^T02", "TXA"),
        ([PID, OBR, txa()], "MDM^T02", "OBX"),
        ([OBR, txa(), OBX], "MDM^T02", "PID-3"),
        ([PID, txa(), OBX], "MDM^T02", "IPC-1"),
    ],
)
def test_what_is_no_document_is_refused_with_the_place(segments: list[str], kind: str, location: str) -> None:
    """Another type, a missing TXA, content, patient or accession is named."""
    with pytest.raises(NotHl7) as caught:
        read(*segments, kind=kind)
    assert caught.value.location == location


@pytest.mark.parametrize("kind", WITHOUT_CONTENT)
def test_a_notification_without_content_says_which_event_to_send(kind: str) -> None:
    """A signature without the text it signs is asked for with the text."""
    with pytest.raises(NotHl7, match=WITHOUT_CONTENT[kind]) as caught:
        read(PID, OBR, txa(), kind=kind)
    assert caught.value.code == 200
    assert f"MDM^{WITHOUT_CONTENT[kind]}" in EVENTS


def test_the_map_of_table_0271_is_whole() -> None:
    """Each completion status of HL7 table 0271 stands in the map."""
    known: dict[str, Any] = dict(COMPLETION)
    assert set(known) == {"DI", "DO", "IP", "IN", "PA", "AU", "LA"}
