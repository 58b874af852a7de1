"""Gunicorn's entry: `gunicorn --bind :9090 ml_backend._wsgi:app`."""

from ml_backend.app import create_app
from ml_backend.runtime import runtime

app = create_app(*runtime())
