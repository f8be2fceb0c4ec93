"""Whether an index waits for a load, and how it is dropped before it."""

import dataclasses
import threading
import time

import pytest

from embedding_assets.config import Settings
from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.backlog import count_backlog, fetch_pending
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.lifecycle import drop_before_load, plan_load
from embedding_assets.postgres.spaces import register_space, serve_space
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.generator_runs import embed, texts


@pytest.fixture
def column(database: Database) -> SpaceColumn:
    return register_space(database, FAKE_SPACE)


def test_a_first_load_goes_without_an_index(database: Database, column: SpaceColumn):
    insert_chunks(database, texts(30))
    plan = drop_before_load(database, column)
    assert plan.decision == "defer"
    assert plan.reason == "30 chunks to load, 0 embedded: loaded without an index, built afterwards"


def test_a_load_that_was_cut_short_goes_on_without_an_index(
    settings: Settings, database: Database, column: SpaceColumn
):
    insert_chunks(database, texts(30))
    embed(settings, database)
    insert_chunks(database, texts(5, "left"))
    plan = drop_before_load(database, column)
    assert plan.decision == "defer"
    assert plan.reason == "5 chunks to load, 30 embedded: loaded without an index, built afterwards"


def test_a_further_space_is_loaded_without_any_index_of_its_own(settings: Settings, database: Database):
    register_space(database, FAKE_SPACE)
    further = register_space(database, dataclasses.replace(FAKE_SPACE, revision="2"), new_space=True)
    insert_chunks(database, texts(30))
    for expected in ("loaded without an index", "the index waits for the load"):
        assert expected in drop_before_load(database, further).reason
        assert not describe_index(database, further.index).exists
        assert not describe_index(database, further.pending_index).exists
        assert len(fetch_pending(database, further, range(256), after="", limit=99)) == 30
        build_vector_index(database, further, settings.index)
        assert describe_index(database, further.index).valid
        assert describe_index(database, further.pending_index).valid


def test_a_large_load_drops_the_index_and_a_small_one_keeps_it(
    settings: Settings, database: Database, column: SpaceColumn
):
    insert_chunks(database, texts(30))
    embed(settings, database)
    build_vector_index(database, column, settings.index)
    insert_chunks(database, texts(5, "few"))
    plan = drop_before_load(database, column)
    assert plan.decision == "keep"
    assert "5 chunks to load, 30 embedded: the index stays" in plan.reason
    assert describe_index(database, column.index).valid

    insert_chunks(database, texts(60, "many"))
    plan = drop_before_load(database, column)
    assert plan.decision == "defer"
    assert "the index waits for the load" in plan.reason
    assert not describe_index(database, column.index).exists


def test_a_space_that_is_loaded_range_by_range_keeps_its_index(
    settings: Settings, database: Database, column: SpaceColumn
):
    insert_chunks(database, texts(30))
    embed(settings, database)
    build_vector_index(database, column, settings.index)
    insert_chunks(database, texts(300, "many"))
    backlog = count_backlog(database, column)
    plan = drop_before_load(database, column, loading=30)
    assert plan.decision == "keep"
    assert plan.reason == "30 chunks to load, 30 embedded: the index stays and is extended row by row"
    assert describe_index(database, column.index).valid
    assert plan_load(database, column, backlog, loading=31).decision == "defer"
    assert describe_index(database, column.index).valid, "a plan drops nothing"


def test_a_space_that_serves_by_now_keeps_the_index_that_the_sensor_probes(settings: Settings, database: Database):
    register_space(database, FAKE_SPACE)
    further = register_space(database, dataclasses.replace(FAKE_SPACE, revision="2"), new_space=True)
    insert_chunks(database, texts(30))
    build_vector_index(database, further, settings.index)
    serve_space(database, further, force=True)
    assert drop_before_load(database, further).decision == "defer"
    assert not describe_index(database, further.index).exists
    assert describe_index(database, further.pending_index).valid


def test_the_drop_waits_for_a_build_that_is_under_way(settings: Settings, database: Database, column: SpaceColumn):
    insert_chunks(database, texts(30))
    embed(settings, database)
    insert_chunks(database, texts(60, "many"))
    outcomes: list[object] = []

    def attempt(work):
        try:
            outcomes.append(work())
        except DatabaseError as error:
            outcomes.append(error)

    with database.connect() as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM knowledge_base")
        build = threading.Thread(target=attempt, args=[lambda: build_vector_index(database, column, settings.index)])
        build.start()
        deadline = time.monotonic() + 180
        while not describe_index(database, column.index).exists and time.monotonic() < deadline:
            time.sleep(0.05)
        drop = threading.Thread(target=attempt, args=[lambda: drop_before_load(database, column).decision])
        drop.start()
        time.sleep(1)  # long enough to meet, if the two did not take turns
        old.commit()
    build.join(180)
    drop.join(180)
    assert [type(outcome) for outcome in outcomes] == [float, str]
    assert not describe_index(database, column.index).exists
