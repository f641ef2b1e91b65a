"""A small HTTP server for one page, on the loopback interface; every request is checked before it is answered."""

from __future__ import annotations

import json
import secrets
import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from examples.bn_lab.channel import drawing
from examples.bn_lab.fields import Refused
from examples.bn_lab.sessions import REQUESTS, Lab

HERE = Path(__file__).parent
BODY, CONNECTIONS, PATIENCE = 64 * 1024, 32, 5.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def page(exported: bool = False) -> str:
    """The page; if exported with the JavaScript that computes one channel, so that it needs no server."""
    text, (svg, equations) = (HERE / "page.html").read_text("utf-8"), drawing()
    text = text.replace("<!-- graph -->", svg).replace("/* equations */", json.dumps(equations))
    return text.replace("/* offline */", (HERE / "offline.js").read_text("utf-8") * exported)


class Server(ThreadingHTTPServer):
    """Answers in threads, a bounded number of them."""

    daemon_threads, request_queue_size = True, 64

    def __init__(self, port: int = 0) -> None:
        self.lab, self.page, self.token = Lab(), page(), secrets.token_urlsafe(24)
        #: open connections, and since when each is waited for; infinity once its request is complete
        self.waiting: dict[socket.socket, float] = {}
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)
        self.hosts = [f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")]
        self.origins = [f"http://{host}" for host in self.hosts]
        self.address = f"{self.origins[0]}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread; where too many are busy, close the connection that has been silent for longest."""
        with self.lock:
            self.waiting[request] = time.monotonic()
            if len(self.waiting) > CONNECTIONS:
                self.drop(min(self.waiting, key=self.waiting.__getitem__))
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Run by ``serve_forever``, twice a second at least."""
        with self.lock:
            late = time.monotonic() - PATIENCE
            for request in [s for s, since in self.waiting.items() if since < late]:
                self.drop(request)
        self.lab.forget_silent_pages()

    def drop(self, request: socket.socket) -> None:
        """Shut a connection down, so that the thread that reads from it ends."""
        del self.waiting[request]
        body = encoded({"error": "too slow, or too many connections"})
        with suppress(OSError):
            request.settimeout(0.1)
            request.sendall(b"HTTP/1.0 503 Service Unavailable\r\n\r\n" + body)
            request.shutdown(socket.SHUT_RDWR)

    def close_request(self, request: Any) -> None:
        with self.lock:
            self.waiting.pop(request, None)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about connections that were cut; all else is a bug."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = PATIENCE
    server_version, sys_version = "bn_lab", ""

    def do_GET(self) -> None:
        if self.permitted():
            raise Refused(404, "there is one page")
        nonce = secrets.token_urlsafe(16)
        self.reply(200, self.server.page.replace("NONCE", nonce).encode(), nonce)

    def do_POST(self) -> None:
        if (name := self.permitted()) not in REQUESTS:
            raise Refused(404, "there is no such request")
        body = self.body()
        with self.server.lock:
            if self.connection in self.server.waiting:
                self.server.waiting[self.connection] = float("inf")
        self.reply(200, encoded(self.server.lab.answer(name, body)))

    def permitted(self) -> str:
        """The path below the token, of a request that comes from the page itself."""
        if self.headers.get_all("Host") not in [[host] for host in self.server.hosts]:
            raise Refused(403, "Host: expected the address that the program printed")
        if self.headers.get("Origin", self.server.origins[0]) not in self.server.origins:
            raise Refused(403, "Origin: expected the page itself")
        _, token, *rest = [*self.path.split("/"), ""]
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(403, "expected the token of the address that the program printed")
        return "/".join(rest).removesuffix("/")

    def body(self) -> bytes:
        length = self.headers.get("Content-Length")
        if length is None or "Transfer-Encoding" in self.headers:
            raise Refused(411, "expected Content-Length")
        if not (length.isascii() and length.isdigit() and len(length) < 12):
            raise Refused(400, "Content-Length: expected a number of bytes")
        if int(length) > BODY:
            raise Refused(413, f"expected at most {BODY} bytes")
        return self.rfile.read(int(length))

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except Refused as refused:
            self.reply(refused.status, encoded(refused.content))

    def reply(self, status: int, body: bytes, nonce: str = "") -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value.format(nonce))
        kind = "text/html; charset=utf-8" if nonce else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """For malformed requests, and methods other than GET and POST."""
        self.reply(code, encoded({"error": message or "malformed request"}))

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def encoded(content: dict[str, Any]) -> bytes:
    return json.dumps(content, allow_nan=False).encode()
