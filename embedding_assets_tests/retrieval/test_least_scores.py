"""Least scores, and what tells which one is sensible."""

import numpy as np
import pytest

from embedding_assets.config import Settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.retrieval import Answer, Question, RandomScores, Searcher
from embedding_assets.retrieval.random_scores import BestScore, best_score, high_score, random_scores, stands_out
from embedding_assets_tests.retrieval.conftest import TEXTS
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks, vector_of
from embedding_assets_tests.support.retrieval import embed


def texts_of(answer: Answer) -> list[str]:
    return [result.text for result in answer]


def test_what_scores_less_is_left_out_and_counted(searcher: Searcher):
    answer = searcher.search("text 7", mode="vector", min_score=0.5)
    assert texts_of(answer) == ["text 7"]
    assert answer.notes == ("9 hits with a score below 0.5 left out",)
    assert len(searcher.search("text 7", mode="vector", min_score=-1)) == 5
    answer = searcher.search("text 7", mode="vector", min_score=2)
    assert texts_of(answer) == []
    assert answer.notes == ("10 hits with a score below 2 left out",)


def test_what_holds_every_word_needs_no_score(searcher: Searcher, settings: Settings, database: Database, provider):
    insert_chunks(database, ["the pump F644-9530-0777 leaks", "a pump"])
    embed(settings, database, provider)
    answer = searcher.search("pump F644-9530-0777", min_score=0.9)
    assert texts_of(answer) == ["the pump F644-9530-0777 leaks"]
    assert answer[0].score < 0.9
    kept, left_out = answer.notes
    assert kept == "1 hit kept despite a score below 0.9, for holding what was asked for"
    assert left_out.endswith("with a score below 0.9 left out")


def test_words_of_many_texts_spare_no_score(searcher: Searcher, settings: Settings, database: Database, provider):
    insert_chunks(database, [f"keys of the house number {number}" for number in range(5)])
    embed(settings, database, provider)
    answer = searcher.search("keys", min_score=2)
    assert texts_of(answer) == texts_of(searcher.search("keys", min_score=2, k=1)) == []
    assert answer.notes == ("20 hits with a score below 2 left out",)
    insert_chunks(database, [f"X-17 is in drawer {number}" for number in range(5)])
    embed(settings, database, provider)
    assert len(searcher.search("X-17", min_score=2)) == 5, "who asks for an identifier wants it wherever it is"


def test_a_chunk_without_a_vector_has_no_score_to_pass_by(searcher: Searcher, database: Database):
    insert_chunks(database, ["whales are pending"])
    assert "whales are pending" in texts_of(searcher.search("whales of the sea"))
    assert "whales are pending" not in texts_of(searcher.search("whales of the sea", min_score=-1))
    assert "whales are pending" in texts_of(searcher.search("whales", min_score=2))


def test_a_least_score_needs_vectors(searcher: Searcher):
    with pytest.raises(ConfigurationError, match="a least score needs vectors"):
        searcher.search("text 7", mode="text", min_score=0.5)


def test_how_chunks_at_random_score(searcher: Searcher, settings: Settings, database: Database, provider: FakeProvider):
    random_scores = searcher.ask(Question("text 7", compare=True)).random_scores
    expected = [float(vector_of("text 7") @ vector_of(text)) for text in TEXTS]
    assert random_scores.chunks == 30
    assert random_scores.mean == pytest.approx(np.mean(expected), abs=1e-5)
    assert random_scores.spread == pytest.approx(np.std(expected, ddof=1), abs=1e-5)
    assert searcher.search("text 7").random_scores is None
    assert searcher.ask(Question("text 7", compare=True, mode="text")).random_scores is None
    database.run(lambda c: c.execute("DELETE FROM knowledge_base WHERE chunk_text = 'text 1'"))
    with Searcher(settings, database=database, provider=provider) as other:
        assert other.ask(Question("text 7", compare=True)).random_scores is None, "of 29 chunks the mean says little"


def test_the_sample_is_kept_for_further_questions(searcher: Searcher, database: Database):
    first = searcher.ask(Question("text 7", compare=True)).random_scores
    database.run(lambda c: c.execute("UPDATE knowledge_base SET embedding = NULL"))
    assert searcher.ask(Question("text 7", compare=True)).random_scores == first


def test_zero_vectors_have_no_score(searcher: Searcher, database: Database):
    [column] = list_spaces(database)
    vectors = np.array([*(vector_of(text) for text in TEXTS), vector_of("x") * 0])
    assert random_scores(vector_of("text 7"), vectors, column).chunks == 30
    assert random_scores(vector_of("text 7"), vectors[1:], column) is None


def test_a_score_is_high_three_spreads_above_the_mean(searcher: Searcher):
    assert high_score(RandomScores(0.051, 0.083, 200)) == pytest.approx(0.3)
    answer = searcher.ask(Question("text 7", compare=True))
    assert stands_out(answer)
    assert texts_of(searcher.search("text 7", mode="vector", min_score=high_score(answer.random_scores))) == ["text 7"]
    assert not stands_out(searcher.ask(Question("of something else", compare=True)))
    assert not stands_out(searcher.search("text 7"))


def test_the_best_score_of_an_answer(searcher: Searcher, database: Database):
    [column] = list_spaces(database)
    for text, is_low in (("text 7", False), ("of something else", True)):
        answer = searcher.ask(Question(text, compare=True))
        best = max(result.score for result in answer)
        assert best_score(answer) == BestScore(column.space.name, best, is_low)
    assert best_score(searcher.search("text 7")).is_low is None
    assert best_score(searcher.search("text 7", mode="text")) is None
    assert best_score(searcher.search("text 7", where={"colour": "red"})) is None
