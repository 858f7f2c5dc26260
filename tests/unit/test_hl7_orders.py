"""Orders: which accession, patient and study an order is for, and what it asks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from connectors.exchange import Coding, Order, OrderAction, Patient, Practitioner, PriorReport
from connectors.hl7.identifiers import Places
from connectors.hl7.message import NotHl7, parse
from connectors.hl7.orders import ACTIONS, OTHER_CONTROLS, PREVIOUS_RESULT, orders

PID = "PID|1||4711^^^HOSP^MR~99^^^NHS^NI||Doe^Jane||19700203|F"
ORC = "ORC|NW|P1|F1||SC||^^^^^S||20260101115900|||77^House^Greg^^^Dr"
OBR = "OBR|1|P1|F1|24725-4^CT Head^LN||||||||||||||ACC1|RP1|||||CT|||||||^Fall, bleeding?"
UID = "1.2.840.99.1"


def read(*segments: str, kind: str = "ORM^O01", places: Places | None = None) -> tuple[Order, ...]:
    """The orders of a message made of these segments, times being UTC."""
    raw = "\r".join([f"MSH|^~\\&|RIS|HOSP|||20260101120000||{kind}|1|P|2.5.1", *segments])
    return orders(parse(raw.encode()), places or Places(), UTC)


def refusal(*segments: str, kind: str = "ORM^O01", places: Places | None = None) -> NotHl7:
    """The error of a message that must be refused."""
    with pytest.raises(NotHl7) as caught:
        read(*segments, kind=kind, places=places)
    return caught.value


def test_an_orm_is_one_order_with_all_its_words() -> None:
    """Every word of an ORM^O01 lands where exchange.Order has a place for it."""
    found = read(
        PID, ORC, OBR, "NTE|1||old stroke~known AF", "DG1|1||I48^Atrial fibrillation^I10", f"ZDS|{UID}^100"
    )
    assert found == (
        Order(
            action=OrderAction.PLACE,
            accession="ACC1",
            patient=Patient("4711", "HOSP", "Doe", "Jane", date(1970, 2, 3), "female"),
            procedure=Coding("24725-4", "CT Head", "LN"),
            placer_order_number="P1",
            filler_order_number="F1",
            requested_procedure_id="RP1",
            study_instance_uid=UID,
            modality="CT",
            clinical_question="Fall, bleeding?",
            history="old stroke\nknown AF\nAtrial fibrillation",
            priority="S",
            ordering_provider=Practitioner("77", "House", "Greg", "Dr"),
            ordered_at=datetime(2026, 1, 1, 11, 59, tzinfo=UTC),
        ),
    )


@pytest.mark.parametrize(
    ("segments", "visit"),
    [
        ((PID, f"PV1|1|I{'|' * 17}V-7^^^HOSP", ORC, OBR), "V-7"),
        ((PID, "PV1|1|O", ORC, OBR), ""),
        ((PID, ORC, OBR, PID, f"PV1|1|O{'|' * 17}V-1", "ORC|PR", OBR), ""),
    ],
)
def test_the_visit_is_that_of_the_patient_whose_orders_follow(segments: tuple[str, ...], visit: str) -> None:
    """PV1-19 before the first ORC; that of a prior examination is another visit."""
    (found,) = read(*segments, kind="OMG^O19")
    assert found.visit_number == visit


def test_an_omi_reads_the_imaging_procedure_control_segment() -> None:
    """IPC-1, 2, 3 and 5 of an OMI^O23 give accession, requested procedure, study and modality."""
    (found,) = read(PID, ORC, OBR, f"IPC|ACC9^X|RP9|{UID}^X|SPS1|MR", kind="OMI^O23^OMI_O23")
    assert (found.accession, found.requested_procedure_id, found.study_instance_uid, found.modality) == (
        "ACC9",
        "RP9",
        UID,
        "MR",
    )


def test_several_order_groups_are_several_orders_in_their_order() -> None:
    """Each ORC, and each OBR that follows another under one ORC, is an order of its own."""
    second = OBR.replace("ACC1", "ACC2")
    third = OBR.replace("ACC1", "ACC3")
    found = read(PID, ORC, OBR, "NTE|1||first only", ORC.replace("NW", "CA"), second, third)
    assert [order.accession for order in found] == ["ACC1", "ACC2", "ACC3"]
    assert [order.action for order in found] == [
        OrderAction.PLACE,
        OrderAction.REQUEST_CANCEL,
        OrderAction.REQUEST_CANCEL,
    ]
    assert [order.history for order in found] == ["first only", "", ""]


def test_ipcs_of_one_accession_are_one_order_and_of_two_are_two() -> None:
    """Steps of one accession make one order; an OMI that holds two accessions makes two."""
    one = f"IPC|A1|RP1|{UID}|S1|CT"
    same = f"IPC|A1|RP1|{UID}|S2|CT"
    other = "IPC|A2|RP2|1.2.3|S3|MR"
    found = read(PID, ORC, OBR, one, same, other, kind="OMI^O23")
    assert [(order.accession, order.study_instance_uid) for order in found] == [("A1", UID), ("A2", "1.2.3")]


@pytest.mark.parametrize(
    "segments",
    [
        (f"IPC|A1||{UID}", "IPC|A1||1.2.3"),
        (f"IPC|A1||{UID}", "ZDS|1.2.3"),
        (f"ZDS|{UID}", "OBX|1|ST|110180^Study Instance UID^DCM||1.2.3"),
    ],
)
def test_study_uids_that_disagree_are_refused(segments: tuple[str, ...]) -> None:
    """Repeated IPC-3, ZDS-1.1 and OBX 110180 must name one study."""
    assert "different study instance UIDs" in str(refusal(PID, ORC, OBR, *segments, kind="OMI^O23"))


def test_the_study_uid_is_read_from_an_observation() -> None:
    """OBX with DCM 110180 carries the study instance UID."""
    (found,) = read(PID, ORC, OBR, f"OBX|1|ST|110180^Study Instance UID^DCM||{UID}", kind="OMG^O19")
    assert found.study_instance_uid == UID


@pytest.mark.parametrize("uid", ["../../etc", "1.2." + "3" * 61, "9", "1..2", "1.2.x"])
def test_what_is_no_uid_is_refused(uid: str) -> None:
    """A study instance UID holds digits and dots and at most 64 characters."""
    error = refusal(PID, ORC, OBR, f"ZDS|{uid}")
    assert error.location == "ZDS-1"
    assert uid not in str(error)


def test_a_uid_of_64_characters_is_read() -> None:
    """64 characters are the most that a UID may have."""
    uid = "1.2." + "3" * 60
    assert read(PID, ORC, OBR, f"ZDS|{uid}")[0].study_instance_uid == uid


@pytest.mark.parametrize(
    ("places", "accession"),
    [
        (("IPC-1", "OBR-18"), "ACC1"),
        (("OBR-3", "OBR-18"), "F1"),
        (("OBR-99", "OBR-3.2", "ORC-2"), "P1"),
        (("ZZZ-1", "ORC-3"), "F1"),
    ],
)
def test_the_accession_is_looked_for_where_the_site_says(places: tuple[str, ...], accession: str) -> None:
    """The first valued place of the setting gives the accession."""
    assert read(PID, ORC, OBR, places=Places(accession=places))[0].accession == accession


def test_an_order_without_accession_is_refused() -> None:
    """The refusal says where the accession was looked for and which setting changes that."""
    error = refusal(PID, ORC, OBR.replace("ACC1", ""))
    assert "IPC-1, OBR-18" in str(error)
    assert "setting" in str(error)
    assert (error.location, error.code) == ("OBR-18", 101)


@pytest.mark.parametrize("place", ["OBR", "obr-18", "OBR-0", "OBR-18.0", "OBR-18 ", "../x"])
def test_a_place_that_cannot_be_read_is_refused_at_once(place: str) -> None:
    """A misspelt place fails when the settings are read, not when an order is lost."""
    with pytest.raises(ValueError, match="no place"):
        Places(accession=(place,))


def test_the_patient_is_the_first_identifier_or_the_one_the_site_chooses() -> None:
    """PID-3 repetitions are chosen by type or authority; without a choice the first counts, then PID-2."""
    assert read(PID, ORC, OBR)[0].patient.identifier == "4711"
    assert read(PID, ORC, OBR, places=Places(patient_identifier_type="NI"))[0].patient.identifier == "99"
    chosen = read(PID, ORC, OBR, places=Places(patient_assigning_authority="NHS"))[0].patient
    assert (chosen.identifier, chosen.assigning_authority) == ("99", "NHS")
    assert read("PID|1|4712|||Doe", ORC, OBR)[0].patient.identifier == "4712"


def test_no_other_identifier_stands_in_for_the_chosen_one() -> None:
    """Where the site asks for a type that is not there, the order is refused."""
    assert refusal(PID, ORC, OBR, places=Places(patient_identifier_type="PI")).location == "PID-3"
    assert refusal("PID|1|4712", ORC, OBR, places=Places(patient_identifier_type="MR")).code == 204
    (found,) = read("PID|1|4712^^^HOSP^MR", ORC, OBR, places=Places(patient_identifier_type="MR"))
    assert found.patient.identifier == "4712"


@pytest.mark.parametrize("pid", ["PID|1||||Doe^Jane", 'PID|1||""||Doe', "PID|1||^^^HOSP^MR", "PID|1||   "])
def test_an_order_without_patient_identifier_is_refused(pid: str) -> None:
    """An empty, null or blank PID-3 and PID-2 are no identifier."""
    error = refusal(pid, ORC, OBR)
    assert (error.location, error.code) == ("PID-3", 101)


def test_an_order_for_two_patients_is_refused() -> None:
    """One order message is for one patient."""
    assert "one patient" in str(refusal(PID, ORC, OBR, PID.replace("4711", "4712"), ORC, OBR))


PRIOR = "OBR|1|||71020^Chest XR^L|||20250102030405|||||||||||OLD"
PRIOR_LINES = ("OBX|1|TX|71020&GDT||Clear.||||||F", "OBX|2|TX|71020&IMP||Normal.||||||F")
A_PRIOR = PriorReport(
    date(2025, 1, 2), Coding("71020", "Chest XR", "L"), "Findings:\nClear.\nImpression:\nNormal."
)


@pytest.mark.parametrize("kind", ["OMG^O19", "OMI^O23"])
@pytest.mark.parametrize("head", [(PID, "ORC|PR"), (PID,), ("ORC|PR",), (PID, "ORC|RE")])
def test_prior_results_are_no_orders_but_reports_of_the_order_before_them(
    head: tuple[str, ...], kind: str
) -> None:
    """What follows a second PID, or ORC-1 PR, is carried as a prior report and ordered by nobody."""
    found = read(PID, ORC, OBR, *head, PRIOR, *PRIOR_LINES, kind=kind)
    assert [(order.accession, order.prior_reports) for order in found] == [("ACC1", (A_PRIOR,))]


def test_an_order_after_prior_results_is_not_lost() -> None:
    """The next ORC that asks for something begins the next order, with priors of its own."""
    second, third = OBR.replace("ACC1", "ACC2"), OBR.replace("ACC1", "ACC3")
    found = read(
        PID,
        ORC,
        OBR,
        PID,
        "ORC|PR",
        PRIOR,
        *PRIOR_LINES,
        PRIOR,
        ORC,
        second,
        "ORC|PR",
        PRIOR,
        ORC,
        third,
        kind="OMG^O19",
    )
    assert [(order.accession, len(order.prior_reports)) for order in found] == [
        ("ACC1", 2),
        ("ACC2", 1),
        ("ACC3", 0),
    ]


def test_prior_results_before_the_first_order_are_carried_with_it() -> None:
    """A sender that tells the priors first loses none of them."""
    found = read(
        PID, "ORC|PR", PRIOR, *PRIOR_LINES, ORC, OBR, ORC, OBR.replace("ACC1", "ACC2"), kind="OMG^O19"
    )
    assert [(order.accession, order.prior_reports) for order in found] == [("ACC1", (A_PRIOR,)), ("ACC2", ())]


def test_a_prior_without_date_or_text_is_carried_as_it_came() -> None:
    """Nothing is completed: no day, no text."""
    (found,) = read(PID, ORC, OBR, "ORC|PR", "OBR|1|||71020^Chest XR^L|||2025", kind="OMG^O19")
    assert found.prior_reports == (PriorReport(None, Coding("71020", "Chest XR", "L"), ""),)


@pytest.mark.parametrize("other", [PID.replace("4711", "4712"), PID.replace("HOSP", "OTHER"), "PID|1"])
def test_prior_results_of_another_patient_are_left_out(other: str) -> None:
    """What was found in somebody else, or in nobody, never reaches the order."""
    (found,) = read(PID, ORC, OBR, other, "ORC|PR", PRIOR, *PRIOR_LINES, kind="OMG^O19")
    assert found.prior_reports == ()


def test_an_order_under_another_patients_pid_is_refused() -> None:
    """An order after a second PID is taken only where both PID name one patient."""
    for kind in ("OMG^O19", "OMI^O23"):
        assert "one patient" in str(refusal(PID, ORC, OBR, PID.replace("4711", "4712"), ORC, OBR, kind=kind))


def side(
    obr_15: str = "",
    obr_45: str = "",
    obr_46: str = "",
    text: str = "XR Hand",
    obx: str = "",
    code: str = "1",
) -> str:
    """The laterality of an order that says so in these places."""
    fields = ["OBR", *[""] * 46]
    fields[4], fields[15], fields[18], fields[45], fields[46] = (
        f"{code}^{text}^L",
        obr_15,
        "ACC1",
        obr_45,
        obr_46,
    )
    segments = [f"OBX|1|CE|{obx}||||||F"] if obx else []
    return read(PID, ORC, "|".join(fields), *segments)[0].laterality


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, ""),
        ({"obr_15": "^^^Hand^L"}, "left"),
        ({"obr_15": "^^^Hand^R&Right&HL70495"}, "right"),
        ({"obr_45": "LT^Left side^CPT"}, "left"),
        ({"obr_45": "26~RT"}, "right"),
        ({"obr_45": "50"}, "bilateral"),
        ({"obr_46": "R^^IHERAD"}, "right"),
        ({"obr_46": "^left"}, "left"),
        ({"obx": "272741003^Laterality^SCT||7771000^Left^SCT"}, "left"),
        ({"obx": "272741003^Laterality^SCT||24028007^Right^SCT"}, "right"),
        ({"obx": "G-C171^Laterality^SRT||G-A102^Bilateral^SRT"}, "bilateral"),
        ({"obx": "8302-2^Height^LN||L"}, ""),
        ({"code": "73130-LT"}, "left"),
        ({"code": "73130 RT"}, "right"),
        ({"code": "73130-50"}, "bilateral"),
        ({"code": "73130LT"}, ""),
        ({"code": "73130-LT", "text": "XR Hand right"}, ""),
        ({"text": "RMN genunchi drept"}, "right"),
        ({"text": "RMN genunchiul stâng"}, "left"),
        ({"text": "무릎 MRI 좌측"}, "left"),
        ({"text": "무릎 MRI 우측"}, "right"),
        ({"text": "XR Hand left"}, "left"),
        ({"text": "MRT Knie rechts"}, "right"),
        ({"text": "XR Hands, both"}, "bilateral"),
        ({"text": "MR L spine"}, ""),
        ({"text": "CT RT planning"}, ""),
        ({"text": "CT left atrium"}, ""),
        ({"text": "CT right coronary artery"}, ""),
        ({"text": "MRT linker Ventrikel"}, ""),
        ({"text": "RMN ventricul stâng"}, ""),
        ({"text": "Cleft palate"}, ""),
        ({"text": "Left and right hand"}, ""),
        ({"text": "XR Hand left", "obr_45": "LT", "obr_46": "L"}, "left"),
        ({"text": "XR Hand left", "obr_45": "RT"}, ""),
        ({"obr_45": "LT~RT"}, ""),
        ({"obr_15": "^^^Hand^L", "obr_46": "R"}, ""),
        ({"obr_45": "50", "obx": "272741003^Laterality^SCT||7771000^Left^SCT"}, ""),
        ({"obr_45": "XX"}, ""),
    ],
)
def test_a_side_is_taken_only_where_everything_agrees(said: dict[str, str], expected: str) -> None:
    """Modifiers, an observation and whole words name a side; two that disagree name none."""
    assert side(**said) == expected


@pytest.mark.parametrize(
    ("code", "action"),
    [
        ("NW", "place"),
        ("PA", "place"),
        ("nw", "place"),
        ("XO", "change"),
        ("CA", "request-cancel"),
        ("OC", "cancel"),
        ("CR", "cancel"),
        ("DC", "cancel"),
        ("OD", "cancel"),
        ("DR", "cancel"),
        ("RP", "request-cancel"),
        ("RQ", "cancel"),
        ("RU", "cancel"),
        ("RO", "place"),
        ("CH", "place"),
        ("SN", "place"),
        ("RL", "place"),
        ("OR", "place"),
        ("OE", "place"),
        ("XR", "change"),
        ("XX", "change"),
        *((code, "status") for code in ("SC", "SR", "SS", "NA", "OK", "RE", "CN", "RR", "DE", "LI", "UN")),
        *((code, "status") for code in ("HD", "HR", "OH", "UA", "UC", "UD", "UH", "UM", "UR", "UX")),
    ],
)
def test_order_control_says_what_is_asked(code: str, action: str) -> None:
    """ORC-1 maps as HL7's own map does; CA only asks for a cancellation, RP only for a replacement."""
    orc = ORC.replace("ORC|NW", f"ORC|{code}").replace("||SC||", "||||")
    assert read(PID, orc, OBR)[0].action == OrderAction(action)


def test_every_order_control_of_table_0119_is_accounted_for() -> None:
    """Each code of v2.8 is mapped, is a prior result, or is refused with the reason."""
    table_0119 = (
        "AF CA CH CN CP CR DC DE DF DR FU HD HR LI MC NA NW OC OD OE OF OH OK OP OR PA PR PY RE RF RL RO "
        "RP RQ RR RU SC SN SR SS UA UC UD UF UH UM UN UR UX XO XR XX"
    )
    assert set(table_0119.split()) == {*ACTIONS, *OTHER_CONTROLS, PREVIOUS_RESULT}
    assert not ACTIONS.keys() & OTHER_CONTROLS.keys()


@pytest.mark.parametrize(("code", "words"), [("RF", "refills"), ("MC", "charge"), ("CP", "laboratory")])
def test_order_controls_of_other_departments_are_refused_with_the_reason(code: str, words: str) -> None:
    """Refills, charges and analyser steps are never about imaging."""
    error = refusal(PID, ORC.replace("NW", code), OBR)
    assert (error.location, error.code) == ("ORC-1", 103)
    assert words in str(error)


def test_a_replacement_is_a_request_for_the_old_order_and_a_new_one() -> None:
    """RP and RO in one message: the old accession is asked to be withdrawn, the new one is placed."""
    new = OBR.replace("ACC1", "ACC2")
    found = read(PID, ORC.replace("NW", "RP"), OBR, ORC.replace("NW", "RO"), new)
    assert [(order.accession, order.action.value) for order in found] == [
        ("ACC1", "request-cancel"),
        ("ACC2", "place"),
    ]


@pytest.mark.parametrize(
    ("code", "state", "action"),
    [
        ("SC", "CA", "cancel"),
        ("SC", "DC", "cancel"),
        ("SC", "RP", "cancel"),
        ("SR", "CA", "cancel"),
        ("SC", "CM", "status"),
        ("SC", "", "status"),
        ("UC", "CA", "status"),
    ],
)
def test_a_status_report_of_an_ended_order_is_a_cancellation(code: str, state: str, action: str) -> None:
    """ORC-5 CA, DC or RP reports that the order ended, unless ORC-1 says that it could not be."""
    assert read(PID, f"ORC|{code}|P1|F1||{state}", OBR)[0].action == OrderAction(action)


@pytest.mark.parametrize("code", ["", "QQ"])
def test_an_unknown_order_control_is_refused(code: str) -> None:
    """What is asked for is never guessed."""
    assert refusal(PID, ORC.replace("NW", code), OBR).location == "ORC-1"


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ((PID, ORC, "RXO|1"), "pharmacy order"),
        ((PID, ORC, "ODS|D"), "diet order"),
        ((PID, ORC, "RQD|1"), "requisition"),
        ((PID, ORC), "no OBR and no IPC"),
        ((PID,), "no OBR and no IPC"),
        ((PID, OBR), "ORC before the first OBR"),
        ((ORC, OBR), "a PID segment"),
        ((PID, ORC, OBR.replace("|CT|", "|LAB|")), "not imaging"),
    ],
)
def test_what_is_no_imaging_order_is_refused_with_the_reason(segments: tuple[str, ...], words: str) -> None:
    """Pharmacy, diet, supplies, laboratory and fragments are named as what they are."""
    assert words in str(refusal(*segments))


def test_imaging_beside_other_orders_is_taken() -> None:
    """A pharmacy order in the same message does not lose the imaging order."""
    assert [order.accession for order in read(PID, ORC, "RXO|1", ORC, OBR)] == ["ACC1"]


def test_other_message_types_are_refused() -> None:
    """An ADT is no order."""
    error = refusal(PID, kind="ADT^A01")
    assert (error.location, error.code) == ("MSH-9", 200)


@pytest.mark.parametrize(
    ("section", "modality"),
    [("CT", "CT"), ("NMR", "MR"), ("RUS", "US"), ("NMS", "NM"), ("ct", "CT"), ("RAD", ""), ("", "")],
)
def test_the_modality_is_a_dicom_word_or_empty(section: str, modality: str) -> None:
    """OBR-24 is read as a DICOM modality where it is one or HL7 table 0074 has one for it."""
    assert read(PID, ORC, OBR.replace("|CT|", f"|{section}|"))[0].modality == modality


@pytest.mark.parametrize(
    ("obr_13", "obr_31", "question", "history"),
    [
        ("cough", "^Pneumonia?", "Pneumonia?", "cough"),
        ("cough", "", "cough", ""),
        ("", "R05", "R05", ""),
        ("", "R05^Cough~R50^Fever", "Cough; Fever", ""),
        ("", "", "", ""),
    ],
)
def test_the_question_is_the_reason_for_study_else_what_is_told(
    obr_13: str, obr_31: str, question: str, history: str
) -> None:
    """OBR-31 asks, OBR-13 tells; where only OBR-13 is valued it is the question."""
    fields = ["OBR", *[""] * 31]
    fields[4], fields[13], fields[18], fields[31] = "1^CT^L", obr_13, "ACC1", obr_31
    (found,) = read(PID, ORC, "|".join(fields))
    assert (found.clinical_question, found.history) == (question, history)


@pytest.mark.parametrize("version", ["2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8"])
@pytest.mark.parametrize("kind", ["ORM^O01", "OMG^O19", "OMI^O23"])
def test_orders_of_every_version_are_read_alike(version: str, kind: str) -> None:
    """MSH-12 changes nothing: fields keep their places from 2.2 to 2.8."""
    raw = f"MSH|^~\\&|RIS|HOSP|||20260101||{kind}|1|P|{version}\r{PID}\r{ORC}\r{OBR}\rIPC|ACC1|RP1|{UID}||CT"
    assert orders(parse(raw.encode()), zone=UTC)[0].accession == "ACC1"


def test_times_take_their_offset_from_the_message() -> None:
    """ORC-9 without an offset takes that of MSH-7, else the site's zone."""
    east = timezone(timedelta(hours=2))
    raw = f"MSH|^~\\&|R|H|||20260101120000+0200||ORM^O01|1|P|2.5.1\r{PID}\r{ORC}\r{OBR}".encode()
    assert orders(parse(raw), zone=UTC)[0].ordered_at == datetime(2026, 1, 1, 11, 59, tzinfo=east)
    plain = raw.replace(b"+0200", b"")
    assert orders(parse(plain), zone=east)[0].ordered_at == datetime(2026, 1, 1, 11, 59, tzinfo=east)


@pytest.mark.parametrize("born", ["1970", "197002", "19700230", "x", ""])
def test_a_birth_date_is_never_completed(born: str) -> None:
    """A birth date less precise than a day, or impossible, is none."""
    assert read(PID.replace("19700203", born), ORC, OBR)[0].patient.birth_date is None


@pytest.mark.parametrize(
    ("said", "language"),
    [("", ""), ("DE", "de"), ("deu^German^ISO639", "de"), ("ro-RO", "ro"), ("KOR", "ko"), ("German", "")],
)
def test_the_language_is_that_of_the_message_and_not_of_the_patient(said: str, language: str) -> None:
    """MSH-19 is the language of the order; PID-15 is what the patient speaks, who reads no draft."""
    pid = f"{PID}|||||||FR^French"
    head = f"MSH|^~\\&|RIS|HOSP|||20260101120000||ORM^O01|1|P|2.5.1|||||||{said}"
    (found,) = orders(parse("\r".join([head, pid, ORC, OBR]).encode()), Places(), UTC)
    assert found.language == language
