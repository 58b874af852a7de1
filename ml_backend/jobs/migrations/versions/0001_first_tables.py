"""Projects, jobs, leases, tasks and annotations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        *[sa.Column(name, sa.String, nullable=False) for name in ("title", "label_config", "parameters", "dataset")],
        *[sa.Column(name, sa.String, nullable=False) for name in ("hostname", "access_token", "backend_url")],
        sa.Column("synced_at", sa.Float),
    )
    op.create_table(
        "jobs",
        sa.Column("project_id", sa.Integer, primary_key=True, autoincrement=False),
        *[sa.Column(name, sa.String, nullable=False) for name in ("state", "step", "message")],
        *[sa.Column(name, sa.Float, nullable=False) for name in ("done", "total", "changed_at")],
    )
    op.create_table(
        "leases",
        sa.Column("project_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
    op.create_table(
        "tasks",
        sa.Column("project_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("participant", sa.String, nullable=False),
        sa.Column("clip", sa.String, nullable=False),
    )
    op.create_table(
        "annotations",
        sa.Column("project_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("task_id", sa.Integer),
        sa.Column("choice", sa.String),
        sa.Column("skipped", sa.Boolean, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        *[sa.Column(name, sa.Float, nullable=False) for name in ("updated_at", "received_at")],
    )


def downgrade() -> None:
    for table in ("annotations", "tasks", "leases", "jobs", "projects"):
        op.drop_table(table)
