"""Checks run on a table: what is to be judged is measured, then the verdicts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from embedding_assets.health import embeddings, index
from embedding_assets.health.audit import audit_spaces
from embedding_assets.health.costs import costs_within_budget
from embedding_assets.health.verdict import Verdict, over_spaces
from embedding_assets.postgres.backlog import count_backlog, oldest_pending
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.index.lifecycle import measure_space, spaces_to_index
from embedding_assets.postgres.index.measurements import baseline_measurement
from embedding_assets.postgres.index.statistics import measure_vectors
from embedding_assets.postgres.prefixes import count_pending_by_prefix
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.server_version import RECOMMENDED_PGVECTOR
from embedding_assets.postgres.usage.ledger import count_spending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from embedding_assets.config import Settings
    from embedding_assets.postgres.backlog import Backlog
    from embedding_assets.postgres.catalog import IndexState
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.index.measurements import IndexMeasurement
    from embedding_assets.postgres.index.statistics import VectorStatistics
    from embedding_assets.spaces import SpaceColumn


def judge_embeddings(
    database: Database, column: SpaceColumn, settings: Settings, *, written: int | None = None
) -> list[Verdict]:
    """Verdicts on the vectors of a space and on its backlog.

    Args:
        database: where.
        column: the space.
        settings: what is judged by.
        written: vectors written by the run that asks, which is to cost no more than they did; default: any cost.
    """
    statistics = measure_vectors(database, column, thorough=True, written=written)
    backlog = count_backlog(database, column, written=written)
    if backlog.estimated and backlog.coverage < settings.embedding.coverage_floor:
        backlog = count_backlog(database, column)  # nothing fails by an estimate
    return [*_judge_vectors(column, statistics), *_judge_backlog(database, column, settings, backlog)]


def judge_models(database: Database, settings: Settings, *, written: Mapping[str, int] | None = None) -> Verdict:
    """Verdict on whose vectors the columns hold; loads the models, or asks their APIs for some vectors.

    Args:
        database: where.
        settings: which models.
        written: space → vectors written by the run that asks; default: all spaces are looked at.
    """
    return embeddings.vectors_match_model(audit_spaces(database, settings, written))


def judge_costs(database: Database, settings: Settings, *, run_id: str = "") -> Verdict:
    """Verdict on the dollars of a run, of today and of this month."""
    return costs_within_budget(count_spending(database, run_id), settings.budget)


def judge_index(
    database: Database, column: SpaceColumn, settings: Settings, *, written: int | None = None
) -> list[Verdict]:
    """Verdicts on the index of a space, and of every other that has vectors, each over all of them.

    Measures what has changed since it was last measured, which reads every vector of a column for each query; after a
    run that has ``written`` few vectors of a large table, what was last measured of its space is judged.
    """
    verdicts: dict[str, dict[str, Verdict]] = {}
    pgvector = ""
    for space in spaces_to_index(database, column, written=written):
        measurement = measure_space(database, space, settings.index, configured=space == column, written=written)
        pgvector = measurement.vectors.pgvector
        state = describe_index(database, space.index)
        for verdict in (
            index.index_valid(state, space, settings.index, measurement.vectors.count),
            *_judge_measurement(database, settings, measurement),
        ):
            verdicts.setdefault(verdict.name, {})[space.space.name] = verdict
    return [*map(over_spaces, verdicts.values()), index.pgvector_version(pgvector, RECOMMENDED_PGVECTOR)]


def judge_everything(database: Database, column: SpaceColumn, settings: Settings) -> list[Verdict]:
    """The verdicts of all checks; loads the space's model, or asks its API for some vectors."""
    return [
        *judge_embeddings(database, column, settings),
        judge_models(database, settings),
        judge_costs(database, settings),
        *judge_index(database, column, settings),
    ]


def judge_as_recorded(
    database: Database,
    settings: Settings,
    column: SpaceColumn,
    *,
    backlog: Backlog,
    state: IndexState,
    statistics: VectorStatistics,
    measurement: IndexMeasurement | None,
    configured: bool,
) -> list[Verdict]:
    """Verdicts on one space from what is quickly counted, and from what was last measured of its index.

    Args:
        database: where.
        settings: what is judged by.
        column: the space.
        backlog: its chunks.
        state: of its index.
        statistics: of its vectors.
        measurement: the last of its index, brought up to date; None if there is none that still means anything.
        configured: whether the settings lead to the space. Others need not be complete, nor filled in time.
    """
    verdicts = _judge_vectors(column, statistics)
    if configured:
        verdicts += _judge_backlog(database, column, settings, backlog)
        verdicts.append(judge_costs(database, settings))
    if backlog.embedded:
        verdicts.append(index.index_valid(state, column, settings.index, backlog.embedded))
        verdicts += _judge_measurement(database, settings, measurement) if measurement else []
        verdicts.append(index.pgvector_version(statistics.pgvector, RECOMMENDED_PGVECTOR))
    return verdicts


def _judge_vectors(column: SpaceColumn, statistics: VectorStatistics) -> list[Verdict]:
    return [embeddings.finite_dimensions(statistics, column.space), embeddings.unit_norm(statistics, column.space)]


def _judge_backlog(database: Database, column: SpaceColumn, settings: Settings, backlog: Backlog) -> list[Verdict]:
    config = settings.embedding
    run = latest_run(database, column.space.name, at_least=embeddings.THROUGHPUT_MINIMUM_CHUNKS)
    oldest = oldest_pending(database, column)
    prefixes = count_pending_by_prefix(database, column, config.prefix_length) if backlog.pending else {}
    return [
        embeddings.throughput(run, config),
        embeddings.coverage(backlog, config, prefixes),
        embeddings.backlog_age(oldest, datetime.now(UTC), config.backlog_age_hours, is_recorded=database.table.is_own),
        embeddings.quarantine_empty(backlog),
        embeddings.hashes_reachable(backlog),
    ]


def _judge_measurement(database: Database, settings: Settings, measurement: IndexMeasurement) -> list[Verdict]:
    baseline = baseline_measurement(database, measurement.space)
    return [
        index.recall(measurement, settings.embedding.recall_floor),
        index.recall_drop(measurement, baseline, settings.index),
        index.bloat(measurement, settings.index),
        index.planner_uses_index(measurement),
    ]
