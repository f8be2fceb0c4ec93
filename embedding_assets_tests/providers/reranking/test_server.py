"""A reranker behind a real server."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from embedding_assets.config import RerankConfig, get_settings
from embedding_assets.errors import ConfigurationError, ProviderError, ProviderUnavailableError
from embedding_assets.providers.reranking import RerankServer, open_reranker
from embedding_assets_tests.support.rerank_server import RerankingServer

TEXTS = ["bread is baked at night", "keys are rotated every ninety days", "rotate nothing"]
QUESTION = "how are keys rotated"


@pytest.fixture
def server() -> Iterator[RerankingServer]:
    with RerankingServer() as server:
        yield server


def reranker(server: RerankingServer, **options: object) -> RerankServer:
    """One that is closed with the server."""
    one = RerankServer(RerankConfig(**{"url": server.url, "timeout_seconds": 3, **options}))
    server.clients.append(one)
    return one


@pytest.mark.parametrize("options", [{}, {"model": "a-model"}, {"api": "cohere"}, {"api": "tei", "model": "a-model"}])
def test_scores_are_in_the_order_of_the_texts(server: RerankingServer, options: dict[str, str]):
    scores = reranker(server, **options).scores(QUESTION, TEXTS)
    assert scores == [0, 0.75, 0]
    [(path, headers, body)] = server.requests
    assert path == "/rerank"
    assert "Authorization" not in headers
    if options.get("api") == "tei" or not options:
        assert body == {"query": QUESTION, "texts": TEXTS, "truncate": True}
    else:
        assert body == {**options, "query": QUESTION, "documents": TEXTS} or body == {
            "query": QUESTION,
            "documents": TEXTS,
        }


def test_key_and_path(server: RerankingServer):
    config = RerankConfig(url=f"{server.url}/v2/rerank/", api_key=" secret-key ", model="m")
    assert "secret-key" not in repr(config)
    one = RerankServer(config)
    server.clients.append(one)
    one.scores(QUESTION, TEXTS)
    [(path, headers, _)] = server.requests
    assert (path, headers["Authorization"]) == ("/v2/rerank", "Bearer secret-key")


def test_no_more_texts_in_a_request_than_tei_takes(server: RerankingServer):
    texts = [f"keys {number}" for number in range(70)]
    assert len(reranker(server).scores("keys", texts)) == 70
    assert [len(body["texts"]) for _, _, body in server.requests] == [32, 32, 6]
    del server.requests[:]
    assert len(reranker(server, model="m").scores("keys", texts)) == 70
    assert len(server.requests) == 1


def test_another_name_of_the_results(server: RerankingServer):
    server.spoil = lambda answer: {"data": answer["results"]}
    assert reranker(server, model="m").scores(QUESTION, TEXTS) == [0, 0.75, 0]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_waited_for(server: RerankingServer, status: int):
    server.statuses = [status, status]
    assert reranker(server).scores(QUESTION, TEXTS) == [0, 0.75, 0]
    assert len(server.requests) == 3


def test_an_outage_ends_in_time(server: RerankingServer):
    server.statuses = [503] * 1000
    with pytest.raises(ProviderUnavailableError, match="failed with HTTP 503; check that its server is up"):
        reranker(server, timeout_seconds=0.5).scores(QUESTION, TEXTS)
    assert len(server.requests) > 1
    server.statuses, server.seconds = [], 2
    with pytest.raises(ProviderUnavailableError, match=r"did not answer within 0\.2 s"):
        reranker(server, timeout_seconds=0.2).scores(QUESTION, TEXTS)
    server.close()
    with pytest.raises(ProviderUnavailableError, match="could not be reached"):
        reranker(server, timeout_seconds=0.5).scores(QUESTION, TEXTS)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "check EMBEDDING_RERANK_API_KEY"),
        (403, "check EMBEDDING_RERANK_API_KEY"),
        (404, "check EMBEDDING_RERANK_URL"),
        (307, "set EMBEDDING_RERANK_URL to the address it leads to"),
        (413, "lower EMBEDDING_RERANK_CANDIDATES"),
        (422, "check EMBEDDING_RERANK_MODEL and EMBEDDING_RERANK_API"),
    ],
)
def test_a_refusal_is_a_wrong_setting(server: RerankingServer, status: int, advice: str):
    server.statuses = [status]
    with pytest.raises(ConfigurationError, match=advice) as caught:
        reranker(server).scores("canary question", TEXTS)
    assert "canary" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        [],
        {},
        "text",
        [{"index": 0, "score": 1.0}],
        [{"index": 0, "score": 1.0}] * 3,
        [{"index": index, "score": float("nan")} for index in range(3)],
        [{"index": index, "score": "high"} for index in range(3)],
        [{"index": index} for index in range(3)],
        [{"index": index + 1, "score": 1.0} for index in range(3)],
        {"results": [{"index": index, "relevance_score": None} for index in range(3)]},
    ],
)
def test_an_answer_that_is_none(server: RerankingServer, answer: Any):
    server.spoil = lambda _: answer
    with pytest.raises(ProviderError, match="the reranker of EMBEDDING_RERANK_URL") as caught:
        reranker(server).scores(QUESTION, TEXTS)
    assert not isinstance(caught.value, ProviderUnavailableError)


def test_texts_are_not_sent_unencrypted_to_another_machine():
    with pytest.raises(ConfigurationError, match=r"unencrypted.* set EMBEDDING_RERANK_ALLOW_HTTP=true"):
        RerankServer(RerankConfig(url="http://reranker.example:8080"))
    RerankServer(RerankConfig(url="http://reranker.example:8080", allow_http=True))
    RerankServer(RerankConfig(url="https://reranker.example"))


@pytest.mark.parametrize("url", ["localhost:8080", "http://user:pw@host", "http://host?x=1", "ftp://host"])
def test_addresses_that_are_none(url: str):
    with pytest.raises(ValidationError, match="is not a URL"):
        RerankConfig(url=url)


def test_a_key_with_characters_no_key_has():
    with pytest.raises(ConfigurationError, match="EMBEDDING_RERANK_API_KEY has characters") as caught:
        RerankServer(RerankConfig(url="http://localhost", api_key="gehéim"))
    assert "geh" not in str(caught.value)


def test_addresses_are_not_logged(server: RerankingServer, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    reranker(server).scores(QUESTION, TEXTS)
    assert server.url not in caplog.text
    assert "bread" not in caplog.text


def test_connections_are_kept_and_closed(server: RerankingServer):
    one = reranker(server)
    one.scores(QUESTION, TEXTS)
    client = one._client
    one.scores(QUESTION, TEXTS)
    assert one._client is client
    one.close()
    assert client.is_closed
    assert one.scores(QUESTION, TEXTS) == [0, 0.75, 0]


def test_which_reranker_is_configured(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigurationError, match=r"there is no reranker; set EMBEDDING_RERANK_MODEL"):
        open_reranker(get_settings())
    monkeypatch.setenv("EMBEDDING_RERANK_MODEL", "cross-encoder/x")
    assert type(open_reranker(get_settings())).__name__ == "CrossEncoder"
    monkeypatch.setenv("EMBEDDING_RERANK_URL", "http://localhost:1")
    assert isinstance(open_reranker(get_settings()), RerankServer)
