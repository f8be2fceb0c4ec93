"""The life of a vector index around a load: planned, dropped before a first load, built afterwards, measured."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from embedding_assets.errors import ConfigurationError
from embedding_assets.planning import looks_at_all, plan_index
from embedding_assets.postgres.backlog import Backlog, count_backlog
from embedding_assets.postgres.catalog import IndexState, describe_index, drop_index
from embedding_assets.postgres.estimates import estimate_rows
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.measurements import (
    IndexMeasurement,
    accept_latest,
    current_measurement,
    measure_index,
    save_measurement,
)
from embedding_assets.postgres.locks import TABLE_LOCK, hold, is_loading
from embedding_assets.postgres.spaces import list_spaces, pending_index_waits
from embedding_assets.spaces import SpaceColumn

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Database

logger = logging.getLogger(__name__)

_QUERIES: Final = 100
_QUERIES_OF_OTHERS: Final = 20
"""Exact search reads every vector of a column for each query; what is neither configured nor serves gets fewer."""


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """The decision to keep or drop the index during a load, and the reason."""

    decision: Literal["keep", "defer"]
    reason: str


def plan_load(database: Database, column: SpaceColumn, backlog: Backlog, *, loading: int | None = None) -> IndexPlan:
    """Decide whether a coming load keeps the index.

    Args:
        database: where.
        column: the space.
        backlog: its state.
        loading: chunks that the load will take up; default: all that are due. A table that is loaded range by range
            keeps what one range built for the next.
    """
    loading = backlog.due if loading is None else loading
    exists = describe_index(database, column.index).exists
    decision = plan_index(embedded=backlog.embedded, pending=loading)
    counts = f"{loading:,} chunks to load, {backlog.embedded:,} embedded"
    if not exists:
        decision, reason = "defer", f"{counts}: loaded without an index, built afterwards"
    elif decision == "defer":
        reason = f"{counts}: the index waits for the load and is built once afterwards; until then searches are exact"
    else:
        reason = f"{counts}: the index stays and is extended row by row"
    return IndexPlan(decision, reason)


def drop_before_load(database: Database, column: SpaceColumn, *, loading: int | None = None) -> IndexPlan:
    """Drop the index, without blocking readers, if ``plan_load`` defers it until the end of the load.

    Call it when nothing but the load itself is left to go wrong: the index is missing until the load is done.
    """
    plan = plan_load(database, column, count_backlog(database, column, written=loading), loading=loading)
    if plan.decision == "defer":
        _drop_indexes(database, column)
    return plan


def _drop_indexes(database: Database, column: SpaceColumn) -> None:
    names = [column.index, *([] if column.serving else [column.pending_index])]
    if not any(describe_index(database, name).exists for name in names):
        return
    with database.session() as connection, hold(connection, TABLE_LOCK):
        # Only now: it may serve searches since, and then keeps the index that the sensor probes.
        [column] = [known for known in list_spaces(database) if known.space == column.space]
        drop_index(connection, database.table, column.index)
        if pending_index_waits(database, column):
            drop_index(connection, database.table, column.pending_index)


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The index of a space after maintenance.

    Attributes:
        column: the space.
        state: what PostgreSQL knows of the index.
        measurement: of the index and its vectors, recorded.
        build_seconds: what building it took; None if there was nothing to do.
    """

    column: SpaceColumn
    state: IndexState
    measurement: IndexMeasurement
    build_seconds: float | None


def spaces_to_index(database: Database, column: SpaceColumn, *, written: int | None = None) -> list[SpaceColumn]:
    """The given space, then every other that has vectors: the one that serves searches, the fallback's.

    Left out is a space that a run is loading: its index may be waiting for the end of that, where that run builds it.
    With ``written``, the vectors written by the run that asks, all others are left out of a table that is far larger.
    """
    if written is not None and not looks_at_all(
        database.run(lambda connection: estimate_rows(connection, database.table)), written
    ):
        return [column]
    others = [other for other in list_spaces(database) if other.space != column.space]
    return [
        column,
        *(o for o in others if not is_loading(database, o.space.name) and count_backlog(database, o).embedded),
    ]


def build_indexes(
    database: Database,
    column: SpaceColumn,
    config: IndexConfig,
    *,
    remeasure: bool = True,
    written: int | None = None,
) -> list[IndexReport]:
    """Build, repair and measure the index of each of ``spaces_to_index``, the given space's first; record the numbers.

    Args:
        database: where.
        column: the space to begin with.
        config: how indexes are built and searched.
        remeasure: measure also what was measured lately and has hardly changed since (``current_measurement``).
        written: vectors written by the run that asks, which is to cost no more than they did; default: any cost.

    Raises:
        DatabaseError: an index could not be built.
    """
    reports: list[IndexReport] = []
    for space in spaces_to_index(database, column, written=written):
        # Not under a load, which builds it in the end if it was left out, and would otherwise go through the graph.
        loading = is_loading(database, space.space.name)
        seconds = None if loading else build_vector_index(database, space, config, written=written)
        if loading:
            logger.info("%s is left to the run that is loading its space", space.index, extra={"index": space.index})
        if seconds is not None:
            logger.info("built %s in %.1f s", space.index, seconds, extra={"index": space.index})
        queries = _queries(space, configured=space == column)
        if remeasure or seconds is not None:
            measurement = measure_index(database, space, config, built=seconds is not None, queries=queries)
        else:
            measurement = current_measurement(database, space, config, queries=queries, written=written)
        if measurement.id is None:
            measurement = save_measurement(database, measurement)
        reports.append(IndexReport(space, describe_index(database, space.index), measurement, seconds))
    return reports


def build_missing(
    database: Database, column: SpaceColumn, config: IndexConfig, *, written: int | None = None
) -> float | None:
    """Build the index of each of ``spaces_to_index`` that has vectors; returns the seconds, None if nothing was due.

    Raises:
        DatabaseError: an index could not be built.
    """
    spaces = spaces_to_index(database, column, written=written)
    filled = [space for space in spaces if count_backlog(database, space, written=written).embedded]
    spent = [build_vector_index(database, space, config, written=written) for space in filled]
    seconds = [one for one in spent if one is not None]
    return sum(seconds) if seconds else None


def measure_space(
    database: Database, column: SpaceColumn, config: IndexConfig, *, configured: bool, written: int | None = None
) -> IndexMeasurement:
    """The index of a space as it is now, from what was recorded if that still holds; records nothing."""
    queries = _queries(column, configured=configured)
    return current_measurement(database, column, config, queries=queries, written=written)


def accept_recall(database: Database, column: SpaceColumn, config: IndexConfig) -> IndexMeasurement:
    """Make the recall of a space's index as it is now what later measurements are compared with.

    Raises:
        ConfigurationError: it cannot be measured.
    """
    measurement = measure_space(database, column, config, configured=True)
    if measurement.search.recall is None:
        raise ConfigurationError(f"space {column.space.name} has no recall to accept: {measurement.search.reason}")
    if measurement.id is None:
        measurement = save_measurement(database, measurement)
    return accept_latest(database, column.space.name) or measurement


def _queries(column: SpaceColumn, *, configured: bool) -> int:
    """Measured more closely where it matters."""
    return _QUERIES if configured or column.serving else _QUERIES_OF_OTHERS
