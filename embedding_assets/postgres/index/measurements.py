"""Measurements of a vector index over time, and the accepted one that a new one is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from embedding_assets.planning import looks_at_all
from embedding_assets.postgres.catalog import IndexState, describe_index
from embedding_assets.postgres.estimates import estimate_rows
from embedding_assets.postgres.index.recall import SearchMeasurement, measure_recall, planner_uses_index
from embedding_assets.postgres.index.size import index_bloat
from embedding_assets.postgres.index.statistics import VectorStatistics, measure_vectors

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.spaces import SpaceColumn

# Columns for people who look into the table; what is read back is in the last ones.
_COLUMNS: Final = (
    "index_name", "embedded", "recall", "recall_low", "recall_high", "p50_ms", "p95_ms", "exact_p50_ms", "index_bytes",
    "table_bytes", "bloat", "space", "measured_at", "built", "accepted", "details",
)  # fmt: skip
_DETAILS: Final = {"ef_search", "bloat", "index", "search", "vectors"}
# What a process of the version before writes is not read.
_SELECT: Final = sql.SQL("""
    SELECT id, space, measured_at, built, accepted, details FROM embedding_index_measurements
    WHERE space = %s AND details ? 'search'
""")

_CURRENT_FOR: Final = timedelta(days=1)
_TOLERANCE: Final = 0.01

_KEPT: Final = 1000
"""Measurements of a space that are kept, each of some 2 kB."""


@dataclass(frozen=True, slots=True)
class IndexMeasurement:
    """A vector index at one moment.

    Attributes:
        space: name of the space.
        measured_at: when.
        ef_search: the configured hnsw.ef_search.
        index: its definition, state and size.
        bloat: size of the index as a multiple of a fresh one's; None without an HNSW index.
        search: recall and latency of searches by it.
        vectors: those that it is over, and their table.
        built: whether the index had been built or rebuilt just before.
        accepted: whether later measurements are compared with this one.
        id: ascending; None before it is saved.
    """

    space: str
    measured_at: datetime
    ef_search: int
    index: IndexState
    bloat: float | None
    search: SearchMeasurement
    vectors: VectorStatistics
    built: bool = False
    accepted: bool = False
    id: int | None = None


def measure_index(
    database: Database, column: SpaceColumn, config: IndexConfig, *, built: bool = False, queries: int = 100
) -> IndexMeasurement:
    """Measure the index of a space, its recall and the vectors it is over; saves nothing.

    Args:
        database: where.
        column: the space.
        config: how searches use the index.
        built: whether the index was built just before.
        queries: most vectors to ask for their neighbours.
    """
    index = describe_index(database, column.index)
    search = measure_recall(database, column, config, queries=queries)
    vectors = measure_vectors(database, column)
    return IndexMeasurement(
        space=column.space.name,
        measured_at=datetime.now(UTC),
        ef_search=config.ef_search,
        index=index,
        bloat=index_bloat(index, vectors.count, index.vector_bytes(column)),
        search=search,
        vectors=vectors,
        built=built,
    )


def current_measurement(
    database: Database, column: SpaceColumn, config: IndexConfig, *, queries: int = 100, written: int | None = None
) -> IndexMeasurement:
    """The latest one saved while that holds, with today's number of vectors and sizes; else a new one, not saved.

    It holds for a day, while the index is defined and searched as it was, PostgreSQL uses it or not as it did, and no
    more than a hundredth of the vectors is new, gone or another. Measuring a million vectors takes minutes, and a run
    that added a few would otherwise do so.

    With ``written``, the vectors written by the run that asks, it holds for longer where the table is far larger: as
    long as the index is defined as it was.
    """
    latest = latest_measurement(database, column.space.name)
    few = written is not None and not looks_at_all(
        database.run(lambda connection: estimate_rows(connection, database.table)), written
    )
    if latest is not None and (few or datetime.now(UTC) - latest.measured_at < _CURRENT_FOR):
        index, vectors = describe_index(database, column.index), measure_vectors(database, column, written=written)
        uses_index = planner_uses_index(database, column, config)
        today = _as_of_today(latest, column, index, vectors, uses_index=uses_index)
        alike = latest.index.definition == index.definition if few else _is_alike(latest, today, index)
        if latest.ef_search == config.ef_search and alike:
            return today
    return measure_index(database, column, config, queries=queries)


def refreshed_measurement(
    database: Database, column: SpaceColumn, config: IndexConfig, index: IndexState, vectors: VectorStatistics
) -> IndexMeasurement | None:
    """The latest one saved, however long ago, with today's number of vectors, sizes, and decision of the planner.

    None if there is none, or no valid index any more that it could be about.
    """
    latest = latest_measurement(database, column.space.name)
    if latest is None or not index.valid:
        return None
    uses_index = planner_uses_index(database, column, config)
    return _as_of_today(latest, column, index, vectors, uses_index=uses_index)


def _as_of_today(
    measured: IndexMeasurement, column: SpaceColumn, index: IndexState, vectors: VectorStatistics, *, uses_index: bool
) -> IndexMeasurement:
    """A measurement with what is quickly found out; the recall stays that of the definition it was measured with."""
    return replace(
        measured,
        index=replace(measured.index, size_bytes=index.size_bytes),
        bloat=index_bloat(index, vectors.count, index.vector_bytes(column)),
        search=replace(measured.search, planner_uses_index=uses_index),
        vectors=vectors,
    )


def _is_alike(measured: IndexMeasurement, today: IndexMeasurement, index: IndexState) -> bool:
    then = measured.vectors
    now = today.vectors
    if then.pgvector != now.pgvector or measured.index.definition != index.definition:
        return False
    # Without a recall, why there is none has not been asked again.
    planned = measured.search.planner_uses_index == today.search.planner_uses_index
    if measured.search.recall is not None and not planned:
        return False
    pairs = [
        (then.count, now.count),
        (measured.index.size_bytes, today.index.size_bytes),
        (then.table_bytes, now.table_bytes),
        # Rewritten vectors; a vacuum clears away their old versions, and then the other two have grown.
        (then.count, then.count + max(0, now.dead_rows - then.dead_rows)),
    ]
    return all(abs(before - after) <= _TOLERANCE * before for before, after in pairs)


def save_measurement(database: Database, measurement: IndexMeasurement) -> IndexMeasurement:
    """Keep a measurement; returns it with its id, and accepted or not.

    It is accepted if a recall was measured, and is not below that of the last accepted one, if there is one. A lower
    recall never becomes what the next is compared with, however little lower: many small steps down add up, and are
    noticed. Nor after a build: lowering EMBEDDING_INDEX_M should show what that takes.

    Of a space the last thousand are kept, and the one that the next is compared with, however long ago that was.
    """
    query = sql.SQL("INSERT INTO embedding_index_measurements ({}) VALUES ({}) RETURNING id").format(
        sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)), sql.SQL(", ").join(map(sql.Placeholder, _COLUMNS))
    )

    def work(connection: Connection) -> IndexMeasurement:
        accepted = _is_acceptable(measurement, _baseline(connection, measurement.space))
        kept = replace(measurement, accepted=accepted)
        row: Any = connection.execute(query, _to_row(kept)).fetchone()
        _forget_old(connection, measurement.space)
        return replace(kept, id=row[0])

    return database.run(work)


def latest_measurement(database: Database, space_name: str) -> IndexMeasurement | None:
    """The last one saved, accepted or not."""
    return next(iter(list_measurements(database, space_name, limit=1)), None)


def baseline_measurement(database: Database, space_name: str) -> IndexMeasurement | None:
    """The last accepted one, which the latest is compared with and may be itself; None before the first."""
    return database.run(lambda connection: _baseline(connection, space_name))


def list_measurements(database: Database, space_name: str, *, limit: int = 100) -> list[IndexMeasurement]:
    """The last ``limit`` ones, oldest first."""
    query = _SELECT + sql.SQL(" ORDER BY id DESC LIMIT %s")
    rows = database.run(lambda connection: connection.execute(query, [space_name, limit]).fetchall())
    return [_from_row(row) for row in reversed(rows)]


def accept_latest(database: Database, space_name: str) -> IndexMeasurement | None:
    """Accept the last recall that was measured as what is to be expected from now on; None if there is none."""

    def work(connection: Connection) -> IndexMeasurement | None:
        query = """
            UPDATE embedding_index_measurements SET accepted = true
            WHERE id = (
                SELECT max(id) FROM embedding_index_measurements
                WHERE space = %s AND recall IS NOT NULL AND details ? 'search'
            )
        """
        connection.execute(query, [space_name])
        return _baseline(connection, space_name)

    return database.run(work)


def _to_row(measurement: IndexMeasurement) -> dict[str, Any]:
    search, vectors = measurement.search, measurement.vectors
    return {
        "index_name": measurement.index.name,
        "embedded": vectors.count,
        **{name: getattr(search, name) for name in _COLUMNS if hasattr(search, name)},
        "index_bytes": measurement.index.size_bytes,
        "table_bytes": vectors.table_bytes,
        **{name: getattr(measurement, name) for name in ("bloat", "space", "measured_at", "built", "accepted")},
        "details": Jsonb(_measurements().dump_python(measurement, mode="json", include=_DETAILS)),
    }


def _from_row(row: tuple[Any, ...]) -> IndexMeasurement:
    number, space, measured_at, built, accepted, details = row
    kept = {"space": space, "measured_at": measured_at, "built": built, "accepted": accepted, "id": number}
    return _measurements().validate_python({**details, **kept})


@cache
def _measurements() -> TypeAdapter[IndexMeasurement]:
    return TypeAdapter(IndexMeasurement)


def _forget_old(connection: Connection, space_name: str) -> None:
    query = """
        DELETE FROM embedding_index_measurements
        WHERE space = %(space)s
          AND id <= (SELECT id FROM embedding_index_measurements WHERE space = %(space)s
                     ORDER BY id DESC OFFSET %(kept)s LIMIT 1)
          AND id IS DISTINCT FROM (SELECT max(id) FROM embedding_index_measurements
                                   WHERE space = %(space)s AND accepted AND details ? 'search')
    """
    connection.execute(query, {"space": space_name, "kept": _KEPT})


def _is_acceptable(measurement: IndexMeasurement, baseline: IndexMeasurement | None) -> bool:
    recall = measurement.search.recall
    if recall is None:
        return False
    return baseline is None or baseline.search.recall is None or recall >= baseline.search.recall


def _baseline(connection: Connection, space_name: str) -> IndexMeasurement | None:
    row = connection.execute(_SELECT + sql.SQL(" AND accepted ORDER BY id DESC LIMIT 1"), [space_name]).fetchone()
    return _from_row(row) if row else None
