"""The settings, store and queue of this process, made once."""

import logging
from functools import cache

from ml_backend.files import private_folder
from ml_backend.jobs.queue import Jobs
from ml_backend.jobs.store import Store, open_store
from ml_backend.settings import Settings, load_settings

WEB_PATIENCE = 0.7
"""Seconds for which a request waits for another writer: Label Studio's webhook waits for one."""


@cache
def runtime(patience: float = 10.0) -> tuple[Settings, Store, Jobs]:
    """Settings from the environment, and the store and queue they name; `patience` as of Store."""
    settings = load_settings().confine()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("alembic", "huey", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if settings.insecure:
        logging.getLogger(__name__).warning("WEAKHAR_INSECURE: every machine that reaches this one is answered")
    private_folder(settings.model_dir)
    store = open_store(settings.database, settings.model_dir, patience)
    return settings, store, Jobs(settings, store)
