"""Made-up messages of every kind that is taken, for a first try of an interface. Pure.

All of them are about one patient and one examination: the order, its cancellation, its signed report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime

from connectors.exchange import Coding, Patient, Practitioner
from connectors.hl7.message import Value, build
from connectors.hl7.written import ce, pid, ts, xcn

ACCESSION = "EXAMPLE-1"
PATIENT = Patient("EX-4711", "EXAMPLE_HOSPITAL", "Example", "Erika", date(1961, 4, 2), "female")
RETIRED_IDENTIFIER = "EX-4712"
STUDY = "1.2.826.0.1.3680043.8.498.1"

_PROCEDURE = Coding("24627-2", "CT Chest", "LN")
_REFERRER = Practitioner("EX-1", "Sample", "Rolf", "Dr")
_RADIOLOGIST = Practitioner("EX-2", "Specimen", "Maria", "Dr")
_REPORT: Value = ("18748-4", "Diagnostic imaging study", "LN")
_LINES = ("Findings:", "The lungs are clear. No effusion.", "Impression:", "Normal chest CT.")

Segment = tuple[str, Mapping[int, Value]]


def example(kind: str, at: datetime, control_id: str) -> bytes:
    """One message of a kind of `KINDS`, dated `at` (MSH-7), with this MSH-10. Raises ValueError."""
    if kind not in KINDS:
        raise ValueError(f"expected one of {', '.join(KINDS)}, found another kind of message")
    message, version, body = KINDS[kind]
    return build([_msh(message, version, at, control_id), *body(at)])


def _msh(message: tuple[str, str, str], version: str, at: datetime, control_id: str) -> Segment:
    return (
        "MSH",
        {
            3: "EXAMPLE_RIS",
            4: "EXAMPLE_HOSPITAL",
            5: "PRELIM",
            6: "EXAMPLE_HOSPITAL",
            7: ts(at),
            9: message,
            10: control_id,
            11: "P",
            12: version,
        },
    )


def _patient() -> list[Segment]:
    return [("PID", pid(PATIENT, "MR")), ("PV1", {1: "1", 2: "I"})]


def _orc(control: str, status: str, at: datetime) -> Segment:
    return ("ORC", {1: control, 2: "EX-P1", 3: "EX-F1", 5: status, 9: ts(at), 12: xcn(_REFERRER)})


def _obr(**more: Value) -> Segment:
    """The OBR of the examination; more: further fields, as f25="F"."""
    plain: dict[int, Value] = {
        1: "1",
        2: "EX-P1",
        3: "EX-F1",
        4: ce(_PROCEDURE),
        16: xcn(_REFERRER),
        18: ACCESSION,
    }
    return ("OBR", {**plain, 24: "CT", **{int(name[1:]): value for name, value in more.items()}})


def _lines() -> list[Segment]:
    return [
        ("OBX", {1: str(number), 2: "TX", 3: _REPORT, 5: line, 11: "F"})
        for number, line in enumerate(_LINES, 1)
    ]


def _orm(at: datetime) -> list[Segment]:
    asked = _obr(f19="EX-RP1", f31=("", "Effusion?"))
    return [*_patient(), _orc("NW", "SC", at), asked, ("ZDS", {1: (STUDY, "", "Application", "DICOM")})]


def _cancel(at: datetime) -> list[Segment]:
    return [*_patient(), _orc("OC", "CA", at), _obr()]


def _omg(at: datetime) -> list[Segment]:
    prior: Value = ("24648-8", "XR Chest PA", "LN")
    return [
        *_patient(),
        _orc("NW", "SC", at),
        ("TQ1", {1: "1", 9: ("R", "Routine", "HL70485")}),
        _obr(f31=("", "Effusion?")),
        ("PID", pid(PATIENT, "MR")),
        ("ORC", {1: "PR"}),
        ("OBR", {1: "1", 3: "EX-F0", 4: prior, 7: "20251104"}),
        ("OBX", {1: "1", 2: "TX", 3: prior, 5: "Small left effusion.", 11: "F"}),
    ]


def _omi(at: datetime) -> list[Segment]:
    step: dict[int, Value] = {1: ACCESSION, 2: "EX-RP1", 3: STUDY, 4: "EX-SPS1", 5: "CT", 6: ce(_PROCEDURE)}
    return [
        *_patient(),
        _orc("NW", "SC", at),
        ("TQ1", {1: "1", 9: ("R", "Routine", "HL70485")}),
        _obr(f31=("", "Effusion?")),
        ("IPC", step),
    ]


def _oru(at: datetime) -> list[Segment]:
    person = _RADIOLOGIST
    signer: Value = ((person.identifier, person.family_name, person.given_name, "", "", person.prefix),)
    return [*_patient(), _orc("RE", "CM", at), _obr(f7=ts(at), f22=ts(at), f25="F", f32=signer), *_lines()]


def _mdm(at: datetime) -> list[Segment]:
    person = _RADIOLOGIST
    authenticated = (person.identifier, person.family_name, person.given_name, "", "", person.prefix)
    header: dict[int, Value] = {
        1: "1",
        2: "DI",
        3: "TX",
        4: ts(at),
        6: ts(at),
        12: "EX-DOC1",
        17: "LA",
        19: "AV",
    }
    return [
        ("EVN", {2: ts(at)}),
        *_patient(),
        _orc("RE", "CM", at),
        _obr(f7=ts(at), f25="F"),
        ("TXA", {**header, 22: (*authenticated, *[""] * 8, ts(at))}),
        *_lines(),
    ]


def _update(at: datetime) -> list[Segment]:
    return [("EVN", {2: ts(at)}), *_patient()]


def _merge(at: datetime) -> list[Segment]:
    retired: Value = (RETIRED_IDENTIFIER, "", "", PATIENT.assigning_authority, "MR")
    return [("EVN", {2: ts(at)}), ("PID", pid(PATIENT, "MR")), ("MRG", {1: retired})]


KINDS: Mapping[str, tuple[tuple[str, str, str], str, Callable[[datetime], list[Segment]]]] = {
    "orm": (("ORM", "O01", "ORM_O01"), "2.3.1", _orm),
    "omg": (("OMG", "O19", "OMG_O19"), "2.5.1", _omg),
    "omi": (("OMI", "O23", "OMI_O23"), "2.5.1", _omi),
    "cancel": (("ORM", "O01", "ORM_O01"), "2.3.1", _cancel),
    "oru": (("ORU", "R01", "ORU_R01"), "2.5.1", _oru),
    "mdm": (("MDM", "T02", "MDM_T02"), "2.5.1", _mdm),
    "adt-a08": (("ADT", "A08", "ADT_A01"), "2.5.1", _update),
    "adt-a40": (("ADT", "A40", "ADT_A39"), "2.5.1", _merge),
}
"""Kind -> MSH-9, MSH-12, and what follows MSH."""
