"""A webhook on loopback that keeps what it is sent, and answers as scripted."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

SECRET = "T0KEN-s3cret"
"""Part of its path, as in those of Slack: knowing it is enough to post."""


class Webhook:
    """Answers the statuses of ``script`` in turn, then 200.

    Status 0: it hangs up; -1: it answers too late; -2: its answer comes byte by byte, until the client leaves and
    ``left`` is set.
    """

    def __init__(self, script: Sequence[int] = ()) -> None:
        self.script = list(script)
        self.received: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.left = threading.Event()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                webhook.requests.append(("GET", self.path, {}))
                self._answer(200)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                webhook.received.append(json.loads(body))
                headers = {name.lower(): value for name, value in self.headers.items()}
                webhook.requests.append(("POST", self.path, headers))
                status = webhook.script.pop(0) if webhook.script else 200
                if status == -1:
                    threading.Event().wait(0.6)
                    with suppress(OSError):  # the client has left
                        self._answer(200)
                elif status == -2:
                    self._drip()
                elif status:
                    self._answer(status)

            def _drip(self) -> None:
                try:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Header: ")
                    for _ in range(200):
                        self.wfile.write(b"x")
                        threading.Event().wait(0.05)
                except OSError:
                    webhook.left.set()

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/services/{SECRET}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
