"""Answers as they were given, what choices mean, and who owns a parameter; numbers beyond 2³¹."""

import json

import sqlalchemy as sa
from alembic import op
from defusedxml.ElementTree import fromstring

revision = "0004"
down_revision = "0003"

NUMBERS = {
    "projects": ("id",),
    "jobs": ("project_id",),
    "leases": ("project_id",),
    "tasks": ("project_id", "id"),
    "annotations": ("project_id", "id", "task_id", "annotator"),
}
MIXED = ("mixed / can't tell", "mixed")


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for name, columns in NUMBERS.items():
            for column in columns:
                op.alter_column(name, column, type_=sa.BigInteger)
    with op.batch_alter_table("projects") as table:
        for name in ("set_parameters", "meanings", "classes_seen"):
            table.add_column(sa.Column(name, sa.String, nullable=False, server_default="{}"))
        table.add_column(sa.Column("withdrawn", sa.String, nullable=False, server_default="[]"))
    with op.batch_alter_table("annotations") as table:
        table.add_column(sa.Column("given", sa.String, nullable=False, server_default="[]"))
    with op.batch_alter_table("projects") as table:
        for name in ("sync_first_asked", "sync_last_asked"):
            table.add_column(sa.Column(name, sa.Float))
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("deaths", sa.BigInteger, nullable=False, server_default="0"))
        table.add_column(sa.Column("cancelled", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "secrets",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    for project, number, choice in connection.execute(
        sa.text("SELECT project_id, id, choice FROM annotations WHERE choice IS NOT NULL")
    ).fetchall():
        given = json.dumps([["", [[choice]]]], ensure_ascii=False)
        connection.execute(
            sa.text("UPDATE annotations SET given = :given WHERE project_id = :project AND id = :id"),
            {"given": given, "project": project, "id": number},
        )
    with op.batch_alter_table("annotations") as table:
        table.drop_column("choice")
    for number, parameters, config in connection.execute(
        sa.text("SELECT id, parameters, label_config FROM projects")
    ).fetchall():
        # Nobody knows any more what was typed as Extra params: until they are seen again, all stays in force.
        connection.execute(
            sa.text("UPDATE projects SET set_parameters = :set, parameters = '{}', meanings = :means WHERE id = :id"),
            {"set": parameters or "{}", "means": json.dumps(undecided(config), ensure_ascii=False), "id": number},
        )


def undecided(label_config: str) -> dict[str, None]:
    """Choices that were taken to say that a clip shows no class, and may be one."""
    try:
        root = fromstring(label_config)
    except Exception:  # a config that cannot be read has no choices
        return {}
    said = [(choice.get("alias") or choice.get("value") or "").strip() for choice in root.iter("Choice")]
    return {text: None for text in said if text.lower().startswith("mixed") and text.lower() not in MIXED}


def downgrade() -> None:
    with op.batch_alter_table("annotations") as table:
        table.add_column(sa.Column("choice", sa.String))
        table.drop_column("given")
    with op.batch_alter_table("projects") as table:
        for name in (
            "set_parameters",
            "meanings",
            "classes_seen",
            "withdrawn",
            "sync_first_asked",
            "sync_last_asked",
        ):
            table.drop_column(name)
    with op.batch_alter_table("jobs") as table:
        table.drop_column("deaths")
        table.drop_column("cancelled")
    op.drop_table("secrets")
