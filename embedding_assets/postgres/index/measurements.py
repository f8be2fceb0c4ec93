"""What was measured of a vector index over time, and the state that a new measurement is compared with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql
from psycopg.types.json import Jsonb

from embedding_assets.postgres.catalog import IndexState, describe_index
from embedding_assets.postgres.index.recall import CurvePoint, RecallSample, measure_recall, planner_uses_index
from embedding_assets.postgres.index.size import index_bloat
from embedding_assets.postgres.index.statistics import VectorStatistics, measure_vectors

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.spaces import SpaceColumn


_COLUMNS: Final = (
    "space", "measured_at", "index_name", "embedded", "recall", "recall_low", "recall_high", "p50_ms", "p95_ms",
    "exact_p50_ms", "index_bytes", "table_bytes", "bloat", "details", "built", "accepted",
)  # fmt: skip
_SELECT: Final = sql.SQL("SELECT {} FROM embedding_index_measurements WHERE space = %s").format(
    sql.SQL(", ").join(map(sql.Identifier, (*_COLUMNS, "id")))
)

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
        index_name: of the index.
        embedded: vectors of the space.
        recall: recall@10 at the configured hnsw.ef_search; None if it could not be measured.
        recall_low: lower end of its 95% interval.
        recall_high: upper end.
        p50_ms: median latency of a search by the index, in milliseconds.
        p95_ms: what one in twenty exceeded.
        exact_p50_ms: median latency of the same searches without the index.
        index_bytes: size of the index.
        table_bytes: size of the table with its vectors, without indexes.
        bloat: size of the index as a multiple of a fresh one's; None without an index.
        details: further numbers, as JSON; see ``describe_measurement``.
        built: whether the index had been built or built anew just before.
        accepted: whether later measurements are compared with this one.
        id: ascending; None before it is recorded.
    """

    space: str
    measured_at: datetime
    index_name: str
    embedded: int
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    p50_ms: float | None
    p95_ms: float | None
    exact_p50_ms: float | None
    index_bytes: int
    table_bytes: int
    bloat: float | None
    details: dict[str, Any] = field(repr=False)
    built: bool = False
    accepted: bool = False
    id: int | None = None

    @property
    def curve(self) -> list[CurvePoint]:
        """Recall and latency by hnsw.ef_search, ascending."""
        return [CurvePoint(**point) for point in self.details.get("curve", [])]

    @property
    def planner_uses_index(self) -> bool:
        """Whether PostgreSQL picks the index by itself."""
        return bool(self.details.get("planner_uses_index", False))


def measure_index(
    database: Database, column: SpaceColumn, config: IndexConfig, *, built: bool = False, queries: int = 100
) -> IndexMeasurement:
    """Measure the index of a space, its recall and the vectors it is over, without recording that.

    Args:
        database: where.
        column: the space.
        config: how searches use the index.
        built: whether the index was built just before.
        queries: most vectors to ask for their neighbours.
    """
    return describe_measurement(
        column,
        config,
        describe_index(database, column.index),
        measure_recall(database, column, config, queries=queries),
        measure_vectors(database, column),
        built=built,
    )


def current_measurement(
    database: Database, column: SpaceColumn, config: IndexConfig, *, queries: int = 100
) -> IndexMeasurement:
    """The latest one recorded while that holds, with today's number of vectors and sizes; else a new one, unrecorded.

    It holds for a day, while the index is defined and searched as it was, PostgreSQL uses it or not as it did, and no
    more than a hundredth of the vectors is new, gone or another. Measuring a million vectors takes minutes, and a run
    that added a few would otherwise do so.
    """
    latest = latest_measurement(database, column.space.name)
    if latest is not None and datetime.now(UTC) - latest.measured_at < _CURRENT_FOR:
        state, vectors = describe_index(database, column.index), measure_vectors(database, column)
        now = _as_of_now(database, column, config, state, vectors)
        if _is_alike(latest, now):
            return _counted_anew(latest, now)
    return measure_index(database, column, config, queries=queries)


def recorded_measurement(
    database: Database, column: SpaceColumn, config: IndexConfig, state: IndexState, vectors: VectorStatistics
) -> IndexMeasurement | None:
    """The latest one recorded, however long ago, with today's number of vectors, sizes, and decision of the planner.

    None if there is none, or no index any more that it could tell of.
    """
    latest = latest_measurement(database, column.space.name)
    if latest is None or not state.valid:
        return None
    return _counted_anew(latest, _as_of_now(database, column, config, state, vectors))


def _as_of_now(
    database: Database, column: SpaceColumn, config: IndexConfig, state: IndexState, vectors: VectorStatistics
) -> IndexMeasurement:
    """What is quickly found out."""
    used = planner_uses_index(database, column, config)
    unmeasured = RecallSample(0, None, planner_uses_index=used, p50_milliseconds=None)
    return describe_measurement(column, config, state, unmeasured, vectors)


def _counted_anew(measured: IndexMeasurement, now: IndexMeasurement) -> IndexMeasurement:
    return replace(
        measured,
        embedded=now.embedded,
        index_bytes=now.index_bytes,
        table_bytes=now.table_bytes,
        bloat=now.bloat,
        details={**measured.details, "planner_uses_index": now.planner_uses_index},
    )


def _is_alike(measured: IndexMeasurement, now: IndexMeasurement) -> bool:
    names = ("method", "operator_class", "m", "ef_construction", "ef_search", "pgvector")
    if any(measured.details.get(name) != now.details.get(name) for name in names):
        return False
    # Without a recall, why there is none has not been asked again.
    if measured.recall is not None and measured.planner_uses_index != now.planner_uses_index:
        return False
    pairs = [
        (measured.embedded, now.embedded),
        (measured.index_bytes, now.index_bytes),
        (measured.table_bytes, now.table_bytes),
        # Rewritten vectors; a vacuum clears away their old versions, and then the other two have grown.
        (measured.embedded, measured.embedded + max(0, now.details["dead_rows"] - measured.details["dead_rows"])),
    ]
    return all(abs(then - today) <= _TOLERANCE * then for then, today in pairs)


def describe_measurement(
    column: SpaceColumn,
    config: IndexConfig,
    state: IndexState,
    recall: RecallSample,
    vectors: VectorStatistics,
    *,
    built: bool = False,
) -> IndexMeasurement:
    """What was measured, as it is recorded.

    ``details`` has the definition of the index, ``ef_search``, ``queries``, the ``curve``, ``planner_uses_index``, the
    shares of duplicates and zero vectors, lengths of vectors, sizes and dead rows, all under the names they have in
    ``RecallSample`` and ``VectorStatistics``.
    """
    details = {
        "method": state.method,
        "operator_class": state.operator_class,
        "m": state.m,
        "ef_construction": state.ef_construction,
        "ef_search": config.ef_search,
        "queries": recall.queries,
        "reason": recall.reason,
        "planner_uses_index": recall.planner_uses_index,
        "exact_p95_milliseconds": recall.exact_p95_milliseconds,
        "duplicates": recall.duplicates,
        "near_duplicates": recall.near_duplicates,
        "curve": [asdict(point) for point in recall.curve],
        "dead_share": vectors.dead_share,
        "zero_share": vectors.zero_share,
        **{
            name: getattr(vectors, name)
            for name in (
                "heap_bytes", "toast_bytes", "pending_index_bytes", "live_rows", "dead_rows", "sampled", "zero",
                "norm_min", "norm_mean", "norm_max", "pgvector",
            )
        },
    }  # fmt: skip
    return IndexMeasurement(
        space=column.space.name,
        measured_at=datetime.now(UTC),
        index_name=column.index,
        embedded=vectors.vectors,
        recall=recall.recall,
        recall_low=recall.recall_low,
        recall_high=recall.recall_high,
        p50_ms=recall.p50_milliseconds,
        p95_ms=recall.p95_milliseconds,
        exact_p50_ms=recall.exact_p50_milliseconds,
        index_bytes=state.size_bytes,
        table_bytes=vectors.table_bytes,
        bloat=index_bloat(state, vectors.vectors, column.space.dimensions),
        details=details,
        built=built,
    )


def save_measurement(database: Database, measurement: IndexMeasurement) -> IndexMeasurement:
    """Keep a measurement; returns it with its id, and accepted or not.

    It is accepted if a recall was measured, and is not below that of the last accepted one, if there is one. A lower
    recall never becomes what the next is compared with, however little lower: many small steps down add up, and are
    noticed. Nor after a build: whoever lowered EMBEDDING_INDEX_M should see what that took.

    Of a space the last thousand are kept, and the one that the next is compared with, however long ago that was.
    """
    query = sql.SQL("INSERT INTO embedding_index_measurements ({}) VALUES ({}) RETURNING id").format(
        sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)), sql.SQL(", ").join(sql.Placeholder() * len(_COLUMNS))
    )

    def work(connection: Connection) -> IndexMeasurement:
        accepted = _is_acceptable(measurement, _baseline(connection, measurement.space))
        kept = replace(measurement, accepted=accepted)
        values = [getattr(kept, name) for name in _COLUMNS]
        values[_COLUMNS.index("details")] = Jsonb(kept.details)
        row: Any = connection.execute(query, values).fetchone()
        _forget_old(connection, measurement.space)
        return replace(kept, id=row[0])

    return database.run(work)


def latest_measurement(database: Database, space_name: str) -> IndexMeasurement | None:
    """The last one recorded, accepted or not."""
    return next(iter(list_measurements(database, space_name, limit=1)), None)


def baseline_measurement(database: Database, space_name: str) -> IndexMeasurement | None:
    """The last accepted one, which the latest is compared with and may be itself; None before the first."""
    return database.run(lambda connection: _baseline(connection, space_name))


def list_measurements(database: Database, space_name: str, *, limit: int = 100) -> list[IndexMeasurement]:
    """The last ``limit`` ones, oldest first."""
    query = _SELECT + sql.SQL(" ORDER BY id DESC LIMIT %s")
    rows = database.run(lambda connection: connection.execute(query, [space_name, limit]).fetchall())
    return [IndexMeasurement(*row) for row in reversed(rows)]


def accept_latest(database: Database, space_name: str) -> IndexMeasurement | None:
    """Accept the last recall that was measured as what is to be expected from now on; None if there is none."""

    def work(connection: Connection) -> IndexMeasurement | None:
        connection.execute(
            "UPDATE embedding_index_measurements SET accepted = true WHERE id = (SELECT max(id) "
            "FROM embedding_index_measurements WHERE space = %s AND recall IS NOT NULL)",
            [space_name],
        )
        return _baseline(connection, space_name)

    return database.run(work)


def _forget_old(connection: Connection, space_name: str) -> None:
    connection.execute(
        "DELETE FROM embedding_index_measurements WHERE space = %(space)s AND id <= (SELECT id "
        "FROM embedding_index_measurements WHERE space = %(space)s ORDER BY id DESC OFFSET %(kept)s LIMIT 1) "
        "AND id IS DISTINCT FROM (SELECT max(id) FROM embedding_index_measurements WHERE space = %(space)s "
        "AND accepted)",
        {"space": space_name, "kept": _KEPT},
    )


def _is_acceptable(measurement: IndexMeasurement, baseline: IndexMeasurement | None) -> bool:
    if measurement.recall is None:
        return False
    return baseline is None or baseline.recall is None or measurement.recall >= baseline.recall


def _baseline(connection: Connection, space_name: str) -> IndexMeasurement | None:
    query = _SELECT + sql.SQL(" AND accepted ORDER BY id DESC LIMIT 1")
    row = connection.execute(query, [space_name]).fetchone()
    return IndexMeasurement(*row) if row else None
