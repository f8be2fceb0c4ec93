"""A filter that few rows pass is answered by its index, and one that many pass by that of the vectors."""

import re

import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from embedding_assets.config import IndexConfig
from embedding_assets.postgres.conditions import conditions_of
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.search import find_chunks, scope
from embedding_assets.postgres.search_indexes import METADATA_INDEX, SOURCE_INDEX, build_search_indexes
from embedding_assets_tests.support.tables import PlanRecorder, insert_vectors, unit_vectors

ROWS = 3000


@pytest.fixture
def filled(database, column, execute, monkeypatch):
    """Vectors with metadata, of which few have each source and half each language; no statistics say so."""
    monkeypatch.setattr(scope, "_FEWEST", 20)
    monkeypatch.setattr(scope, "_MOST", 20)
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    hashes = insert_vectors(database, column, unit_vectors(ROWS))
    execute(
        "UPDATE knowledge_base k SET document_metadata = jsonb_build_object('source', 'docs/f' || n / 4 || '.md', "
        "'lang', CASE n %% 2 WHEN 0 THEN 'de' ELSE 'en' END, 'number', n) "
        "FROM unnest(%s::text[]) WITH ORDINALITY AS named (hash, n) WHERE chunk_hash = hash",
        hashes,
    )
    execute("ANALYZE knowledge_base (chunk_hash)")
    build_vector_index(database, column, IndexConfig())
    build_search_indexes(database, "simple")
    return hashes


def ask(database, column, where, *, words=None, limit=10):
    return find_chunks(
        database, column=column, vector=unit_vectors(1, seed=3)[0], words=words, limit=limit,
        where=conditions_of(where), index=IndexConfig(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("where", "index", "count"),
    [
        (["source=f7.md"], SOURCE_INDEX, 4),
        (["source=docs/f7.md"], SOURCE_INDEX, 4),
        (["number=17"], METADATA_INDEX, 1),
        (["number in (17, 18, 19)"], METADATA_INDEX, 3),
        (["lang=de", "number=18"], METADATA_INDEX, 1),
        (["number=99999"], METADATA_INDEX, 0),
    ],
)
def test_few_rows_are_found_by_the_filter_s_index(database, column, filled, where, index, count):
    recorder = PlanRecorder(database)
    found = ask(recorder, column, where)
    assert len(found.chunks) == count
    assert index in recorder.plan
    assert "Seq Scan" not in recorder.plan
    assert [chunk.vector_rank for chunk in found.chunks] == list(range(1, count + 1))
    with_words = ask(database, column, where, words="text")
    assert {chunk.chunk_hash for chunk in with_words.chunks} == {chunk.chunk_hash for chunk in found.chunks}


def test_many_rows_are_found_by_the_index_of_vectors(database, column, filled):
    recorder = PlanRecorder(database)
    for words in (None, "text of"):
        found = ask(recorder, column, ["lang=de"], words=words)
        assert len(found.chunks) == 10
        assert all(chunk.metadata["lang"] == "de" for chunk in found.chunks)
        assert "Index Scan using idx_knowledge_embedding" in recorder.plan
        assert "Seq Scan on knowledge_base" not in recorder.plan
        assert len(ask(recorder, column, ["number>1500"], words=words).chunks) == 10
        assert "Index Scan using idx_knowledge_embedding" in recorder.plan
        assert not re.search(r"idx_knowledge_embedding.*never executed", recorder.plan)


@pytest.mark.parametrize("where", [["lang=de"], ["number>=2990"], ["number=17"], ["source=f9.md", "lang=en"]])
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_never_fewer_than_there_are(database, column, filled, execute, where, limit):
    [(name,)] = execute("SELECT current_database()")
    execute(f'ALTER DATABASE "{name}" SET hnsw.max_scan_tuples = 50')
    database.close()
    documents = [row[0] for row in execute("SELECT document_metadata FROM knowledge_base")]
    holds = {
        "lang=de": lambda one: one["lang"] == "de",
        "number>=2990": lambda one: one["number"] >= 2990,
        "number=17": lambda one: one["number"] == 17,
        "source=f9.md": lambda one: one["source"] == "docs/f9.md" and one["lang"] == "en",
    }[where[0]]
    passing = sum(map(holds, documents))
    found = ask(database, column, where, limit=limit)
    assert len(found.chunks) == min(limit, passing)
    assert all(holds(chunk.metadata) for chunk in found.chunks)


@pytest.mark.parametrize(("where", "passing"), [("number<2", 1), ("number<0", 0)])
@pytest.mark.parametrize("words", [None, "text of"])
def test_few_rows_of_a_range_are_found_without_the_index_of_vectors(database, column, filled, where, passing, words):
    recorder = PlanRecorder(database)
    found = ask(recorder, column, [where], words=words)
    assert len(found.chunks) == passing
    # It is there, but is not read.
    assert re.search(r"idx_knowledge_embedding.*never executed", recorder.plan)
    assert not any("chunks fulfil the conditions" in note for note in found.notes)


def test_a_field_that_no_row_has_is_named(database, column, filled):
    notes = ask(database, column, ["nubmer<2000"]).notes
    assert any("nubmer" in note for note in notes), notes


@pytest.mark.parametrize("guess", [0, 99999])
@pytest.mark.parametrize("words", [None, "text"])
def test_a_wrong_guess_loses_no_row(database, column, filled, monkeypatch, guess, words):
    wrong = sql.SQL("SELECT set_config({}, '{}', true)::integer").format(sql.Literal(scope._PASSING), guess)
    monkeypatch.setattr(scope.Scope, "_guessing", wrong)
    for limit in (5, 200):
        assert len(ask(database, column, ["number>=1500"], limit=limit, words=words).chunks) == limit
    assert len(ask(database, column, ["number<3"], words=words).chunks) == 2


def test_an_index_that_comes_or_goes_changes_no_answer(database, column, filled, execute):
    before = ask(database, column, ["number=17"], words="text")
    for change in (
        f"DROP INDEX {METADATA_INDEX}",
        f"DROP INDEX {column.index}",
        f"CREATE INDEX {METADATA_INDEX} ON knowledge_base USING gin (document_metadata jsonb_path_ops)",
    ):
        execute(change)
        assert ask(database, column, ["number=17"], words="text").chunks == before.chunks


def test_an_index_that_is_not_valid_is_not_relied_on(database, column, filled, execute):
    execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid IN ('{METADATA_INDEX}'::regclass, "
            f"(SELECT oid FROM pg_class WHERE relname LIKE 'idx_knowledge_words%'))")  # fmt: skip
    recorder = PlanRecorder(database)
    found = ask(recorder, column, ["number=17"])
    assert [chunk.metadata["number"] for chunk in found.chunks] == [17]
    assert METADATA_INDEX not in recorder.plan
    notes = ask(database, column, (), words="text").notes
    assert notes == (
        "words were not searched: knowledge_base has no index of words in this language; `embedding-assets health` "
        "builds it",
    )


def test_zero_vectors_are_never_found(database, column, execute):
    hashes = insert_vectors(database, column, unit_vectors(5))
    execute(f"UPDATE knowledge_base SET {column.name} = '[0,0,0,0,0,0,0,0]' WHERE chunk_hash = %s", hashes[2])
    found = ask(database, column, (), words="text", limit=50)
    assert {chunk.chunk_hash for chunk in found.chunks if chunk.vector_rank} == {*hashes} - {hashes[2]}
    [zero] = [chunk for chunk in found.chunks if chunk.chunk_hash == hashes[2]]
    assert (zero.distance, zero.vector_rank) == (None, None)
    assert len(ask(database, column, (), limit=50).chunks) == 4


def test_fields_that_no_chunk_has(database, column, filled):
    [note] = ask(database, column, ["colour=red"]).notes
    assert re.fullmatch(r"no chunk of [12],\d+ looked at has a field 'colour'; they have lang, number, source", note)
    [note] = ask(database, column, ["number=seven"]).notes
    assert re.fullmatch(r"no chunk fulfils the conditions; 'number' is a number in [12],\d+ looked at", note)


def test_rows_of_a_filter_that_have_no_vector(database, column, execute, filled):
    execute(
        f"UPDATE knowledge_base SET {column.name} = NULL, document_metadata = document_metadata || "
        """'{"source": "late.md"}' WHERE document_metadata ->> 'number' = '17'"""
    )
    for where in (["source=late.md"], ["source=late.md", "number=17"]):
        found = ask(database, column, where)
        assert (found.chunks, found.notes) == ((), ("chunks fulfil the conditions, but none of them has a vector yet",))
    [note] = ask(database, column, ["source=late.md"], words="xyzzy").notes
    assert note == "chunks fulfil the conditions, but none of them has a vector yet or has a word of the question"
    [note] = ask(database, column, ["source=later.md"]).notes
    assert note.startswith("no chunk fulfils the conditions")


@pytest.mark.parametrize(
    ("source", "origin"),
    [("docs/rows.csv", "docs/rows.csv"), ("rows.csv", "docs/rows.csv"), ("docs/rows.csv", "other/docs/rows.csv")],
)
def test_a_file_of_rows_that_is_asked_for_as_a_source(database, column, execute, source, origin):
    document = {"source": f"{origin}#7", "origin": origin}
    hashes = insert_vectors(database, column, unit_vectors(1))
    execute("UPDATE knowledge_base SET document_metadata = %s WHERE chunk_hash = %s", Jsonb(document), hashes[0])
    [note] = ask(database, column, [f"source={source}"]).notes
    assert note == (
        f"no chunk fulfils the conditions; {origin} has rows, each a source of its own; origin={origin} finds them"
    )
    assert ask(database, column, [f"origin={origin}"]).notes == ()
    [note] = ask(database, column, ["source=gone.csv"]).notes
    assert note == "no chunk fulfils the conditions; 'source' is a text in 1 looked at"
