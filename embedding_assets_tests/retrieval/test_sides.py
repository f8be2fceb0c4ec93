"""Questions to a table of two spaces: one provider's, and the fallback's, which embedded what came during an outage."""

import pytest

from embedding_assets.config import Settings
from embedding_assets.errors import ConfigurationError, ModelUnavailableError, ProviderUnavailableError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.providers.base import EmbeddingProvider
from embedding_assets.providers.space_selection import Selection
from embedding_assets.retrieval import Answer, Searcher
from embedding_assets_tests.retrieval.conftest import TEXTS
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks, vector_of
from embedding_assets_tests.support.fallbacks import Unsteady, run, with_fallback

HERE, THERE = TEXTS[:20], TEXTS[20:]


class Spaces:
    """``HERE`` embedded by a provider that was down afterwards, ``THERE`` by the fallback, which is the demo model.

    Attributes:
        serving: the provider; searches find it by ``Selection.open_provider``.
        asked: the settings under which each space's provider was opened, by provider.
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

    def found(self, query: str, *, settings: Settings | None = None, **options: object) -> Answer:
        options.setdefault("mode", "vector")
        with Searcher(settings or self.settings, database=self.database) as searcher:
            return searcher.search(query, **options)


@pytest.fixture
def spaces(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> Spaces:
    return Spaces(settings, database, monkeypatch)


def texts_of(answer: Answer) -> list[str]:
    return [result.text for result in answer]


def test_the_fallback_s_chunks_enter_by_the_same_similarity(spaces: Spaces):
    answer = spaces.found("text 25", k=30)
    # All of THERE that were compared, and all of HERE, by one scale.
    scores = {result.text: result.score for result in answer}
    for text, score in scores.items():
        assert score == pytest.approx(float(vector_of("text 25") @ vector_of(text)), abs=1e-5)
    assert texts_of(answer) == sorted(scores, key=scores.get, reverse=True)
    assert set(scores) == set(TEXTS)
    assert {result.space for result in answer} == {spaces.column.space.name}
    assert [result.vector_rank for result in answer] == list(range(1, 31))
    assert answer.notes == ()
    assert texts_of(spaces.found("text 25", k=1)) == ["text 25"]
    assert texts_of(spaces.found("text 7", k=1)) == ["text 7"]


def test_filters_hold_for_both(spaces: Spaces):
    assert set(texts_of(spaces.found("text 1", k=99, where={"kind": "odd"}))) == set(THERE)
    assert set(texts_of(spaces.found("text 1", k=99, where={"kind": "even"}))) == set(HERE)


def test_two_irrelevant_chunks_take_no_place_by_their_rank(spaces: Spaces, database: Database):
    query = "text 7"
    found = texts_of(spaces.found(query, k=5))
    compared = spaces.serving.seen[-5:]
    assert set(compared) < set(THERE)
    by_hand = sorted([*HERE, *compared], key=lambda text: -float(vector_of(query) @ vector_of(text)))
    assert found == by_hand[:5]
    assert spaces.found(query, k=5, mode="hybrid")[0].text == query


def test_by_words_and_vectors(spaces: Spaces):
    answer = spaces.found("text 25", k=5, mode="hybrid")
    best = answer[0]
    assert (best.text, best.vector_rank, best.text_rank) == ("text 25", 1, 1)
    assert best.score == pytest.approx(1, abs=1e-5)
    assert len({result.chunk_hash for result in answer}) == 5


def test_texts_of_the_fallback_are_embedded_in_one_call_as_documents(spaces: Spaces):
    calls: list[tuple[int, bool]] = []
    embed = spaces.serving.embed

    def noting(texts, *, query=False):
        calls.append((len(texts), query))
        return embed(texts, query=query)

    spaces.serving.embed = noting
    spaces.found("text 25", k=3)
    assert calls == [(1, True), (3, False)]
    del calls[:]
    spaces.found("text 25", k=1000)
    assert calls == [(1, True), (10, False)]
    # Nothing of it was written.
    assert spaces.database.run(
        lambda c: c.execute("SELECT count(*) FROM knowledge_base WHERE embedding IS NOT NULL").fetchone()
    ) == (20,)


def test_the_fallback_is_not_asked_for_what_it_has_not_alone(spaces: Spaces, database: Database):
    run(spaces.settings, database, spaces.serving)
    assert texts_of(spaces.found("text 25", k=1)) == ["text 25"]
    insert_chunks(database, ["pending"])
    answer = spaces.found("text 25", k=99)
    assert len(answer) == 30
    assert answer.notes[0].startswith("1 of 31 chunks")
    assert {provider for provider, _ in spaces.asked} == {"fake"}


def test_who_names_a_space_asks_in_that_alone(spaces: Spaces):
    answer = spaces.found("text 25", k=99, space=spaces.column.space.name)
    assert set(texts_of(answer)) == set(HERE)
    assert answer.notes[0].startswith("10 of 30 chunks have no vector yet")
    answer = spaces.found("text 25", k=99, space=spaces.fallback.space.name)
    assert set(texts_of(answer)) == set(THERE)
    assert {result.space for result in answer} == {spaces.fallback.space.name}


def test_without_a_fallback_only_the_serving_space_is_searched(spaces: Spaces, settings: Settings):
    assert set(texts_of(spaces.found("text 25", k=99, settings=settings))) == set(HERE)
    spaces.serving.batches = 0
    with pytest.raises(ProviderUnavailableError):
        spaces.found("text 25", settings=settings)
    assert texts_of(spaces.found("text 25", settings=settings, mode="text"))[0] == "text 25"


def test_while_the_provider_is_down_the_fallback_is_searched_alone(spaces: Spaces, database: Database):
    spaces.serving.batches = 0
    insert_chunks(database, ["in no space"])
    answer = spaces.found("text 25", k=99)
    assert set(texts_of(answer)) == set(THERE)
    assert answer[0].text == "text 25"
    assert {result.space for result in answer} == {spaces.fallback.space.name}
    outage, pending = answer.notes
    assert outage.startswith("fake does not answer")
    assert outage.endswith("which leaves 20 chunks out")
    assert pending.startswith("1 of 31 chunks have no vector yet")
    assert texts_of(spaces.found("text 25", where={"kind": "even"})) == []

    # The words find the rest.
    answer = spaces.found("7", mode="hybrid", k=2)
    [found] = [result for result in answer if result.text == "text 7"]
    assert (found.score, found.text_rank) == (None, 1)
    assert answer.notes[0].endswith("which leaves 20 chunks to be found by their words alone")

    # All that it has, and not only what the other lacks.
    spaces.serving.batches = None
    run(spaces.settings, database, spaces.serving)
    spaces.serving.batches = 0
    assert set(texts_of(spaces.found("text 25", k=99))) == set(THERE)


def test_the_provider_ends_between_question_and_texts(spaces: Spaces):
    spaces.serving.batches = 2  # one of the question, and none of the texts is the last
    answer = spaces.found("text 25", k=99)
    assert set(texts_of(answer)) == set(HERE)
    assert answer.notes[0] == (
        f"10 chunks that only space {spaces.fallback.space.name} has so far cannot be compared with the question "
        "(ProviderUnavailableError)"
    )


def test_an_empty_space_stands_in_for_nothing(spaces: Spaces, database: Database):
    database.run(lambda connection: connection.execute("UPDATE knowledge_base SET chunk_text = chunk_text || '!'"))
    spaces.serving.batches = 0
    for where in ({}, {"kind": "odd"}):
        with pytest.raises(ProviderUnavailableError):
            spaces.found("text 25", where=where)


def without_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModelUnavailableError("no files")

    monkeypatch.setattr("embedding_assets.providers.space_selection.locate_model", fail)


def test_a_fallback_that_fails_while_the_provider_is_down(spaces: Spaces, monkeypatch: pytest.MonkeyPatch):
    spaces.serving.batches = 0
    without_its_files(monkeypatch)
    with pytest.raises(ModelUnavailableError) as caught:
        spaces.found("text 25")
    assert isinstance(caught.value.__cause__, ProviderUnavailableError)

    # While it is up, it answers alone, and what that leaves out is said.
    spaces.serving.batches = None
    answer = spaces.found("text 25", k=99)
    assert set(texts_of(answer)) == set(HERE)
    assert answer.notes[0] == (
        f"10 chunks that only space {spaces.fallback.space.name} has so far cannot be compared with the question "
        "(ModelUnavailableError)"
    )


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
    insert_chunks(database, ["The cat sleeps in the sun."])
    run(settings, database)
    with Searcher(with_fallback(settings), database=database) as searcher:
        [result] = searcher.search("a cat")
    assert result.text == "The cat sleeps in the sun."


def test_a_provider_of_another_space_than_the_serving_one(spaces: Spaces):
    other = Unsteady(space=spaces.fallback.space)
    with (
        Searcher(spaces.settings, database=spaces.database, provider=other) as searcher,
        pytest.raises(ConfigurationError, match="searches are answered from space"),
    ):
        searcher.search("text 25")
