"""Imaging orders read from ServiceRequest, R4's and R5's."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Malformed
from connectors.exchange import Coding, Order, OrderAction, Patient, Practitioner
from connectors.fhir.drafts import report
from connectors.fhir.identifiers import IdentifierSystems
from connectors.fhir.readers.orders import INTENTS, read_order
from tests.fhir_dossiers import DOCTOR, REQUEST, dossier, misshapen

SYSTEMS = IdentifierSystems()
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
CPT = "http://www.ama-assn.org/go/cpt"


def read(**changes: Any) -> Order:
    return read_order(dossier(REQUEST, **changes), systems=SYSTEMS)


def coded(system: str, code: str, display: str = "") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, **({"display": display} if display else {})}]}


def acsn(value: str, system: str = "urn:ris:accession") -> dict[str, Any]:
    return {"type": {"coding": [{"code": "ACSN"}]}, "system": system, "value": value}


def test_order_is_read_in_clinical_words() -> None:
    """Everything that an order message of HL7 v2 would say."""
    assert read() == Order(
        action=OrderAction.PLACE,
        accession="A1",
        patient=Patient("P1", "HOSP", "Example", "Ada", date(1961, 4, 2), "female"),
        procedure=Coding("30746-2", "Chest, portable", "LN"),
        placer_order_number="PL1",
        filler_order_number="F1",
        study_instance_uid="1.2.840.1",
        modality="DX",
        clinical_question="Effusion?",
        history="Former smoker.",
        priority="S",
        ordering_provider=Practitioner("D-77", "Rosa", "Elena", "Dr", "requester"),
        ordered_at=datetime(2026, 3, 4, 4, tzinfo=UTC),
        visit_number="V77",
        service_request="ServiceRequest/12",
    )


def test_r5_order_is_the_same_order() -> None:
    """In R5 code, reason and supportingInfo are CodeableReferences, and orderDetail holds parameters."""
    detail = {"parameter": [{"code": {"text": "modality"}, "valueCodeableConcept": coded(DCM, "DX")}]}
    code = {"concept": {**REQUEST["code"], "coding": REQUEST["code"]["coding"][:1]}}
    changes = {"reasonCode": None, "reason": [{"concept": {"text": "Effusion?"}}], "orderDetail": [detail]}
    assert read(code=code, **changes) == read()


@pytest.mark.parametrize(
    ("status", "action"),
    [
        ("active", OrderAction.PLACE),
        ("revoked", OrderAction.CANCEL),
        ("entered-in-error", OrderAction.CANCEL),
        ("on-hold", OrderAction.STATUS),
        ("completed", OrderAction.STATUS),
        ("draft", OrderAction.STATUS),
        ("unknown", OrderAction.STATUS),
    ],
)
def test_status_says_what_is_asked(status: str, action: OrderAction) -> None:
    """Only an active order asks for a draft; only a revoked one withdraws it."""
    assert read(status=status).action is action


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"resourceType": "Task"}, "ServiceRequest"),
        ({"status": "ACTIVE"}, "status"),
        ({"status": None}, "status"),
        ({"intent": "proposal"}, "intent"),
        ({"intent": "plan"}, "intent"),
        ({"intent": None}, "intent"),
        ({"doNotPerform": True}, "doNotPerform"),
        ({"doNotPerform": "true"}, "doNotPerform"),
        ({"modifierExtension": [{"url": "http://x.test/not"}]}, "modifierExtension"),
        ({"category": [coded(SNOMED, "108252007")]}, "category"),
        ({"identifier": None}, "accession"),
        ({"identifier": [{"system": "urn:x", "value": "A1"}]}, "accession"),
        ({"identifier": [acsn("A1"), acsn("A2")]}, "several"),
        ({"identifier": [acsn("A\u00001")]}, "accession"),
        ({"subject": {"reference": "Patient/404"}}, "patient"),
        ({"subject": {"display": "Ada Example"}}, "patient"),
        ({"subject": None}, "patient"),
    ],
)
def test_what_is_no_imaging_order_is_malformed(changes: dict[str, Any], names: str) -> None:
    """The reason names the element, and never what stood in it."""
    with pytest.raises(Malformed, match=names) as told:
        read(**changes)
    assert not {"A1", "A2", "Ada", "P1"} & set(str(told.value).replace(".", " ").split())


@pytest.mark.parametrize("intent", sorted(INTENTS))
def test_every_intent_that_orders_is_an_order(intent: str) -> None:
    """Authorised in any way."""
    assert read(intent=intent).action is OrderAction.PLACE


@pytest.mark.parametrize(
    "category",
    [
        [coded(SNOMED, "363679005")],
        [coded(SNOMED, "363679005"), coded(SNOMED, "108252007")],
        [coded("http://x.test", "108252007")],
        [{"text": "CT"}],
    ],
)
def test_category_that_does_not_exclude_imaging_is_no_hindrance(category: list[dict[str, Any]]) -> None:
    """Sites write categories of their own."""
    assert read(category=category).accession == "A1"


@pytest.mark.parametrize(
    ("identifiers", "requisition", "accession"),
    [
        ([acsn("A1"), acsn("A9", SYSTEMS.accession)], None, "A9"),
        ([acsn("A1"), acsn("A1", "urn:other")], None, "A1"),
        ([{"system": SYSTEMS.accession, "value": "A3"}], None, "A3"),
        ([acsn(" A4 ")], None, "A4"),
        ([], acsn("A5"), "A5"),
        ([acsn("A1")], acsn("A5"), "A1"),
    ],
)
def test_accession_stands_under_the_sites_system_or_is_typed(
    identifiers: list[dict[str, Any]], requisition: dict[str, Any] | None, accession: str
) -> None:
    """The site's own system before the type, the order's own number before the requisition's."""
    assert read(identifier=identifiers, requisition=requisition).accession == accession


def test_plain_requisition_is_no_accession() -> None:
    """It is shared by all orders that were placed together: two of them would become one case."""
    with pytest.raises(Malformed):
        read(identifier=None, requisition={"value": "R1"})


@pytest.mark.parametrize(
    "uids", [["urn:oid:1.2.840.1", "urn:oid:1.2.840.2"], ["urn:oid:1.02"], ["urn:oid:1." + "2" * 63], ["x"]]
)
def test_study_uid_is_one_and_well_formed(uids: list[str]) -> None:
    """Images of one study must not meet the order of another (PS3.5 section 9.1)."""
    with pytest.raises(Malformed):
        read(identifier=[acsn("A1"), *({"system": "urn:dicom:uid", "value": uid} for uid in uids)])


def test_longest_study_uid_is_read() -> None:
    """64 characters, and without the prefix that some leave out."""
    uid = "1." + "2" * 62
    for value in (uid, f"urn:oid:{uid}"):
        identifiers = [acsn("A1"), {"system": "urn:dicom:uid", "value": value}]
        assert read(identifier=identifiers).study_instance_uid == uid


@pytest.mark.parametrize(
    ("code", "procedure"),
    [
        (coded(LOINC, "30746-2", "Views"), Coding("30746-2", "Views", "LN")),
        (coded(SNOMED, "399208008", "Plain chest"), Coding("399208008", "Plain chest", "SCT")),
        (coded("urn:site:codes", "XR7"), Coding("XR7", "XR7", "urn:site:codes")),
        ({"text": "CT\u0000 chest\nlow dose"}, Coding("", "CT chest low dose", "")),
        (
            {
                "coding": [{"code": "a"}, {"system": LOINC, "code": "30746-2", "userSelected": True}],
                "text": "X",
            },
            Coding("30746-2", "X", "LN"),
        ),
        (None, Coding()),
    ],
)
def test_procedure_is_what_the_orderer_chose(code: dict[str, Any] | None, procedure: Coding) -> None:
    """The chosen coding, else the first, under the name that HL7 orders use for its system."""
    assert read(code=code).procedure == procedure


@pytest.mark.parametrize(
    "system", [LOINC, SNOMED, "http://www.radlex.org", CPT, "urn:site:codes", "http://site.test/codes"]
)
def test_code_system_comes_out_as_it_came_in(system: str) -> None:
    """What is read as LN or SCT is written under the URI that it had."""
    read_back = report.code_of(read(code=coded(system, "30746-2", "Views")).procedure)
    assert (read_back["coding"][0]["system"], read_back["coding"][0]["code"]) == (system, "30746-2")


@pytest.mark.parametrize(
    ("changes", "side"),
    [
        ({"bodySite": [coded(SNOMED, "7771000")]}, "left"),
        ({"bodySite": [coded(SNOMED, "24028007")]}, "right"),
        ({"bodySite": [coded(SNOMED, "51440002")]}, "bilateral"),
        ({"bodySite": [{"text": "Left knee"}]}, "left"),
        ({"bodySite": [coded("urn:x", "7771000")]}, ""),
        ({"code": coded(LOINC, "1-8", "Knee - right X-ray")}, "right"),
        ({"code": {"concept": {"text": "Knie links"}}}, "left"),
        ({"orderDetail": [coded(CPT, "RT")]}, "right"),
        ({"orderDetail": [coded("urn:x", "RT")]}, ""),
        ({"code": {"text": "RT planning, L spine"}}, ""),
        ({"code": {"text": "Left ventricle"}}, ""),
        ({"code": {"text": "Left knee"}, "bodySite": [coded(SNOMED, "24028007")]}, ""),
        ({"code": {"text": "Left knee"}, "bodySite": [coded(SNOMED, "7771000")]}, "left"),
        ({}, ""),
    ],
)
def test_side_is_told_only_where_all_agree(changes: dict[str, Any], side: str) -> None:
    """A wrong side harms: nothing is guessed, and two sides are none."""
    assert read(**changes).laterality == side


@pytest.mark.parametrize(
    ("changes", "modality"),
    [
        ({"code": None}, ""),
        ({"orderDetail": [coded(DCM, "CT")]}, ""),
        ({"code": None, "orderDetail": [coded(DCM, "CT"), coded(DCM, "CT")]}, "CT"),
        ({"code": None, "orderDetail": [coded(DCM, "121139")]}, ""),
        ({"code": None, "orderDetail": [coded("urn:x", "CT")]}, ""),
    ],
)
def test_modality_is_one_dicom_code(changes: dict[str, Any], modality: str) -> None:
    """Of order details or the procedure; two that differ are none."""
    assert read(**changes).modality == modality


CONDITION = {"resourceType": "Condition", "id": "c", "code": {"coding": [{"display": "Pneumonia"}]}}


@pytest.mark.parametrize(
    ("changes", "question", "history"),
    [
        ({"reasonCode": [{"text": "Fall"}, coded(SNOMED, "1", "Fever")]}, "Fall; Fever", "Former smoker."),
        ({"reasonReference": [{"reference": "Condition/c"}]}, "Effusion?; Pneumonia", "Former smoker."),
        (
            {"reasonReference": [{"reference": "Condition/404", "display": "Cough"}]},
            "Effusion?; Cough",
            "Former smoker.",
        ),
        (
            {"reasonCode": None, "reason": [{"reference": {"reference": "Condition/c"}}]},
            "Pneumonia",
            "Former smoker.",
        ),
        ({"reasonCode": None}, "Former smoker.", ""),
        ({"reasonCode": None, "note": None}, "", ""),
        ({"note": [{"text": "a\r\nb\u0007"}, {"text": "c"}]}, "Effusion?", "a\nb\nc"),
        ({"supportingInfo": [{"display": "Creatinine 80"}]}, "Effusion?", "Former smoker.\nCreatinine 80"),
        ({"note": None, "supportingInfo": [{"concept": {"text": "Diabetes"}}]}, "Effusion?", "Diabetes"),
    ],
)
def test_reasons_ask_and_notes_tell(changes: dict[str, Any], question: str, history: str) -> None:
    """Without a reason what is told is the question; control characters are gone."""
    order = read_order(dossier(REQUEST, CONDITION, **changes), systems=SYSTEMS)
    assert (order.clinical_question, order.history) == (question, history)


@pytest.mark.parametrize(
    ("priority", "read_as"),
    [("routine", "R"), ("urgent", "A"), ("asap", "A"), ("stat", "S"), ("now", ""), (None, "")],
)
def test_priority_is_told_as_hl7_does(priority: str | None, read_as: str) -> None:
    """Table 0485, so that the worklist knows one set of words."""
    assert read(priority=priority).priority == read_as


@pytest.mark.parametrize(
    ("encounter", "visit"),
    [
        ({"reference": "Encounter/5"}, "V77"),
        ({"identifier": {"value": "V1"}}, "V1"),
        ({"reference": "Encounter/404"}, ""),
        (None, ""),
    ],
)
def test_visit_number_is_that_of_the_encounter(encounter: dict[str, Any] | None, visit: str) -> None:
    """Typed VN, or the only one."""
    assert read(encounter=encounter).visit_number == visit


@pytest.mark.parametrize(
    ("requester", "name"),
    [
        ({"reference": "Practitioner/404", "display": "Dr Ito"}, "Dr Ito"),
        ({"display": "Dr Ito"}, "Dr Ito"),
        ({"reference": "Device/1", "display": "CDS"}, ""),
        ({"reference": "Organization/1", "display": "Ward"}, ""),
        (None, ""),
    ],
)
def test_person_who_ordered_is_named(requester: dict[str, Any] | None, name: str) -> None:
    """A device or a ward is no person."""
    provider = read(requester=requester).ordering_provider
    assert (provider.printed_name if provider else "") == name


@pytest.mark.parametrize("written", ["2026-03-04", "2026-03-04T05:00:00", "yesterday", None])
def test_time_without_a_zone_is_no_time(written: str | None) -> None:
    """FHIR dateTimes may be a day alone."""
    assert read(authoredOn=written).ordered_at is None


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    junk=JUNK,
    place=st.sampled_from(
        [
            *((name,) for name in REQUEST),
            ("identifier", "type"),
            ("identifier", "type", "coding"),
            ("identifier", "type", "coding", "code"),
            ("identifier", "value"),
            ("code", "coding"),
            ("code", "coding", "code"),
            ("code", "concept"),
            ("subject", "reference"),
            ("requester", "reference"),
            ("encounter", "reference"),
            ("reasonCode", "text"),
            ("note", "text"),
            ("meta", "versionId"),
        ]
    ),
)
def test_misshapen_request_is_read_or_malformed(junk: object, place: tuple[str, ...]) -> None:
    """Whatever stands in any element of another program's order."""
    with suppress(Malformed):
        read_order(dossier(misshapen(REQUEST, junk, place)), systems=SYSTEMS)


@given(junk=JUNK, name=st.sampled_from(["identifier", "name", "birthDate", "gender", "resourceType"]))
def test_misshapen_patient_or_doctor_is_read_or_malformed(junk: object, name: str) -> None:
    """Whatever stands in the resources that an order names."""
    patient = {"resourceType": "Patient", "id": "1", "identifier": [{"value": "P1"}], name: junk}
    found = dossier(REQUEST)
    others = {**found.others, "Patient/1": patient, "Practitioner/7": {**DOCTOR, name: junk}}
    with suppress(Malformed):
        read_order(type(found)(found.base_url, found.focus, others), systems=SYSTEMS)


@pytest.mark.parametrize(
    ("said", "language"), [("de-AT", "de"), ("ko", "ko"), ("", ""), (7, ""), ("x" * 40, "")]
)
def test_the_language_is_that_of_the_resource(said: object, language: str) -> None:
    """ServiceRequest.language (FHIR R4 resource.html) says in what language the order is written."""
    assert read(language=said).language == language
