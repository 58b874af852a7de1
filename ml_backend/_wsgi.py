"""Gunicorn's entry: `gunicorn --config python:ml_backend.web.server ml_backend._wsgi:app`.

Run as a program, as `label-studio-ml start ml_backend` does, it is `weakhar serve`: web server and worker, with the
options that the `_wsgi.py` of other ML backends has.
"""

import argparse
import os
import sys
from pathlib import Path


def main() -> None:
    """`python ml_backend/_wsgi.py --port 9090`."""
    parser = argparse.ArgumentParser(description="weakhar, as `weakhar serve` starts it")
    parser.add_argument("-p", "--port", help="else PORT, else 9090")
    parser.add_argument("--host", default="127.0.0.1", help="others than this machine's want user and password")
    parser.add_argument("--model-dir", help="sets MODEL_DIR")
    parser.add_argument("--log-level", help="sets LOG_LEVEL")
    parser.add_argument("--basic-auth-user", help="sets BASIC_AUTH_USER")
    parser.add_argument("--basic-auth-pass", help="sets BASIC_AUTH_PASS")
    parser.add_argument("-d", "--debug", action="store_true", help="the same as --log-level DEBUG")
    given = vars(parser.parse_args())
    if given.pop("debug"):
        given["log_level"] = "DEBUG"
    port, host = given.pop("port"), given.pop("host")
    os.environ.update({name.upper(): value for name, value in given.items() if value is not None})
    from ml_backend.cli import main as weakhar

    sys.argv = ["weakhar", "serve", "--host", host, *(("--port", port) if port else ())]
    weakhar()


if __name__ == "__main__":
    # The folder of this file comes first on the path then; names of its rooms would hide other packages.
    sys.path[0] = str(Path(__file__).parent.parent)
    main()
else:
    from ml_backend.jobs import WEB_PATIENCE, runtime
    from ml_backend.web import create_app

    app = create_app(*runtime(WEB_PATIENCE))
