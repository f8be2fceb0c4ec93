"""Verdicts on a real table."""

from dataclasses import replace

import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.health.judge import judge_embeddings, judge_index
from embedding_assets.models import EmbeddingStats
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.lifecycle import accept_recall, build_indexes
from embedding_assets.postgres.index.measurements import latest_measurement, save_measurement
from embedding_assets.postgres.runs import save_run
from embedding_assets.postgres.spaces import register_space
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, insert_chunks
from embedding_assets_tests.support.waiting import wait_until

TEXTS = [f"text {number}" for number in range(120)]


@pytest.fixture
def column(settings: Settings, database: Database) -> SpaceColumn:
    """A space in which all of ``TEXTS`` are embedded and indexed."""
    insert_chunks(database, TEXTS)
    EmbeddingGenerator(settings, database=database, provider=FakeProvider()).generate_embeddings_batch()
    column = register_space(database, FAKE_SPACE)
    build_vector_index(database, column, settings.index)
    return column


def execute(database: Database, statement: str) -> None:
    database.run(lambda connection: connection.execute(statement))


def verdicts(database: Database, column: SpaceColumn, settings: Settings) -> dict[str, bool]:
    found = [*judge_embeddings(database, column, settings), *judge_index(database, column, settings)]
    return {verdict.name: verdict.passed for verdict in found}


def test_all_is_well(database: Database, column: SpaceColumn, settings: Settings):
    assert verdicts(database, column, settings) == {
        "finite_dimensions": True,
        "unit_norm": True,
        "throughput": True,
        "coverage": True,
        "backlog_age": True,
        "quarantine_empty": True,
        "hashes_reachable": True,
        "index_valid": True,
        "recall": True,
        "recall_drop": True,
        "bloat": True,
        "planner_uses_index": True,
        "pgvector_version": True,
    }


def test_a_slow_run(database: Database, column: SpaceColumn, settings: Settings):
    save_run(database, EmbeddingStats(space=column.space.name, embedded=100, seconds=60.0, device="cpu"))
    assert not verdicts(database, column, settings)["throughput"]
    # Later runs of a few chunks say nothing about speed.
    save_run(database, EmbeddingStats(space=column.space.name, embedded=1, seconds=0.01, device="cpu"))
    assert not verdicts(database, column, settings)["throughput"]


def test_a_recall_that_cannot_be_measured_cannot_be_accepted(database: Database, settings: Settings):
    insert_chunks(database, TEXTS[:3])
    column = register_space(database, FAKE_SPACE)
    with pytest.raises(ConfigurationError, match="has no recall to accept: 0 vectors are too few"):
        accept_recall(database, column, settings.index)
    assert latest_measurement(database, column.space.name) is None


def wait_for_statistics(database: Database, updated: int) -> None:
    """An idle connection hands in what it has changed after ten seconds."""
    query = "SELECT pg_stat_get_tuples_updated('knowledge_base'::regclass)"
    wait_until(lambda: database.run(lambda connection: connection.execute(query).fetchone()) == (updated,))


def test_checks_use_the_numbers_that_the_asset_has_kept(database: Database, column: SpaceColumn, settings: Settings):
    execute(database, "ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    # Otherwise its vectors seem to be rewritten between two measurements.
    wait_for_statistics(database, updated=len(TEXTS))
    [report] = build_indexes(database, column, settings.index)
    search = replace(report.measurement.search, recall=0.25)
    save_measurement(database, replace(report.measurement, search=search, id=None))
    [recall] = [v for v in judge_index(database, column, settings) if v.name == "recall"]
    assert recall.numbers["recall"] == 0.25
    execute(database, "DELETE FROM knowledge_base WHERE chunk_text LIKE 'text 1_'")
    [recall] = [v for v in judge_index(database, column, settings) if v.name == "recall"]
    assert recall.numbers["recall"] == 1.0
