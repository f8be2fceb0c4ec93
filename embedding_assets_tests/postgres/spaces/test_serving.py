"""Which space serves searches: one at any time, complete unless that is forced."""

import dataclasses
import threading
from functools import partial

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.spaces import list_spaces, register_space, serve_space, serving_space
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.spaces import API, OTHER, fill
from embedding_assets_tests.support.tables import in_threads, insert_vectors, unit_vectors


def test_a_complete_space_is_switched_to_and_back(database, column):
    insert_vectors(database, column, unit_vectors(3))
    further = register_space(database, OTHER, new_space=True)
    with pytest.raises(ConfigurationError) as caught:
        serve_space(database, further)
    assert "3 of 3 chunks are not embedded in it" in str(caught.value)
    assert "EMBEDDING_PROVIDER=fake" in str(caught.value)
    assert "--force" in str(caught.value)
    assert serving_space(database) == column

    fill(database, further)
    assert not describe_index(database, further.pending_index).exists
    served = serve_space(database, further)

    assert served == dataclasses.replace(further, serving=True)
    assert list_spaces(database) == [dataclasses.replace(column, serving=False), served]
    assert describe_index(database, further.pending_index).valid, "the sensor probes it"
    assert database.run(lambda c: c.execute("SELECT count(embedding) FROM knowledge_base").fetchone()) == (3,)
    assert serve_space(database, served) == served
    assert serve_space(database, column).serving
    assert serving_space(database) == column


def test_what_is_quarantined_is_not_waited_for_but_what_is_to_be_tried_again_is(database, column, execute):
    further = register_space(database, OTHER, new_space=True)
    insert_chunks(database, ["good"])
    fill(database, further)
    [bad] = insert_chunks(database, ["bad"])
    execute(
        "INSERT INTO embedding_failures (chunk_hash, key, space, error_code, attempts, retry_at, quarantined) "
        "VALUES (%s, ARRAY[%s], %s, 'x', 1, now() + interval '1 h', false)",
        bad,
        bad,
        further.space.name,
    )
    with pytest.raises(ConfigurationError, match="1 of 2 chunks are not embedded"):
        serve_space(database, further)
    execute("UPDATE embedding_failures SET quarantined = true")
    assert serve_space(database, further).serving


def test_a_large_space_needs_its_index(database, column, monkeypatch):
    monkeypatch.setattr("embedding_assets.postgres.spaces.EXACT_SEARCH_ROWS", 4)
    further = register_space(database, OTHER, new_space=True)
    insert_chunks(database, [f"text {number}" for number in range(4)])
    fill(database, further)
    serve_space(database, further)
    serve_space(database, column, force=True)

    insert_chunks(database, ["one more"])
    fill(database, further)
    with pytest.raises(ConfigurationError, match=rf"complete: its index {further.index} is not built; "):
        serve_space(database, further)
    build_vector_index(database, further, IndexConfig())
    assert serve_space(database, further).serving


def test_an_incomplete_space_serves_only_when_forced(database, column):
    insert_chunks(database, ["text"])
    further = register_space(database, OTHER, new_space=True)
    with pytest.raises(ConfigurationError):
        serve_space(database, further)
    assert serve_space(database, further, force=True).serving
    assert describe_index(database, further.pending_index).valid


def test_two_that_switch_at_once_leave_one_that_serves(database, column):
    columns = [column, register_space(database, OTHER, new_space=True), register_space(database, API, new_space=True)]
    barrier = threading.Barrier(6)
    outcomes = []

    def switch(to):
        barrier.wait(180)
        outcomes.append(serve_space(database, to).serving)

    in_threads(*[partial(switch, column) for column in columns * 2])

    assert outcomes == [True] * 6
    serving = [column for column in list_spaces(database) if column.serving]
    assert len(serving) == 1
    assert describe_index(database, serving[0].pending_index).valid


def test_searches_always_find_one_space_that_serves(database, column):
    """While it is switched back and forth."""
    further = register_space(database, OTHER, new_space=True)
    seen = []
    done = threading.Event()

    def watch(_):
        while not done.is_set():
            seen.append([column.serving for column in list_spaces(database)].count(True))

    watcher = threading.Thread(target=watch, args=(None,))
    watcher.start()
    try:
        for _ in range(5):
            serve_space(database, further)
            serve_space(database, column)
    finally:
        done.set()
        watcher.join(180)
    assert set(seen) == {1}
