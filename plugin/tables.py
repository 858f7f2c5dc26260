"""The tables, as SQLAlchemy declares them; `migrations/` says how they came about."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from plugin.cases import CaseState


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A moment, stored in UTC and given back with its time zone (SQLite has none of its own)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A moment needs a time zone.")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")


class Base(DeclarativeBase):
    """Root of all tables."""

    metadata = sa.MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own name
        datetime: UtcDateTime(),
        dict[str, Any]: sa.JSON(),
        list[Any]: sa.JSON(),
        bytes: sa.LargeBinary(),
        str: sa.Text(),
    }


class Message(Base):
    """One HL7 message as it came or as it leaves, what was answered, and what came of it."""

    __tablename__ = "messages"
    __table_args__ = (
        # Small columns first and the body last: a search that looks at many rows reads few pages.
        sa.Index(None, "control_id", "sender"),
        sa.Index(None, "state", "id"),
        sa.Index(None, "message_type", "id"),
        sa.CheckConstraint("direction IN ('in', 'out')", name="direction"),
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=False)
    """Counted up by plugin.messages: there is one writer at a time."""
    direction: Mapped[str]
    """in: it came to us; out: we send it."""
    received_at: Mapped[datetime] = mapped_column(index=True)
    """When it came; of one that leaves, when it was written."""
    channel: Mapped[str]
    """The listener that took it, or the destination that it goes to."""
    peer: Mapped[str]
    sender: Mapped[str]
    """MSH-3 and MSH-4."""
    control_id: Mapped[str]
    """MSH-10."""
    message_type: Mapped[str]
    state: Mapped[str]
    """in: PROCESSED, REFUSED or QUARANTINED; out: WAITING, SENT, REFUSED or DROPPED."""
    reason: Mapped[str]
    attempts: Mapped[int]
    """How often a message of ours was taken in hand to be sent; 0 for one that came."""
    draft_id: Mapped[int | None] = mapped_column(sa.ForeignKey("drafts.id"))
    """The draft that a message of ours offers or withdraws."""
    replay_of: Mapped[int | None] = mapped_column(sa.ForeignKey("messages.id"))
    pruned_at: Mapped[datetime | None]
    """When its body was erased; its hash stays."""
    body_bytes: Mapped[int]
    """Length of the body as it came."""
    body_sha256: Mapped[str]
    ack: Mapped[bytes]
    """The accept acknowledgement, or the only one: ours to what came, the peer's to what we sent."""
    application_ack: Mapped[bytes]
    """The second acknowledgement of enhanced mode; empty where none was asked for."""
    body: Mapped[bytes]


class MessageSubject(Base):
    """Whom and what a message is about: a row for every order, report or patient in it."""

    __tablename__ = "message_subjects"

    message_id: Mapped[int] = mapped_column(sa.ForeignKey("messages.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    accession: Mapped[str] = mapped_column(index=True)
    patient_identifier: Mapped[str] = mapped_column(index=True)
    patient_name: Mapped[str] = mapped_column(
        sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), index=True
    )
    """Family and given name, case folded; in the order of code points, so that a beginning is a range."""


class Delivery(Base):
    """A message that waits to be sent; the row goes when the message is acknowledged or refused."""

    __tablename__ = "deliveries"
    __table_args__ = (sa.Index(None, "destination", "lane", "message_id"),)

    message_id: Mapped[int] = mapped_column(sa.ForeignKey("messages.id"), primary_key=True)
    destination: Mapped[str]
    """ris, or HOST:PORT of a peer that takes application acknowledgements."""
    lane: Mapped[str]
    """Messages of one lane are sent in their order: a case, or the sender that is answered."""
    draft_id: Mapped[int | None] = mapped_column(sa.ForeignKey("drafts.id"))
    """The draft that this offers, and that must still stand when it is sent; None for anything else."""
    next_attempt_at: Mapped[datetime] = mapped_column(index=True)
    """Not before; while a sender has it in hand, when others may think that sender dead."""


class PatientLink(Base):
    """An identifier that was merged into another one: both name one person."""

    __tablename__ = "patient_links"
    __table_args__ = (sa.Index(None, "surviving_identifier"),)

    identifier: Mapped[str] = mapped_column(primary_key=True)
    assigning_authority: Mapped[str] = mapped_column(primary_key=True)
    surviving_identifier: Mapped[str]
    surviving_authority: Mapped[str]
    message_id: Mapped[int] = mapped_column(sa.BigInteger)
    linked_at: Mapped[datetime]


class Study(Base):
    """A study that the archive announced."""

    __tablename__ = "studies"

    study_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    accession: Mapped[str] = mapped_column(index=True)
    patient_identifier: Mapped[str]
    assigning_authority: Mapped[str]
    modalities: Mapped[str]
    description: Mapped[str]
    instance_count: Mapped[int | None]
    announced_at: Mapped[datetime]


_STATES = ", ".join(f"'{state}'" for state in CaseState)


class Case(Base):
    """One report from order to signature."""

    __tablename__ = "cases"
    __table_args__ = (sa.CheckConstraint(f"state IN ({_STATES})", name="state"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    accession: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str]
    """Why the case is where it is, or what it waits for; a sentence without patient data."""
    order: Mapped[dict[str, Any]]
    """The order's clinical words; empty when only images or a report came."""
    patient_identifier: Mapped[str] = mapped_column(index=True, server_default=sa.text("''"))
    """Of the order's patient, for messages about patients; empty before the order."""
    assigning_authority: Mapped[str] = mapped_column(server_default=sa.text("''"))
    study_instance_uid: Mapped[str] = mapped_column(index=True)
    """The study that the order names, or that was matched to it; empty while neither has happened."""
    draft_number: Mapped[int]
    """Number of the draft that is due or done; 0 before the first."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(index=True)


REPORT, CONCLUSION = "report", "conclusion"
"""Tasks of a draft: a report from images, or the conclusion of findings that a human dictated."""


class DraftRecord(Base):
    """One draft as it was written."""

    __tablename__ = "drafts"
    __table_args__ = (
        sa.UniqueConstraint("case_id", "number"),
        # The last of the four places where a machine's word is kept from becoming final.
        sa.CheckConstraint("status IN ('preliminary', 'partial')", name="status"),
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    case_id: Mapped[str] = mapped_column(sa.ForeignKey("cases.id"))
    number: Mapped[int]
    task: Mapped[str] = mapped_column(server_default=sa.text("'report'"))
    """REPORT, or CONCLUSION, which stands beside a human's own report."""
    status: Mapped[str]
    language: Mapped[str] = mapped_column(server_default=sa.text("'en'"))
    """ISO 639-1 code of the language that it is written in."""
    sections: Mapped[list[Any]]
    """[[title, text], ...] in reading order, titles in the language."""
    sentences: Mapped[list[Any]]
    """Each sentence under its canonical section, with its evidence."""
    confidence: Mapped[float | None]
    """How probable it is that every finding is right; None where no image was read."""
    findings: Mapped[dict[str, Any]]
    conclusion: Mapped[str]
    notice: Mapped[str]
    text: Mapped[str]
    text_sha256: Mapped[str]
    model_name: Mapped[str]
    model_version: Mapped[str]
    weights_sha256: Mapped[str]
    prompt_version: Mapped[str]
    tokens: Mapped[int]
    seconds: Mapped[float]
    studied_on: Mapped[date | None]
    """The day on which the images were taken, as they say."""
    written_at: Mapped[datetime]
    reference: Mapped[str] = mapped_column(index=True)
    """DiagnosticReport/ID once published, else empty."""
    version: Mapped[str]
    url: Mapped[str]
    published_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    """When the RIS acknowledged it; None where no RIS is set."""
    withdrawn_at: Mapped[datetime | None]
    """When the FHIR server was told that the draft stands no longer."""


class Picture(Base):
    """One slice of the study as the case page shows it."""

    __tablename__ = "pictures"

    draft_id: Mapped[int] = mapped_column(sa.ForeignKey("drafts.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    slice_index: Mapped[int]
    """0 for the slice nearest to the feet."""
    finding: Mapped[str] = mapped_column(server_default=sa.text("''"))
    """The finding head whose evidence it shows; empty for a slice that shows none."""
    caption: Mapped[str]
    png: Mapped[bytes]


class SignOff(Base):
    """A human's report as it was seen on one channel: evidence, judged but never altered."""

    __tablename__ = "signoffs"
    __table_args__ = (sa.UniqueConstraint("channel", "evidence"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    case_id: Mapped[str] = mapped_column(sa.ForeignKey("cases.id"), index=True)
    draft_id: Mapped[int | None] = mapped_column(sa.ForeignKey("drafts.id"))
    channel: Mapped[str]
    evidence: Mapped[str]
    """Where it can be read again: message ID:ordinal, or the resource and its version."""
    source: Mapped[str]
    version: Mapped[str] = mapped_column(server_default=sa.text("''"))
    """Of the report at its source: MSH-10, or meta.versionId of the resource that `source` names."""
    verdict: Mapped[str]
    status: Mapped[str]
    signer_identifier: Mapped[str]
    signer_name: Mapped[str]
    signer_role: Mapped[str] = mapped_column(server_default=sa.text("''"))
    """What made the signer one, in the words of the source: OBR-32, resultsInterpreter, a role's name."""
    patient_identifier: Mapped[str] = mapped_column(server_default=sa.text("''"))
    """As the report names the patient: an order that comes later is compared with it."""
    assigning_authority: Mapped[str] = mapped_column(server_default=sa.text("''"))
    signed_at: Mapped[datetime | None]
    seen_at: Mapped[datetime]
    text: Mapped[str]
    text_sha256: Mapped[str]
    draft_sha256: Mapped[str]
    changes: Mapped[list[Any]]
    """The difference to the draft, section by section."""
    edit_distance: Mapped[int | None]
    """Words inserted, deleted or replaced; None without a draft."""
    untouched: Mapped[bool | None]
    """Whether every word of the draft was signed as it stood; None without a draft."""
    seconds_to_sign: Mapped[float | None]
    """From when the draft could be read until it was signed; None without either moment."""
    since_previous: Mapped[int | None]
    """Words that differ from the signature before this one on the same case; None for the first."""


class FhirNotice(Base):
    """A resource that we were told to look at; the row goes once it was looked at."""

    __tablename__ = "fhir_notices"

    reference: Mapped[str] = mapped_column(primary_key=True)
    """DiagnosticReport/ID on our own FHIR server; a type alone: whatever changed of it."""
    source: Mapped[str]
    """Who told us: the subscription, or fhircast."""
    noticed_at: Mapped[datetime]


class AuditLeaf(Base):
    """One entry of the audit log. Rows are only ever added: a trigger refuses anything else."""

    __tablename__ = "audit_leaves"

    position: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=False)
    """0 for the first entry."""
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(index=True)
    case_id: Mapped[str | None] = mapped_column(index=True)
    message_id: Mapped[int | None] = mapped_column(sa.BigInteger, index=True)
    entry: Mapped[str]
    """The canonical JSON text that was hashed."""
    leaf_hash: Mapped[str]


class AuditHead(Base):
    """The tree over all leaves; one row, locked by every change."""

    __tablename__ = "audit_head"
    __table_args__ = (sa.CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(sa.BigInteger)
    roots: Mapped[list[Any]]
    """Roots of the perfect subtrees, largest first, in hexadecimal."""


class WorkerLease(Base):
    """A worker, and when it was last alive."""

    __tablename__ = "workers"

    executor_id: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime]


class Cursor(Base):
    """How far a feed has been read."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER audit_leaves_no_update BEFORE UPDATE ON audit_leaves "
        "BEGIN SELECT RAISE(ABORT, 'audit leaves are only ever added'); END",
        "CREATE TRIGGER audit_leaves_no_delete BEFORE DELETE ON audit_leaves "
        "BEGIN SELECT RAISE(ABORT, 'audit leaves are only ever added'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_leaves_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit leaves are only ever added'; END $$",
        "CREATE TRIGGER audit_leaves_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_leaves "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_leaves_append_only()",
    ),
}
"""By dialect, what makes the log append-only; declared with its table, as a migration creates it."""

for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        event.listen(AuditLeaf.__table__, "after_create", sa.DDL(_statement).execute_if(dialect=_dialect))  # type: ignore[no-untyped-call]
