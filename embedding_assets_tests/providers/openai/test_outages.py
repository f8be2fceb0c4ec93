"""A server that is down, for a while, for good, or for one text only."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence

import psycopg
import pytest

from embedding_assets.errors import ProviderError, ProviderUnavailableError
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.openai.gate import PROBE
from embedding_assets_tests.support.api_runs import usage
from embedding_assets_tests.support.calls import Result, assert_embedded, embed, make_provider
from fake_api.server import ApiServer, Fault

TEXTS = [f"text {number}" + " and more" * (number % 5) for number in range(100)]


UNAVAILABLE = r"127.0.0.1:\d+ has been failing for \d s.*EMBEDDING_OPENAI_RETRY_SECONDS, or set EMBEDDING_FALLBACK"


@pytest.mark.usefixtures("impatient")
def test_an_outage_that_does_not_pass(server: ApiServer, database: Database, beside: psycopg.Connection):
    server.outage = True
    # One at a time: another that is cancelled in flight would stay counted, as presumed.
    provider = make_provider(server, database, max_inputs=10, concurrency=1, retry_seconds=2)
    started = time.monotonic()
    with pytest.raises(ProviderUnavailableError, match=UNAVAILABLE) as caught:
        embed(provider, TEXTS)
    assert time.monotonic() - started >= 2
    assert caught.value.__context__ is None
    assert usage(beside) == {}
    # A later process knows at once.
    asked = server.requests
    with pytest.raises(ProviderUnavailableError, match=UNAVAILABLE):
        embed(provider, TEXTS[:1])
    assert server.requests <= asked + 1


@pytest.mark.usefixtures("impatient")
def test_an_outage_that_passes(server: ApiServer, database: Database, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "embedding_assets")
    server.outage = True
    provider = make_provider(server, database, max_inputs=10, retry_seconds=60)
    timer = threading.Timer(2, lambda: setattr(server, "outage", False))
    timer.start()
    result = embed(provider, TEXTS)
    timer.join()
    assert_embedded(result, TEXTS)
    assert result.errors == {}
    assert server.seen == Counter([*TEXTS, PROBE.text])
    assert "waiting" in caplog.text
    assert "for the end of an outage" in caplog.text
    assert "(status 503, type server_error), trying again in 0.0 s (attempt 1)" in caplog.text
    # The circuit breaker does not let them all through again and again.
    assert server.requests < 40


@pytest.mark.usefixtures("impatient")
def test_a_machine_that_is_down_was_asked_nothing(server: ApiServer, database: Database, beside: psycopg.Connection):
    provider = make_provider(server, database, max_inputs=10, retry_seconds=60)
    server.hang_up()
    timer = threading.Timer(2, server.listen)
    timer.start()
    result = embed(provider, TEXTS)
    timer.join()
    assert_embedded(result, TEXTS)
    assert set(usage(beside)) == {"settled"}
    assert result.usd == pytest.approx(float(server.bill_usd))


def test_without_patience_the_first_failure_is_an_outage(server: ApiServer, database: Database):
    server.outage = True
    with pytest.raises(ProviderUnavailableError, match="last: status 503"):
        embed(make_provider(server, database, retry_seconds=0), ["text"])
    assert server.requests == 1


def test_an_answer_that_takes_too_long(server: ApiServer, database: Database, beside: psycopg.Connection):
    server.faults.script.append(Fault.HANG)
    provider = make_provider(server, database, retry_seconds=0, timeout_seconds=0.3)
    with pytest.raises(ProviderUnavailableError, match=r"last: ReadTimeout"):
        embed(provider, ["text"])
    assert usage(beside)["presumed"].requests == 1


def test_an_answer_that_trickles_in(server: ApiServer, database: Database):
    """Every byte may come in time, and the answer still take forever."""
    with Trickling() as url:
        provider = make_provider(
            server, database, base_url=url, retry_seconds=0, timeout_seconds=0.5, connect_timeout_seconds=0.5
        )
        with pytest.raises(ProviderUnavailableError, match="last: no answer in time"):
            embed(provider, ["text"])


class Trickling:
    """A server that answers with a byte every tenth of a second."""

    def __enter__(self) -> str:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            while not self._stopped.wait(0.1):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.DROP_BEFORE], ids=lambda fault: fault.value)
def test_a_text_that_brings_the_server_down(fault: Fault, server: ApiServer, database: Database):
    texts = [*TEXTS[:5], f"bad {fault.marker}", *TEXTS[5:8]]
    result = embed(make_provider(server, database), texts)
    assert result.errors == {5: "server_error"}
    assert_embedded(result, texts, but=[5])


@pytest.mark.usefixtures("impatient")
def test_a_text_that_brings_the_server_down_when_patience_ends_early(server: ApiServer, database: Database):
    texts = [f"bad {Fault.HANG.marker}"]
    provider = make_provider(server, database, timeout_seconds=1.5, retry_seconds=0.1)
    # The first failure might be an outage; at the second, something else is tried.
    assert embed(provider, texts).errors == {0: "server_error"}
    assert server.seen.keys() == {PROBE.text}
    assert server.requests <= 4


@pytest.mark.usefixtures("impatient")
def test_faults_of_all_kinds_at_once(server: ApiServer, database: Database, beside: psycopg.Connection):
    server.faults.share = 0.2
    bad = {7: Fault.REFUSED, 60: Fault.REFUSED}
    texts = [f"{text} {bad[index].marker}" if index in bad else text for index, text in enumerate(TEXTS)]
    provider = make_provider(server, database, max_inputs=3, timeout_seconds=0.5, connect_timeout_seconds=0.5)
    result = embed(provider, texts)
    assert result.errors == {7: "refused", 60: "refused"}
    assert_embedded(result, texts, but=list(bad))
    total = sum(state.usd for state in usage(beside).values())
    assert result.usd == pytest.approx(float(total))


def test_an_address_that_redirects_is_not_followed(server: ApiServer, database: Database):
    with (
        Redirecting(server.url) as url,
        pytest.raises(ProviderError, match=r"\(status 307\); check EMBEDDING_OPENAI_B"),
    ):
        embed(make_provider(server, database, base_url=url), ["text"])
    assert server.requests == 0


class Redirecting:
    """A server that sends everybody elsewhere."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __enter__(self) -> str:
        target = self._target

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(307)
                self.send_header("Location", target + "/embeddings")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.mark.usefixtures("impatient")
def test_an_outage_while_a_bad_text_is_looked_for(
    server: ApiServer, database: Database, monkeypatch: pytest.MonkeyPatch
):
    texts = [*TEXTS[:20], f"bad {Fault.SERVER_ERROR.marker}", *TEXTS[20:]]
    choose = server.faults.choose

    def choose_and_go_down(texts: Sequence[str]) -> tuple[Fault | None, int]:
        # After the whole, a probe, and the first halves.
        server.outage = server.requests >= 9
        return choose(texts)

    monkeypatch.setattr(server.faults, "choose", choose_and_go_down)
    before = Result()
    with pytest.raises(ProviderUnavailableError):
        embed(make_provider(server, database, retry_seconds=10), texts, into=before)
    assert before.errors == {}
    assert server.requests > 10
