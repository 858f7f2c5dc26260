"""Which patient a FHIR resource names, and that the way back from what we wrote is the way out."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange import Patient
from connectors.fhir.drafts import report
from connectors.fhir.identifiers import MAX_SYSTEM, IdentifierSystems, patient_of
from tests.fhir_samples import a_draft

SYSTEMS = IdentifierSystems()
PLAIN = IdentifierSystems(patient="http://hospital.test/mrn")
OID = "urn:oid:2.16.840.1.113883.4.1"
SITE = "urn:prelim:patient:HOSP"


def identifier(system: str, value: str, code: str = "", use: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"system": system, "value": value}
    if code:
        found["type"] = {"coding": [{"code": code}]}
    return {**found, "use": use} if use else found


WORDS = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], exclude_characters="\ufffe\uffff"),
    min_size=1,
)
PATIENTS = st.builds(
    Patient,
    identifier=WORDS,
    assigning_authority=st.one_of(
        st.just(""), st.sampled_from(["HOSP", "1.2.840", "0.9", "a:b", "a|b", "http://x.test/y", ":"]), WORDS
    ),
    family_name=st.one_of(st.just(""), WORDS),
    given_name=st.one_of(st.just(""), WORDS, st.builds("{} {}".format, WORDS, WORDS)),
    birth_date=st.one_of(st.none(), st.dates(date(1880, 1, 1))),
    sex=st.sampled_from(["male", "female", "other", "unknown"]),
)


@given(
    patient=PATIENTS,
    pattern=st.sampled_from(
        [
            SYSTEMS.patient,
            "http://hospital.test/{authority}/mrn",
            "urn:x:{authority}:",
            "{authority}",
            "urn:x.y:{authority}",
        ]
    ),
)
def test_patient_that_we_wrote_is_read_as_the_same(patient: Patient, pattern: str) -> None:
    """Identifier, authority, names, birth date and sex, for every pattern that names the authority."""
    systems = IdentifierSystems(patient=pattern)
    written = report.patient_of(a_draft(patient=patient), systems)
    if not written["identifier"][0]["system"]:
        return  # A pattern of the authority alone has nothing to write for a patient without one.
    assert patient_of(written, systems) == patient


def test_system_without_authority_gives_none() -> None:
    """A site with one system for all its patients: equal numbers are one patient there."""
    assert patient_of({"identifier": [identifier(PLAIN.patient, "P1")]}, PLAIN) == Patient("P1")


@pytest.mark.parametrize(
    ("identifiers", "chosen"),
    [
        ([identifier("urn:x", "X"), identifier(SITE, "P1")], ("P1", "HOSP")),
        ([identifier("urn:x", "X", "MR"), identifier(SITE, "P1")], ("P1", "HOSP")),
        ([identifier(OID, "SSN", "SS"), identifier("urn:x", "X", "MR")], ("X", "")),
        ([identifier(OID, "N", "MR"), identifier("urn:x", "X")], ("N", OID.removeprefix("urn:oid:"))),
        ([identifier(OID, "N", "MR"), identifier(SITE, "P1", "MR")], ("P1", "HOSP")),
        ([identifier(SITE, "P1"), identifier(SITE, "P2", "MR")], ("P2", "HOSP")),
        ([identifier("urn:x", "X")], ("X", "")),
        ([identifier(OID, "N")], ("N", OID.removeprefix("urn:oid:"))),
        (
            [identifier("urn:x", "X"), identifier("urn:y", "Y", "MR"), identifier("urn:z", "Z", "MR")],
            ("Y", ""),
        ),
        ([identifier("urn:x", "X"), identifier("urn:y", "Y")], ("", "")),
        ([identifier("urn:x", "X"), identifier(OID, "N")], ("", "")),
        (
            [
                identifier(SITE, "P0", use="old"),
                identifier(SITE, "P1"),
            ],
            ("P1", "HOSP"),
        ),
        ([identifier(SITE, "P0", use="old")], ("P0", "HOSP")),
        ([identifier(SITE, "P\u0000 1")], ("", "")),
        ([identifier(SITE, " P1 ")], ("P1", "HOSP")),
        ([identifier(SITE, "")], ("", "")),
        ([], ("", "")),
    ],
)
def test_identifier_of_the_site_comes_first_then_one_that_leaves_no_choice(
    identifiers: list[dict[str, Any]], chosen: tuple[str, str]
) -> None:
    """The site's own system; the only one; the first MR. Of several without a reason none: to be seen."""
    patient = patient_of({"identifier": identifiers}, SYSTEMS)
    assert (patient.identifier, patient.assigning_authority) == chosen


def test_logical_reference_names_one_identifier() -> None:
    """Reference.identifier is no list."""
    assert patient_of({"identifier": identifier(SITE, "P1")}, SYSTEMS) == Patient("P1", "HOSP")


@pytest.mark.parametrize(
    ("names", "family", "given_name"),
    [
        (
            [{"use": "old", "family": "Shaw"}, {"family": "Baxter", "given": ["Amy", "V."]}],
            "Baxter",
            "Amy V.",
        ),
        ([{"text": "Amy Baxter"}], "Amy Baxter", ""),
        ([{"given": ["Amy"], "text": "Amy Baxter"}], "", "Amy"),
        ([{"family": "Bax\u0000ter"}], "Baxter", ""),
        ([], "", ""),
    ],
)
def test_name_in_use_is_read(names: list[dict[str, Any]], family: str, given_name: str) -> None:
    """Official or usual before a former one."""
    patient = patient_of({"name": names}, SYSTEMS)
    assert (patient.family_name, patient.given_name) == (family, given_name)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1961-04-02", date(1961, 4, 2)),
        ("1961", None),
        ("1961-04", None),
        ("1961-13-02", None),
        ("19610402", None),
    ],
)
def test_only_a_whole_date_is_a_birthday(written: str, read: date | None) -> None:
    """FHIR dates may be a year alone."""
    assert patient_of({"birthDate": written}, SYSTEMS).birth_date == read


@pytest.mark.parametrize(("gender", "sex"), [("male", "male"), ("M", "unknown"), (None, "unknown")])
def test_sex_is_one_of_four_words(gender: object, sex: str) -> None:
    """Administrative gender as FHIR writes it."""
    assert patient_of({"gender": gender}, SYSTEMS).sex == sex


@pytest.mark.parametrize(("length", "read"), [(MAX_SYSTEM, "A"), (MAX_SYSTEM + 1, None)])
def test_overlong_system_is_nobodys(length: int, read: str | None) -> None:
    """What is compared is bounded."""
    systems = IdentifierSystems(patient="urn:" + "x" * (MAX_SYSTEM - 6) + ":{authority}")
    system = "urn:" + "x" * (MAX_SYSTEM - 6) + ":" + "A" * (length - MAX_SYSTEM + 1)
    assert len(system) == length
    assert systems.authority_of(system) == read


@pytest.mark.parametrize(
    "system", ["urn:prelim:patient:" + ":" * 900 + "x", "urn:prelim:patient:1.2.3", "urn:oid:x", ""]
)
def test_system_that_we_would_not_write_is_of_no_authority(system: str) -> None:
    """What does not lead back to itself is somebody else's."""
    assert SYSTEMS.authority_of(system) is None
