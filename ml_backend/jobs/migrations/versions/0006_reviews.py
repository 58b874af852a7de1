"""The project in Label Studio where recordings are gone through, and the regions that an annotation draws."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("projects") as table:
        table.add_column(sa.Column("review_project", sa.BigInteger, nullable=True))
    with op.batch_alter_table("annotations") as table:
        table.add_column(sa.Column("regions", sa.String, nullable=False, server_default="[]"))


def downgrade() -> None:
    with op.batch_alter_table("annotations") as table:
        table.drop_column("regions")
    with op.batch_alter_table("projects") as table:
        table.drop_column("review_project")
