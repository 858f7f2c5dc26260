"""Messages both ways, what each is about, deliveries, merged patients, conclusions, withdrawals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)
INDEXES = (
    ("messages", ("received_at",)),
    ("messages", ("control_id", "sender")),
    ("messages", ("state", "id")),
    ("messages", ("message_type", "id")),
    ("message_subjects", ("accession",)),
    ("message_subjects", ("patient_identifier",)),
    ("message_subjects", ("patient_name",)),
    ("deliveries", ("destination", "lane", "message_id")),
    ("deliveries", ("next_attempt_at",)),
    ("patient_links", ("surviving_identifier",)),
    ("cases", ("patient_identifier",)),
    ("audit_leaves", ("message_id",)),
)
ADDED = (
    ("cases", sa.Column("patient_identifier", sa.Text(), nullable=False, server_default=sa.text("''"))),
    ("cases", sa.Column("assigning_authority", sa.Text(), nullable=False, server_default=sa.text("''"))),
    ("drafts", sa.Column("task", sa.Text(), nullable=False, server_default=sa.text("'report'"))),
    ("drafts", sa.Column("withdrawn_at", MOMENT, nullable=True)),
    ("signoffs", sa.Column("patient_identifier", sa.Text(), nullable=False, server_default=sa.text("''"))),
    ("signoffs", sa.Column("assigning_authority", sa.Text(), nullable=False, server_default=sa.text("''"))),
)
PATIENTS_OF_CASES = {
    "sqlite": "UPDATE cases SET "
    "patient_identifier = coalesce(json_extract(\"order\", '$.patient.identifier'), ''), "
    "assigning_authority = coalesce(json_extract(\"order\", '$.patient.assigning_authority'), '')",
    "postgresql": "UPDATE cases SET "
    "patient_identifier = coalesce(\"order\" -> 'patient' ->> 'identifier', ''), "
    "assigning_authority = coalesce(\"order\" -> 'patient' ->> 'assigning_authority', '')",
}


def upgrade() -> None:
    """Make the messages' table anew, with the bodies behind the columns that searches look at."""
    for name in ("accession", "received_at", "sender_control_id"):
        op.drop_index(op.f(f"ix_messages_{name}"), table_name="messages")
    op.rename_table("messages", "messages_before")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE messages_before DROP CONSTRAINT fk_messages_replay_of")
        op.execute("ALTER TABLE messages_before DROP CONSTRAINT pk_messages")
    op.create_table(
        "messages",
        sa.Column("id", SERIAL, autoincrement=False, nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("control_id", sa.Text(), nullable=False),
        sa.Column("message_type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("draft_id", SERIAL, nullable=True),
        sa.Column("replay_of", SERIAL, nullable=True),
        sa.Column("pruned_at", MOMENT, nullable=True),
        sa.Column("body_bytes", sa.Integer(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("ack", sa.LargeBinary(), nullable=False),
        sa.Column("application_ack", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["draft_id"], ["drafts.id"], name=op.f("fk_messages_draft_id")),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_messages_direction")),
        sa.ForeignKeyConstraint(["replay_of"], ["messages.id"], name=op.f("fk_messages_replay_of")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    op.create_table(
        "message_subjects",
        sa.Column("message_id", SERIAL, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("accession", sa.Text(), nullable=False),
        sa.Column("patient_identifier", sa.Text(), nullable=False),
        sa.Column("patient_name", BY_CODE_POINT, nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_message_subjects_message_id")),
        sa.PrimaryKeyConstraint("message_id", "ordinal", name=op.f("pk_message_subjects")),
    )
    op.create_table(
        "deliveries",
        sa.Column("message_id", SERIAL, nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("draft_id", SERIAL, nullable=True),
        sa.Column("next_attempt_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_deliveries_message_id")),
        sa.ForeignKeyConstraint(["draft_id"], ["drafts.id"], name=op.f("fk_deliveries_draft_id")),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_deliveries")),
    )
    op.create_table(
        "patient_links",
        sa.Column("identifier", sa.Text(), nullable=False),
        sa.Column("assigning_authority", sa.Text(), nullable=False),
        sa.Column("surviving_identifier", sa.Text(), nullable=False),
        sa.Column("surviving_authority", sa.Text(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("linked_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("identifier", "assigning_authority", name=op.f("pk_patient_links")),
    )
    kept = sa.text(
        "INSERT INTO messages (id, direction, received_at, channel, peer, sender, control_id, message_type, "
        "state, reason, attempts, replay_of, pruned_at, body_bytes, body_sha256, ack, application_ack, body) "
        "SELECT id, 'in', received_at, 'default', peer, sender, control_id, message_type, "
        "state, reason, 0, replay_of, NULL, length(body), body_sha256, ack, :none, body "
        "FROM messages_before ORDER BY id"
    )
    op.get_bind().execute(kept, {"none": b""})
    op.execute(
        "INSERT INTO message_subjects (message_id, ordinal, accession, patient_identifier, patient_name) "
        "SELECT id, 0, accession, '', '' FROM messages_before WHERE accession <> ''"
    )
    op.drop_table("messages_before")
    for table, column in ADDED:
        op.add_column(table, column)
    op.execute(PATIENTS_OF_CASES[op.get_bind().dialect.name])
    for table, columns in INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns), unique=False)


def downgrade() -> None:
    """Go back to messages that only come in; what was to be sent, and patient links, are lost."""
    for table, columns in INDEXES:
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table_name=table)
    for table, column in ADDED:
        op.drop_column(table, column.name)
    op.drop_table("patient_links")
    op.drop_table("deliveries")
    op.rename_table("messages", "messages_after")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE messages_after DROP CONSTRAINT fk_messages_replay_of")
        op.execute("ALTER TABLE messages_after DROP CONSTRAINT fk_messages_draft_id")
        op.execute("ALTER TABLE message_subjects DROP CONSTRAINT fk_message_subjects_message_id")
        op.execute("ALTER TABLE messages_after DROP CONSTRAINT pk_messages")
    op.create_table(
        "messages",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("control_id", sa.Text(), nullable=False),
        sa.Column("message_type", sa.Text(), nullable=False),
        sa.Column("accession", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ack", sa.LargeBinary(), nullable=False),
        sa.Column("replay_of", SERIAL, nullable=True),
        sa.ForeignKeyConstraint(["replay_of"], ["messages.id"], name=op.f("fk_messages_replay_of")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    op.execute(
        "INSERT INTO messages (id, received_at, peer, sender, control_id, message_type, accession, body, "
        "body_sha256, state, reason, ack, replay_of) "
        "SELECT id, received_at, peer, sender, control_id, message_type, coalesce((SELECT accession "
        "FROM message_subjects WHERE message_id = messages_after.id ORDER BY ordinal LIMIT 1), ''), body, "
        "body_sha256, state, reason, ack, CASE WHEN replay_of IN (SELECT id FROM messages_after "
        "WHERE direction = 'in') THEN replay_of END FROM messages_after WHERE direction = 'in' ORDER BY id"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SELECT setval('messages_id_seq', (SELECT coalesce(max(id), 0) + 1 FROM messages), false)")
    op.drop_table("message_subjects")
    op.drop_table("messages_after")
    op.create_index(op.f("ix_messages_accession"), "messages", ["accession"], unique=False)
    op.create_index(op.f("ix_messages_received_at"), "messages", ["received_at"], unique=False)
    op.create_index(op.f("ix_messages_sender_control_id"), "messages", ["sender", "control_id"], unique=False)
