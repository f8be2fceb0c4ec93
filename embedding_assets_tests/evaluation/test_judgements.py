"""Judgements name places in words that survive another splitting."""

import pytest

from embedding_assets.evaluation.judgements import (
    JudgedQuestion,
    Judgement,
    fingerprint,
    headings_of,
    make_place,
    plain,
)
from embedding_assets.retrieval.answer import Place
from embedding_assets_tests.support.judging import result

PLACE = make_place(
    "docs/guide.md", "Guide > Install  on > LINUX", "ab" * 32, {"page": 3, "draft": True}, "Run\n the  X"
)


@pytest.mark.parametrize("name", ["docs/guide.md", "guide.md", "guide", "ab" * 32])
def test_a_document_has_many_names(name):
    assert Judgement(name).matches(PLACE)


@pytest.mark.parametrize("name", ["uide.md", "docs", "docs/guide", "guide.markdown", "Guide.md"])
def test_but_not_any(name):
    assert not Judgement(name).matches(PLACE)


def test_a_row_is_called_by_its_id():
    row = make_place("data/rows.jsonl#7", "", "cd" * 32, {}, "")
    assert all(Judgement(name).matches(row) for name in ("7", "rows.jsonl#7", "data/rows.jsonl#7"))
    assert not Judgement("rows.jsonl").matches(row), "all rows of the file would be one document"
    assert Judgement("d7").matches(make_place("rows.jsonl", "", "ef" * 32, {"_id": "d7"}, ""))


@pytest.mark.parametrize(
    ("heading", "matches"),
    [
        ("Guide > Install on > Linux", True),
        ("linux", True),
        ("Install on", True),  # what is below belongs to it
        ("install on > linux", True),
        ("Guide > Linux", False),
        ("Lin", False),
        ("", True),
    ],
)
def test_headings_stand_together(heading, matches):
    assert Judgement("guide.md", headings_of(heading)).matches(PLACE) == matches


def test_fields_and_words():
    assert Judgement(fields=(("draft", "true"), ("page", "3"))).matches(PLACE)
    assert not Judgement(fields=(("page", "4"),)).matches(PLACE)
    assert not Judgement(fields=(("chapter", "4"),)).matches(PLACE)
    assert Judgement("guide.md", text=plain("the x")).matches(PLACE)
    assert not Judgement("guide.md", text=plain("the y")).matches(PLACE)


def test_chunks_of_one_unit_count_once_where_the_best_stands():
    question = JudgedQuestion("q", "?", (Judgement("a.md", ("one",)), Judgement("b.md", ("two",))))
    found = [
        result("a.md", "A > Other", "1"),
        result("a.md", "A > Other", "2"),
        result("b.md", "B > Two", "3"),
        result("b.md", "B > Two", "4"),
        result("a.md", "A > One", "5"),
    ]
    units = question.ranking(found)
    assert [unit.startswith("judged") for unit in units] == [False, True, True]
    assert units[1:] == ["judged 1", "judged 0"]


def test_units_that_nothing_is_judged_of_are_as_fine_as_the_judgements():
    found = [result("x.md", "X > One", "1"), result("x.md", "X > Two", "2"), result("x.md", "X > Two", "3")]
    by = {
        "document": Judgement("a.md"),
        "section": Judgement("a.md", ("s",)),
        "chunk": Judgement("a.md", text="words"),
        "hash": Judgement("ab" * 32),
    }
    units = {name: len(JudgedQuestion("q", "?", (judgement,)).ranking(found)) for name, judgement in by.items()}
    assert units == {"document": 1, "section": 2, "chunk": 3, "hash": 3}


def test_rows_of_one_file_are_told_apart_by_the_field_they_are_judged_by():
    question = JudgedQuestion("q", "?", (Judgement(fields=(("code", "1"),)),))
    rows = [result("rows.jsonl", text=code, metadata={"code": code}) for code in ("3", "2", "1")]
    assert question.ranking(rows)[2] == "judged 0"


def test_a_text_is_found_at_its_other_places_too():
    question = JudgedQuestion("q", "?", (Judgement("b.md"),))
    twice = result("a.md", other_places=(Place("ab", {}, "b.md", "", ""),))
    assert question.ranking([twice]) == ["judged 0"]


def test_the_fingerprint_is_that_of_questions_and_judgements():
    one, two = JudgedQuestion("1", "a", (Judgement("x"),)), JudgedQuestion("2", "b", (Judgement("y"), Judgement("z")))
    assert fingerprint([one, two]) == fingerprint([two, one])
    others = (
        JudgedQuestion("1", "a", (Judgement("x", grade=2),)),
        JudgedQuestion("1", "b", (Judgement("x"),)),
        JudgedQuestion("3", "a", (Judgement("x"),)),
    )
    assert len({fingerprint([other, two]) for other in (one, *others)}) == 4


def test_no_text_of_a_question_or_a_chunk_is_in_a_repr():
    question = JudgedQuestion("q", "secret question", (Judgement("a.md", text="secret words"),))
    assert "secret" not in repr(question)
    assert "secret" not in repr(make_place("a", "", "b", {}, "secret"))
    assert question.judgements[0].name == "a.md, a certain text"
