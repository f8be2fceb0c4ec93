"""A space of an API that was never written to gives way to another, since it was unknown whether its model exists."""

import dataclasses

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.errors import SpaceMismatchError
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.failures import FailedChunk, save_failures
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE, hash_of, insert_chunks
from embedding_assets_tests.support.spaces import API, column_type, fill

TYPO = dataclasses.replace(API, model="text-embeding-3-small", dimensions=512)


@pytest.mark.parametrize("first", [True, False], ids=["first", "further"])
def test_an_api_s_space_that_was_never_written_to_gives_way(database, execute, settings, first):
    """It was unknown whether the model exists."""
    before = [] if first else [register_space(database, FAKE_SPACE)]
    insert_chunks(database, ["text"])
    wrong = register_space(database, TYPO, new_provider=True)
    build_vector_index(database, wrong, IndexConfig())
    save_failures(database, TYPO.name, [FailedChunk(hash_of("text"), "model_not_found")], settings.embedding)
    with pytest.raises(SpaceMismatchError):
        register_space(database, API)

    right = register_space(database, API, new_provider=True)

    assert list_spaces(database) == [*before, right]
    assert right.serving == wrong.serving == first
    assert (right.name == "embedding") == first
    assert column_type(execute, right.name) == "vector(768)"
    columns = execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'knowledge_base'")
    assert {c for (c,) in columns if c.startswith("embedding")} == {"embedding", right.name}
    assert execute("SELECT count(*) FROM embedding_failures") == [(0,)]
    fill(database, right)
    build_vector_index(database, right, IndexConfig())
    assert describe_index(database, right.index).valid
    with pytest.raises(SpaceMismatchError):
        register_space(database, TYPO, new_provider=True)


def test_an_api_s_space_does_not_give_way_while_a_run_is_at_it(database):
    register_space(database, FAKE_SPACE)
    column = register_space(database, API, new_provider=True)
    locks = PrefixLocks(database, column.space.name)
    locks.acquire(range(1))
    with pytest.raises(SpaceMismatchError):
        register_space(database, TYPO, new_provider=True)
    locks.close()
    assert register_space(database, TYPO, new_provider=True).space == TYPO


def test_an_api_s_space_does_not_give_way_once_it_was_written_to(database, monkeypatch):
    """Not even if that happens between the look and the change."""
    column = register_space(database, API)
    insert_chunks(database, ["text"])
    fill(database, column)
    monkeypatch.setattr("embedding_assets.postgres.spaces._find_unused", lambda *_: column)
    with pytest.raises(SpaceMismatchError):
        register_space(database, TYPO, new_provider=True)
    assert list_spaces(database) == [column]


def test_what_gave_way_to_another_in_the_meantime_is_left_alone(database, monkeypatch):
    first = register_space(database, FAKE_SPACE)
    gone = register_space(database, API, new_provider=True)
    register_space(database, TYPO, new_provider=True)
    monkeypatch.setattr("embedding_assets.postgres.spaces._find_unused", lambda *_: gone)
    with pytest.raises(SpaceMismatchError):
        register_space(database, API, new_provider=True)
    assert [column.space for column in list_spaces(database)] == [first.space, TYPO]


def test_with_permission_for_a_new_space_nothing_gives_way(database):
    column = register_space(database, API)
    further = register_space(database, TYPO, new_space=True, new_provider=True)
    assert list_spaces(database) == [column, further]
