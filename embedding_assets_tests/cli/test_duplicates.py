"""The command duplicates: both lists, JSON, refusals, nothing of a text in the log."""

import json

import pytest

from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.evaluating import execute
from embedding_assets_tests.support.judging import fill, insert_documents
from embedding_assets_tests.support.shop import BIGINT, adopt_shop, opened
from embedding_assets_tests.support.shop import embed as embed_shop
from embedding_assets_tests.support.shop import fill as fill_shop
from embedding_assets_tests.support.tables import SMALL_SPACE

LICENCE = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and so on."


@pytest.fixture
def filled(settings, database):
    fill(settings, database)
    execute(
        database,
        "UPDATE knowledge_base SET embedding = (SELECT embedding FROM knowledge_base ORDER BY chunk_hash LIMIT 1)",
    )
    rows = [(f"{number}.md", "Licence", LICENCE.replace(" ", " " * (number + 1))) for number in range(7)]
    insert_documents(database, [*rows, ("bad\x1b[2J.md", "Licence", LICENCE)])


@pytest.mark.usefixtures("filled")
def test_both_lists(run):
    code, out, err = run("duplicates")
    assert code == 0
    assert "Equal texts: 1 group; 7 of 12 chunks repeat another." in out
    assert "8 times" in out
    assert "and 3 more" in out
    assert "Near-duplicates, cosine at least 0.97: 1 group. 4 chunks looked at, 0 left out" in out
    assert "docs/guide.md  Guide > Install > Linux" in out
    assert "double click the giraffe package" in out
    assert "\x1b" not in out
    assert not any(words in err for words in ("Permission", "giraffe"))


@pytest.mark.usefixtures("filled")
def test_as_json(run):
    code, out, _ = run("duplicates", "--json", "--at-least", "0.99", "--look-at", "3", "--limit", "1")
    document = json.loads(out)
    assert code == 0
    equal, near = document["equal_texts"], document["near_duplicates"]
    assert (equal["rows"], equal["groups_in_all"], equal["groups"][0]["rows"]) == (12, 1, 8)
    assert equal["groups"][0]["places"][0].keys() == {"chunk_hash", "key", "source", "header", "text"}
    assert (near["at_least"], near["looked_at"], near["left_out"], near["reason"]) == (0.99, 3, 1, "")
    assert near["groups"][0]["chunks"] == 4
    assert run("duplicates", "--json", "--at-least", "0.99", "--look-at", "3", "--limit", "1")[1] == out


def test_an_empty_table(run, settings, database):
    code, out, _ = run("duplicates")
    assert code == 0
    assert "Equal texts: none among 0 chunks." in out
    assert "Near-duplicates: not looked for, because nothing was embedded yet" in out


def test_a_space_without_cosines_is_refused_where_one_asks_for_it(run, database):
    register_space(database, SMALL_SPACE, similarity="euclidean")
    insert_documents(database)
    code, out, _ = run("duplicates")
    assert (code, "compares vectors by euclidean and not by a cosine" in out) == (0, True)
    code, out, err = run("duplicates", "--at-least", "0.9")
    assert (code, out, "by euclidean and not by a cosine" in err) == (2, "", True)


def test_a_table_of_the_users(run, settings, beside, monkeypatch):
    fill_shop(beside, BIGINT, 10)
    beside.execute("UPDATE notes SET title = NULL, body = 'the same' WHERE id > 7")
    adopted = adopt_shop(settings, BIGINT)
    monkeypatch.setenv("EMBEDDING_TABLE", "notes")
    with opened(adopted) as database:
        embed_shop(adopted, database)
    code, out, _ = run("duplicates")
    assert code == 0
    assert "3 times" in out
    assert {"8", "9", "10"} <= {line.strip() for line in out.splitlines()}
    assert "10 chunks looked at, 0 left out" in out
