"""A proxy in front of Label Studio that loses answers: of every fourth import or upload the one that says it is done;
and that is busy for every seventh other request. Ports: its own, Label Studio's."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import httpx

own, target = int(sys.argv[1]), int(sys.argv[2])
posts, others = count(1), count(1)


class Lossy(BaseHTTPRequestHandler):
    """Forwards what it does not lose."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command != "POST" and next(others) % 7 == 0:
            self.send(429, b"busy", {"Retry-After": "1"})
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        url = f"http://127.0.0.1:{target}{self.path}"
        found = httpx.request(self.command, url, content=body, headers=headers, timeout=60)
        if self.command == "POST" and "/import" in self.path and next(posts) % 4 == 0:
            self.send(502, b"<html>bad gateway of an inner server</html>", {"Content-Type": "text/html"})
            return
        self.send(found.status_code, found.content, {"Content-Type": found.headers.get("content-type", "")})

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


ThreadingHTTPServer(("127.0.0.1", own), Lossy).serve_forever()
