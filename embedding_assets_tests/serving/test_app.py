"""The service over HTTP, on a real socket."""

import json
import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.space_selection import Selection
from embedding_assets.retrieval import Answer, SearchResult
from embedding_assets_tests.serving.conftest import TEXTS
from embedding_assets_tests.support.fakes import FakeProvider, hash_of, insert_chunks
from embedding_assets_tests.support.serving import served, with_limits

JSON = {"content-type": "application/json"}
PROBLEM = "application/problem+json"


def ask(client: httpx2.Client, **question: object) -> httpx2.Response:
    return client.post("/search", json=question)


def test_post(client: httpx2.Client):
    response = ask(client, query="text 7", k=3, mode="vector")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    document = response.json()
    assert document["notes"] == []
    first, *others = document["results"]
    assert first["text"] == "text 7"
    assert (first["source"], first["title"], first["metadata"]["year"]) == ("a.md", "A", 2024)
    assert first["chunk_hash"] == hash_of("text 7")
    assert first.keys() == set(SearchResult.__dataclass_fields__)
    assert first["score"] == pytest.approx(1, abs=1e-5)
    assert len(others) == 2
    assert document.keys() == set(Answer.__dataclass_fields__)
    assert document["mode"] == "vector"


def test_get_is_the_same(client: httpx2.Client):
    by_address = client.get("/search", params={"q": "text 7", "k": 3, "mode": "vector"}).json()
    assert by_address == ask(client, query="text 7", k=3, mode="vector").json()


@pytest.mark.parametrize("where", ["lang=de", ["lang=de"], {"lang": "de"}])
def test_conditions(client: httpx2.Client, where: object):
    found = ask(client, query="text 7", k=30, mode="vector", where=where).json()["results"]
    assert {one["text"] for one in found} == set(TEXTS[20:])


def test_conditions_in_an_address(client: httpx2.Client):
    found = client.get("/search?q=text+7&k=30&where=lang%3Den&where=year%3E2023").json()["results"]
    assert {one["metadata"]["lang"] for one in found} == {"en"}
    assert client.get("/search?q=text+7&where=lang%3Den&where=year%3E2024").json()["results"] == []
    assert len(ask(client, query="text 7", k=30, where={"year": 2024}).json()["results"]) == 20
    assert len(ask(client, query="text 7", k=30, where={"lang": ["en", "de"]}).json()["results"]) == 30
    assert len(ask(client, query="text 7", k=30, where={"year": None}).json()["results"]) == 10
    assert len(ask(client, query="text 7", k=30, where={"metadata": {"year": 2024}}).json()["results"]) == 20


def test_every_part_of_a_question(client: httpx2.Client):
    whole = {
        "query": "text 7",
        "k": 2,
        "mode": "hybrid",
        "where": ["lang=en", "year>2023"],
        "min_score": -1,
        "context": 1,
        "rerank": False,
        "compare": True,
        "ef_search": 100,
    }
    document = ask(client, **whole).json()
    assert (document["results"][0]["text"], document["results"][0]["text_rank"]) == ("text 7", 1)
    scores = document["random_scores"]
    assert scores["chunks"] == 30
    assert 0 <= scores["high"] - (scores["mean"] + 3 * scores["spread"]) < 0.01
    assert ask(client, query="text 7").json()["random_scores"] == scores, "it is said without being asked for"
    assert ask(client, query="text 7", compare=False).json()["random_scores"] is None
    assert ask(client, query="text 7", mode="text").json()["random_scores"] is None
    parameters = {name: str(value).lower() for name, value in whole.items() if name not in ("query", "where")}
    by_address = client.get("/search", params=[*parameters.items(), ("q", "text 7"), ("where", "lang=en")])
    assert by_address.json()["results"] == document["results"]
    assert ask(client, query="text 7", rerank=True).status_code == 400


BAD = [
    (b"", "body"),
    (b"{", "body"),
    (b"[]", "body"),
    (b'"text"', "body"),
    (b"\xff\xfe", "body"),
    (b'{"query": "\\ud800"}', "body"),
    (b"{}", "query"),
    (b'{"query": 7}', "query"),
    (b'{"query": ""}', "query"),
    (json.dumps({"query": "a" * 10_001}).encode(), "query"),
    (b'{"query": "a", "k": 0}', "k"),
    (b'{"query": "a", "k": 1001}', "k"),
    (b'{"query": "a", "k": "5"}', "k"),
    (b'{"query": "a", "k": 1.5}', "k"),
    (b'{"query": "a", "k": true}', "k"),
    (b'{"query": "a", "mode": "magic"}', "mode"),
    (b'{"query": "a", "where": 7}', "where"),
    (b'{"query": "a", "ef_search": 0}', "ef_search"),
    (b'{"query": "a", "min_score": NaN}', "min_score"),
    (b'{"query": "a", "context": 11}', "context"),
    (b'{"query": "a", "limit": 5}', "limit"),
]


@pytest.mark.parametrize(("body", "field"), BAD)
def test_bodies_that_are_no_question(client: httpx2.Client, body: bytes, field: str):
    response = client.post("/search", content=body, headers=JSON)
    assert (response.status_code, response.headers["content-type"]) == (400, PROBLEM)
    document = response.json()
    assert [error["field"] for error in document["errors"]] == [field]
    assert document["status"] == 400
    assert "pydantic" not in response.text


@pytest.mark.parametrize(
    ("question", "detail"),
    [
        ({"query": " \n"}, "the query is empty"),
        ({"query": "\x00"}, "no character that is text"),
        ({"query": "a", "space": "none-of-these"}, "none-of-these"),
        ({"query": "a", "where": ["lang"]}, "'lang' is not a condition"),
        ({"query": "a", "where": {"lang": []}}, "several of them in a list"),
        ({"query": "a", "where": {"lang": {}}}, "several of them in a list"),
        ({"query": "a", "where": {"a": {str(n): n for n in range(51)}}}, "where has 51 conditions"),
        ({"query": "a", "where": "year<"}, "has nothing behind its <"),
    ],
)
def test_questions_that_are_refused(client: httpx2.Client, question: dict[str, object], detail: str):
    response = ask(client, **question)
    assert response.status_code == 400
    assert detail in response.json()["detail"]


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("/search", "q"),
        ("/search?q=", "q"),
        ("/search?q=a&k=many", "k"),
        ("/search?q=a&k=0", "k"),
        ("/search?q=a&q=b", "q is given twice"),
        ("/search?q=a&query=b", "query is given twice"),
        ("/search?q=a&nothing=b", "nothing"),
    ],
)
def test_addresses_that_are_no_question(client: httpx2.Client, address: str, word: str):
    response = client.get(address)
    assert (response.status_code, response.headers["content-type"]) == (400, PROBLEM)
    assert word in response.text


def test_what_is_not_there(client: httpx2.Client):
    assert (client.get("/nothing").status_code, client.get("/nothing").headers["content-type"]) == (404, PROBLEM)
    wrong = client.delete("/search")
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, PROBLEM)
    assert {method.strip() for method in wrong.headers["allow"].split(",")} >= {"GET", "POST"}
    assert client.get("/mcp").status_code == 405
    assert client.post("/search", content=b"{}").status_code == 415
    assert client.post("/search", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415


def test_bodies_that_are_too_large(client: httpx2.Client):
    body = b" " * 300_000
    assert client.post("/search", content=body, headers=JSON).status_code == 413
    pieces = (body[:100_000] for _ in range(3))  # without a length
    assert client.post("/search", content=pieces, headers=JSON).status_code == 413
    assert ask(client, query="text 7").status_code == 200


def test_a_failure_shows_nothing(
    client: httpx2.Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    def fail(_: Selection) -> FakeProvider:
        raise RuntimeError("a secret of 0123456789")

    monkeypatch.setattr(Selection, "open_provider", fail)
    with caplog.at_level(logging.DEBUG):
        response = ask(client, query="my own words")
    assert (response.status_code, response.headers["content-type"]) == (500, PROBLEM)
    assert "RuntimeError at test_app.py" in caplog.text
    for text in (response.text, caplog.text):
        assert "0123456789" not in text
        assert "my own words" not in text
        assert "Traceback" not in text


def test_the_log_says_what_was_asked_without_the_question(client: httpx2.Client, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "embedding_assets"):
        response = client.get("/search?q=my+own+words")
        ask(client, query="others of mine")
        client.get("/a-path-of-mine")
    assert response.headers["x-request-id"]
    deadline = time.monotonic() + 180
    for line in ("GET /search 200", "POST /search 200", "GET other 404"):
        while line not in caplog.text:  # it is written when the response has gone
            assert time.monotonic() < deadline, line
            time.sleep(0.02)
    assert not any(word in caplog.text for word in ("own", "others", "a-path-of-mine"))


def test_the_description_and_the_page(client: httpx2.Client):
    described = client.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    assert described["paths"].keys() >= {"/search", "/healthz", "/metrics"}
    result = described["components"]["schemas"]["SearchResult"]
    assert result["properties"].keys() == set(SearchResult.__dataclass_fields__)
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    # It fetches nothing, from wherever.
    assert not any(word in page.text for word in ("<script", "<link", "<img", "src=", "@import", "//cdn"))
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert f"{str(client.base_url).rstrip('/')}/mcp" in page.text


def test_nothing_is_embedded_yet_and_then_is(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("embedding_assets.serving.backend._AGAIN_SECONDS", 0.2)
    with served(settings, ready=False) as client:
        assert client.get("/healthz/live").json() == {"live": True}
        deadline = time.monotonic() + 180
        while client.get("/healthz").json()["state"] == "starting" and time.monotonic() < deadline:
            time.sleep(0.05)
        health = client.get("/healthz")
        assert (health.status_code, health.json()["state"]) == (503, "nothing embedded")
        refused = client.get("/search?q=a")
        assert (refused.status_code, refused.headers["content-type"]) == (503, PROBLEM)
        assert int(refused.headers["retry-after"]) > 0
        assert "nothing embedded" in refused.json()["detail"]
        fake = FakeProvider()
        insert_chunks(database, ["text 7"])
        EmbeddingGenerator(
            settings.with_embedding(new_space=True), database=database, provider=fake
        ).generate_embeddings_batch()
        monkeypatch.setattr(Selection, "open_provider", lambda _: fake)
        while client.get("/healthz").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.get("/search?q=text+7").json()["results"][0]["text"] == "text 7"


class Slow(FakeProvider):
    """Embeds questions when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def embed(self, texts, *, query=False):
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        assert self.may.wait(180)
        with self._lock:
            self.at_once -= 1
        return super().embed(texts, query=query)


def test_too_many_at_once_are_sent_away(settings: Settings, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch):
    with served(with_limits(settings, concurrency=2)) as client:
        slow = Slow()
        monkeypatch.setattr(Selection, "open_provider", lambda _: slow)
        with ThreadPoolExecutor(10) as pool:
            waiting = [pool.submit(client.get, "/search?q=text+7&k=1") for _ in range(10)]
            deadline = time.monotonic() + 180
            while "searches_in_flight 10.0" not in client.get("/metrics").text and time.monotonic() < deadline:
                time.sleep(0.05)
            sent_away = client.get("/search?q=text+8")
            assert (sent_away.status_code, sent_away.headers["retry-after"]) == (503, "1")
            assert client.get("/healthz").status_code == 200
            slow.may.set()
            answers = [one.result() for one in waiting]
        assert slow.most_at_once == 2
        assert [answer.json()["results"][0]["text"] for answer in answers] == ["text 7"] * 10
        assert client.get("/search?q=text+8&k=1").json()["results"][0]["text"] == "text 8"
        metrics = client.get("/metrics").text
        assert 'search_seconds_count{mode="hybrid",outcome="busy"} 1.0' in metrics


def test_a_search_that_takes_too_long(
    settings: Settings, provider: FakeProvider, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    """Its statement is cancelled, and its place is free again."""
    with served(with_limits(settings, concurrency=1, timeout_seconds=4)) as client:
        with beside.transaction():
            beside.execute("LOCK TABLE knowledge_base IN ACCESS EXCLUSIVE MODE")
            late = client.get("/search?q=text+7")
            assert (late.status_code, late.headers["content-type"]) == (504, PROBLEM)
            deadline = time.monotonic() + 180
            while "searches_in_flight 0.0" not in client.get("/metrics").text:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert client.get("/search?q=text+7&k=1").json()["results"][0]["text"] == "text 7"


def test_connections_that_are_lost(client: httpx2.Client, beside: psycopg.Connection):
    assert client.get("/search?q=text+7").status_code == 200
    beside.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    assert client.get("/search?q=text+7").status_code == 200
    assert client.get("/healthz").status_code == 200


def test_many_at_once(client: httpx2.Client):
    def one(number: int) -> str:
        return client.get("/search", params={"q": TEXTS[number % 30], "k": 1}).json()["results"][0]["text"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(100))) == [TEXTS[number % 30] for number in range(100)]


def test_best_scores_are_counted(client: httpx2.Client):
    for question in (
        {"query": "text 7"},
        {"query": "of something else", "compare": False},
        {"query": "a", "mode": "text"},
    ):
        assert ask(client, **question).status_code == 200
    assert ask(client, query="text 7", where={"colour": "red"}).json()["results"] == []
    text = client.get("/metrics").text
    counts = dict(re.findall(r"^embedding_assets_search_(\w+)\{space=[^,}\n]+\} (.*)$", text, re.MULTILINE))
    assert counts["best_score_count"] == "2.0"
    assert counts["compared_total"] == "2.0"
    assert counts["low_total"] == "1.0"


def test_metrics(client: httpx2.Client):
    ask(client, query="text 7", mode="vector")
    ask(client, query=" ")
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    families = {family.name: family.type for family in text_string_to_metric_families(response.text)}
    assert families["embedding_assets_search_seconds"] == "histogram"
    lines = dict(line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#"))
    values = {name: float(value) for name, value in lines.items()}

    def of_space(name: str) -> float:
        [value] = [value for key, value in values.items() if key.startswith(f"embedding_assets_{name}{{space=")]
        return value

    assert values["embedding_assets_up"] == 1
    assert (values["embedding_assets_chunks"], of_space("embedded"), of_space("pending")) == (30, 30, 0)
    assert (of_space("quarantined"), of_space("oldest_pending_seconds"), of_space("serving")) == (0, 0, 1)
    assert values['embedding_assets_spent_usd{period="month"}'] == 0
    assert values['embedding_assets_http_requests_total{path="/search",status="400"}'] == 1
    assert values['embedding_assets_search_seconds_count{mode="vector",outcome="answered"}'] >= 1
    assert values["embedding_assets_searches_in_flight"] == 0
    assert "process_resident_memory_bytes" in values
    assert not any("text 7" in line for line in lines)
    for accept in ("application/openmetrics-text; version=1.0.0", "text/plain;version=x", ";;,="):
        assert client.get("/metrics", headers={"accept": accept}).status_code == 200


def test_a_scrape_without_a_database(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: object) -> None:
        raise RuntimeError("words of a row")

    monkeypatch.setattr("embedding_assets.serving.backend.gather_overview", fail)
    text = client.get("/metrics").text
    assert "embedding_assets_up 0.0" in text
    assert "embedding_assets_chunks" not in text
    assert "words of a row" not in caplog.text
