"""A build that is cut off, wherever that is, is reported, and repaired by the next one; two never build twice."""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from embedding_assets.config import DatabaseConfig, IndexConfig
from embedding_assets.errors import DatabaseError
from embedding_assets.health.index import index_valid
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors
from embedding_assets_tests.support.wire import proxy

CONFIG = IndexConfig(workers=0)
OTHER = IndexConfig(m=8, ef_construction=32, workers=0)

BUILDER = """
import sys
from embedding_assets.config import DatabaseConfig, IndexConfig
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.spaces import list_spaces
with Database(sys.argv[1], DatabaseConfig()) as database:
    print("ready", flush=True)
    sys.stdin.readline()
    seconds = build_vector_index(database, list_spaces(database)[0], IndexConfig(workers=0))
    print("nothing to do" if seconds is None else "built", flush=True)
"""


@pytest.fixture
def vectors(database, column):
    insert_vectors(database, column, unit_vectors(200))
    build_vector_index(database, column, CONFIG)
    with database.session() as session:
        session.execute(f"DROP INDEX {column.index}")
    return column


@contextmanager
def builder(url):
    """Another process, ready to build the index as soon as it gets a line."""
    process = processes.start(
        [sys.executable, "-c", BUILDER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate(timeout=180)


@contextmanager
def writer(beside):
    """A transaction that has written to the table, for whose end every concurrent build waits."""
    with beside.transaction():
        beside.execute("UPDATE knowledge_base SET token_count = 1")
        yield


def wait_for_build(session) -> int:
    """The server process that builds an index, once it waits for the writer."""
    deadline = time.monotonic() + 180
    query = (
        "SELECT pid FROM pg_stat_progress_create_index "
        "WHERE datname = current_database() AND phase LIKE 'waiting for writers%'"
    )
    while not (rows := session.execute(query).fetchall()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return rows[0][0]


def build_in_thread(database, column, config):
    """A started thread, and the list that gets what it raised."""
    errors: list[Exception] = []

    def build() -> None:
        try:
            build_vector_index(database, column, config)
        except DatabaseError as error:
            errors.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    return thread, errors


def test_a_process_that_dies_leaves_its_build_to_the_server_and_nobody_builds_again(
    database, database_url, vectors, beside
):
    with builder(database_url) as process, database.session() as session:
        with writer(beside):
            process.stdin.write("\n")
            process.stdin.flush()
            wait_for_build(session)
            process.kill()
            process.wait(180)
            assert not describe_index(database, vectors.index).valid
            # What runs next waits for the server, which has not noticed, and does not touch the index meanwhile.
            thread, errors = build_in_thread(database, vectors, CONFIG)
            thread.join(0.5)
            assert thread.is_alive()
            [(built,)] = session.execute("SELECT %s::regclass::oid", [vectors.index]).fetchall()
        thread.join(180)
        assert not thread.is_alive()
        assert errors == []
        assert describe_index(database, vectors.index).matches(vectors, CONFIG)
        assert session.execute("SELECT %s::regclass::oid", [vectors.index]).fetchall() == [(built,)]


def test_a_replacement_that_the_server_completed_is_put_in_place(database, vectors):
    build_vector_index(database, vectors, OTHER)
    with database.session() as session:
        # As it is when the process dies before it has renamed it.
        session.execute(
            f"CREATE INDEX {vectors.index}_new ON knowledge_base USING hnsw (embedding vector_cosine_ops) "
            "WITH (m = 16, ef_construction = 64)"
        )
        [(completed,)] = session.execute("SELECT %s::regclass::oid", [f"{vectors.index}_new"]).fetchall()
        assert build_vector_index(database, vectors, CONFIG) is not None
        assert describe_index(database, vectors.index).matches(vectors, CONFIG)
        assert session.execute("SELECT %s::regclass::oid", [vectors.index]).fetchall() == [(completed,)]
        # One that is no longer what is wanted is not.
        session.execute(f"CREATE INDEX {vectors.index}_new ON knowledge_base USING hnsw (embedding vector_cosine_ops)")
        assert build_vector_index(database, vectors, OTHER) is not None
    assert describe_index(database, vectors.index).matches(vectors, OTHER)
    assert not describe_index(database, f"{vectors.index}_new").exists


@pytest.mark.parametrize("replaced", [False, True], ids=["first build", "replacement"])
def test_a_build_that_the_server_ends_leaves_an_invalid_index_which_the_next_one_replaces(
    database, vectors, beside, replaced
):
    if replaced:
        build_vector_index(database, vectors, OTHER)
    name = f"{vectors.index}_new" if replaced else vectors.index
    with database.session() as session, writer(beside):
        thread, errors = build_in_thread(database, vectors, CONFIG)
        session.execute("SELECT pg_terminate_backend(%s, 5000)", [wait_for_build(session)])
        thread.join(180)
    assert [str(error) for error in errors] == [
        f"index {name} was not built: terminating connection due to administrator command; run again to try once more"
    ]
    left = describe_index(database, name)
    assert (left.exists, left.valid) == (True, False)
    state = describe_index(database, vectors.index)
    assert state.valid is replaced  # what there was goes on serving
    verdict = index_valid(state, vectors, CONFIG, 200)
    assert not verdict.passed
    assert ("was built with" if replaced else "is invalid: a build of it failed") in verdict.description

    assert build_vector_index(database, vectors, CONFIG) is not None
    assert describe_index(database, vectors.index).matches(vectors, CONFIG)
    assert not describe_index(database, f"{vectors.index}_new").exists
    assert build_vector_index(database, vectors, CONFIG) is None


def test_a_connection_that_is_lost_while_building_is_reported(database, database_url, vectors, caplog):
    cut = (b"", b"CREATE INDEX CONCURRENTLY", "during")
    with proxy(database_url, cuts=[cut]) as url, Database(url, DatabaseConfig(retry_seconds=5)) as far:
        with pytest.raises(DatabaseError, match=f"^index {vectors.index} was not built: the connection was lost; run"):
            build_vector_index(far, vectors, CONFIG)
        # The server may have gone on: the next process finds it built, or builds it.
        build_vector_index(far, vectors, CONFIG)
    assert describe_index(database, vectors.index).matches(vectors, CONFIG)


def test_of_two_processes_one_builds_and_the_other_waits(database, database_url, vectors, beside):
    with builder(database_url) as first, builder(database_url) as second, database.session() as session:
        with writer(beside):
            for process in (first, second):
                process.stdin.write("\n")
                process.stdin.flush()
            wait_for_build(session)
            time.sleep(0.5)
            query = "SELECT count(*) FROM pg_stat_progress_create_index WHERE datname = current_database()"
            assert session.execute(query).fetchall() == [(1,)]
        outcomes = {process.stdout.readline() for process in (first, second)}
    assert outcomes == {"built\n", "nothing to do\n"}
    assert describe_index(database, vectors.index).matches(vectors, CONFIG)
