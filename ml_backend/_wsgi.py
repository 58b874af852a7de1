"""Gunicorn's entry: `gunicorn --bind :9090 ml_backend._wsgi:app`."""

from ml_backend.jobs.runtime import runtime
from ml_backend.web.app import create_app

app = create_app(*runtime())
