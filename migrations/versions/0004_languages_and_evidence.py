"""In what language a draft is written and how sure it is, and which finding a picture shows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; every draft of before is English, and none said how sure it is."""
    with op.batch_alter_table("drafts") as table:
        table.add_column(sa.Column("language", sa.Text(), nullable=False, server_default=sa.text("'en'")))
        table.add_column(sa.Column("confidence", sa.Double(), nullable=True))
    with op.batch_alter_table("pictures") as table:
        table.add_column(sa.Column("finding", sa.Text(), nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    """Take them away."""
    with op.batch_alter_table("pictures") as table:
        table.drop_column("finding")
    with op.batch_alter_table("drafts") as table:
        table.drop_column("confidence")
        table.drop_column("language")
