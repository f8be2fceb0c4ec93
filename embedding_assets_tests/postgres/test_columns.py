"""The first column is taken or replaced without a rewrite of the table."""

import dataclasses

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.space_changes import drop_space
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.spaces import column_type
from embedding_assets_tests.support.tables import SMALL_SPACE, insert_vectors, unit_vectors

FILES = (
    "SELECT relname, relfilenode FROM pg_class WHERE oid = 'knowledge_base'::regclass OR oid IN (SELECT indexrelid "
    "FROM pg_index WHERE indrelid = 'knowledge_base'::regclass) ORDER BY relname"
)


@pytest.mark.parametrize("dimensions", [8, 12, 3072])
def test_an_empty_column_of_another_length_is_replaced_and_nothing_is_rewritten(database, execute, dimensions):
    insert_chunks(database, [f"text {number}" for number in range(50)])
    execute("CREATE INDEX theirs ON knowledge_base (chunk_text)")
    before = execute(FILES)
    rows = "SELECT ctid, xmin::text FROM knowledge_base ORDER BY ctid"
    versions = execute(rows)
    column = register_space(database, dataclasses.replace(FAKE_SPACE, dimensions=dimensions))
    assert column.name == "embedding"
    assert column_type(execute, "embedding") == f"{column.storage}({dimensions})"
    assert [found for found in execute(FILES) if found[0] != column.pending_index] == before
    assert execute(rows) == versions


def test_a_dropped_space_s_column_comes_again_without_a_rewrite(database, column, execute):
    insert_vectors(database, column, unit_vectors(20))
    before = execute(FILES)
    drop_space(database, column)
    again = register_space(database, FAKE_SPACE)
    assert (again.name, column_type(execute, "embedding")) == ("embedding", "vector(768)")
    kept = [found for found in before if found[0] != column.pending_index]
    assert [found for found in execute(FILES) if found[0] != column.pending_index] == kept


def test_a_column_that_something_depends_on_is_not_taken_from_it(database, execute):
    execute("CREATE VIEW theirs AS SELECT embedding FROM knowledge_base")
    with pytest.raises(Exception, match="depend"):
        register_space(database, SMALL_SPACE)
    assert column_type(execute, "embedding") == "vector(768)"
    execute("DROP VIEW theirs")
    assert register_space(database, SMALL_SPACE).name == "embedding"


def test_names_of_indexes_that_other_tables_have_are_left_to_them(database, execute):
    execute("CREATE TABLE theirs (embedding vector(8), id integer)")
    for name in ("idx_knowledge_embedding", "idx_knowledge_embedding_2_pending", "idx_knowledge_embedding_3_new"):
        execute(f"CREATE INDEX {name} ON theirs (id)")
    column = register_space(database, SMALL_SPACE)
    assert column.index == "idx_knowledge_embedding_4"
    insert_vectors(database, column, unit_vectors(20))
    assert build_vector_index(database, column, IndexConfig()) is not None
    assert describe_index(database, column.index).valid
    assert describe_index(database, column.pending_index).valid
    drop_space(database, column)
    assert execute("SELECT count(*) FROM pg_indexes WHERE tablename = 'theirs'") == [(3,)]
