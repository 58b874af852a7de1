"""Who is let in: everyone from the own machine, with user and password from elsewhere, and Label Studio's webhook,
which sends none, by the secret that its project has.

Enforced in the application itself, so that it holds whichever server runs it.
"""

import hmac
import logging
import threading
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Response, request

from ml_backend.jobs import SECRET_HEADER
from ml_backend.settings import Settings

log = logging.getLogger(__name__)

arriving = threading.local()
"""`late`: the timer that ends this thread's connection unless its request is there in time."""
FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-Ip")


def refusal(settings: Settings) -> Response | None:
    """None where the request is let in; a webhook's secret is checked where its project is known."""
    if request.endpoint == "health":
        return None
    if not settings.auth_required:
        if settings.insecure or _from_here():
            return None
        log.warning("refused %s from %s: no user and password are set", request.path, request.remote_addr)
        return Response(
            "weakhar answers only its own machine until BASIC_AUTH_USER and BASIC_AUTH_PASS are set "
            "(or WEAKHAR_INSECURE=1)\n",
            403,
        )
    if has_password(settings) or (request.endpoint == "webhook" and SECRET_HEADER in request.headers):
        return None
    return unauthorised()


def has_arrived() -> None:
    """Tell the server that the whole request is here, and its answer may take its time."""
    late = getattr(arriving, "late", None)
    if late is not None:
        late.cancel()


def unauthorised() -> Response:
    """Asks for user and password."""
    return Response("authorisation required\n", 401, {"WWW-Authenticate": 'Basic realm="weakhar"'})


def has_password(settings: Settings) -> bool:
    """True if the request brings the right user and password."""
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    user = hmac.compare_digest((given.username or "").encode(), settings.basic_auth_user.encode())
    return user and hmac.compare_digest((given.password or "").encode(), settings.basic_auth_pass.encode())


def has_secret(expected: str) -> bool:
    """True if the request brings its project's secret."""
    return hmac.compare_digest(request.headers.get(SECRET_HEADER, "").encode(), expected.encode())


def from_own_page() -> bool:
    """False for a form that another site's page sent."""
    origin = request.headers.get("Origin")
    if origin is not None and origin != "null":
        return urlsplit(origin).netloc == request.host
    return request.headers.get("Sec-Fetch-Site", "same-origin") in ("same-origin", "none")


def _from_here() -> bool:
    """True if the request reached us at a loopback address, and not through a proxy from elsewhere."""
    if any(name in request.headers for name in FORWARDED):
        return False
    connection = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    getsockname: Callable[[], object] | None = getattr(connection, "getsockname", None)
    address = getsockname() if getsockname is not None else (request.remote_addr or "",)
    if isinstance(address, tuple) and address:
        try:
            return ip_address(str(address[0]).partition("%")[0]).is_loopback
        except ValueError:
            return False
    return isinstance(address, (str, bytes))  # a Unix socket
