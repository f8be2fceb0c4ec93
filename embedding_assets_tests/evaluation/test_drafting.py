"""Drafts are lines that evaluate reads, made of what the table says, the same ones each time."""

import json

import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.evaluation.drafting import draft_questions
from embedding_assets.evaluation.matching import find_unmatched
from embedding_assets.evaluation.reading import read_questions
from embedding_assets_tests.support.judging import insert_documents, write_questions

ROWS = (
    ("docs/guide.md", "Guide > Install on Linux", "Unpack it. Run it."),
    ("docs/guide.md", "Guide > Remove", "Run the elephant command. Then wait."),
    ("notes.txt", "", "The first  sentence. The second one."),
    ("zh.md", "手册 > 安装软件", "下载。运行。"),
    ("hi.txt", "", "यह एक परीक्षण वाक्य है। दूसरा वाक्य।"),
    ("rows.csv#3", "T", "### x!"),
    ("table.md", "Table > Values", "| --- | --- | :-: | a | b |"),
    ("src/report.py", "report.py > write report", "def write_report(rows): return render the rows"),
)


def test_drafts_are_made_of_headings_and_first_sentences(database, tmp_path):
    insert_documents(database, ROWS)
    insert_documents(database, [("-", "stdin > main loop", "for every row do it")], language="python")
    drafts = draft_questions(database, 100)
    assert {draft["query"] for draft in drafts} == {
        "Install on Linux", "Run the elephant command.", "The first sentence.", "安装软件",
        "यह एक परीक्षण वाक्य है।",
    }  # fmt: skip
    assert all(draft["draft"] for draft in drafts)
    judged = [json.dumps({**draft, "draft": False}) for draft in drafts]
    found = read_questions(write_questions(tmp_path / "drafts", *judged)).questions
    assert len(found) == 5
    assert find_unmatched(database, found) == []
    assert draft_questions(database, 100) == drafts
    assert len(draft_questions(database, 2)) == 2


def test_many_places_that_make_none_do_not_use_up_the_drafts(database):
    insert_documents(database, [(f"src/{n}.py", f"{n}.py > do work", f"work({n})") for n in range(40)])
    insert_documents(database, [("guide.md", "Guide > Remove the package", "Run it.")])
    assert [draft["query"] for draft in draft_questions(database, 1)] == ["Remove the package"]


def test_a_table_of_code_alone_has_none(database):
    insert_documents(database, [("main.py", "main.py > do work", "work()")])
    with pytest.raises(ConfigurationError, match="source code aside"):
        draft_questions(database, 5)


def test_a_section_is_drafted_once(database):
    insert_documents(database, [("long.md", "Long > Next part", f"chunk {n}") for n in range(20)])
    assert len(draft_questions(database, 5)) == 1


def test_an_empty_table_has_none(database):
    with pytest.raises(ConfigurationError, match="embedding-assets load PATH"):
        draft_questions(database, 5)
