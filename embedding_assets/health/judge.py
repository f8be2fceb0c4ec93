"""The state of a table, measured and judged: for the command line and the asset checks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from embedding_assets.health.audit import audit_spaces
from embedding_assets.health.costs import judge_costs
from embedding_assets.health.embeddings import (
    THROUGHPUT_MINIMUM_CHUNKS,
    judge_backlog_age,
    judge_coverage,
    judge_hashes,
    judge_models,
    judge_quarantine,
    judge_throughput,
    judge_unit_norm,
    judge_vectors,
)
from embedding_assets.health.index import (
    judge_bloat,
    judge_index,
    judge_pgvector,
    judge_planner,
    judge_recall_drop,
    judge_recall_floor,
)
from embedding_assets.health.verdict import Verdict, over_spaces
from embedding_assets.postgres.backlog import Backlog, count_backlog, oldest_pending
from embedding_assets.postgres.catalog import IndexState, describe_index
from embedding_assets.postgres.index.lifecycle import measure_space, spaces_to_index
from embedding_assets.postgres.index.measurements import IndexMeasurement, baseline_measurement
from embedding_assets.postgres.index.statistics import VectorStatistics, measure_vectors
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.schema import MINIMUM_PGVECTOR
from embedding_assets.postgres.usage.ledger import count_spending
from embedding_assets.postgres.vectors import check_stored_vectors
from embedding_assets.spaces import SpaceColumn

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database


def judge_embeddings(database: Database, column: SpaceColumn, settings: Settings) -> list[Verdict]:
    """Verdicts on the vectors of a space and on its backlog."""
    statistics = measure_vectors(database, column, thorough=True)
    return [
        *_judge_vectors(database, column, statistics),
        *_judge_backlog(database, column, settings, count_backlog(database, column)),
    ]


def judge_vector_index(database: Database, column: SpaceColumn, settings: Settings) -> list[Verdict]:
    """Verdicts on the index of a space, and of every other that has vectors, each told over all of them.

    Measures what has changed since it was last measured, which reads every vector of a column for each query.
    """
    verdicts: dict[str, dict[str, Verdict]] = {}
    pgvector = ""
    for space in spaces_to_index(database, column):
        measurement = measure_space(database, space, settings.index, configured=space == column)
        pgvector = measurement.details["pgvector"]
        state = describe_index(database, space.index)
        for verdict in (
            judge_index(state, settings.index, measurement.embedded),
            *_judge_measurement(database, settings, measurement),
        ):
            verdicts.setdefault(verdict.name, {})[space.space.name] = verdict
    return [*map(over_spaces, verdicts.values()), judge_pgvector(pgvector, MINIMUM_PGVECTOR)]


def judge_everything(database: Database, column: SpaceColumn, settings: Settings) -> list[Verdict]:
    """The verdicts of all asset checks; loads the space's model, or asks its API for some vectors."""
    return [
        *judge_embeddings(database, column, settings),
        judge_models(audit_spaces(database, settings)),
        judge_costs(count_spending(database, run_id=""), settings.budget),
        *judge_vector_index(database, column, settings),
    ]


def judge_as_recorded(
    database: Database,
    settings: Settings,
    column: SpaceColumn,
    backlog: Backlog,
    index: IndexState,
    *,
    statistics: VectorStatistics,
    measurement: IndexMeasurement | None,
    configured: bool,
) -> list[Verdict]:
    """Verdicts on one space from what is quickly counted, and from what was last measured of its index.

    Args:
        database: where.
        settings: what is judged by.
        column: the space.
        backlog: its state.
        index: the state of its index.
        statistics: of its vectors.
        measurement: the last of its index, brought up to date; None if there is none that still tells anything.
        configured: whether the settings lead to the space. Others need not be complete, nor filled in time.
    """
    verdicts = _judge_vectors(database, column, statistics)
    if configured:
        verdicts += _judge_backlog(database, column, settings, backlog)
        verdicts.append(judge_costs(count_spending(database, run_id=""), settings.budget))
    if backlog.embedded:
        verdicts.append(judge_index(index, settings.index, backlog.embedded))
        verdicts += _judge_measurement(database, settings, measurement) if measurement else []
        verdicts.append(judge_pgvector(statistics.pgvector, MINIMUM_PGVECTOR))
    return verdicts


def _judge_vectors(database: Database, column: SpaceColumn, statistics: VectorStatistics) -> list[Verdict]:
    return [
        judge_vectors(check_stored_vectors(database, column), column.space.dimensions),
        judge_unit_norm(statistics, column.space),
    ]


def _judge_backlog(database: Database, column: SpaceColumn, settings: Settings, backlog: Backlog) -> list[Verdict]:
    config = settings.embedding
    return [
        judge_throughput(latest_run(database, column.space.name, at_least=THROUGHPUT_MINIMUM_CHUNKS), config),
        judge_coverage(backlog, config),
        judge_backlog_age(oldest_pending(database, column), datetime.now(UTC), config.backlog_age_hours),
        judge_quarantine(backlog),
        judge_hashes(backlog),
    ]


def _judge_measurement(database: Database, settings: Settings, measurement: IndexMeasurement) -> list[Verdict]:
    return [
        judge_recall_floor(measurement, settings.embedding.recall_floor),
        judge_recall_drop(measurement, baseline_measurement(database, measurement.space), settings.index),
        judge_bloat(measurement, settings.index),
        judge_planner(measurement),
    ]
