"""What is wrong with the connection to a project's Label Studio."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("projects") as table:
        table.add_column(sa.Column("connection", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("projects") as table:
        table.drop_column("connection")
