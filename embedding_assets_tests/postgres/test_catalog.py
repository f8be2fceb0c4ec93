"""Indexes are those of the table, whatever others are called."""

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from embedding_assets.config import DatabaseConfig, IndexConfig
from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.catalog import describe_index, drop_index, ensure_index
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.space_changes import drop_space
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.tables import SMALL_SPACE, insert_vectors, run_sql, unit_vectors


def test_an_index_of_another_table_is_neither_described_nor_dropped(database, execute):
    execute("CREATE TABLE theirs (id integer)")
    execute("CREATE INDEX idx_of_both ON theirs (id)")
    assert not describe_index(database, "idx_of_both").exists
    with database.session() as connection:
        drop_index(connection, database.table, "idx_of_both")
    with pytest.raises(DatabaseError, match="index idx_of_both was not built: something else"):
        ensure_index(database, "idx_of_both", sql.SQL("(chunk_text)"))
    assert execute("SELECT tablename FROM pg_indexes WHERE indexname = 'idx_of_both'") == [("theirs",)]


def test_an_invalid_index_of_another_table_is_left_to_its_owner(database, execute, beside):
    execute("CREATE TABLE theirs (id integer)")
    execute("INSERT INTO theirs VALUES (1), (1)")
    with pytest.raises(Exception, match="could not create unique index"):
        beside.execute("CREATE UNIQUE INDEX CONCURRENTLY idx_of_both ON theirs (id)")
    with pytest.raises(DatabaseError, match="something else in the table's schema has this name"):
        ensure_index(database, "idx_of_both", sql.SQL("(chunk_text)"))
    assert execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'idx_of_both'::regclass") == [(False,)]


def test_tables_of_one_name_in_two_schemas_keep_their_indexes(empty_url):
    run_sql(empty_url, "CREATE SCHEMA ext", "CREATE EXTENSION vector SCHEMA ext", "CREATE SCHEMA one",
            "CREATE SCHEMA two")  # fmt: skip
    indexes = "SELECT schemaname, indexname FROM pg_indexes WHERE tablename = 'knowledge_base' ORDER BY 1, 2"
    urls = [make_conninfo(empty_url, options=f"-csearch_path={name},ext") for name in ("one", "two")]
    with Database(urls[0], DatabaseConfig()) as one, Database(urls[1], DatabaseConfig()) as two:
        migrate(one)
        # Out of sight: a second table would not be made by mistake.
        run_sql(empty_url, "ALTER TABLE one.knowledge_base RENAME TO hidden")
        migrate(two)
        run_sql(empty_url, "ALTER TABLE one.hidden RENAME TO knowledge_base")
        for each in (one, two):
            column = register_space(each, SMALL_SPACE)
            insert_vectors(each, column, unit_vectors(30))
        assert build_vector_index(one, column, IndexConfig()) is not None
        assert not describe_index(two, column.index).exists
        assert build_vector_index(two, column, IndexConfig(m=8)) is not None
        assert (describe_index(one, column.index).m, describe_index(two, column.index).m) == (16, 8)
        of_two = [row for row in run_sql(empty_url, indexes) if row[0] == "two"]
        assert len(of_two) == 5

        drop_space(one, column)
        assert not describe_index(one, column.index).exists
        assert [row for row in run_sql(empty_url, indexes) if row[0] == "two"] == of_two
        assert describe_index(two, column.index).valid
        run_sql(empty_url, "DROP SCHEMA one CASCADE")
        insert_chunks(two, ["another"])
        assert register_space(two, SMALL_SPACE) == column
