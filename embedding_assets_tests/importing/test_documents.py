"""Chunks of LangChain and pgai, as documents with their vectors."""

import json
import subprocess
import sys
import uuid

import numpy as np
import pytest

from embedding_assets.postgres.foreign import snapshot
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.foreign import (
    as_text,
    insert_langchain,
    make_langchain,
    make_pgai,
    other_model,
    sentences,
    vectors_of,
)


def group(number):
    return f"book{number // 10}.pdf"


@pytest.fixture
def vectors(settings, texts):
    return vectors_of(settings, texts)


@pytest.fixture
def by_settings(settings, monkeypatch):
    """The demo model is meant, whatever a vectorizer says; returns what embeds with it."""
    monkeypatch.setenv("EMBEDDING_PROVIDER", "local")
    return lambda texts: vectors_of(settings, texts)


def rows(beside, columns):
    return beside.execute(f"SELECT {columns} FROM knowledge_base ORDER BY document_metadata ->> 'origin', chunk_index")


@pytest.mark.parametrize("old", [False, True], ids=["langchain-postgres", "langchain-community"])
def test_a_collection_of_langchain_becomes_documents(run, taken, database, beside, texts, vectors, old):
    make_langchain(beside, texts, vectors, old=old, source=group)
    assert taken("langchain", "--check")["usable"] == 80
    assert beside.execute("SELECT count(*) FROM knowledge_base").fetchone() == (0,)

    report = taken("langchain")
    assert (report["documents"], report["added"], report["written"]) == (8, 80, 80)
    found = rows(beside, "chunk_text, document_metadata, chunk_index, total_chunks, embedding::real[]").fetchall()
    assert [row[0] for row in found] == texts
    assert found[11][1] == {
        "source": "book1.pdf", "origin": "langchain:library/book1.pdf", "title": "", "lang": "en", "page": 11
    }  # fmt: skip
    assert [row[2:4] for row in found[:11]] == [*((n, 10) for n in range(10)), (0, 10)]
    np.testing.assert_array_equal(np.array([row[4] for row in found], dtype=np.float32), vectors)

    again = taken("langchain")
    assert (again["added"], again["removed"], again["written"], again["compared"]) == (0, 0, 0, 0)
    assert json.loads(run("embed", "--json", "--no-index")[1])["embedded"] == 0


def test_a_later_import_updates_a_document(run, taken, database, beside, settings, texts, vectors):
    make_langchain(beside, texts, vectors, source=group)
    taken("langchain")
    beside.execute("DELETE FROM langchain_pg_embedding WHERE document = ANY(%s)", [texts[:2]])
    more = sentences(2, 900)
    insert_langchain(beside, more, vectors_of(settings, more), start=80, source=lambda _: "book0.pdf")
    report = taken("langchain")
    assert (report["added"], report["removed"], report["written"], report["compared"]) == (2, 2, 2, 2)
    assert {text for (text,) in rows(beside, "chunk_text")} == {*texts[2:], *more}


def test_a_store_of_langchain_and_chunks_without_a_source(taken, refused, database, beside, texts, vectors):
    beside.execute(
        "CREATE TABLE notes (langchain_id uuid PRIMARY KEY, content text NOT NULL, embedding vector(768) NOT NULL, "
        "lang text, langchain_metadata json)"
    )
    beside.cursor().executemany(
        "INSERT INTO notes VALUES (%s, %s, %s, 'de', %s)",
        [
            (uuid.UUID(int=n), text, as_text(vectors[n]), json.dumps({"stars": n}) if n else None)
            for n, text in enumerate(texts)
        ],
    )
    report = taken("langchain", "--collection", "notes")
    assert (report["documents"], report["written"]) == (80, 80)
    [(origin, metadata)] = beside.execute(
        "SELECT document_metadata ->> 'origin', document_metadata FROM knowledge_base WHERE chunk_text = %s", [texts[3]]
    ).fetchall()
    assert origin == f"langchain:notes/{uuid.UUID(int=3)}"
    assert (metadata["lang"], metadata["stars"]) == ("de", 3)

    make_langchain(beside, texts[:1], vectors[:1])
    assert "several collections; name one by --collection: library, notes" in refused("langchain")
    assert "no collection none" in refused("langchain", "--collection", "none")
    assert "has no collection of LangChain" in refused("langchain", "--schema", "pg_catalog")


def test_other_vectors_of_langchain_are_refused(refused, database, beside, texts, vectors):
    make_langchain(beside, texts, other_model(vectors))
    assert "of another model" in refused("langchain")
    assert beside.execute("SELECT count(*) FROM knowledge_base").fetchone() == (0,)
    assert beside.execute("SELECT count(*) FROM loaded_documents").fetchone() == (0,)


def test_bad_rows_of_langchain_are_counted(run, taken, database, beside, texts, vectors):
    given = vectors.copy()
    given[1] = 0
    make_langchain(beside, ["", *texts[1:]], given)
    report = taken("langchain")
    assert report["refused"] == {"blank_text": 1, "zero_vector": 1}
    assert (report["added"], report["written"]) == (79, 78)
    assert json.loads(run("embed", "--json", "--no-index")[1])["embedded"] == 1


@pytest.mark.parametrize("old", [False, True], ids=["destination", "before"])
def test_a_vectorizer_of_pgai_is_gone_on_with_by_sync(run, taken, database, beside, texts, by_settings, old):
    make_pgai(beside, texts, by_settings, old=old)
    report = taken("pgai")
    assert (report["documents"], report["added"], report["written"]) == (80, 160, 160)
    assert report["next_steps"] == [
        "embedding-assets sync blog.posts --key id --text body", "embedding-assets embed"
    ]  # fmt: skip
    origins = {origin for (origin,) in rows(beside, "document_metadata ->> 'origin'")}
    assert origins == {f"blog.posts/{n}" for n in range(80)}

    def synced():
        code, out, err = run(*report["next_steps"][0].split()[1:], "--json")
        assert code == 0, err
        return json.loads(out)

    before = rows(beside, "chunk_hash, chunk_text, embedding::text").fetchall()
    synced()
    assert rows(beside, "chunk_hash, chunk_text, embedding::text").fetchall() == before
    again = taken("pgai")
    assert (again["added"], again["written"], again["present"]) == (0, 0, 160)

    beside.execute("UPDATE blog.posts SET body = 'Now about something else.' WHERE id = 4")
    synced()
    assert json.loads(run("embed", "--json", "--no-index")[1])["embedded"] == 1
    # What pgai has of it is older.
    assert taken("pgai")["added"] == 0
    changed = "SELECT chunk_text FROM knowledge_base WHERE document_metadata ->> 'origin' = 'blog.posts/4'"
    assert beside.execute(changed).fetchall() == [("Now about something else.",)]


def test_rows_of_pgai_that_were_edited_or_deleted_are_left_to_sync(run, taken, database, beside, texts, by_settings):
    make_pgai(beside, texts, by_settings)
    beside.execute("UPDATE blog.posts SET body = 'Edited.' WHERE id = 7")
    beside.execute("INSERT INTO ai._vectorizer_q_1 VALUES (7)")
    beside.execute("DELETE FROM blog.posts WHERE id = 8")
    report = taken("pgai", 1)
    assert (report["documents"], report["written"]) == (78, 156)
    assert "1 source rows were edited since pgai embedded them; the sync brings them." in report["remarks"]
    assert "2 chunks are of source rows that are gone; they were left out." in report["remarks"]
    assert run("sync", "blog.posts", "--key", "id", "--text", "body")[0] == 0
    assert json.loads(run("embed", "--json", "--no-index")[1])["embedded"] == 1

    beside.execute("UPDATE blog.posts SET body = 'Edited too.' WHERE id = 9")
    again = taken("pgai", "posts")
    assert "1 source rows were edited since they were imported; the sync brings them." in again["remarks"]
    assert again["written"] == 0


@pytest.mark.parametrize(
    ("formatting", "header", "text"),
    [("$title: $chunk", "", "Title 0: "), ("$title\n$chunk", "Title 0", ""), ("$chunk\n$title", "", "The ferry")],
)
def test_what_pgai_put_around_a_chunk_is_embedded_as_well(
    taken, database, beside, by_settings, formatting, header, text
):
    make_pgai(beside, sentences(20), by_settings, template=formatting)
    assert taken("pgai", "blog.posts")["written"] == 40
    found = beside.execute(
        "SELECT context_header, chunk_text FROM knowledge_base WHERE document_metadata ->> 'origin' = 'blog.posts/0' "
        "AND chunk_index = 0"
    ).fetchone()
    assert (found[0], found[1].startswith(text or "The ferry")) == (header, True)


def test_vectorizers_that_cannot_be_imported_are_refused(refused, database, beside, texts, by_settings, monkeypatch):
    assert "no table ai.vectorizer" in refused("pgai")
    make_pgai(beside, texts[:10], by_settings)
    assert "no single vectorizer is 9; there are: 1 (posts)" in refused("pgai", 9)
    monkeypatch.delenv("EMBEDDING_PROVIDER")
    said = refused("pgai")
    assert "embeds with all-minilm by ollama; set EMBEDDING_PROVIDER=openai, EMBEDDING_OPENAI_MODEL=all-minilm" in said
    column = {"implementation": "column", "embedding_column": "vec"}
    beside.execute("UPDATE ai.vectorizer SET config = config || %s::jsonb", [json.dumps({"destination": column})])
    assert "then `embedding-assets import column blog.posts.vec`" in refused("pgai")


def test_documents_do_not_go_into_an_adopted_table(run, refused, settings, articles, monkeypatch):
    monkeypatch.setenv("EMBEDDING_TABLE", "articles")
    assert "is filled by others" in refused("langchain")


def state(beside):
    return beside.execute(
        "SELECT chunk_hash, chunk_text, chunk_index, embedding::text, d.digest, d.chunks FROM knowledge_base "
        "JOIN loaded_documents d ON d.origin = document_metadata ->> 'origin' ORDER BY 1"
    ).fetchall()


def test_documents_that_are_read_in_several_portions(taken, database, beside, texts, vectors, monkeypatch):
    make_langchain(beside, texts, vectors, source=group)
    taken("langchain")
    whole = state(beside)
    assert len(whole) == 80
    monkeypatch.setattr(snapshot, "PORTION_ROWS", 7)
    report = taken("langchain")
    assert (report["added"], report["removed"], report["written"]) == (0, 0, 0)
    beside.execute("DELETE FROM knowledge_base")
    beside.execute("DELETE FROM loaded_documents")
    report = taken("langchain")
    assert (report["documents"], report["added"], report["removed"], report["written"]) == (8, 80, 0, 80)
    assert state(beside) == whole


KILLED = """
import os, sys
from embedding_assets.importing import documents
from embedding_assets.postgres.foreign import snapshot
snapshot.PORTION_ROWS = 7
left = 3
when, what = sys.argv[1:]
def write(*arguments, write=documents.write_vectors):
    global left
    left -= 1
    if not left and when == "before":
        os.kill(os.getpid(), 9)
    outcome = write(*arguments)
    if not left:
        os.kill(os.getpid(), 9)
    return outcome
documents.write_vectors = write
from embedding_assets.cli.app import main
sys.argv[:] = ["embedding-assets", "import", what, "--json"]
main()
"""


@pytest.mark.parametrize("tool", ["pgai", "langchain"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_midway_and_run_again_documents_end_the_same(
    run, taken, database, beside, texts, by_settings, vectors, tool, moment
):
    make_pgai(beside, texts[:20], by_settings)
    make_langchain(beside, texts[:40], vectors[:40], source=group)
    # In a process that is killed while it writes, with the first documents stored.
    process = processes.start([sys.executable, "-c", KILLED, moment, tool], stdout=subprocess.PIPE)
    assert process.wait(timeout=120) == -9
    written = {"before": 14, "after": 21}[moment]
    assert beside.execute("SELECT count(*), count(embedding) FROM knowledge_base").fetchone() == (21, written)

    report = taken(tool)
    assert (report["written"], report["present"]) == (40 - written, written)
    killed = state(beside)
    for table in ("knowledge_base", "loaded_documents"):
        beside.execute(f"DELETE FROM {table}")
    taken(tool)
    assert state(beside) == killed
    assert json.loads(run("embed", "--json", "--no-index")[1])["embedded"] == 0
