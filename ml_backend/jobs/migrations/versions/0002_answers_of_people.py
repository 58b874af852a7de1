"""Who answered and how long it took; projects that exist keep the propagation that they had."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("annotations") as table:
        table.add_column(sa.Column("annotator", sa.Integer))
        table.add_column(sa.Column("seconds", sa.Float))
    connection = op.get_bind()
    for number, parameters in connection.execute(sa.text("SELECT id, parameters FROM projects")).fetchall():
        kept = json.dumps({"propagation": "cluster", **json.loads(parameters or "{}")})
        connection.execute(
            sa.text("UPDATE projects SET parameters = :kept WHERE id = :id"), {"kept": kept, "id": number}
        )


def downgrade() -> None:
    with op.batch_alter_table("annotations") as table:
        table.drop_column("annotator")
        table.drop_column("seconds")
