"""The vector indexes of a table: which spaces need one now, built where it is missing, then measured."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedding_assets.postgres.chunks import count_backlog
from embedding_assets.postgres.index import (
    IndexState,
    RecallSample,
    build_vector_index,
    describe_index,
    measure_recall,
)
from embedding_assets.postgres.locks import is_loading
from embedding_assets.postgres.spaces import SpaceRecord, list_spaces

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Database

__all__ = ["IndexReport", "build_indexes", "measure_space", "spaces_to_index"]

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
        recall: measured against exact search.
        build_seconds: what building it took; None if there was nothing to do.
    """

    record: SpaceRecord
    state: IndexState
    recall: RecallSample
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


def build_indexes(database: Database, record: SpaceRecord, config: IndexConfig) -> list[IndexReport]:
    """Build, mend and measure the index of each of ``spaces_to_index``, the given space's first.

    Raises:
        DatabaseError: an index could not be built.
    """
    reports: list[IndexReport] = []
    for space in spaces_to_index(database, record):
        seconds = build_vector_index(database, space, config)
        if seconds is not None:
            logger.info("built %s in %.1f s", space.index, seconds, extra={"index": space.index})
        recall = measure_space(database, space, config, configured=space == record)
        reports.append(IndexReport(space, describe_index(database, space.index), recall, seconds))
    return reports


def measure_space(database: Database, record: SpaceRecord, config: IndexConfig, *, configured: bool) -> RecallSample:
    """The recall of a space's index, measured more closely where it matters."""
    queries = _QUERIES if configured or record.serving else _QUERIES_OF_OTHERS
    return measure_recall(database, record, config, queries=queries)
