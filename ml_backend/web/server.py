"""How gunicorn serves the application; and its worker, which closes a connection that does not send its request.

`gunicorn --config python:ml_backend.web.server ml_backend._wsgi:app`; `--bind`, `--workers`, `--threads` as usual.
"""

import gc
import socket
import sys
from contextlib import suppress
from threading import Timer
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from ml_backend.web.doors import arriving

SECONDS_TO_SEND = 10.0
"""For a request's head and body: a thread waits for them, and there are few."""

worker_class = "ml_backend.web.server.PunctualWorker"
timeout = 120
control_socket_disable = True


def post_worker_init(_worker: Any) -> None:
    """Threads that answer need the interpreter for moments; the one that makes pages lets them in more often. What
    was imported stays: looking through it for what may go would hold all of them for a tenth of a second."""
    sys.setswitchinterval(0.0005)
    gc.freeze()


class PunctualWorker(ThreadWorker):  # type: ignore[misc, unused-ignore]
    """gunicorn's worker with threads, of which those who send half a request take none for long."""

    def handle(self, conn: TConn) -> Any:
        """One request, in a thread; the application tells when it has all of it."""
        arriving.late = Timer(SECONDS_TO_SEND, _hang_up, (conn.sock,))
        arriving.late.daemon = True
        arriving.late.start()
        try:
            return super().handle(conn)
        finally:
            arriving.late.cancel()


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
