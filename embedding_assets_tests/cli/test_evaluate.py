"""The command evaluate: numbers, comparisons, exit statuses, errors that name what to do."""

import json

import pytest

from embedding_assets.pipeline.run import embed_pending
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets_tests.support.evaluating import execute
from embedding_assets_tests.support.judging import QUESTIONS, insert_documents, write_questions


@pytest.fixture
def filled(settings, database):
    insert_documents(database)
    embed_pending(settings, database=database)


@pytest.fixture
def path(tmp_path):
    return write_questions(tmp_path / "questions.jsonl", *QUESTIONS)


@pytest.mark.usefixtures("filled")
def test_all_modes_are_measured(run, path):
    code, out, _ = run("evaluate", path)
    assert code == 0
    assert "3 questions, 3 judgements." in out
    assert all(words in out for words in ("hybrid", "vector", "text", "ndcg@10", "mrr", "recall@10"))
    code, out, _ = run("evaluate", path, "--mode", "text", "-k", "3", "--limit", "2", "--json")
    document = json.loads(out)
    [way] = document["ways"]
    assert (way["mode"], document["questions"], document["questions_left_out"]) == ("text", 2, 1)
    assert way["metrics"]["ndcg@10"]["value"] == 1.0
    assert way["metrics"].keys() == {"ndcg@10", "mrr", "recall@3", "recall@10"}
    assert len(way["by_question"]["ndcg@10"]) == 2


@pytest.mark.usefixtures("filled")
def test_the_space_is_named_whole_in_a_narrow_terminal(run, path, database):
    [column] = list_spaces(database)
    assert len(column.space.name) > 20
    assert f"In {column.space.name}:\n" in run("evaluate", path)[1]
    assert "In " not in run("evaluate", path, "--mode", "text")[1]


@pytest.mark.usefixtures("filled")
def test_judgements_that_fit_nothing_are_named(run, tmp_path):
    path = write_questions(tmp_path / "q", {"id": "x", "query": "zebra", "relevant": [{"source": "gone.md"}]})
    code, out, err = run("evaluate", path, "--mode", "text")
    assert code == 0
    assert out.startswith("1 question, 1 judgement.")
    assert "Judgements that fit no chunk of the table, and count as not found (1):" in err
    assert "x: gone.md" in err
    assert json.loads(run("evaluate", path, "--json")[1])["unmatched"] == [{"question": "x", "judgement": "gone.md"}]


@pytest.mark.usefixtures("filled")
def test_worse_than_a_baseline_is_status_1(run, path, tmp_path, database):
    baseline = tmp_path / "baseline.json"
    baseline.write_text(run("evaluate", path, "--mode", "text", "--json")[1])
    assert run("evaluate", path, "--mode", "text", "--baseline", baseline)[0] == 0
    execute(database, "UPDATE knowledge_base SET chunk_text = 'other words', context_header = ''")
    code, out, _ = run("evaluate", path, "--mode", "text", "--baseline", baseline)
    assert (code, "compared with the baseline: worse" in out) == (1, True)
    code, out, _ = run("evaluate", path, "--mode", "text", "--baseline", baseline, "--json")
    assert (code, json.loads(out)["ways"][0]["baseline"]["verdict"]) == (1, "worse")
    code, _, err = run("evaluate", path, "--mode", "vector", "--baseline", baseline)
    assert (code, "--baseline has measured none of these modes" in err) == (2, True)


@pytest.mark.usefixtures("filled")
def test_worse_than_what_was_accepted_is_status_1(run, path, database):
    assert run("evaluate", path, "--mode", "text", "--accept")[0] == 0
    assert run("evaluate", path, "--mode", "text")[0] == 0
    execute(database, "UPDATE knowledge_base SET chunk_text = 'other words', context_header = ''")
    assert run("evaluate", path, "--mode", "text")[0] == 1
    assert run("evaluate", path, "--mode", "text", "--accept")[0] == 0
    assert run("evaluate", path, "--mode", "text")[0] == 0


@pytest.mark.usefixtures("filled")
def test_two_modes_are_compared_question_by_question(run, path, database):
    execute(database, "UPDATE knowledge_base SET chunk_text = 'other' WHERE chunk_text LIKE '%%elephant%%'")
    code, out, _ = run("evaluate", path, "--compare", "text", "vector", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["before"]["mode"], document["after"]["mode"], document["questions"]) == ("text", "vector", 3)
    changes = [change["change"] for change in document["changes"]]
    assert changes == sorted(changes)
    assert document["better"] + document["worse"] == len(changes)
    code, out, _ = run("evaluate", path, "--compare", "text", "vector")
    assert "From text" in out
    code, _, err = run("evaluate", path, "--compare", "text", "text")
    assert (code, "names one way of asking twice" in err) == (2, True)
    code, _, err = run("evaluate", path, "--compare", "text", "nothing")
    assert code == 2


@pytest.mark.usefixtures("filled")
def test_drafts_are_asked_once_they_are_judged(run, tmp_path):
    code, out, err = run("evaluate", "--make", "3")
    assert code == 0
    assert "3 drafts" in err
    drafts = [json.loads(line) for line in out.splitlines()]
    code, _, err = run("evaluate", write_questions(tmp_path / "drafts", *drafts), "--mode", "text")
    assert (code, "nothing but drafts (3)" in " ".join(err.split())) == (2, True)
    path = write_questions(tmp_path / "drafts", {**drafts[0], "draft": False}, *drafts[1:])
    document = json.loads(run("evaluate", path, "--mode", "text", "--json")[1])
    assert (document["questions"], document["drafts"], document["unmatched"]) == (1, 2, [])
    assert "1 question, 1 judgement; 2 drafts left out." in run("evaluate", path, "--mode", "text")[1]


@pytest.mark.usefixtures("filled")
def test_trec(run, tmp_path):
    queries = write_questions(tmp_path / "queries.tsv", "1\tzebra installer")
    qrels = write_questions(tmp_path / "qrels", "1 0 guide.md 1")
    document = json.loads(run("evaluate", "--queries", queries, "--qrels", qrels, "--mode", "text", "--json")[1])
    assert document["ways"][0]["metrics"]["mrr"]["value"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "set EMBEDDING_EVALUATION_QUERIES"),
        (("--qrels", "x"), "--qrels and --queries go together"),
        (("--queries", "x"), "--qrels and --queries go together"),
        (("none.jsonl",), "none.jsonl cannot be read"),
        (("x", "--compare", "text", "vector", "--accept"), "leave out --accept and --baseline"),
    ],
)
def test_what_is_wrong_is_said(run, settings, arguments, reason):
    code, _, err = run("evaluate", *arguments)
    assert (code, reason in " ".join(err.split())) == (2, True)


@pytest.mark.usefixtures("filled")
def test_an_unknown_mode_or_space(run, path):
    code, _, err = run("evaluate", path, "--mode", "words")
    assert (code, "--mode words is none of hybrid, vector, text" in err) == (2, True)
    assert run("evaluate", path, "--space", "nothing")[0] == 2
