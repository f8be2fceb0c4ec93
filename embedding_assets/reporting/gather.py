"""The overview of a table, gathered from the database: counts, past runs, costs, what was last measured, verdicts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from embedding_assets.health.checks import VECTORS_MATCH_MODEL
from embedding_assets.health.judge import judge_as_recorded
from embedding_assets.planning import all_prefixes
from embedding_assets.postgres.backlog import count_backlog
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.chunks import count_chunks, count_documents
from embedding_assets.postgres.failures import count_failures
from embedding_assets.postgres.index.measurements import refreshed_measurement
from embedding_assets.postgres.index.statistics import measure_vectors
from embedding_assets.postgres.prefixes import PrefixCounts, count_by_prefix
from embedding_assets.postgres.runs import list_runs
from embedding_assets.postgres.samples import sample_sources
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.postgres.usage.ledger import NOTHING_SPENT, count_spending, list_daily_costs
from embedding_assets.providers.space_selection import configured_space
from embedding_assets.reporting.overview import CostOverview, Overview, SpaceOverview, changed_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedding_assets.config import Settings
    from embedding_assets.postgres.backlog import Backlog
    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn

ELSEWHERE: Final = "?"
"""Stands for the chunks of an adopted table whose hash is not lowercase hex: no partition reaches them."""


def gather_overview(database: Database, settings: Settings) -> Overview:
    """The state of everything, the space that serves searches first. Measures nothing that takes long, makes nothing.

    Recall and latency are those that ``pgvector_index_health`` or ``embedding-assets health`` measured last.

    Args:
        database: whose tables.
        settings: what is judged by; of secrets only shows that they are set.
    """
    if not database.table.oid:
        return _overview(database, settings, CostOverview.of(NOTHING_SPENT, settings.budget))
    columns = sorted(list_spaces(database), key=lambda column: not column.serving)
    # Without one, e.g. before its first run, the backlog that matters is that of searches.
    configured = configured_space(settings, database) or (columns[0].space.name if columns else None)
    return replace(
        _overview(
            database,
            settings,
            CostOverview.of(count_spending(database, run_id=""), settings.budget, list_daily_costs(database)),
        ),
        chunks=count_chunks(database),
        documents=count_documents(database),
        spaces=tuple(
            _gather_space(database, settings, column, configured=column.space.name == configured) for column in columns
        ),
    )


def _overview(database: Database, settings: Settings, costs: CostOverview) -> Overview:
    """Of a table in which nothing is."""
    return Overview(
        created_at=datetime.now(UTC),
        version=version("embedding-assets"),
        database=database.address,
        table=str(database.table),
        chunks=0,
        documents=0,
        ef_search=settings.index.ef_search,
        recall_floor=settings.embedding.recall_floor,
        throughput_floor=settings.embedding.throughput_floor,
        costs=costs,
        settings=changed_settings(settings),
    )


def gather_samples(
    database: Database, overview: Overview, rows: int
) -> dict[str, tuple[NDArray[np.float32], tuple[str, ...]]]:
    """Name of a space → at most ``rows`` of its vectors, shape (n, dimensions), and the source of each, for a map."""
    filled = [space for space in overview.spaces if space.backlog.embedded]
    return {space.name: sample_sources(database, space.column, rows) for space in filled}


def count_prefixes(
    database: Database, column: SpaceColumn, length: int, backlog: Backlog | None = None
) -> tuple[PrefixCounts, ...]:
    """The chunks of a space by prefix of their hash, empty prefixes included.

    Args:
        database: where.
        column: the space.
        length: of the prefixes, in hex characters.
        backlog: of the space; default: counted now.
    """
    backlog = backlog or count_backlog(database, column)
    counted = {counts.prefix: counts for counts in count_by_prefix(database, column, length)}
    found = [counted.get(prefix) or PrefixCounts(prefix, 0, 0) for prefix in all_prefixes(length)]
    elsewhere = backlog.embedded - sum(counts.embedded for counts in found)
    if elsewhere > 0 or backlog.unreachable:
        found.append(PrefixCounts(ELSEWHERE, max(elsewhere, 0), backlog.unreachable))
    return tuple(found)


def _gather_space(database: Database, settings: Settings, column: SpaceColumn, *, configured: bool) -> SpaceOverview:
    backlog = count_backlog(database, column)
    index = describe_index(database, column.index)
    vectors = measure_vectors(database, column)
    measurement = refreshed_measurement(database, column, settings.index, index, vectors)
    checks = judge_as_recorded(
        database,
        settings,
        column,
        backlog=backlog,
        state=index,
        statistics=vectors,
        measurement=measurement,
        configured=configured,
    )
    return SpaceOverview(
        name=column.space.name,
        column=column,
        configured=configured,
        backlog=backlog,
        prefixes=count_prefixes(database, column, settings.embedding.prefix_length, backlog),
        failures=count_failures(database, column.space.name),
        runs=tuple(list_runs(database, column.space.name)),
        index=index,
        vectors=vectors,
        measurement=measurement,
        checks=tuple(checks),
        unchecked=(VECTORS_MATCH_MODEL.name,) if backlog.embedded else (),
    )
