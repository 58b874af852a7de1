"""What the last reconciliation of a whole project found."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("projects") as table:
        table.add_column(sa.Column("sync_found", sa.String, nullable=False, server_default="{}"))


def downgrade() -> None:
    with op.batch_alter_table("projects") as table:
        table.drop_column("sync_found")
