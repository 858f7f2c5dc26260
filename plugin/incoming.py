"""What an HL7 message that came turns out to be: bytes to clinical words, or the reason why not. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from connectors.exchange import Order, Patient, PatientMerge, PatientUpdate, SignedReport
from connectors.hl7 import ack, documents, orders, patients, results
from connectors.hl7.identifiers import DEFAULT_PLACES, Places
from connectors.hl7.message import Message, NotHl7, parse
from plugin.messages import LONGEST, Subject


@dataclass(frozen=True, slots=True)
class Rules:
    """How the messages of one listener are read and answered."""

    listener: str = "default"
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


@dataclass(slots=True)
class Incoming:
    """One message, read."""

    arrival: Arrival
    sha256: str
    message: Message | None = None
    """None when not even its MSH can be read."""
    orders: Sequence[Order] = ()
    reports: Sequence[SignedReport] = ()
    updates: Sequence[PatientUpdate] = ()
    merges: Sequence[PatientMerge] = ()
    answer: ack.Ack | None = None
    """It is itself an acknowledgement, of something that we sent."""
    refusal: NotHl7 | None = None

    @property
    def sender(self) -> str:
        """MSH-3 and MSH-4; empty when they cannot be read."""
        return storable(self.message.source) if self.message else ""

    @property
    def control_id(self) -> str:
        """MSH-10; empty when it cannot be read."""
        return storable(self.message.control_id) if self.message else ""

    @property
    def type(self) -> str:
        """MSH-9 as ORM^O01; empty when it cannot be read."""
        return storable(self.message.type) if self.message else ""

    @property
    def actor(self) -> str:
        """Who acts, for the log."""
        return f"hl7:{self.sender}" if self.message else "hl7:unreadable"

    @property
    def subjects(self) -> list[Subject]:
        """Whom and what it is about."""
        return [
            *(Subject(order.accession, order.patient) for order in self.orders),
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
