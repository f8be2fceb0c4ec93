"""Indexes for words and filters: built beside readers and writers, replaced, dropped, and done without."""

import logging

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.searching import build_for_searches
from embedding_assets.postgres.search import find_chunks
from embedding_assets.postgres.search_indexes import (
    METADATA_INDEX,
    SOURCE_INDEX,
    build_search_indexes,
    check_language,
    drop_search_indexes,
    word_indexes,
)
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.tables import as_role


def found_by(database, words, language="simple") -> list[str]:
    found = find_chunks(
        database, column=None, vector=None, words=words, limit=9, where=(), index=IndexConfig(), language=language
    )
    return [chunk.text for chunk in found.chunks]


def indexes(execute) -> set[str]:
    return {name for (name,) in execute("SELECT indexname FROM pg_indexes WHERE tablename = 'knowledge_base'")}


def test_they_are_built_once(database, execute):
    insert_chunks(database, ["one", "two"])
    before = indexes(execute)
    assert build_for_searches(database, IndexConfig(), "simple")
    [words] = database.run(lambda connection: word_indexes(connection, database.table))
    assert indexes(execute) - before == {words, METADATA_INDEX, SOURCE_INDEX}
    assert not build_for_searches(database, IndexConfig(), "simple")
    # No ANALYZE splits the texts.
    assert execute("SELECT attstattarget FROM pg_attribute WHERE attrelid = %s::regclass", words) == [(0,)]


def test_one_of_another_language_is_replaced(database, execute):
    insert_chunks(database, ["servers"])
    build_search_indexes(database, "simple")
    [simple] = database.run(lambda connection: word_indexes(connection, database.table))
    assert build_search_indexes(database, "english")
    [english] = database.run(lambda connection: word_indexes(connection, database.table))
    assert english != simple
    assert found_by(database, "server", "english") == ["servers"]
    assert not build_search_indexes(database, "english")


def test_what_a_failed_build_left_is_replaced(database, execute):
    insert_chunks(database, ["one"])
    build_search_indexes(database, "simple")
    [words] = database.run(lambda connection: word_indexes(connection, database.table))
    execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", words)
    assert build_search_indexes(database, "simple")
    assert execute("SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", words) == [(True,)]


def test_an_unknown_language(database):
    with pytest.raises(ConfigurationError, match="EMBEDDING_SEARCH_LANGUAGE=klingon is no text search configuration"):
        build_search_indexes(database, "klingon")
    with pytest.raises(ConfigurationError, match=r"there are .*english"):
        check_language(database, "klingon")
    check_language(database, "english")


def test_a_language_of_one_s_own(database, execute):
    execute('CREATE TEXT SEARCH CONFIGURATION "my Words" (COPY = english)')
    insert_chunks(database, ["servers"])
    assert build_search_indexes(database, "my Words")
    assert found_by(database, "server", "my Words") == ["servers"]


def test_texts_of_any_size_can_still_be_written(database, execute):
    insert_chunks(database, ["one"])
    build_search_indexes(database, "simple")
    many = " ".join(f"{number:07d}" for number in range(400_000))  # of which PostgreSQL makes no tsvector
    insert_chunks(database, [many, "x" * 3_000_000, "é" * 900_000])
    assert found_by(database, "0000017") == [many]
    assert execute("SELECT count(*) FROM knowledge_base") == [(4,)]


def test_a_role_that_may_not_build_them_goes_without(role, database, database_url, caplog, execute):
    insert_chunks(database, [f"zebra {number}" for number in range(20)])
    for grant in ("USAGE ON SCHEMA public", "SELECT ON ALL TABLES IN SCHEMA public"):
        execute(f"GRANT {grant} TO {role}")
    with Database(as_role(database_url, role), database._config) as guest:
        with caplog.at_level(logging.WARNING):
            assert not build_search_indexes(guest, "simple")
        assert "searches by words and filters go without an index" in caplog.text
        assert found_by(guest, "zebra 7")[0] == "zebra 7"
        build_search_indexes(database, "simple")
        assert found_by(guest, "zebra 7")[0] == "zebra 7"
    execute(f"DROP OWNED BY {role}")


def test_they_are_dropped(database, execute):
    before = indexes(execute)
    build_search_indexes(database, "simple")
    with database.session() as connection:
        drop_search_indexes(connection, database.table)
    assert indexes(execute) == {*before, METADATA_INDEX, SOURCE_INDEX}
