"""The `weakhar` command, run as a user would, against the servers of a test."""

import os
import subprocess
import sys

from ml_backend.sample import BackendServer


def weakhar(backend: BackendServer, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command with the backend's settings, and those given on top."""
    command = [sys.executable, "-m", "ml_backend.cli", *arguments]
    variables = {**os.environ, **backend.environment, **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
