"""No rate is assumed any longer; projects that exist say the one that was."""

import json

import sqlalchemy as sa
from alembic import op

from ml_backend.settings import load_settings

revision = "0003"
down_revision = "0002"

ASSUMED = 50.0


def upgrade() -> None:
    if "sampling_rate" in load_settings().defaults:
        return
    connection = op.get_bind()
    for number, parameters in connection.execute(sa.text("SELECT id, parameters FROM projects")).fetchall():
        kept = json.dumps({"sampling_rate": ASSUMED, **json.loads(parameters or "{}")})
        connection.execute(
            sa.text("UPDATE projects SET parameters = :kept WHERE id = :id"), {"kept": kept, "id": number}
        )


def downgrade() -> None:
    """Nothing to take back: what projects say was true before."""
