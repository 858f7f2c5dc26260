"""The clinical words that connectors hand to the plugin and take from it.

Frozen dataclasses that know nothing of HL7, FHIR or DICOM encodings; the modules that do import
these, never the reverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class OrderAction(StrEnum):
    """What an order message asks for."""

    PLACE = "place"
    CHANGE = "change"
    REQUEST_CANCEL = "request-cancel"
    """The placer asks the filler to cancel; the filler has not agreed yet."""
    CANCEL = "cancel"
    """Cancelled or discontinued: no report is wanted any more."""
    STATUS = "status"
    """A report of the order's state that asks for nothing."""


class ReportStatus(StrEnum):
    """Status of a report that somebody else wrote, in FHIR R4 words (HL7 table 0123 maps onto them)."""

    REGISTERED = "registered"
    PARTIAL = "partial"
    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"
    CORRECTED = "corrected"
    APPENDED = "appended"
    CANCELLED = "cancelled"
    ENTERED_IN_ERROR = "entered-in-error"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Whether this status closes a report: final, or a change of one that was final."""
        return self in {
            ReportStatus.FINAL,
            ReportStatus.AMENDED,
            ReportStatus.CORRECTED,
            ReportStatus.APPENDED,
        }


class DraftStatus(StrEnum):
    """The only statuses that a report written by Prelim can have.

    There is deliberately no member for a final report: code that wanted to send one could not name it.
    """

    PRELIMINARY = "preliminary"
    PARTIAL = "partial"


class WithdrawalStatus(StrEnum):
    """The only statuses with which Prelim retires a draft of its own; no draft is ever written with one."""

    CANCELLED = "cancelled"
    """The order was cancelled: no report is wanted."""
    ENTERED_IN_ERROR = "entered-in-error"
    """The draft should never have stood there, for example under another patient; it never comes back."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient as one message or study names them."""

    identifier: str
    assigning_authority: str = ""
    family_name: str = ""
    given_name: str = ""
    birth_date: date | None = None
    sex: str = "unknown"
    """FHIR administrative gender: male, female, other or unknown."""


@dataclass(frozen=True, slots=True)
class Practitioner:
    """A person who ordered, read or signed."""

    identifier: str = ""
    family_name: str = ""
    given_name: str = ""
    prefix: str = ""
    role: str = ""
    """What made this person sign, in the words of the source: a place of the message, or a role's name."""

    @property
    def printed_name(self) -> str:
        """The name as it is printed (21 CFR 11.50); empty when nobody is named."""
        return " ".join(part for part in (self.prefix, self.given_name, self.family_name) if part)


@dataclass(frozen=True, slots=True)
class Coding:
    """One code of one code system."""

    code: str = ""
    text: str = ""
    system: str = ""
    """The sender's name of the code system, for example LN."""


@dataclass(frozen=True, slots=True)
class PriorReport:
    """What an order tells of an earlier examination of the same patient."""

    performed_on: date | None
    procedure: Coding
    text: str


@dataclass(frozen=True, slots=True)
class Order:
    """One imaging order: one accession of one patient."""

    action: OrderAction
    accession: str
    patient: Patient
    procedure: Coding
    placer_order_number: str = ""
    filler_order_number: str = ""
    requested_procedure_id: str = ""
    study_instance_uid: str = ""
    """Empty when the order does not say: the study is then matched by accession."""
    modality: str = ""
    """DICOM modality (CT, MR, ...), empty when not said."""
    clinical_question: str = ""
    history: str = ""
    priority: str = ""
    """HL7 table 0485 or 0027 as sent (S, A, R, ...)."""
    ordering_provider: Practitioner | None = None
    ordered_at: datetime | None = None
    laterality: str = ""
    """left, right or bilateral; empty when the order does not say, or says two sides that disagree."""
    prior_reports: tuple[PriorReport, ...] = ()
    visit_number: str = ""
    """Of the visit or encounter that the order belongs to; empty when it names none."""
    service_request: str = ""
    """Where the order stands on the FHIR server, as ServiceRequest/ID; empty when it came otherwise."""
    language: str = ""
    """ISO 639-1 code of the language that the order is written in; empty when it does not say."""


@dataclass(frozen=True, slots=True)
class StudyRef:
    """A study that the image archive says is there."""

    study_instance_uid: str
    patient: Patient
    accession: str = ""
    modalities: tuple[str, ...] = ()
    description: str = ""
    instance_count: int | None = None


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """A document that came with a report. The document itself stays in the message that brought it."""

    media_type: str
    """For example application/pdf; application/octet-stream when the sender does not say."""
    sha256: str
    """Of its bytes, in hexadecimal; empty for a pointer to a document that did not come itself."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report that somebody else wrote, seen on some channel. Its arrival alone is no signature."""

    accession: str
    patient: Patient
    status: ReportStatus
    text: str
    channel: str
    """Where it was seen: hl7-oru, hl7-mdm, fhir, fhircast or page."""
    source: str
    """Who sent it: sending application and facility, or the server's base URL and resource."""
    signer: Practitioner | None = None
    """The person responsible for the text; None when nobody is named."""
    signed_at: datetime | None = None
    study_instance_uid: str = ""
    report_identifier: str = ""
    version: str = ""
    documents: tuple[ReportDocument, ...] = ()
    case_id: str = ""
    """Of the case whose draft this was: where the report still carries our own identifier."""


@dataclass(frozen=True, slots=True)
class PatientUpdate:
    """What is known of a patient now. An empty value says nothing: what was known before stands."""

    patient: Patient
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PatientMerge:
    """Two patient records that turned out to be one person."""

    surviving: Patient
    retired_identifier: str
    retired_assigning_authority: str = ""


@dataclass(frozen=True, slots=True)
class DraftAuthor:
    """The software that wrote a draft."""

    name: str
    version: str
    weights_sha256: str
    prompt_version: str


@dataclass(frozen=True, slots=True)
class DraftFinding:
    """One thing that a draft says is there, or is not there."""

    name: str
    """In the words of the model, for example pleural effusion."""
    present: bool
    side: str = ""
    """left, right or bilateral; empty for what has no side."""
    code: Coding = Coding()
    """Of the finding; empty where the model has no code for it. Its system is a URI."""
    body_site: Coding = Coding()
    probability: float | None = None
    """Between 0 and 1, as the finding head gave it; None when no head did."""


@dataclass(frozen=True, slots=True)
class DraftReport:
    """One draft on its way out."""

    case_id: str
    number: int
    """1 for the first draft of the case; a redone draft counts up."""
    accession: str
    patient: Patient
    study_instance_uid: str
    procedure: Coding
    status: DraftStatus
    sections: tuple[tuple[str, str], ...]
    """(title, text) in reading order."""
    conclusion: str
    notice: str
    """The sentence that says a machine wrote this and a human must sign."""
    issued_at: datetime
    author: DraftAuthor
    placer_order_number: str = ""
    filler_order_number: str = ""
    ordering_provider: Practitioner | None = None
    studied_on: date | None = None
    """The day on which the images were taken; None when they do not say."""
    findings: tuple[DraftFinding, ...] = ()
    visit_number: str = ""
    service_request: str = ""
    """Where the order stands on the FHIR server; empty when it came otherwise."""
    language: str = "en"
    """ISO 639-1 code of the language that the sections are written in."""

    @property
    def text(self) -> str:
        """The whole draft as plain text: the notice, then each section under its title."""
        return "\n\n".join([self.notice, *(f"{title}\n{text}" for title, text in self.sections)])


@dataclass(frozen=True, slots=True)
class PublishedReport:
    """Where a draft stands on a FHIR server, as read back after writing."""

    reference: str
    """Relative: DiagnosticReport/123."""
    version: str
    """meta.versionId of the version that we wrote."""
    url: str
    """Absolute, for a person to open."""
