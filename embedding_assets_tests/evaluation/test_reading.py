"""Files of judged questions: what they say is read, and what is broken is refused with its line."""

import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.evaluation.judgements import Judgement, question_id
from embedding_assets.evaluation.reading import read_questions
from embedding_assets_tests.support.judging import write_questions


def line(**changes):
    return {"query": "how?", "relevant": [{"source": "a.md"}], **changes}


def test_jsonl(tmp_path):
    path = write_questions(
        tmp_path / "q.jsonl",
        {
            "id": 7,
            "query": " how? ",
            "relevant": [
                {"source": "a.md", "heading": "A > B", "grade": 3},
                {"key": 42},
                {"key": [1, "x"]},
                {"key": {"page": 3, "draft": True}},
                {"source": "b.md", "text": "Some  Words", "grade": 0},
            ],
        },
        "",
        {"query": "where?", "relevant": [{"source": "a.md"}], "draft": False},
    )
    found = read_questions(path)
    assert [question.id for question in found.questions] == ["7", question_id("where?")]
    assert found.questions[0].text == "how?"
    assert found.questions[0].judgements == (
        Judgement("a.md", ("a", "b"), grade=3),
        Judgement("42"),
        Judgement("1, x"),
        Judgement(fields=(("draft", "true"), ("page", "3"))),
        Judgement("b.md", text="some words", grade=0),
    )
    assert found.unanswered == 0


def test_questions_that_nothing_answers_are_counted(tmp_path):
    path = write_questions(tmp_path / "q", line(), line(query="no?", relevant=[{"source": "a.md", "grade": 0}]))
    found = read_questions(path)
    assert (len(found.questions), found.unanswered) == (1, 1)


def test_drafts_measure_nothing(tmp_path):
    path = write_questions(
        tmp_path / "q", line(draft=True), line(query="judged?"), line(query="no draft?", draft=False)
    )
    found = read_questions(path)
    assert ([question.text for question in found.questions], found.drafts) == (["judged?", "no draft?"], 1)
    with pytest.raises(ConfigurationError, match=r"nothing but drafts \(2\).*take out its .draft."):
        read_questions(write_questions(tmp_path / "q", line(draft=True), line(query="where?", draft=True)))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (line(draft="yes"), "a 'draft' that is neither true nor false"),
        ("{", "is not valid JSON"),
        ("[]", "is not a JSON object"),
        (line(query=" "), "has no text in 'query'"),
        (line(query=3), "has no text in 'query'"),
        (line(relevant=[]), "no list of judgements called 'relevant'"),
        (line(relevant={"source": "a"}), "no list of judgements called 'relevant'"),
        (line(relevant=["a.md"]), "a judgement that is not an object"),
        (line(relevant=[{"sauce": "a.md"}]), "a judgement with 'sauce'; known are grade, heading, key, source, text"),
        (line(relevant=[{"heading": "A"}]), "neither a source nor a key"),
        (line(relevant=[{"source": "a", "key": "b"}]), "both a source and a key"),
        (line(relevant=[{"key": None}]), "a key that is no text"),
        (line(relevant=[{"key": {}}]), "a key that is no text"),
        (line(relevant=[{"source": "a", "grade": 1.5}]), "grade that is not a whole number"),
        (line(relevant=[{"source": "a", "grade": True}]), "grade that is not a whole number"),
        (line(relevant=[{"source": "a", "grade": -1}]), "grade that is not a whole number"),
        (line(relevant=[{"source": "a"}, {"source": "a", "grade": 2}]), "judges one place twice"),
    ],
)
def test_a_broken_line_is_named(tmp_path, broken, reason):
    path = write_questions(tmp_path / "q", line(), broken, line(query="where?"))
    with pytest.raises(ConfigurationError) as error:
        read_questions(path)
    assert "has broken lines:\nline 2: " in str(error.value)
    assert reason in str(error.value)


def test_many_broken_lines_are_counted(tmp_path):
    path = write_questions(tmp_path / "q", *["x"] * 14)
    with pytest.raises(ConfigurationError, match=r"line 10: .*\nand 4 more"):
        read_questions(path)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_questions(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xe9")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        read_questions(tmp_path / "latin")
    with pytest.raises(ConfigurationError, match="no question with a judgement above 0"):
        read_questions(write_questions(tmp_path / "empty"))
    with pytest.raises(ConfigurationError, match="two questions with the id"):
        read_questions(write_questions(tmp_path / "twice", line(), line()))


def test_trec(tmp_path):
    queries = write_questions(tmp_path / "queries.tsv", "1\twhat is it?", "2\thow is it?", "3\tunjudged")
    qrels = write_questions(tmp_path / "qrels", "1 0 d1 2", "1 0 d2 -1", "2 Q0 d1 0")
    found = read_questions(queries, qrels=qrels)
    assert [(question.id, question.text) for question in found.questions] == [("1", "what is it?")]
    assert found.questions[0].judgements == (Judgement("d1", grade=2), Judgement("d2", grade=0))
    assert found.unanswered == 1


def test_beir(tmp_path):
    write_questions(tmp_path / "queries.jsonl", {"_id": "1", "text": "what is it?"}, {"_id": "2", "text": "how?"})
    (tmp_path / "qrels").mkdir()
    write_questions(tmp_path / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore", "1\ta document\t1", "2\td2\t1")
    write_questions(tmp_path / "qrels" / "dev.tsv", "query-id\tcorpus-id\tscore", "2\td3\t1")
    assert [q.judgements for q in read_questions(tmp_path).questions] == [
        (Judgement("a document"),),
        (Judgement("d2"),),
    ]
    assert [q.judgements for q in read_questions(tmp_path, split="dev").questions] == [(Judgement("d3"),)]
    with pytest.raises(ConfigurationError, match=r"train\.tsv cannot be read"):
        read_questions(tmp_path, split="train")


@pytest.mark.parametrize(
    ("queries", "qrels", "reason"),
    [
        ("1\twhat?", "2 0 d1 1", "judges question '2', which"),
        ("1\twhat?", "1 0 d1", "grade that is not a whole number"),
        ("1\twhat?", "1 d1", "line 1: is not a judgement"),
        ("what?", "1 0 d1 1", "line 1: is neither a JSON object nor an id, a tab and a question"),
        ('{"text": "what?"}', "1 0 d1 1", "line 1: has no '_id'"),
    ],
)
def test_broken_trec_is_refused(tmp_path, queries, qrels, reason):
    paths = [write_questions(tmp_path / name, text) for name, text in (("queries", queries), ("qrels", qrels))]
    with pytest.raises(ConfigurationError) as error:
        read_questions(paths[0], qrels=paths[1])
    assert reason in str(error.value)
