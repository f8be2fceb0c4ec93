"""A real HTTP server with ``/rerank``, in the dialects there are: it scores a text by the question's words in it."""

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class RerankingServer:
    """Answers as TEI does where a request has ``texts``, and as Cohere does where it has ``documents``.

    Attributes:
        requests: path, headers and body of each.
        statuses: sent instead of an answer, one a request, the first ones first.
        spoil: what becomes of an answer before it is sent.
        seconds: waited before each answer.
        clients: closed with it.
    """

    def __init__(self, *, spoil: Callable[[Any], Any] = lambda answer: answer, seconds: float = 0) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.statuses: list[int] = []
        self.spoil = spoil
        self.seconds = seconds
        self.clients: list[Any] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append((self.path, dict(self.headers), body))
                time.sleep(server.seconds)
                status = server.statuses.pop(0) if server.statuses else 200
                sent = server.spoil(answer_to(body)) if status == 200 else {"error": f"about {body['query']}"}
                content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def answer_to(body: dict[str, Any]) -> Any:
    """An honest answer, best first as servers give it."""
    texts = body["texts"] if "texts" in body else body["documents"]
    scores = sorted(((overlap(body["query"], text), index) for index, text in enumerate(texts)), key=lambda s: -s[0])
    if "texts" in body:
        return [{"index": index, "score": score} for score, index in scores]
    return {"results": [{"index": index, "relevance_score": score} for score, index in scores]}


def overlap(question: str, text: str) -> float:
    """Share of the question's words that a text has."""
    words = set(re.findall(r"\w+", question.lower()))
    return len(words & set(re.findall(r"\w+", text.lower()))) / max(1, len(words))
