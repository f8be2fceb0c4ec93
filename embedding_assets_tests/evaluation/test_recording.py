"""What is measured is kept, of the same questions each time."""

import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.evaluation.judgements import JudgedQuestion, Judgement
from embedding_assets.evaluation.recording import choose, record_quality
from embedding_assets.pipeline.run import embed_pending
from embedding_assets.postgres.quality import list_quality
from embedding_assets_tests.support.judging import QUESTIONS, insert_documents, write_questions


def test_of_many_questions_the_same_ones_are_chosen(database):
    questions = [JudgedQuestion(str(n), f"question {n}", (Judgement("a.md"),)) for n in range(50)]
    asked = choose(database, questions, 10)
    assert (len(asked.questions), asked.left_out, len(asked.unmatched)) == (10, 40, 10)
    assert choose(database, questions[::-1], 10).question_set == asked.question_set
    more = choose(database, [*questions, JudgedQuestion("new", "new", (Judgement("a.md"),))], 10)
    assert len({one.id for one in more.questions} & {one.id for one in asked.questions}) >= 9
    assert choose(database, questions, None).left_out == 0


def test_it_is_recorded_as_searches_are_by_default(settings, database, tmp_path):
    insert_documents(database)
    embed_pending(settings, database=database)
    path = write_questions(tmp_path / "q", *QUESTIONS, {"query": "x", "relevant": [{"source": "gone.md"}]})
    settings = settings.with_group("evaluation", queries=path)
    first, second = record_quality(settings, database), record_quality(settings, database)
    assert (first.mode, first.ef_search, first.questions, first.judgements_unmatched) == ("hybrid", 40, 4, 1)
    assert 0 < first.ndcg <= 0.75 == first.recall
    assert first.ndcg_by_question.keys() >= {"linux", "remove", "billing"}
    assert (first.accepted, second.accepted) == (True, True)
    assert list_quality(database, first.space, "hybrid") == [first, second]
    with pytest.raises(ConfigurationError, match="EMBEDDING_EVALUATION_QUERIES"):
        record_quality(settings.with_group("evaluation", queries=None), database)


def test_nothing_embedded_is_said(settings, database, tmp_path):
    insert_documents(database)
    settings = settings.with_group("evaluation", queries=write_questions(tmp_path / "q", *QUESTIONS))
    with pytest.raises(ConfigurationError, match="embedding-assets embed"):
        record_quality(settings, database)
