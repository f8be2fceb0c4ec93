"""The overview of a table, gathered from the database: counts, past runs, costs, what was last measured, verdicts."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from embedding_assets.formatting import megabytes, share
from embedding_assets.health.judge import judge_as_recorded
from embedding_assets.planning import all_prefixes
from embedding_assets.postgres.backlog import Backlog, PrefixCounts, count_backlog, count_by_prefix
from embedding_assets.postgres.chunks import count_chunks, count_documents
from embedding_assets.postgres.failures import count_failures
from embedding_assets.postgres.index.measurements import recorded_measurement
from embedding_assets.postgres.index.statistics import VectorStatistics, measure_vectors
from embedding_assets.postgres.runs import list_runs
from embedding_assets.postgres.samples import sample_sources
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.postgres.usage.ledger import DayCost, count_spending, list_daily_costs
from embedding_assets.providers.selection import configured_space
from embedding_assets.reporting.overview import (
    CostOverview,
    IndexOverview,
    Overview,
    SpaceOverview,
    changed_settings,
    place_of,
)
from embedding_assets.reporting.status import inspect_space
from embedding_assets.spaces import SpaceColumn

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.postgres.catalog import IndexState
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.index.measurements import IndexMeasurement


ELSEWHERE: Final = "?"
"""Stands for the chunks of an adopted table whose hash is not lowercase hex: no partition reaches them."""

MAP_SIZE: Final = 1000
"""Vectors that a map shows; more would hide each other."""


def gather_overview(database: Database, settings: Settings, *, map_size: int = 0) -> Overview:
    """The state of everything, the space that serves searches first. Measures nothing that takes long.

    Recall and latency are those that ``pgvector_index_health`` or ``embedding-assets health`` measured last.

    Args:
        database: whose tables.
        settings: what is judged by; nothing is told of a secret.
        map_size: most vectors to read of each space for a map of them; each is some kilobytes.
    """
    columns = sorted(list_spaces(database), key=lambda column: not column.serving)
    # Without one, e.g. before its first run, the backlog that matters is that of searches.
    configured = configured_space(settings, database) or (columns[0].space.name if columns else None)
    spending = count_spending(database, run_id="")
    budget = settings.budget
    return Overview(
        created_at=datetime.now(UTC),
        version=version("embedding-assets"),
        database=database.address,
        chunks=count_chunks(database),
        documents=count_documents(database),
        spaces=tuple(
            _gather_space(database, settings, column, map_size, configured=column.space.name == configured)
            for column in columns
        ),
        costs=CostOverview(
            today_usd=float(spending.day),
            month_usd=float(spending.month),
            limit_per_day_usd=None if budget.usd_per_day is None else float(budget.usd_per_day),
            limit_per_month_usd=None if budget.usd_per_month is None else float(budget.usd_per_month),
            days=daily_costs(database),
            alert_share=budget.alert_share,
        ),
        settings=changed_settings(settings),
    )


def count_prefixes(database: Database, column: SpaceColumn, length: int) -> tuple[PrefixCounts, ...]:
    """The chunks of a space by prefix of their hash, empty prefixes included."""
    return _by_prefix(database, column, length, count_backlog(database, column))


def daily_costs(database: Database) -> tuple[DayCost, ...]:
    """What the last ninety days cost, by space."""
    return tuple(DayCost(day, space, float(usd)) for day, space, usd in list_daily_costs(database))


def _gather_space(
    database: Database, settings: Settings, column: SpaceColumn, map_size: int, *, configured: bool
) -> SpaceOverview:
    config = settings.embedding
    status = inspect_space(database, column)
    backlog = status.backlog
    statistics = measure_vectors(database, column)
    measurement = recorded_measurement(database, column, settings.index, status.index, statistics)
    vectors, sources = sample_sources(database, column, map_size) if map_size and backlog.embedded else (None, ())
    return SpaceOverview(
        name=column.space.name,
        model=column.space.model,
        place=place_of(column.space),
        dimensions=column.space.dimensions,
        column=column.name,
        serving=column.serving,
        prefixes=_by_prefix(database, column, config.prefix_length, backlog),
        waiting=backlog.waiting,
        runs=tuple(list_runs(database, column.space.name)),
        index=_index_overview(status.index, settings, measurement),
        checks=tuple(
            judge_as_recorded(
                database,
                settings,
                column,
                backlog,
                status.index,
                statistics=statistics,
                measurement=measurement,
                configured=configured,
            )
        ),
        throughput_floor=config.throughput_floor,
        recall_floor=config.recall_floor,
        failures=count_failures(database, column.space.name),
        numbers=_numbers(statistics, measurement),
        vectors=vectors,
        sources=sources,
    )


def _by_prefix(database: Database, column: SpaceColumn, length: int, backlog: Backlog) -> tuple[PrefixCounts, ...]:
    counted = {rows.prefix: rows for rows in count_by_prefix(database, column, length)}
    found = [
        PrefixCounts(prefix, rows.embedded, rows.pending, rows.quarantined)
        if (rows := counted.get(prefix))
        else PrefixCounts(prefix, 0, 0)
        for prefix in all_prefixes(length)
    ]
    elsewhere = backlog.embedded - sum(counts.embedded for counts in found)
    if elsewhere > 0 or backlog.unreachable:
        found.append(PrefixCounts(ELSEWHERE, max(elsewhere, 0), backlog.unreachable))
    return tuple(found)


def _index_overview(state: IndexState, settings: Settings, measurement: IndexMeasurement | None) -> IndexOverview:
    return IndexOverview(
        name=state.name,
        state="valid" if state.valid else "invalid" if state.exists else "missing",
        size_bytes=state.size_bytes,
        ef_search=settings.index.ef_search,
        measured_at=measurement.measured_at if measurement else None,
        curve=tuple(measurement.curve) if measurement else (),
        exact_p50_ms=measurement.exact_p50_ms if measurement else None,
    )


def _numbers(statistics: VectorStatistics, measurement: IndexMeasurement | None) -> dict[str, str]:
    """Further measurements for a person, by what they are called."""
    numbers = {
        "table without indexes": megabytes(statistics.table_bytes),
        "of it vectors and long texts, stored out of line (TOAST)": megabytes(statistics.toast_bytes),
        "dead rows": share(statistics.dead_share),
        "pgvector": statistics.pgvector,
    }
    if statistics.norm_min is not None and statistics.norm_max is not None:
        lengths = f"{statistics.norm_min:.4g} to {statistics.norm_max:.4g}"
        numbers[f"lengths of {statistics.sampled:,} vectors looked at"] = lengths
        numbers["zero vectors among them"] = f"{statistics.zero:,}"
    if measurement is None:
        return numbers
    if measurement.bloat is not None:
        numbers["size of the index, as a multiple of a fresh one's"] = f"{measurement.bloat:.2f}"
    if measurement.recall is not None:
        details = measurement.details
        interval = f"{measurement.recall_low:.3f} to {measurement.recall_high:.3f}"
        numbers[f"recall@10 in {details['queries']:,} queries, with its 95% interval"] = (
            f"{measurement.recall:.3f} ({interval})"
        )
        numbers["vectors that another one equals"] = share(details["duplicates"])
        numbers["vectors nearly like another one (cosine from 0.98)"] = share(details["near_duplicates"])
    return numbers
