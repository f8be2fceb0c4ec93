"""The vector indexes of a table: which spaces need one now, built where it is missing, measured, the numbers kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.chunks import count_backlog
from embedding_assets.postgres.index import IndexState, build_vector_index, describe_index
from embedding_assets.postgres.locks import is_loading
from embedding_assets.postgres.measurements import (
    IndexMeasurement,
    accept_latest,
    current_measurement,
    measure_index,
    record_measurement,
)
from embedding_assets.postgres.spaces import SpaceRecord, list_spaces

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Database

__all__ = ["IndexReport", "accept_recall", "build_indexes", "build_missing", "measure_space", "spaces_to_index"]

logger = logging.getLogger(__name__)

_QUERIES: Final = 100
_QUERIES_OF_OTHERS: Final = 20
"""Exact search reads every vector of a column for each query; what is neither configured nor serves gets fewer."""


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The index of a space after it was looked after.

    Attributes:
        record: the space.
        state: what PostgreSQL knows of the index.
        measurement: of the index and its vectors, recorded.
        build_seconds: what building it took; None if there was nothing to do.
    """

    record: SpaceRecord
    state: IndexState
    measurement: IndexMeasurement
    build_seconds: float | None


def spaces_to_index(database: Database, record: SpaceRecord) -> list[SpaceRecord]:
    """The given space, then every other that has vectors: the one that serves searches, the fallback's.

    Left out is a space that a run is loading: its index may be waiting for the end of that, where that run builds it.
    """
    others = [other for other in list_spaces(database) if other.space != record.space]
    return [
        record,
        *(o for o in others if not is_loading(database, o.space.name) and count_backlog(database, o).embedded),
    ]


def build_indexes(
    database: Database, record: SpaceRecord, config: IndexConfig, *, anew: bool = True
) -> list[IndexReport]:
    """Build, mend and measure the index of each of ``spaces_to_index``, the given space's first; record the numbers.

    Args:
        database: where.
        record: the space to begin with.
        config: how indexes are built and searched.
        anew: measure also what was measured lately and has hardly changed since (``current_measurement``).

    Raises:
        DatabaseError: an index could not be built.
    """
    reports: list[IndexReport] = []
    for space in spaces_to_index(database, record):
        # Not under a load, which builds it in the end if it was left out, and would otherwise go through the graph.
        loading = is_loading(database, space.space.name)
        seconds = None if loading else build_vector_index(database, space, config)
        if loading:
            logger.info("%s is left to the run that is loading its space", space.index, extra={"index": space.index})
        if seconds is not None:
            logger.info("built %s in %.1f s", space.index, seconds, extra={"index": space.index})
        queries = _queries(space, configured=space == record)
        if anew or seconds is not None:
            measurement = measure_index(database, space, config, built=seconds is not None, queries=queries)
        else:
            measurement = current_measurement(database, space, config, queries=queries)
        if measurement.id is None:
            measurement = record_measurement(database, measurement)
        reports.append(IndexReport(space, describe_index(database, space.index), measurement, seconds))
    return reports


def build_missing(database: Database, record: SpaceRecord, config: IndexConfig) -> float | None:
    """Build the index of each of ``spaces_to_index`` that has vectors; returns the seconds, None if nothing was due.

    Raises:
        DatabaseError: an index could not be built.
    """
    filled = [space for space in spaces_to_index(database, record) if count_backlog(database, space).embedded]
    spent = [build_vector_index(database, space, config) for space in filled]
    seconds = [one for one in spent if one is not None]
    return sum(seconds) if seconds else None


def measure_space(
    database: Database, record: SpaceRecord, config: IndexConfig, *, configured: bool
) -> IndexMeasurement:
    """The index of a space as it is now, from what was recorded if that still holds; records nothing."""
    return current_measurement(database, record, config, queries=_queries(record, configured=configured))


def accept_recall(database: Database, record: SpaceRecord, config: IndexConfig) -> IndexMeasurement:
    """Make the recall of a space's index as it is now what later measurements are compared with.

    Raises:
        ConfigurationError: it cannot be measured.
    """
    measurement = measure_space(database, record, config, configured=True)
    if measurement.recall is None:
        raise ConfigurationError(f"space {record.space.name} has no recall to accept: {measurement.details['reason']}")
    if measurement.id is None:
        measurement = record_measurement(database, measurement)
    return accept_latest(database, record.space.name) or measurement


def _queries(record: SpaceRecord, *, configured: bool) -> int:
    """Measured more closely where it matters."""
    return _QUERIES if configured or record.serving else _QUERIES_OF_OTHERS
