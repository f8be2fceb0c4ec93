"""Questions to chunks on the real database."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from embedding_assets import EmbeddingGenerator, SearchResult, search
from embedding_assets.config import IndexConfig, Settings, get_settings
from embedding_assets.errors import ConfigurationError, ProviderError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index import build_vector_index
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of

TEXTS = [f"text {number}" for number in range(30)]


def embed(settings: Settings, database: Database, provider: FakeProvider) -> None:
    EmbeddingGenerator(
        settings.with_embedding(new_space=True), database=database, provider=provider
    ).generate_embeddings_batch()


@pytest.fixture
def provider(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    """The fake provider, by which all of ``TEXTS`` are embedded and queries will be."""
    insert_chunks(database, TEXTS)
    fake = FakeProvider()
    embed(settings, database, fake)
    monkeypatch.setattr(importlib.import_module("embedding_assets.search"), "provider_for", lambda *_: fake)
    return fake


def found(query: str, settings: Settings, database: Database, **options: object) -> list[SearchResult]:
    return search(query, settings=settings, database=database, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("provider")
def test_nearest_first(settings: Settings, database: Database):
    results = found("text 7", settings, database)
    assert len(results) == 5
    assert results[0] == SearchResult(
        hash_of("text 7"), pytest.approx(1, abs=1e-6), "", "", "", "text 7", {}, FAKE_SPACE.name
    )  # type: ignore[arg-type]
    scores = [result.score for result in results]
    assert scores == sorted(scores, reverse=True)
    by_hand = sorted((float(vector_of("text 7") @ vector_of(text)) for text in TEXTS), reverse=True)
    assert scores == pytest.approx(by_hand[:5], abs=1e-5)
    assert len(found("text 7", settings, database, k=100)) == 30


@pytest.mark.usefixtures("provider")
def test_filters(settings: Settings, database: Database, provider: FakeProvider):
    metadata = '{"source": "a.md", "title": "A", "kind": "guide", "year": 2024}'
    insert_chunks(database, ["guide one", "guide two"], document_metadata=metadata, context_header="A > B")
    insert_chunks(database, ["other guide"], document_metadata='{"kind": "guide", "year": 2023}')
    embed(settings, database, provider)
    result, other = found("text 7", settings, database, where={"kind": "guide", "year": "2024"})
    assert {result.text, other.text} == {"guide one", "guide two"}
    assert (result.source, result.title, result.context_header) == ("a.md", "A", "A > B")
    assert result.metadata["year"] == 2024
    assert found("text 7", settings, database, where={"kind": "nothing"}) == []
    assert len(found("text 7", settings, database, where={"kind": "guide"})) == 3


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("key", ["'; DROP TABLE knowledge_base; --", "a'b", "%s", "%(k)s"])
def test_filters_are_no_sql(key: str, settings: Settings, database: Database):
    assert found("text 7", settings, database, where={key: key}) == []
    assert found("text 7", settings, database)


@pytest.mark.parametrize("metadata", ["[1, 2]", '"text"', "null", '{"source": 7}'])
def test_metadata_of_any_shape(metadata: str, settings: Settings, database: Database, provider: FakeProvider):
    insert_chunks(database, ["odd"], document_metadata=metadata)
    embed(settings, database, provider)
    [result] = found("odd", settings, database, k=1)
    assert result.text == "odd"
    assert result.source in ("", "7")


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        ("", {}, "the query is empty"),
        (" \n", {}, "the query is empty"),
        ("a", {"k": 0}, "k is 0, but a search returns at least 1 chunk"),
        ("a", {"k": -1}, "k is -1"),
    ],
)
def test_refused_questions(query: str, options: dict[str, int], message: str, settings: Settings, database: Database):
    with pytest.raises(ConfigurationError, match=message):
        found(query, settings, database, **options)


def test_nothing_is_embedded_yet(settings: Settings, database: Database):
    with pytest.raises(ConfigurationError, match="nothing is embedded yet; run `embedding-assets load PATH`"):
        found("a", settings, database)


def test_a_question_that_cannot_be_embedded(
    settings: Settings, database: Database, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    nothing = np.zeros((1, 768), dtype=np.float32)
    spoilt = FakeProvider(spoil=lambda _, batch: replace(batch, vectors=nothing))
    monkeypatch.setattr(importlib.import_module("embedding_assets.search"), "provider_for", lambda *_: spoilt)
    with pytest.raises(ProviderError, match="the query cannot be embedded: zero_vector") as caught:
        found("canary", settings, database)
    assert "canary" not in str(caught.value)


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize(
    ("operator_class", "score"),
    [("vector_cosine_ops", 1.0), ("vector_ip_ops", 1.0), ("vector_l2_ops", 0.0)],
)
def test_scores_grow_with_nearness(operator_class: str, score: float, settings: Settings, database: Database):
    index = IndexConfig(operator_class=operator_class)  # type: ignore[arg-type]
    results = found("text 3", settings.model_copy(update={"index": index}), database)
    assert results[0].text == "text 3"
    assert results[0].score == pytest.approx(score, abs=1e-3)
    assert results[0].score > results[1].score > results[2].score


@pytest.mark.usefixtures("provider")
def test_with_an_index(settings: Settings, database: Database):
    build_vector_index(database, register_space(database, FAKE_SPACE), settings.index)
    assert [found(text, settings, database, k=1)[0].text for text in TEXTS[:5]] == TEXTS[:5]


def test_a_question_is_embedded_as_a_question(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch):
    kinds: list[bool] = []

    class Noting(FakeProvider):
        def embed(self, texts, *, query=False):  # type: ignore[no-untyped-def]
            kinds.append(query)
            return super().embed(texts, query=query)

    insert_chunks(database, ["a"])
    embed(settings, database, Noting())
    monkeypatch.setattr(importlib.import_module("embedding_assets.search"), "provider_for", lambda *_: Noting())
    found("a", settings, database)
    assert kinds == [False, True]


def test_the_model_of_the_serving_space_is_asked_whatever_is_set(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
):
    insert_chunks(database, ["The cat sleeps in the sun.", "Files are opened with open().", "Bread is baked at night."])
    EmbeddingGenerator(settings, database=database).generate_embeddings_batch()
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", "someone/else")
    monkeypatch.setenv("EMBEDDING_MAX_SEQ_LENGTH", "16")
    # Database and settings from the environment alone.
    [result] = search("How do I read a file?", k=1)
    assert result.text == "Files are opened with open()."
    assert 0.3 < result.score < 1
    assert get_settings().embedding.model_name == "someone/else"
    with pytest.raises(ProviderError, match="the query cannot be embedded: tokenizing_failed"):
        search("\udcff", k=1)
