"""Gunicorn's entry: `gunicorn --bind :9090 ml_backend._wsgi:app`."""

from ml_backend.jobs import runtime
from ml_backend.web import create_app

app = create_app(*runtime())
