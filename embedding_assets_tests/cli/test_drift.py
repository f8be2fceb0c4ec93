"""The command drift: a table by week, JSON, and what is said where there is nothing to compare."""

import json
from datetime import date

import pytest

from embedding_assets.postgres.question_weeks import add_questions
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.evaluating import execute
from embedding_assets_tests.support.tables import SMALL_SPACE, insert_vectors, unit_vectors


@pytest.fixture
def filled(database):
    vectors = unit_vectors(60)
    vectors[:40, 0] += 2
    vectors[40:, 1] += 3
    column = register_space(database, SMALL_SPACE)
    hashes = insert_vectors(database, column, vectors)
    execute(
        database,
        "UPDATE knowledge_base SET document_metadata = jsonb_build_object('origin', chunk_hash) WHERE chunk_hash <> %s",
        hashes[59],
    )
    for time, chosen in (("2026-03-02", hashes[:40]), ("2026-03-17", hashes[40:59])):
        execute(
            database,
            "INSERT INTO loaded_documents (origin, digest, chunks, loaded_at) "
            "SELECT unnest(%s::text[]), 'd', 1, %s::timestamptz", chosen, time,
        )  # fmt: skip


@pytest.mark.usefixtures("filled")
def test_weeks(run):
    code, out, _ = run("drift")
    assert code == 0
    first, second = (line.split() for line in out.splitlines() if line.strip().startswith("2026"))
    assert (first[0], first[1], second[0], second[1], second[-1]) == ("2026-03-02", "40", "2026-03-16", "19", "differs")
    assert "Left out: 1 chunk without a recorded load." in out
    code, out, _ = run("drift", "--json", "--weeks", "1")
    document = json.loads(out)
    assert (code, document["space"]) == (0, SMALL_SPACE.name)
    assert [(week["monday"], week["chunks"]) for week in document["weeks"]] == [(None, 40), ("2026-03-16", 19)]
    assert document["weeks"][1]["differs"] is True
    assert run("drift", "--json", "--weeks", "1")[1] == out


@pytest.mark.usefixtures("filled")
def test_questions_by_week(run, database):
    assert json.loads(run("drift", "--json")[1])["questions"] == []
    assert "questions" not in run("drift")[1]
    add_questions(database, {(date(2026, 3, 2), SMALL_SPACE.name): (1200, 60)})
    code, out, _ = run("drift")
    assert code == 0
    assert ["2026-03-02", "1,200", "60", "5%"] in [line.split() for line in out.splitlines()]
    assert json.loads(run("drift", "--json")[1])["questions"] == [
        {"monday": "2026-03-02", "space": SMALL_SPACE.name, "questions": 1200, "low": 60, "share": 0.05}
    ]


@pytest.mark.usefixtures("settings")
def test_a_table_of_ones_own_has_questions_alone(run, beside, monkeypatch):
    beside.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    beside.execute("INSERT INTO notes VALUES (1, 'a note')")
    assert run("adopt", "notes", "--text", "body", "--yes")[0] == 0
    monkeypatch.setenv("EMBEDDING_TABLE", "notes")
    assert run("embed")[0] == 0
    beside.execute(
        "INSERT INTO embedding_assets_notes.embedding_question_weeks (monday, space, questions, low) "
        "SELECT '2026-03-02', name, 4, 1 FROM embedding_assets_notes.embedding_spaces"
    )
    code, out, err = run("drift")
    assert (code, err) == (0, "")
    assert "25%" in out
    code, out, _ = run("drift", "--json")
    assert (code, json.loads(out)["weeks"], json.loads(out)["questions"][0]["share"]) == (0, [], 0.25)


def test_nothing_to_compare(run, database):
    code, _, err = run("drift")
    assert (code, "nothing was embedded yet" in err) == (2, True)
    column = register_space(database, SMALL_SPACE)
    assert "No chunk has a vector yet" in run("drift")[1]
    insert_vectors(database, column, unit_vectors(5), document_metadata='{"origin": "x"}')
    execute(database, "INSERT INTO loaded_documents (origin, digest, chunks) VALUES ('x', 'd', 5)")
    code, out, _ = run("drift")
    assert (code, "All of them were loaded at one time" in out) == (0, True)


@pytest.mark.usefixtures("settings")
def test_a_document_that_is_loaded_unchanged_keeps_its_week(run, database, tmp_path):
    (tmp_path / "a.md").write_text("first")
    run("load", tmp_path)
    execute(database, "UPDATE loaded_documents SET loaded_at = '2026-03-02'")
    (tmp_path / "b.md").write_text("second")
    run("load", tmp_path)
    column = register_space(database, SMALL_SPACE)
    execute(database, f"UPDATE knowledge_base SET {column.name} = '[1,0,0,0,0,0,0,0]'")
    weeks = json.loads(run("drift", "--json")[1])["weeks"]
    assert [week["documents"] for week in weeks] == [1, 1]
    assert weeks[1]["cosine"] == pytest.approx(1)
