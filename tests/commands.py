"""The `weakhar` command as a user types it, against the servers of a test; in the test's own process, since each new
one loads torch and the SDK anew (the kills, the demo and the tests marked `processes` start real ones)."""

import io
import logging
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from ml_backend.cli import main
from ml_backend.sample import BackendServer


def weakhar(backend: BackendServer, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command with the backend's settings, and those given on top."""
    out, err = io.StringIO(), io.StringIO()
    command, code, root = ["weakhar", *arguments], 0, logging.getLogger()
    with (
        patch.object(sys, "argv", command),
        patch.dict(os.environ, {**backend.environment, **environment}),
        patch.object(root, "handlers", []),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
