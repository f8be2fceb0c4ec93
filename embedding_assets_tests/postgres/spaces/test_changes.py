"""A space takes another identity with all that belongs to it, or goes with all that belongs to it."""

import dataclasses
import threading
from contextlib import closing

import pytest

from embedding_assets.config import DatabaseConfig, EmbeddingConfig, IndexConfig
from embedding_assets.errors import ConfigurationError, DatabaseError
from embedding_assets.postgres.backlog import count_backlog, count_vectors
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import FailedChunk, list_failures, save_failures
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.lifecycle import build_indexes
from embedding_assets.postgres.index.measurements import list_measurements
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.space_changes import drop_space, rename_space
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.spaces import SpaceColumn, VectorSpace
from embedding_assets_tests.support.earlier import fail, make_schema, register
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.spaces import API, OTHER, column_type, fill
from embedding_assets_tests.support.tables import SMALL_SPACE, insert_vectors, unit_vectors

MOVED = dataclasses.replace(OTHER, revision="gateway")
CONFIG = IndexConfig()


@pytest.fixture
def further(database, column):
    """A space beside the first one, with vectors, an index, a measurement and a failure."""
    further = register_space(database, OTHER, new_space=True)
    hashes = insert_vectors(database, further, unit_vectors(30, 12))
    insert_chunks(database, ["pending"])
    build_indexes(database, further, CONFIG)
    save_failures(database, further.space.name, [FailedChunk(hashes[0], "refused")], EmbeddingConfig())
    return further


def test_records_and_vectors_follow_a_new_name(database, further):
    renamed = rename_space(database, further, MOVED)
    assert renamed == dataclasses.replace(further, space=MOVED)
    assert renamed in list_spaces(database)
    assert register_space(database, MOVED) == renamed
    assert count_backlog(database, renamed).embedded == 30
    assert len(list_measurements(database, MOVED.name)) == 1
    assert [failure.space for failure in list_failures(database)] == [MOVED.name]
    assert build_vector_index(database, renamed, CONFIG) is None


def test_the_old_identity_may_come_again_beside_it(database, further):
    renamed = rename_space(database, further, MOVED)
    again = register_space(database, OTHER, new_space=True)
    assert again.name not in (further.name, "embedding")
    assert len({name for column in (renamed, again) for name in (column.index, column.pending_index)}) == 4
    fill(database, again)
    assert build_vector_index(database, again, CONFIG) is not None
    assert list_spaces(database)[1:] == [renamed, again]


def test_a_name_that_is_taken_is_refused(database, column, further):
    with pytest.raises(ConfigurationError, match=f"there is a space {SMALL_SPACE.name} already"):
        rename_space(database, further, SMALL_SPACE)
    assert list_spaces(database) == [column, further]


def test_a_dropped_space_leaves_nothing_behind(database, column, further, execute):
    fill(database, column)
    indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'knowledge_base'"
    with_it = execute(indexes)[0][0]
    drop_space(database, further)
    assert list_spaces(database) == [column]
    assert execute(indexes) == [(with_it - 2,)]
    assert execute("SELECT 1 FROM pg_attribute WHERE attname = %s", further.name) == []
    assert execute("SELECT 1 FROM pg_trigger WHERE tgname = %s", f"{further.name}_removed") == []
    assert list_measurements(database, further.space.name) == []
    assert list_failures(database) == []
    assert count_backlog(database, column).embedded == 31
    execute("UPDATE knowledge_base SET chunk_text = 'edited'")
    assert count_backlog(database, column).embedded == 0
    assert register_space(database, OTHER, new_space=True) == further


def test_the_first_column_stays_for_the_next_space(database, column, execute):
    insert_vectors(database, column, unit_vectors(5))
    drop_space(database, column)
    assert list_spaces(database) == []
    assert execute("SELECT count(embedding) FROM knowledge_base") == [(0,)]
    execute("UPDATE knowledge_base SET chunk_text = 'edited'")
    first = register_space(database, FAKE_SPACE)
    assert (first.name, first.serving) == ("embedding", True)
    assert column_type(execute, "embedding") == "vector(768)"
    fill(database, first)
    assert count_backlog(database, first).embedded == 5


@pytest.mark.parametrize("change", [drop_space, lambda *given: rename_space(*given, MOVED)], ids=["drop", "rename"])
def test_a_space_that_a_run_embeds_into_is_left_alone(database, further, change):
    with closing(PrefixLocks(database, further.space.name)) as locks:
        locks.acquire(range(7, 8))
        with pytest.raises(ConfigurationError, match=r"a run is embedding into space .* wait for its end"):
            change(database, further)
        assert describe_index(database, further.index).valid
        assert further in list_spaces(database)
    change(database, further)
    assert further not in list_spaces(database)


def test_what_depends_on_the_column_is_not_dropped_with_it(database, further, execute):
    execute(f"CREATE VIEW theirs AS SELECT {further.name} FROM knowledge_base")
    with pytest.raises(DatabaseError, match="depend"):
        drop_space(database, further)
    assert further in list_spaces(database)
    assert database.run(lambda connection: count_vectors(connection, database.table, further)) == 30
    assert build_vector_index(database, further, CONFIG) is not None, "it goes on"
    execute("DROP VIEW theirs")
    drop_space(database, further)
    assert further not in list_spaces(database)


def test_a_reader_is_waited_for(database, further):
    reader = database.connect()
    reader.execute("SELECT count(*) FROM knowledge_base")
    dropping = threading.Thread(target=drop_space, args=(database, further))
    dropping.start()
    dropping.join(0.5)
    reader.close()
    dropping.join(180)
    assert further not in list_spaces(database)


OLD = [
    ("API.openai.com", "api.openai.com"),
    ("api.openai.com:443", "api.openai.com"),
    ("Host:80/Team/v2?0a1b2c3d", "host/Team/v2?0a1b2c3d"),
    ("host:8080", "host:8080"),
]


@pytest.mark.parametrize(("before", "after"), OLD)
def test_addresses_of_the_version_before_are_normalized(empty_url, monkeypatch, before, after):
    old = dataclasses.replace(API, revision=before)
    column = migrated(empty_url, monkeypatch, old)
    with Database(empty_url, DatabaseConfig()) as database:
        [found] = list_spaces(database)
        assert found == dataclasses.replace(column, space=dataclasses.replace(API, revision=after))
        assert register_space(database, found.space) == found
        assert [failure.space for failure in list_failures(database)] == [found.space.name]


def test_of_two_addresses_of_one_server_both_spaces_stay(empty_url, monkeypatch):
    migrated(empty_url, monkeypatch, API, dataclasses.replace(API, revision="API.openai.com"))
    with Database(empty_url, DatabaseConfig()) as database:
        assert [column.space.revision for column in list_spaces(database)] == ["api.openai.com", "API.openai.com"]


def migrated(url: str, monkeypatch: pytest.MonkeyPatch, *spaces: VectorSpace) -> SpaceColumn:
    """The first of these spaces as version 0006 had registered it, with a failure in it, brought up to date."""
    make_schema(url, "0006", monkeypatch)
    column, *_ = [
        register(url, space, name) for space, name in zip(spaces, ("embedding", "embedding_other"), strict=False)
    ]
    with Database(url, DatabaseConfig()) as database:
        [chunk_hash] = insert_chunks(database, ["text"])
        fail(url, column, chunk_hash)
        assert migrate(database)
    return column
