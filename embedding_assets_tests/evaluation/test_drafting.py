"""Drafts are lines that evaluate reads, made of what the table says, the same ones each time."""

import json

import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.evaluation.drafting import draft_questions
from embedding_assets.evaluation.matching import find_unmatched
from embedding_assets.evaluation.reading import read_questions
from embedding_assets_tests.support.judging import insert_documents, write_questions


def test_drafts_are_made_of_headings_and_first_sentences(database, tmp_path):
    insert_documents(database)
    insert_documents(database, [("notes.txt", "", "The first  sentence. The second one."), ("rows.csv", "T", "### x!")])
    drafts = draft_questions(database, 100)
    assert {draft["query"] for draft in drafts} == {
        "Linux", "Windows", "Remove", "Billing", "The first sentence.", "x!"
    }  # fmt: skip
    assert all(draft["draft"] for draft in drafts)
    found = read_questions(write_questions(tmp_path / "drafts", *map(json.dumps, drafts))).questions
    assert len(found) == 6
    assert find_unmatched(database, found) == []
    assert draft_questions(database, 100) == drafts
    assert len(draft_questions(database, 2)) == 2


def test_a_section_is_drafted_once(database):
    insert_documents(database, [("long.md", "Long > Part", f"chunk {n}") for n in range(20)])
    assert len(draft_questions(database, 5)) == 1


def test_an_empty_table_has_none(database):
    with pytest.raises(ConfigurationError, match="embedding-assets load PATH"):
        draft_questions(database, 5)
