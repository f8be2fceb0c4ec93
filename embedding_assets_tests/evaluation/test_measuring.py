"""Judged questions asked of a real table."""

import pytest

from embedding_assets.evaluation.comparison import compare
from embedding_assets.evaluation.matching import Unmatched, find_unmatched
from embedding_assets.evaluation.measuring import Way, evaluate
from embedding_assets.evaluation.metrics import MRR, NDCG, recall_at
from embedding_assets.evaluation.reading import read_questions
from embedding_assets.retrieval import Searcher
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider
from embedding_assets_tests.support.judging import QUESTIONS, fill, insert_documents, write_questions


@pytest.fixture
def questions(tmp_path):
    return read_questions(write_questions(tmp_path / "questions.jsonl", *QUESTIONS)).questions


@pytest.fixture
def searcher(settings, database):
    fill(settings, database)
    with Searcher(settings, database=database, provider=FakeProvider()) as searcher:
        yield searcher


def way(mode):
    return Way(FAKE_SPACE.name, mode, 40)


def test_words_find_what_vectors_made_by_hashing_do_not(searcher, questions):
    asked = []
    by_words = evaluate(searcher, questions, way("text"), on_progress=asked.append)
    by_vectors = evaluate(searcher, questions, way("vector"))
    assert asked == [1, 1, 1]
    assert by_words.questions[NDCG] == {"linux": 1.0, "remove": 1.0, "billing": 1.0}
    assert (by_words.estimates[MRR].value, by_words.estimates[recall_at(10)].value) == (1.0, 1.0)
    assert by_vectors.estimates[recall_at(10)].value == 1.0, "four chunks are all among the first ten"
    assert by_vectors.estimates[NDCG].value < 1
    found = compare(questions, by_words.questions, by_vectors.questions)
    assert [change.change for change in found.changes] == sorted(change.change for change in found.changes)
    assert found.differences[NDCG].value == pytest.approx(by_vectors.estimates[NDCG].value - 1)
    assert (found.questions, found.better) == (3, 0)
    assert found.worse == len(found.changes) > 0


def test_a_document_of_many_chunks_takes_one_place(settings, database, tmp_path):
    many = [("long.md", "Long", f"walrus walrus walrus number {n}") for n in range(400)]
    fill(settings, database, [*many, ("short.md", "Short", "a walrus among many other words that are about others")])
    path = write_questions(tmp_path / "q", {"query": "walrus", "relevant": [{"source": "short.md"}]})
    with Searcher(settings, database=database, provider=FakeProvider()) as searcher:
        found = evaluate(searcher, read_questions(path).questions, way("text"))
    assert found.estimates[MRR].value == 0.5


def test_judgements_that_fit_nothing_are_named(database, tmp_path):
    insert_documents(database)
    insert_documents(database, [("rows.jsonl", "", "a row")], code=17)
    path = write_questions(
        tmp_path / "q",
        {
            "id": "a",
            "query": "?",
            "relevant": [
                {"source": "guide.md", "heading": "Remove"},
                {"source": "guide.md", "heading": "Update"},
                {"source": "gone.md"},
                {"source": "gone.md", "heading": "Gone", "grade": 0},
                {"source": "guide.md", "text": "the Elephant"},
                {"source": "guide.md", "text": "the tiger"},
                {"key": {"code": 17}},
                {"key": {"code": 18}},
            ],
        },
    )
    assert find_unmatched(database, read_questions(path).questions) == [
        Unmatched("a", "guide.md, under update"),
        Unmatched("a", "gone.md"),
        Unmatched("a", "guide.md, a certain text"),
        Unmatched("a", "code=18"),
    ]
