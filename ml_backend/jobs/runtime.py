"""The settings, store and queue of this process, made once."""

import logging
from functools import cache

from ml_backend.jobs.queue import Jobs
from ml_backend.jobs.store import Store, open_store
from ml_backend.settings import Settings, load_settings


@cache
def runtime() -> tuple[Settings, Store, Jobs]:
    """Settings from the environment, and the store and queue they name."""
    settings = load_settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("alembic", "huey", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    store = open_store(settings.database, settings.model_dir)
    return settings, store, Jobs(settings, store)
