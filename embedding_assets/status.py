"""The state of a table, measured and judged: for the command line and the asset checks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from embedding_assets.audit import audit_spaces
from embedding_assets.errors import ConfigurationError, ModelUnavailableError
from embedding_assets.health import (
    THROUGHPUT_MINIMUM_CHUNKS,
    Verdict,
    judge_costs,
    judge_coverage,
    judge_hashes,
    judge_index,
    judge_models,
    judge_quarantine,
    judge_throughput,
    judge_vectors,
    over_spaces,
)
from embedding_assets.index_health import (
    judge_backlog_age,
    judge_bloat,
    judge_pgvector,
    judge_planner,
    judge_recall_drop,
    judge_recall_floor,
    judge_unit_norm,
)
from embedding_assets.indexing import measure_space, spaces_to_index
from embedding_assets.postgres.chunks import Backlog, count_backlog, count_chunks
from embedding_assets.postgres.index import IndexState, describe_index
from embedding_assets.postgres.ledger import CostRow, count_spending, list_costs
from embedding_assets.postgres.measurements import IndexMeasurement, baseline_measurement
from embedding_assets.postgres.runs import RunRecord, latest_run
from embedding_assets.postgres.schema import MINIMUM_PGVECTOR
from embedding_assets.postgres.spaces import SpaceRecord, list_spaces
from embedding_assets.postgres.vector_statistics import VectorStatistics, measure_vectors, oldest_pending
from embedding_assets.postgres.vectors import check_stored_vectors
from embedding_assets.providers.factory import find_space

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database

__all__ = [
    "SpaceStatus",
    "TableStatus",
    "configured_space",
    "inspect_space",
    "inspect_table",
    "judge_as_recorded",
    "judge_embeddings",
    "judge_everything",
    "judge_vector_index",
    "total_costs",
]


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """One vector space of the table."""

    record: SpaceRecord
    backlog: Backlog
    index: IndexState
    latest_run: RunRecord | None

    @property
    def coverage(self) -> float:
        """Share of the chunks that have a vector in the space; 1 for an empty table."""
        return self.backlog.embedded / self.backlog.chunks if self.backlog.chunks else 1.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.record.space.name,
            "provider": self.record.space.provider,
            "model": self.record.space.model,
            "revision": self.record.space.revision,
            "column": self.record.column,
            "dimensions": self.record.space.dimensions,
            "serving": self.record.serving,
            "embedded": self.backlog.embedded,
            "coverage": self.coverage,
            "pending": self.backlog.pending,
            "waiting": self.backlog.waiting,
            "quarantined": self.backlog.quarantined,
            "unreachable": self.backlog.unreachable,
            "index": {
                "name": self.index.name,
                "exists": self.index.exists,
                "valid": self.index.valid,
                "size_bytes": self.index.size_bytes,
            },
            "latest_run": asdict(self.latest_run) if self.latest_run else None,
        }


@dataclass(frozen=True, slots=True)
class TableStatus:
    """The table and its vector spaces, oldest first."""

    chunks: int
    spaces: list[SpaceStatus]


def inspect_table(database: Database) -> TableStatus:
    """Count what is in the table; measures nothing that costs more than a scan of an index."""
    spaces = [inspect_space(database, record) for record in list_spaces(database)]
    return TableStatus(spaces[0].backlog.chunks if spaces else count_chunks(database), spaces)


def inspect_space(database: Database, record: SpaceRecord) -> SpaceStatus:
    """The same of one space."""
    return SpaceStatus(
        record=record,
        backlog=count_backlog(database, record),
        index=describe_index(database, record.index),
        latest_run=latest_run(database, record.space.name),
    )


def total_costs(database: Database) -> CostRow:
    """What all spaces together have cost."""
    rows = list_costs(database, by="space")
    return CostRow(
        "total",
        requests=sum(row.requests for row in rows),
        embeddings=sum(row.embeddings for row in rows),
        tokens=sum(row.tokens for row in rows),
        usd=sum((row.usd for row in rows), Decimal(0)),
        presumed_usd=sum((row.presumed_usd for row in rows), Decimal(0)),
    )


def configured_space(settings: Settings, database: Database) -> str | None:
    """Name of the space that the settings lead to, if there is one already."""
    try:
        record = find_space(settings, database)
    except (ConfigurationError, ModelUnavailableError):
        return None  # whoever wants to embed is told why
    return record.space.name if record else None


def judge_embeddings(database: Database, record: SpaceRecord, settings: Settings) -> list[Verdict]:
    """Verdicts on the vectors of a space and on its backlog."""
    statistics = measure_vectors(database, record, thorough=True)
    return [
        *_judge_vectors(database, record, statistics),
        *_judge_backlog(database, record, settings, count_backlog(database, record)),
    ]


def judge_vector_index(database: Database, record: SpaceRecord, settings: Settings) -> list[Verdict]:
    """Verdicts on the index of a space, and of every other that has vectors, each told over all of them.

    Measures what has changed since it was last measured, which reads every vector of a column for each query.
    """
    verdicts: dict[str, dict[str, Verdict]] = {}
    pgvector = ""
    for space in spaces_to_index(database, record):
        measurement = measure_space(database, space, settings.index, configured=space == record)
        pgvector = measurement.details["pgvector"]
        state = describe_index(database, space.index)
        for verdict in (
            judge_index(state, settings.index, measurement.embedded),
            *_judge_measurement(database, settings, measurement),
        ):
            verdicts.setdefault(verdict.name, {})[space.space.name] = verdict
    return [*map(over_spaces, verdicts.values()), judge_pgvector(pgvector, MINIMUM_PGVECTOR)]


def judge_everything(database: Database, record: SpaceRecord, settings: Settings) -> list[Verdict]:
    """The verdicts of all asset checks; loads the space's model, or asks its API for some vectors."""
    return [
        *judge_embeddings(database, record, settings),
        judge_models(audit_spaces(database, settings)),
        judge_costs(count_spending(database, run_id=""), settings.budget),
        *judge_vector_index(database, record, settings),
    ]


def judge_as_recorded(
    database: Database,
    settings: Settings,
    status: SpaceStatus,
    *,
    statistics: VectorStatistics,
    measurement: IndexMeasurement | None,
    configured: bool,
) -> list[Verdict]:
    """Verdicts on one space from what is quickly counted, and from what was last measured of its index.

    Args:
        database: where.
        settings: what is judged by.
        status: of the space.
        statistics: of its vectors.
        measurement: the last of its index, brought up to date; None if there is none that still tells anything.
        configured: whether the settings lead to the space. Others need not be complete, nor filled in time.
    """
    record, backlog = status.record, status.backlog
    verdicts = _judge_vectors(database, record, statistics)
    if configured:
        verdicts += _judge_backlog(database, record, settings, backlog)
        verdicts.append(judge_costs(count_spending(database, run_id=""), settings.budget))
    if backlog.embedded:
        verdicts.append(judge_index(status.index, settings.index, backlog.embedded))
        verdicts += _judge_measurement(database, settings, measurement) if measurement else []
        verdicts.append(judge_pgvector(statistics.pgvector, MINIMUM_PGVECTOR))
    return verdicts


def _judge_vectors(database: Database, record: SpaceRecord, statistics: VectorStatistics) -> list[Verdict]:
    return [
        judge_vectors(check_stored_vectors(database, record), record.space.dimensions),
        judge_unit_norm(statistics, record.space),
    ]


def _judge_backlog(database: Database, record: SpaceRecord, settings: Settings, backlog: Backlog) -> list[Verdict]:
    config = settings.embedding
    return [
        judge_throughput(latest_run(database, record.space.name, at_least=THROUGHPUT_MINIMUM_CHUNKS), config),
        judge_coverage(backlog, config),
        judge_backlog_age(oldest_pending(database, record), datetime.now(UTC), config.backlog_age_hours),
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
