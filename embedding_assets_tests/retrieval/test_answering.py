"""Answers of the real database: modes, equal texts, least scores, neighbours, honest notes."""

import math
from dataclasses import replace

import numpy as np
import psycopg
import pytest
from psycopg.types.json import Jsonb

from embedding_assets.config import Settings
from embedding_assets.errors import ConfigurationError, ProviderError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.spaces import adjust_space, list_spaces, register_space
from embedding_assets.retrieval import Answer, Searcher, SearchResult, Snippet
from embedding_assets.retrieval.answer import Place
from embedding_assets.spaces import Similarity
from embedding_assets_tests.retrieval.conftest import TEXTS
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.retrieval import embed

LICENCE = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software."


def texts_of(answer: Answer) -> list[str]:
    return [result.text for result in answer]


def insert(database: Database, text: str, number: int, **metadata: object) -> str:
    """A chunk of its own row, though the text is that of another."""
    chunk_hash = hash_of(f"{text} {number}")
    database.run(
        lambda c: c.execute(
            "INSERT INTO knowledge_base (chunk_hash, chunk_text, document_metadata) VALUES (%s, %s, %s)",
            [chunk_hash, text, Jsonb(metadata)],
        )
    )
    return chunk_hash


# Modes


def test_nearest_first(searcher: Searcher):
    answer = searcher.search("text 7", mode="vector")
    assert answer.mode == "vector"
    assert answer.notes == ()
    assert answer[0] == SearchResult(
        hash_of("text 7"),
        pytest.approx(1, abs=1e-6),
        "",
        "",
        "",
        "text 7",
        {},
        FAKE_SPACE.name,
        key={"chunk_hash": hash_of("text 7")},
        vector_rank=1,
        snippet=Snippet("text 7", ((0, 4), (5, 6))),
    )
    scores = [result.score for result in answer]
    by_hand = sorted((float(vector_of("text 7") @ vector_of(text)) for text in TEXTS), reverse=True)
    assert scores == pytest.approx(by_hand[:5], abs=1e-5)
    assert [result.vector_rank for result in answer] == [1, 2, 3, 4, 5]
    assert {result.text_rank for result in answer} == {None}
    assert len(searcher.search("text 7", mode="vector", k=1000)) == 30


def test_by_words_alone_no_model_is_asked(searcher: Searcher, provider: FakeProvider):
    seen = len(provider.seen)
    answer = searcher.search("text 7", mode="text")
    assert texts_of(answer)[0] == "text 7"
    assert len(provider.seen) == seen
    best = answer[0]
    assert (best.score, best.space, best.vector_rank, best.text_rank) == (None, "", None, 1)
    assert best.holds_all_words
    assert not answer[1].holds_all_words


def test_by_words_before_anything_is_embedded(settings: Settings, database: Database):
    insert_chunks(database, TEXTS)
    with Searcher(settings, database=database, provider=FakeProvider()) as searcher:
        assert texts_of(searcher.search("text 7", mode="text", k=1)) == ["text 7"]
        with pytest.raises(ConfigurationError, match="nothing is embedded yet; run `embedding-assets load PATH`"):
            searcher.search("text 7")


def test_another_form_of_a_word_is_not_found_and_a_language_is_proposed(
    searcher: Searcher, settings: Settings, database: Database, provider: FakeProvider
):
    insert(database, "rotated keys", 1)
    answer = searcher.search("rotate", mode="text")
    assert answer.results == ()
    [note] = answer.notes
    assert "EMBEDDING_SEARCH_LANGUAGE=english" in note
    assert searcher.search("rotated", mode="text").notes == ()
    # What else explains it comes alone.
    [note] = searcher.search("rotate", mode="text", where={"colour": "red"}).notes
    assert "'colour'" in note
    english = settings.with_group("search", language="english")
    with Searcher(english, database=database, provider=provider) as other:
        assert texts_of(other.search("rotate", mode="text")) == ["rotated keys"]
        assert other.search("kept", mode="text").notes == ()


def test_both_fused_say_how_each_was_found(searcher: Searcher, settings: Settings, database: Database, provider):
    insert_chunks(database, ["the pump F644-9530-0777 leaks"])
    embed(settings, database, provider)
    answer = searcher.search("F644-9530-0777", k=3)
    assert answer.mode == "hybrid"
    assert answer[0].text == "the pump F644-9530-0777 leaks"
    assert answer[0].text_rank == 1
    assert answer[0].holds_all_words
    assert answer[0].score is not None
    assert answer[1].vector_rank is not None


def test_the_configured_mode(searcher: Searcher, settings: Settings, database: Database, provider: FakeProvider):
    with Searcher(settings.with_group("search", mode="text"), database=database, provider=provider) as other:
        assert other.search("text 7").mode == "text"
        assert other.search("text 7", mode="vector").mode == "vector"


# Equal texts


def test_equal_texts_come_once_and_further_ones_fill_the_places(
    searcher: Searcher, settings: Settings, database: Database, provider: FakeProvider
):
    for number in range(40):
        insert(database, LICENCE, number, source=f"{number}/LICENSE", title=f"Licence {number}")
    embed(settings, database, provider)
    for mode in ("hybrid", "vector", "text"):
        answer = searcher.search(LICENCE, k=3 if mode != "text" else 1, mode=mode)
        assert len(set(texts_of(answer))) == len(answer) == (3 if mode != "text" else 1)
        best = answer[0]
        assert best.text == LICENCE
        assert best.other_places
        places = [best.source, *(place.source for place in best.other_places)]
        assert len(places) == len(set(places))
        assert set(places) <= {f"{number}/LICENSE" for number in range(40)}
        first = best.other_places[0]
        assert first == Place(
            first.chunk_hash, {"chunk_hash": first.chunk_hash}, first.source, f"Licence {first.source[:-8]}", ""
        )
    assert len(searcher.search(LICENCE, k=30, mode="vector")[0].other_places) == 39


def test_one_text_in_thousands_of_rows(settings: Settings, database: Database, beside: psycopg.Connection):
    provider = FakeProvider()
    insert_chunks(database, [LICENCE, "another"])
    embed(settings, database, provider)
    beside.execute(
        "INSERT INTO knowledge_base (chunk_hash, chunk_text, document_metadata, embedding) "
        "SELECT md5(n::text), chunk_text, '{}', embedding FROM knowledge_base, generate_series(1, 5000) n "
        "WHERE chunk_hash = %s",
        [hash_of(LICENCE)],
    )
    with Searcher(settings, database=database, provider=provider) as searcher:
        answer = searcher.search(LICENCE, k=2, mode="vector")
    assert texts_of(answer) == [LICENCE]
    assert answer.notes == ("the 4,000 best rows have only 1 different text",)


# Notes


def test_how_much_is_missing(searcher: Searcher, database: Database):
    insert_chunks(database, ["one pending", "two pending"])
    [note] = searcher.search("text 7").notes
    assert note == (
        "2 of 32 chunks have no vector yet and are found by their words alone; `embedding-assets embed` makes them"
    )
    [note] = searcher.search("text 7", mode="vector").notes
    assert note.startswith("2 of 32 chunks have no vector yet and are not found")
    assert searcher.search("text 7", mode="text").notes == ()


def test_characters_that_are_no_text_are_left_out(searcher: Searcher):
    answer = searcher.search("text\x00 7\udcff", mode="text")
    assert answer[0].text == "text 7"
    assert answer.notes[0].startswith("characters of the question that are no text")


def test_a_question_longer_than_the_model_reads(settings: Settings, database: Database):
    insert_chunks(database, ["Files are opened with open()."])
    from embedding_assets import embed_pending

    embed_pending(settings, database=database)
    with Searcher(settings, database=database) as searcher:
        answer = searcher.search("How do I read a file? " * 5000)
    assert texts_of(answer) == ["Files are opened with open()."]
    assert "reads only the first" in answer.notes[0]
    assert "read a file" not in " ".join(answer.notes)


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, "the of and", "🔑🔑🔑", "' OR 1=1; --", "& | ! <-> :*", "https://x.y/z?a=b&c=d", "привет мир",
     "日本語の質問", "\x00text 7", "\udcfftext 7", "text 7\\", "%s %(k)s", "{}"],
)  # fmt: skip
def test_odd_questions_raise_nothing(mode: str, text: str, searcher: Searcher):
    answer = searcher.search(text, mode=mode, k=3)
    scores = [result.score for result in answer if result.score is not None]
    assert all(map(math.isfinite, scores))
    if mode == "vector":
        assert len(answer) == 3
        assert scores == sorted(scores, reverse=True)


# Spaces and vectors


def test_a_space_is_asked_by_name(searcher: Searcher, settings: Settings, database: Database):
    other = FakeProvider(space=replace(FAKE_SPACE, model="fake/other", dimensions=64))
    embed(settings, database, other)
    first, second = (column.space.name for column in list_spaces(database))
    with Searcher(settings, database=database, provider=other) as of_other:
        assert {result.space for result in of_other.search("text 7", space=second)} == {second}
        with pytest.raises(ConfigurationError, match="no space is called 'nothing'"):
            of_other.search("text 7", space="nothing")
        with pytest.raises(ConfigurationError, match=f"searches are answered from space {first}"):
            of_other.search("text 7")


def test_a_space_without_vectors(settings: Settings, database: Database):
    insert_chunks(database, TEXTS)
    provider = FakeProvider()
    register_space(database, FAKE_SPACE)
    with Searcher(settings, database=database, provider=provider) as searcher:
        answer = searcher.search("text 7", mode="vector", space=FAKE_SPACE.name)
        assert texts_of(answer) == []
        assert answer.notes[0].startswith("30 of 30 chunks have no vector yet")


@pytest.mark.parametrize(
    ("similarity", "score"), [("cosine", 1.0), ("dot", 1.0), ("euclidean", 0.0), ("manhattan", 0.0)]
)
def test_scores_grow_with_nearness(
    similarity: Similarity, score: float, settings: Settings, database: Database, provider: FakeProvider
):
    [column] = list_spaces(database)
    adjust_space(database, column, query_prompt=None, similarity=similarity)
    with Searcher(settings, database=database, provider=provider) as searcher:
        results = searcher.search("text 3", mode="vector")
    assert results[0].text == "text 3"
    assert results[0].score == pytest.approx(score, abs=1e-3)
    assert results[0].score > results[1].score > results[2].score


def test_with_an_index(searcher: Searcher, settings: Settings, database: Database):
    build_vector_index(database, register_space(database, FAKE_SPACE), settings.index)
    assert [texts_of(searcher.search(text, k=1, ef_search=10))[0] for text in TEXTS[:5]] == TEXTS[:5]


def test_zero_vectors_never_appear(searcher: Searcher, database: Database, beside: psycopg.Connection):
    insert_chunks(database, ["nothing at all"])
    beside.execute(
        "UPDATE knowledge_base SET embedding = %s::vector WHERE chunk_text = 'nothing at all'",
        [str([0] * 768)],
    )
    answer = searcher.search("text 7", mode="vector", k=1000)
    assert len(answer) == 30
    for result in searcher.search("nothing at all", k=1000):
        assert result.score is None or math.isfinite(result.score)


def test_ties_are_stable(searcher: Searcher, settings: Settings, database: Database, provider: FakeProvider):
    # The same vector under different headings.
    texts = [f"header {number}" for number in range(6)]
    insert_chunks(database, texts)
    embed(settings, database, provider)
    vector = str(vector_of("text 7").tolist())
    database.run(
        lambda c: c.execute("UPDATE knowledge_base SET embedding = %s WHERE chunk_text LIKE 'header%%'", [vector])
    )
    first = texts_of(searcher.search("text 7", mode="vector", k=7))
    assert all(texts_of(searcher.search("text 7", mode="vector", k=7)) == first for _ in range(3))


def test_a_question_that_cannot_be_embedded(settings: Settings, database: Database, provider: FakeProvider):
    nothing = np.zeros((1, 768), dtype=np.float32)
    spoilt = FakeProvider(spoil=lambda _, batch: replace(batch, vectors=nothing))
    with (
        Searcher(settings, database=database, provider=spoilt) as searcher,
        pytest.raises(ProviderError, match="the query cannot be embedded: zero_vector") as caught,
    ):
        searcher.search("canary")
    assert "canary" not in str(caught.value)


# Metadata and neighbours


def test_filters(searcher: Searcher, settings: Settings, database: Database, provider: FakeProvider):
    metadata = '{"source": "a.md", "title": "A", "kind": "guide", "year": 2024}'
    insert_chunks(database, ["guide one", "guide two"], document_metadata=metadata, context_header="A > B")
    insert_chunks(database, ["other guide"], document_metadata='{"kind": "guide", "year": 2023}')
    embed(settings, database, provider)
    result, other = searcher.search("text 7", where={"kind": "guide", "year": 2024})
    assert {result.text, other.text} == {"guide one", "guide two"}
    assert (result.source, result.title, result.context_header) == ("a.md", "A", "A > B")
    assert result.metadata["year"] == 2024
    assert texts_of(searcher.search("text 7", where={"kind": "nothing"})) == []
    assert len(searcher.search("text 7", where=["kind=guide", "year>=2023"])) == 3


@pytest.mark.parametrize("key", ["'; DROP TABLE knowledge_base; --", "a'b", "%s", "%(k)s"])
def test_filters_are_no_sql(key: str, searcher: Searcher):
    assert texts_of(searcher.search("text 7", where={key: key})) == []
    assert texts_of(searcher.search("text 7"))


@pytest.mark.parametrize("metadata", ["[1, 2]", '"text"', "null", '{"source": 7}', '{"title": null}'])
def test_metadata_of_any_shape(metadata: str, searcher: Searcher, settings: Settings, database: Database, provider):
    insert_chunks(database, ["odd"], document_metadata=metadata)
    embed(settings, database, provider)
    [result] = searcher.search("odd", k=1)
    assert result.text == "odd"
    assert result.source in ("", "7")
    assert result.title == ""
    assert result.name == (result.source or hash_of("odd"))


def test_neighbours_within_the_document(searcher: Searcher, settings: Settings, database: Database, provider):
    def insert_document(name: str) -> None:
        for number in range(5):
            insert_chunks(
                database,
                [f"{name} part {number}"],
                document_metadata=Jsonb({"source": name, "origin": name}),
                chunk_index=number,
                total_chunks=5,
            )

    insert_document("one")
    insert_document("other")
    embed(settings, database, provider)
    [result] = searcher.search("one part 2", k=1, context=1)
    assert [(near.distance, near.text) for near in result.context] == [(-1, "one part 1"), (1, "one part 3")]
    assert [near.chunk_hash for near in result.context] == [hash_of("one part 1"), hash_of("one part 3")]
    [result] = searcher.search("one part 0", k=1, context=3)
    assert [near.text for near in result.context] == ["one part 1", "one part 2", "one part 3"]
    [result] = searcher.search("text 7", k=1, context=3)
    assert result.context == ()
    assert searcher.search("one part 2", k=1)[0].context == ()
