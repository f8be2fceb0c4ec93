"""The indexes of several spaces: all that have vectors are built, measured and judged."""

from contextlib import closing
from dataclasses import replace

import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import IndexConfig, Settings
from embedding_assets.health.judge import judge_index
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.lifecycle import build_indexes, spaces_to_index
from embedding_assets.postgres.index.measurements import list_measurements
from embedding_assets.postgres.locks import PrefixLocks, is_loading
from embedding_assets.postgres.spaces import register_space
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, insert_chunks

OTHER_SPACE = replace(FAKE_SPACE, model="fake/other", dimensions=32)


@pytest.fixture
def spaces(settings: Settings, database: Database) -> list[SpaceColumn]:
    """The configured space, another with vectors, and one that is registered only."""
    with database.session() as session:
        # Else a vacuum may come between two measurements, whose table then has other files and another plan.
        session.execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    insert_chunks(database, [f"text {number}" for number in range(60)])
    columns = []
    for space in (FAKE_SPACE, OTHER_SPACE):
        columns.append(register_space(database, space, new_space=True))
        EmbeddingGenerator(settings, database=database, provider=FakeProvider(space=space)).generate_embeddings_batch()
    return [*columns, register_space(database, replace(FAKE_SPACE, model="fake/empty"), new_space=True)]


def test_spaces_with_vectors(database: Database, spaces: list[SpaceColumn]):
    first, second, empty = spaces
    assert spaces_to_index(database, first) == [first, second]
    assert spaces_to_index(database, second) == [second, first]
    assert spaces_to_index(database, empty) == [empty, first, second]


def test_a_space_that_a_run_is_loading_is_left_to_it(settings: Settings, database: Database, spaces: list[SpaceColumn]):
    first, second, _ = spaces
    assert not is_loading(database, second.space.name)
    with closing(PrefixLocks(database, second.space.name)) as locks:
        locks.acquire(range(250, 251))
        assert is_loading(database, second.space.name)
        assert not is_loading(database, first.space.name)
        assert spaces_to_index(database, first) == [first]
        assert [report.column for report in build_indexes(database, first, settings.index)] == [first]
        assert not describe_index(database, second.index).exists
        # Nor is it missed yet.
        assert all(verdict.passed for verdict in judge_index(database, first, settings))
        # The configured space is maintained in any case: its own run has just ended.
        assert spaces_to_index(database, second) == [second, first]
    assert spaces_to_index(database, first) == [first, second]


def test_a_space_is_not_loading_once_its_locks_are_given_back(database: Database):
    for _ in range(20):
        locks = PrefixLocks(database, "space")
        locks.acquire(range(256))
        locks.close()
        assert not is_loading(database, "space")


def test_all_are_built_and_measured_once(settings: Settings, database: Database, spaces: list[SpaceColumn]):
    first, second, empty = spaces
    # New statistics at a moment of its own may change the planner's mind, which is a reason to measure again.
    database.run(lambda connection: connection.execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = false)"))
    reports = build_indexes(database, first, settings.index)
    assert [report.column for report in reports] == [first, second]
    assert all(report.state.matches(report.column, settings.index) for report in reports)
    assert all(report.build_seconds is not None for report in reports)
    # Fewer queries where neither searches nor this run depend on it: each reads every vector of the column.
    assert [report.measurement.search.queries for report in reports] == [60, 20]
    assert not describe_index(database, empty.index).exists
    for report in reports:
        assert list_measurements(database, report.column.space.name) == [report.measurement]
        assert (report.measurement.built, report.measurement.accepted) == (True, True)
        assert report.measurement.search.recall == 1.0

    again = build_indexes(database, first, settings.index)
    assert [report.build_seconds for report in again] == [None, None]
    assert [report.measurement.built for report in again] == [False, False]

    kept = build_indexes(database, first, settings.index, remeasure=False)
    assert [report.measurement.id for report in kept] == [report.measurement.id for report in again]
    assert len(list_measurements(database, first.space.name)) == 2

    changed = build_indexes(database, second, IndexConfig(m=8), remeasure=False)
    assert all(report.measurement.built for report in changed), "measured since it was built"
    assert [(report.column, report.state.m) for report in changed] == [(second, 8), (first, 8)]
    assert [report.measurement.search.queries for report in changed] == [60, 60]


def test_an_index_is_left_to_the_run_that_is_loading(settings: Settings, database: Database, spaces: list[SpaceColumn]):
    first, *_ = spaces
    locks = PrefixLocks(database, first.space.name)
    locks.acquire(range(1))
    left, _ = build_indexes(database, first, settings.index)
    assert (left.build_seconds, left.state.exists, left.measurement.search.recall) == (None, False, None)
    locks.close()
    built, _ = build_indexes(database, first, settings.index)
    assert (built.state.valid, built.measurement.search.recall) == (True, 1.0)


def test_the_verdict_names_the_space(settings: Settings, database: Database, spaces: list[SpaceColumn]):
    first, second, _ = spaces
    valid, *_ = judge_index(database, first, settings)
    assert not valid.passed
    assert f"space {first.space.name}: index idx_knowledge_embedding does not exist" in valid.description
    assert f"space {second.space.name}: index {second.index} does not exist" in valid.description

    build_indexes(database, first, settings.index)
    assert all(verdict.passed for verdict in judge_index(database, first, settings))
    with database.session() as session:
        session.execute(f"DROP INDEX {second.index}")
    valid, recall, *_ = judge_index(database, first, settings)
    assert not valid.passed
    assert valid.description.startswith(f"space {second.space.name}: index {second.index} does not exist")
    assert recall.passed


def test_poor_recall_in_another_space(settings: Settings, database: Database, spaces: list[SpaceColumn]):
    # Random vectors without near neighbours, in the sparsest graph: only the larger space suffers.
    first, second, _ = spaces
    insert_chunks(database, [f"more {number}" for number in range(800)])
    provider = FakeProvider(space=OTHER_SPACE)
    EmbeddingGenerator(settings, database=database, provider=provider).generate_embeddings_batch()
    poor = settings.model_copy(update={"index": IndexConfig(m=2, ef_construction=4, ef_search=1)})
    build_indexes(database, first, poor.index)
    valid, recall, *_ = judge_index(database, first, poor)
    assert valid.passed
    assert not recall.passed
    assert f"space {second.space.name}: recall@10 is 0." in recall.description
