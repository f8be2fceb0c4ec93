"""Questions to chunks on the real database."""

from dataclasses import replace

import numpy as np
import pytest

from embedding_assets import EmbeddingGenerator, SearchResult, search
from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import ConfigurationError, ModelUnavailableError, ProviderError, ProviderUnavailableError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.spaces import adjust_space, list_spaces, register_space
from embedding_assets.providers.base import EmbeddingProvider
from embedding_assets.providers.space_selection import Selection
from embedding_assets.retrieval.sides import _merge
from embedding_assets.spaces import Similarity
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.fallbacks import Unsteady, run, with_fallback

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
    monkeypatch.setattr(Selection, "open_provider", lambda _: fake)
    return fake


def found(query: str, settings: Settings, database: Database, **options: object) -> list[SearchResult]:
    return search(query, settings=settings, database=database, **options)


@pytest.mark.usefixtures("provider")
def test_nearest_first(settings: Settings, database: Database):
    results = found("text 7", settings, database)
    assert len(results) == 5
    assert results[0] == SearchResult(
        hash_of("text 7"), pytest.approx(1, abs=1e-6), "", "", "", "text 7", {}, FAKE_SPACE.name
    )
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
    monkeypatch.setattr(Selection, "open_provider", lambda _: spoilt)
    with pytest.raises(ProviderError, match="the query cannot be embedded: zero_vector") as caught:
        found("canary", settings, database)
    assert "canary" not in str(caught.value)


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize(
    ("similarity", "score"), [("cosine", 1.0), ("dot", 1.0), ("euclidean", 0.0), ("manhattan", 0.0)]
)
def test_scores_grow_with_nearness(similarity: Similarity, score: float, settings: Settings, database: Database):
    [column] = list_spaces(database)
    adjust_space(database, column, query_prompt=None, similarity=similarity)
    results = found("text 3", settings, database)
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
        def embed(self, texts, *, query=False):
            kinds.append(query)
            return super().embed(texts, query=query)

    insert_chunks(database, ["a"])
    embed(settings, database, Noting())
    monkeypatch.setattr(Selection, "open_provider", lambda _: Noting())
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


# Two spaces

HERE, THERE = TEXTS[:20], TEXTS[20:]


class Spaces:
    """``HERE`` embedded by a provider that was down afterwards, ``THERE`` by the fallback, which is the demo model.

    Attributes:
        serving: the provider; search finds it by ``Selection.open_provider``.
        asked: the settings under which each space's provider was asked for, by provider.
    """

    def __init__(self, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.serving = Unsteady()
        self.asked: list[tuple[str, Settings]] = []
        self.settings = with_fallback(settings)
        self.database = database
        insert_chunks(database, HERE, document_metadata='{"kind": "even"}')
        run(self.settings, database, self.serving)
        insert_chunks(database, THERE, document_metadata='{"kind": "odd"}')
        self.serving.batches = 0
        run(self.settings, database, self.serving)
        self.serving.batches = None
        self.column, self.fallback = list_spaces(database)

        def provider_of(selection: Selection) -> EmbeddingProvider:
            self.asked.append((selection.column.space.provider, selection.settings))
            return self.serving if selection.column.space == FAKE_SPACE else open_provider(selection)

        open_provider = Selection.open_provider

        monkeypatch.setattr(Selection, "open_provider", provider_of)

    def found(self, query: str, **options: object) -> list[SearchResult]:
        return found(query, options.pop("settings", self.settings), self.database, **options)


@pytest.fixture
def spaces(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> Spaces:
    return Spaces(settings, database, monkeypatch)


def test_two_rankings_are_merged_by_rank(spaces: Spaces, caplog: pytest.LogCaptureFixture):
    here, there = spaces.column.space.name, spaces.fallback.space.name
    results = spaces.found("text 25", k=30)
    assert {result.chunk_hash for result in results} == set(map(hash_of, TEXTS))
    # 20 here and 10 there: turn about, then what is left.
    assert [result.space for result in results] == [here, there] * 10 + [here] * 10
    for space, texts in ((here, HERE), (there, THERE)):
        ranking = [result for result in results if result.space == space]
        assert {result.text for result in ranking} == set(texts)
        assert [result.score for result in ranking] == sorted((result.score for result in ranking), reverse=True)
    assert results[1].text == "text 25"
    assert results[1].score == pytest.approx(1, abs=1e-5)
    assert spaces.found("text 7")[0].text == "text 7"
    assert spaces.found("text 7", k=1) == spaces.found("text 7")[:1]
    assert caplog.records == []

    assert {result.text for result in spaces.found("text 1", k=99, where={"kind": "odd"})} == set(THERE)
    assert {result.text for result in spaces.found("text 1", k=99, where={"kind": "even"})} == set(HERE)


def test_a_chunk_of_both_rankings_is_listed_once_and_rises():
    def result(name: str, space: str) -> SearchResult:
        return SearchResult(name, 0.5, "", "", "", "", {}, space)

    merged = _merge([[result(name, "here") for name in "abcd"], [result(name, "there") for name in "xdy"]])
    assert [each.chunk_hash for each in merged] == ["d", "a", "x", "b", "c", "y"]
    assert merged[0].space == "here"
    assert _merge([[], []]) == []


def test_the_fallback_is_not_asked_for_what_it_has_not_alone(spaces: Spaces, database: Database):
    run(spaces.settings, database, spaces.serving)
    assert spaces.found("text 25", k=1)[0].text == "text 25"
    assert {result.space for result in spaces.found("text 25", k=30)} == {FAKE_SPACE.name}
    insert_chunks(database, ["pending"])
    assert len(spaces.found("text 25", k=99)) == 30
    assert {provider for provider, _ in spaces.asked} == {"fake"}


def test_without_a_fallback_only_the_serving_space_is_searched(spaces: Spaces, settings: Settings):
    assert {result.text for result in spaces.found("text 25", k=99, settings=settings)} == set(HERE)
    spaces.serving.batches = 0
    with pytest.raises(ProviderUnavailableError):
        spaces.found("text 25", settings=settings)


def test_while_the_provider_is_down_the_fallback_is_searched_alone(
    spaces: Spaces, database: Database, caplog: pytest.LogCaptureFixture
):
    spaces.serving.batches = 0
    insert_chunks(database, ["in no space"])
    results = spaces.found("text 25", k=99)
    assert {result.text for result in results} == set(THERE)
    assert results[0].text == "text 25"
    assert {result.space for result in results} == {spaces.fallback.space.name}
    [logged] = caplog.records
    assert logged.message.startswith("fake does not answer")
    assert logged.message.endswith("which leaves 20 chunks out")
    assert spaces.found("text 25", where={"kind": "even"}) == []

    # All that it has, and not only what the other lacks.
    spaces.serving.batches = None
    run(spaces.settings, database, spaces.serving)
    spaces.serving.batches = 0
    assert {result.text for result in spaces.found("text 25", k=99)} == set(THERE)


def test_an_empty_space_stands_in_for_nothing(spaces: Spaces, database: Database):
    database.run(lambda connection: connection.execute("UPDATE knowledge_base SET chunk_text = chunk_text || '!'"))
    spaces.serving.batches = 0
    for where in ({}, {"kind": "odd"}):
        with pytest.raises(ProviderUnavailableError):
            spaces.found("text 25", where=where)


def test_a_fallback_that_fails_while_the_provider_is_down(spaces: Spaces, monkeypatch: pytest.MonkeyPatch):
    spaces.serving.batches = 0
    monkeypatch.setattr(
        "embedding_assets.providers.space_selection.locate_model",
        lambda *_, **__: fail(ModelUnavailableError("no files")),
    )
    with pytest.raises(ModelUnavailableError) as caught:
        spaces.found("text 25")
    assert isinstance(caught.value.__cause__, ProviderUnavailableError)

    # While it is up, it answers alone, and what that leaves out is said.
    spaces.serving.batches = None
    assert {result.text for result in spaces.found("text 25", k=99)} == set(HERE)


def test_what_is_left_out_without_the_fallback_s_model_is_said(
    spaces: Spaces, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(
        "embedding_assets.providers.space_selection.locate_model",
        lambda *_, **__: fail(ModelUnavailableError("no files")),
    )
    spaces.found("text 25")
    [logged] = caplog.records
    assert logged.message == (
        f"10 chunks that only space {spaces.fallback.space.name} has are left out of this search: "
        "its model cannot embed the query (ModelUnavailableError)"
    )


def fail(error: Exception) -> None:
    raise error


def test_who_asks_does_not_wait_for_the_end_of_an_outage(spaces: Spaces, settings: Settings):
    spaces.found("text 25")
    assert [(provider, s.openai.retry_seconds, s.openai.timeout_seconds) for provider, s in spaces.asked] == [
        ("fake", 5.0, 5.0),
        ("local", 5.0, 5.0),
    ]
    del spaces.asked[:]
    spaces.found("text 25", settings=settings)
    assert [(s.openai.retry_seconds, s.openai.wait_seconds) for _, s in spaces.asked] == [(5.0, 5.0)]


def test_a_fallback_that_serves_is_searched_once(settings: Settings, database: Database):
    insert_chunks(database, TEXTS[:3])
    run(settings, database)
    results = found("text 1", with_fallback(settings), database)
    assert results[0].text == "text 1"
    assert len(results) == 3
