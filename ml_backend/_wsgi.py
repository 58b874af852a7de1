"""Gunicorn's entry: `gunicorn --config python:ml_backend.web.server ml_backend._wsgi:app`."""

from ml_backend.jobs import WEB_PATIENCE, runtime
from ml_backend.web import create_app

app = create_app(*runtime(WEB_PATIENCE))
