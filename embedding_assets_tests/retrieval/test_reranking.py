"""Answers that a reranker puts in order."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedding_assets.config import Settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.connection import Database
from embedding_assets.retrieval import Searcher
from embedding_assets_tests.retrieval.conftest import TEXTS
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks
from embedding_assets_tests.support.rerank_server import RerankingServer
from embedding_assets_tests.support.retrieval import embed
from embedding_assets_tests.support.tiny_model import save_tiny_cross_encoder


@pytest.fixture
def server() -> Iterator[RerankingServer]:
    with RerankingServer() as server:
        yield server


@pytest.fixture
def asking(
    settings: Settings, database: Database, provider: FakeProvider, server: RerankingServer
) -> Iterator[Searcher]:
    insert_chunks(database, ["rotated keys"], context_header="Security > All")
    embed(settings, database, provider)
    settings = settings.with_group("rerank", url=server.url, timeout_seconds=0.5)
    with Searcher(settings, database=database, provider=provider) as searcher:
        yield searcher


def test_the_reranker_s_order(asking: Searcher, server: RerankingServer):
    # To the vectors of this table all but an equal text is equally far.
    answer = asking.search("security keys", k=3, mode="vector", rerank=True)
    assert answer[0].text == "rotated keys"
    assert answer[0].rerank_score == 1
    assert [result.rerank_score for result in answer[1:]] == [0, 0]
    # Of equal ones the nearer comes first.
    assert answer[1].vector_rank < answer[2].vector_rank
    [(_, _, body), *_] = server.requests
    assert body["query"] == "security keys"
    assert "Security > All\nrotated keys" in [text for _, _, body in server.requests for text in body["texts"]]
    assert sum(len(body["texts"]) for _, _, body in server.requests) == 31


def test_only_the_first_ones_are_put_in_order(asking: Searcher, server: RerankingServer, settings: Settings):
    few = settings.with_group("rerank", url=server.url, candidates=4)
    with Searcher(few, database=asking.database, provider=FakeProvider()) as searcher:
        answer = searcher.search("text 7", k=2, mode="vector", rerank=True)
        assert [len(body["texts"]) for _, _, body in server.requests] == [4]
        assert len(answer) == 2
        del server.requests[:]
        answer = searcher.search("text 7", k=25, mode="vector", rerank=True)
        assert [len(body["texts"]) for _, _, body in server.requests] == [25]
        assert all(result.rerank_score is not None for result in answer)


def test_an_outage_leaves_the_order_and_a_note(asking: Searcher, server: RerankingServer):
    unranked = asking.search("security keys", k=3)
    server.statuses = [503] * 1000
    answer = asking.search("security keys", k=3, rerank=True)
    assert answer.results == unranked.results
    assert answer.notes[-1].startswith("not reranked: the reranker of EMBEDDING_RERANK_URL failed with HTTP 503")


def test_a_wrong_setting_is_an_error(asking: Searcher, server: RerankingServer):
    server.statuses = [401]
    with pytest.raises(ConfigurationError, match="check EMBEDDING_RERANK_API_KEY"):
        asking.search("security keys", rerank=True)


def test_without_a_reranker(searcher: Searcher):
    with pytest.raises(ConfigurationError, match="there is no reranker; set EMBEDDING_RERANK_MODEL"):
        searcher.search("text 7", rerank=True)


def test_nothing_to_rerank(asking: Searcher, server: RerankingServer):
    assert len(asking.search("text 7", where={"kind": "none"}, rerank=True)) == 0
    assert server.requests == []


def test_a_cross_encoder(settings: Settings, database: Database, provider: FakeProvider, tmp_path: Path):
    folder = save_tiny_cross_encoder(tmp_path / "encoder")
    settings = settings.with_group("rerank", model=str(folder))
    with Searcher(settings, database=database, provider=provider) as searcher:
        answer = searcher.search("text 7", k=30, mode="vector", rerank=True)
    assert {result.text for result in answer} == set(TEXTS)
    scores = [result.rerank_score for result in answer]
    assert scores == sorted(scores, reverse=True)
