"""What is kept of each sign-off, and notices of the FHIR server that wait to be looked at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table; sign-offs of before do not know what they did not measure."""
    with op.batch_alter_table("signoffs") as table:
        table.add_column(sa.Column("signer_role", sa.Text(), nullable=False, server_default=sa.text("''")))
        table.add_column(sa.Column("version", sa.Text(), nullable=False, server_default=sa.text("''")))
        table.add_column(sa.Column("untouched", sa.Boolean(), nullable=True))
        table.add_column(sa.Column("seconds_to_sign", sa.Double(), nullable=True))
        table.add_column(sa.Column("since_previous", sa.Integer(), nullable=True))
    op.create_index(op.f("ix_drafts_reference"), "drafts", ["reference"], unique=False)
    op.create_table(
        "fhir_notices",
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("noticed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("reference", name=op.f("pk_fhir_notices")),
    )


def downgrade() -> None:
    """Take both away."""
    op.drop_table("fhir_notices")
    op.drop_index(op.f("ix_drafts_reference"), table_name="drafts")
    with op.batch_alter_table("signoffs") as table:
        for name in ("since_previous", "seconds_to_sign", "untouched", "version", "signer_role"):
            table.drop_column(name)
