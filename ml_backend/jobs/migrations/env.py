"""Alembic's entry: runs the migrations on the URL that store.open_store gives."""

from alembic import context
from sqlalchemy import create_engine

from ml_backend.jobs.store import Base

engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "")
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
engine.dispose()
