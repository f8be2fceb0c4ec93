"""An evaluation is compared with an earlier one's document, if that is about the same questions."""

import json
from dataclasses import replace

import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.evaluation.baseline import as_document, baseline_of, read_baseline
from embedding_assets.evaluation.judgements import JudgedQuestion, Judgement
from embedding_assets.evaluation.measuring import Measured, Way
from embedding_assets.evaluation.metrics import MRR, NDCG, recall_at
from embedding_assets.evaluation.recording import Asked

ASKED = Asked((JudgedQuestion("q", "a question's text", (Judgement("a.md", text="words of a chunk"),)),), 0, ())
WAY = Way("space", "hybrid", 40)


def measured(way=WAY, ndcg=0.5):
    return Measured(way, {NDCG: {"q": ndcg}, MRR: {"q": ndcg}, recall_at(10): {"q": ndcg}})


def test_a_document_is_read_back_and_holds_no_text(tmp_path):
    document = json.dumps(as_document(ASKED, [measured()], 0))
    assert "question's text" not in document
    assert "words of a chunk" not in document
    path = tmp_path / "baseline.json"
    path.write_text(document)
    assert baseline_of(WAY, read_baseline(path, ASKED.question_set)) == measured().questions


def test_what_is_most_alike_is_the_baseline():
    ways = as_document(
        ASKED,
        [measured(replace(WAY, space="other"), 0.1), measured(replace(WAY, ef_search=80), 0.2), measured(WAY, 0.3)],
        0,
    )["ways"]
    assert baseline_of(WAY, ways)[NDCG] == {"q": 0.3}
    assert baseline_of(WAY, ways[:2])[NDCG] == {"q": 0.2}
    assert baseline_of(WAY, ways[:1])[NDCG] == {"q": 0.1}
    assert baseline_of(replace(WAY, mode="text"), ways) is None
    assert baseline_of(replace(WAY, rerank=True), ways) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ways": [{}]}', '{"ways": 3, "question_set": ""}'])
def test_another_document_is_refused(tmp_path, text):
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="is not what `embedding-assets evaluate --json` writes"):
        read_baseline(path, "")


def test_other_questions_are_refused(tmp_path):
    path = tmp_path / "baseline.json"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_baseline(path, "")
    path.write_text(json.dumps(as_document(ASKED, [measured()], 0)))
    with pytest.raises(ConfigurationError, match="about other questions"):
        read_baseline(path, "other")
    path.write_text(json.dumps(as_document(ASKED, [], 0)))
    with pytest.raises(ConfigurationError, match="has measured nothing"):
        read_baseline(path, ASKED.question_set)
