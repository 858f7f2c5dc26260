"""The first tables: messages, studies, cases, drafts, sign-offs, audit log, workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

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

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, make the log append-only, and plant the empty tree."""
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("roots", sa.JSON(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "audit_leaves",
        sa.Column("position", SERIAL, autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("leaf_hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_audit_leaves")),
    )
    op.create_index(op.f("ix_audit_leaves_action"), "audit_leaves", ["action"], unique=False)
    op.create_index(op.f("ix_audit_leaves_at"), "audit_leaves", ["at"], unique=False)
    op.create_index(op.f("ix_audit_leaves_case_id"), "audit_leaves", ["case_id"], unique=False)
    op.create_table(
        "cases",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("accession", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("order", sa.JSON(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("draft_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('RECEIVED', 'READY', 'DRAFTED', 'PUBLISHED', 'SIGNED', "
            "'SUPERSEDED', 'WITHHELD', 'HELD', 'FAILED', 'CANCELLED')",
            name=op.f("ck_cases_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sa.UniqueConstraint("accession", name=op.f("uq_cases_accession")),
    )
    op.create_index(op.f("ix_cases_state"), "cases", ["state"], unique=False)
    op.create_index(op.f("ix_cases_study_instance_uid"), "cases", ["study_instance_uid"], unique=False)
    op.create_index(op.f("ix_cases_updated_at"), "cases", ["updated_at"], unique=False)
    op.create_table(
        "cursors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cursors")),
    )
    op.create_table(
        "messages",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
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
    op.create_index(op.f("ix_messages_accession"), "messages", ["accession"], unique=False)
    op.create_index(op.f("ix_messages_received_at"), "messages", ["received_at"], unique=False)
    op.create_index(op.f("ix_messages_sender_control_id"), "messages", ["sender", "control_id"], unique=False)
    op.create_table(
        "studies",
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("accession", sa.Text(), nullable=False),
        sa.Column("patient_identifier", sa.Text(), nullable=False),
        sa.Column("assigning_authority", sa.Text(), nullable=False),
        sa.Column("modalities", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("instance_count", sa.Integer(), nullable=True),
        sa.Column("announced_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_studies")),
    )
    op.create_index(op.f("ix_studies_accession"), "studies", ["accession"], unique=False)
    op.create_table(
        "workers",
        sa.Column("executor_id", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("executor_id", name=op.f("pk_workers")),
    )
    op.create_table(
        "drafts",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("sections", sa.JSON(), nullable=False),
        sa.Column("sentences", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("conclusion", sa.Text(), nullable=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("text_sha256", sa.Text(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.Column("prompt_version", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("studied_on", sa.Date(), nullable=True),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('preliminary', 'partial')", name=op.f("ck_drafts_status")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_drafts_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drafts")),
        sa.UniqueConstraint("case_id", "number", name=op.f("uq_drafts_case_id_number")),
    )
    op.create_table(
        "pictures",
        sa.Column("draft_id", SERIAL, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("slice_index", sa.Integer(), nullable=False),
        sa.Column("caption", sa.Text(), nullable=False),
        sa.Column("png", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["draft_id"], ["drafts.id"], name=op.f("fk_pictures_draft_id")),
        sa.PrimaryKeyConstraint("draft_id", "ordinal", name=op.f("pk_pictures")),
    )
    op.create_table(
        "signoffs",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("draft_id", SERIAL, nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("signer_identifier", sa.Text(), nullable=False),
        sa.Column("signer_name", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("text_sha256", sa.Text(), nullable=False),
        sa.Column("draft_sha256", sa.Text(), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("edit_distance", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_signoffs_case_id")),
        sa.ForeignKeyConstraint(["draft_id"], ["drafts.id"], name=op.f("fk_signoffs_draft_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signoffs")),
        sa.UniqueConstraint("channel", "evidence", name=op.f("uq_signoffs_channel_evidence")),
    )
    op.create_index(op.f("ix_signoffs_case_id"), "signoffs", ["case_id"], unique=False)
    head = sa.table("audit_head", sa.column("id"), sa.column("size"), sa.column("roots", sa.JSON()))
    op.bulk_insert(head, [{"id": 1, "size": 0, "roots": []}])
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    """Drop everything; the data is lost."""
    op.drop_index(op.f("ix_signoffs_case_id"), table_name="signoffs")
    op.drop_table("signoffs")
    op.drop_table("pictures")
    op.drop_table("drafts")
    op.drop_table("workers")
    op.drop_index(op.f("ix_studies_accession"), table_name="studies")
    op.drop_table("studies")
    op.drop_index(op.f("ix_messages_sender_control_id"), table_name="messages")
    op.drop_index(op.f("ix_messages_received_at"), table_name="messages")
    op.drop_index(op.f("ix_messages_accession"), table_name="messages")
    op.drop_table("messages")
    op.drop_table("cursors")
    op.drop_index(op.f("ix_cases_updated_at"), table_name="cases")
    op.drop_index(op.f("ix_cases_study_instance_uid"), table_name="cases")
    op.drop_index(op.f("ix_cases_state"), table_name="cases")
    op.drop_table("cases")
    op.drop_index(op.f("ix_audit_leaves_case_id"), table_name="audit_leaves")
    op.drop_index(op.f("ix_audit_leaves_at"), table_name="audit_leaves")
    op.drop_index(op.f("ix_audit_leaves_action"), table_name="audit_leaves")
    op.drop_table("audit_leaves")
    op.drop_table("audit_head")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_leaves_append_only()")
