"""Servers of files and objects on this machine, and what can go wrong between them and their client."""

from __future__ import annotations

import http.client
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Fault = Callable[["Handler"], bool]
"""Answers in place of the server; returns whether it has."""


class Server(ThreadingHTTPServer):
    """Answers on loopback; remembers what it was asked, and fails as a test says.

    Attributes:
        asked: methods and paths.
        faults: by path, those of the next requests; the last one stays.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[[Handler], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.asked: list[tuple[str, str]] = []
        self.faults: dict[str, list[Fault]] = defaultdict(list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def count(self, method: str, ending: str) -> int:
        return sum(one == method and path.endswith(ending) for one, path in self.asked)

    def handle_error(self, *_: object) -> None:
        """A client that has gone, or was sent away."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path))
        faults = self.server.faults.get(path)
        if faults:
            fault = faults.pop(0) if len(faults) > 1 else faults[0]
            if fault(self):
                return
        self.server.answer(self)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def status(code: int, body: bytes = b"") -> Fault:
    """An answer of that status."""

    def fault(handler: Handler) -> bool:
        handler.send(code, body)
        return True

    return fault


def as_usual(_: Handler) -> bool:
    """No fault."""
    return False


def cut(handler: Handler) -> bool:
    """The beginning of an answer, and no more."""
    handler.send_response(200)
    for name, value in {"Content-Length": "5000", "ETag": '"cut"', "Last-Modified": formatdate(1, usegmt=True)}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(b"# The beginning\n\nand ")
    handler.wfile.flush()
    handler.close_connection = True
    handler.connection.close()
    return True


def slow(seconds: float) -> Fault:
    """Silence before the answer."""

    def fault(_: Handler) -> bool:
        time.sleep(seconds)
        return False

    return fault


@contextmanager
def serving(answer: Callable[[Handler], None]) -> Iterator[Server]:
    """A server with a thread of its own."""
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def forward_to(host: str, port: int) -> Callable[[Handler], None]:
    """Answers as another server does."""

    def answer(handler: Handler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        connection = http.client.HTTPConnection(host, port, timeout=10)
        try:
            connection.request(handler.command, handler.path, handler.rfile.read(length), dict(handler.headers.items()))
            got = connection.getresponse()
            body = got.read()
            headers = {
                k: v
                for k, v in got.getheaders()
                if k.lower() not in ("transfer-encoding", "connection", "server", "date")
            }
            handler.send(got.status, body, headers)
        finally:
            connection.close()

    return answer
