"""What an HL7 message that came turns out to be: bytes to clinical words, or the reason why not. Pure.

Resources of the FHIR server are read into the same `Incoming` by plugin.fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from connectors.errors import Malformed
from connectors.exchange import Order, Patient, PatientMerge, PatientUpdate, SignedReport, StudyRef
from connectors.fhir.identifiers import IdentifierSystems
from connectors.hl7 import ack, documents, orders, patients, results
from connectors.hl7.identifiers import DEFAULT_PLACES, Places
from connectors.hl7.message import Message, NotHl7, parse
from plugin.messages import LONGEST, Subject


class Form(StrEnum):
    """What the bytes of an arrival are."""

    HL7 = "hl7"
    FHIR = "fhir"
    """A resource that we fetched, with what it names (connectors.fhir.readers.dossier)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How what comes by one channel is read and answered."""

    listener: str = "default"
    form: Form = Form.HL7
    systems: IdentifierSystems = field(default_factory=IdentifierSystems)
    release: str = "R4"
    """FHIR release of what is fetched."""
    places: Places = DEFAULT_PLACES
    charset: str = ""
    """Of senders whose MSH-18 lies; empty: as MSH-18 says."""
    ack_mode: ack.AckMode = ack.AckMode.AUTO
    application_acks: str = ""
    """HOST:PORT that takes application acknowledgements; empty: the same connection."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as it came."""

    body: bytes = field(repr=False)
    peer: str
    rules: Rules = Rules()
    replay_of: int | None = None
    """The message that this one is taken again for."""
    refusal: NotHl7 | None = None
    """Why it is refused unread: the batch that it is cannot be cut into its messages."""
    expected: tuple[str, ...] = ()
    """Accessions of the cases for which a report was looked for, of which it may be."""


@dataclass(slots=True)
class Incoming:
    """One message, or one version of a resource, read."""

    arrival: Arrival
    sha256: str
    sender: str = ""
    """MSH-3 and MSH-4, or the FHIR server; empty when it cannot be read."""
    control_id: str = ""
    """MSH-10, or the resource and its version; empty when it cannot be read."""
    type: str = ""
    """MSH-9 as ORM^O01, or the type of the resource; empty when it cannot be read."""
    actor: str = "hl7:unreadable"
    """Who acts, for the log."""
    message: Message | None = None
    """None when not even its MSH can be read, and for a resource."""
    orders: Sequence[Order] = ()
    studies: Sequence[StudyRef] = ()
    reports: Sequence[SignedReport] = ()
    updates: Sequence[PatientUpdate] = ()
    merges: Sequence[PatientMerge] = ()
    answer: ack.Ack | None = None
    """It is itself an acknowledgement, of something that we sent."""
    refusal: Malformed | None = None
    concerned: Sequence[str] = ()
    """Accessions that stand in something that cannot be read as a whole."""

    @property
    def is_resource(self) -> bool:
        """Whether it was fetched: nobody waits for an answer, and its control id names it for good."""
        return self.arrival.rules.form is Form.FHIR

    @property
    def subjects(self) -> list[Subject]:
        """Whom and what it is about."""
        return [
            *(Subject(accession) for accession in self.concerned),
            *(Subject(order.accession, order.patient) for order in self.orders),
            *(Subject(study.accession, study.patient) for study in self.studies),
            *(Subject(report.accession, report.patient) for report in self.reports),
            *(Subject(patient=update.patient) for update in self.updates),
            *(Subject(patient=merge.surviving) for merge in self.merges),
            *(Subject(patient=Patient(merge.retired_identifier)) for merge in self.merges),
        ]


def _orders(read: Incoming, message: Message, places: Places) -> None:
    read.orders = orders.orders(message, places)


def _results(read: Incoming, message: Message, places: Places) -> None:
    read.reports = results.signed_reports(message, places)


def _documents(read: Incoming, message: Message, places: Places) -> None:
    read.reports = documents.document_reports(message, places)


def _updates(read: Incoming, message: Message, places: Places) -> None:
    read.updates = (patients.patient_update(message, places),)


def _merges(read: Incoming, message: Message, places: Places) -> None:
    read.merges = patients.patient_merges(message, places)


READERS: Mapping[str, Callable[[Incoming, Message, Places], None]] = {
    **dict.fromkeys(orders.MESSAGE_TYPES, _orders),
    results.MESSAGE_TYPE: _results,
    **dict.fromkeys(documents.MESSAGE_TYPES, _documents),
    **dict.fromkeys(patients.UPDATES, _updates),
    **dict.fromkeys(patients.MERGES, _merges),
}
"""By MSH-9, what reads a message."""


def read(arrival: Arrival) -> Incoming:
    """Read one message. What is wrong with it is its refusal; nothing is raised."""
    rules = arrival.rules
    found = Incoming(arrival, hashlib.sha256(arrival.body).hexdigest())
    if arrival.refusal is not None:
        found.refusal = arrival.refusal
        return found
    try:
        found.message = message = parse(arrival.body, charset=rules.charset)
        found.sender, found.control_id = storable(message.source), storable(message.control_id)
        found.type, found.actor = storable(message.type), f"hl7:{found.sender}"
        if ack.is_acknowledgement(message):
            found.answer = ack.read_ack(arrival.body)
            return found
        reader = READERS.get(message.type)
        if reader is None:
            what = (
                "this type of message is not taken here" if message.type else "MSH-9 names no type of message"
            )
            raise NotHl7(
                f"{what}; send only {', '.join(READERS)}",
                location="MSH-9",
                code=200,
            )
        reader(found, message, rules.places)
        _check_lengths(found, message)
    except NotHl7 as refusal:
        found.refusal = refusal
    return found


def _check_lengths(read: Incoming, message: Message) -> None:
    """Raise NotHl7 for what identifies something and is too long to be looked up by."""
    told = [*(order.patient for order in read.orders), *(report.patient for report in read.reports)]
    told += [*(update.patient for update in read.updates), *(merge.surviving for merge in read.merges)]
    accessions = [*(order.accession for order in read.orders), *(r.accession for r in read.reports)]
    patients_told = [text for patient in told for text in (patient.identifier, patient.assigning_authority)]
    retired = [text for m in read.merges for text in (m.retired_identifier, m.retired_assigning_authority)]
    for place, values in (
        ("MSH-3", [message.source]),
        ("MSH-10", [message.control_id]),
        ("OBR-18", accessions),
        ("PID-3", patients_told),
        ("MRG-1", retired),
    ):
        if any(len(value) > LONGEST for value in values):
            raise NotHl7(
                f"what identifies something must be at most {LONGEST} characters long",
                location=place,
                code=104,
            )


def storable(text: str) -> str:
    """The text without NUL, which PostgreSQL keeps in no text, and short enough for an index; the message
    itself is kept as it came."""
    return text[:LONGEST].replace("\x00", "\ufffd")
