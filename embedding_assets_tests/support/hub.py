"""A model hub on the loopback interface that serves one folder, or misbehaves."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/tiny"


class Hub(ThreadingHTTPServer):
    """``status`` is the answer to everything, unless it is 200; ``hanging`` means no answer at all."""

    daemon_threads = True

    def __init__(self, folder: Path | None = None, *, status: int = 200, code: str = "", hanging: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.status, self.code, self.hanging = folder, status, code, hanging
        self.released = threading.Event()
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def serving(self) -> Iterator["Hub"]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self.shutdown()
            thread.join()
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        self.server.paths.append(self.path)
        if self.server.hanging:
            self.server.released.wait(60)
            self.close_connection = True
            return
        status, headers, body = self._response()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _response(self) -> tuple[int, dict[str, str], bytes]:
        hub, path = self.server, self.path.partition("?")[0]
        if hub.status != 200 or hub.folder is None:
            return hub.status, {"X-Error-Code": hub.code} if hub.code else {}, b""
        files = {file.relative_to(hub.folder).as_posix(): file for file in hub.folder.rglob("*") if file.is_file()}
        if path.startswith(f"/api/models/{NAME}/tree/"):
            tree = [{"type": "file", "path": name, "size": file.stat().st_size, "oid": _etag(file)}
                    for name, file in files.items()]  # fmt: skip
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        if path.startswith(f"/api/models/{NAME}"):
            return 200, {"Content-Type": "application/json"}, json.dumps({"id": NAME, "sha": COMMIT}).encode()
        name = path.removeprefix(f"/{NAME}/resolve/{COMMIT}/")
        if name in files:
            return 200, {"ETag": f'"{_etag(files[name])}"', "X-Repo-Commit": COMMIT}, files[name].read_bytes()
        return 404, {"X-Error-Code": "EntryNotFound"}, b""


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
