"""What a search knows of a table, and that it costs no round trip."""

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.search import find_chunks
from embedding_assets.postgres.search.facts import read_facts
from embedding_assets.postgres.search_indexes import METADATA_INDEX, build_search_indexes
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors


def test_indexes_and_rows(database, column, execute):
    insert_vectors(database, column, unit_vectors(300))
    before = read_facts(database, column, "simple")
    assert (before.form, before.has_words, before.is_small, before.is_guarded) == (None, False, True, False)
    assert before.contained == frozenset()
    assert {"origin", "chunk_hash"} <= before.indexed
    build_vector_index(database, column, IndexConfig())
    build_search_indexes(database, "simple")
    execute("ANALYZE knowledge_base")
    after = read_facts(database, column, "simple")
    assert after.form.is_plain
    assert (after.has_words, after.rows) == (True, 300)
    assert after.contained == {"document_metadata"}
    assert "source" in after.indexed
    assert not read_facts(database, column, "english").has_words
    execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{METADATA_INDEX}'::regclass")
    assert read_facts(database, column, "simple").contained == frozenset()


@pytest.mark.parametrize("words", [None, "text of"])
def test_an_answer_is_one_round_trip(database, column, words, monkeypatch):
    vectors = unit_vectors(300)
    insert_vectors(database, column, vectors)
    build_vector_index(database, column, IndexConfig())
    build_search_indexes(database, "simple")

    def ask():
        return find_chunks(
            database, column=column, vector=vectors[0], words=words, limit=5, where=(), index=IndexConfig()
        )

    ask()
    asked: list[int] = []
    read = database.read
    monkeypatch.setattr(database, "read", lambda statements: asked.append(len(statements)) or read(statements))
    monkeypatch.setattr(database, "run", None)
    monkeypatch.setattr(database, "run_in_session", None)
    assert len(ask().chunks) == 5
    assert len(asked) == 1


def test_row_level_security_forbids_looking_words_up(role, database, database_url, column, execute):
    from embedding_assets.postgres.connection import Database
    from embedding_assets_tests.support.tables import as_role

    insert_vectors(database, column, unit_vectors(3000))
    build_search_indexes(database, "simple")
    for grant in ("USAGE ON SCHEMA public", "SELECT ON ALL TABLES IN SCHEMA public"):
        execute(f"GRANT {grant} TO {role}")
    execute("ALTER TABLE knowledge_base ENABLE ROW LEVEL SECURITY")
    execute(f"CREATE POLICY first_rows ON knowledge_base FOR SELECT TO {role} USING (chunk_hash < '1')")
    with Database(as_role(database_url, role), database._config) as guest:
        assert read_facts(guest, column, "simple").is_guarded
        found = find_chunks(
            guest, column=column, vector=unit_vectors(1)[0], words="text", limit=9, where=(), index=IndexConfig()
        )
    assert all(chunk.chunk_hash < "1" for chunk in found.chunks)
    assert len(found.chunks) == 9
    assert found.notes[0].startswith("words were not searched: row-level security holds for this role")
    execute(f"DROP OWNED BY {role}")
