"""Measurements of an index and of vectors, as they would come from a database."""

from dataclasses import fields, replace
from datetime import UTC, datetime

from embedding_assets.postgres.catalog import IndexState
from embedding_assets.postgres.index.measurements import IndexMeasurement
from embedding_assets.postgres.index.recall import CurvePoint, SearchMeasurement, recall_interval
from embedding_assets.postgres.index.statistics import VectorStatistics

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def index_state(**changes: object) -> IndexState:
    """An index that is valid and has the default definition."""
    built = {"exists": True, "valid": True, "operator_class": "vector_cosine_ops", "m": 16, "ef_construction": 64,
             "column": "embedding"}  # fmt: skip
    return IndexState("idx", **{**built, **changes})


def vector_statistics(**changes: object) -> VectorStatistics:
    """Ten vectors of unit length."""
    none = dict.fromkeys((field.name for field in fields(VectorStatistics)), 0)
    values = {
        "count": 10,
        "sampled": 10,
        "norm_min": 1.0,
        "norm_mean": 1.0,
        "norm_max": 1.0,
        "vacuumed_at": None,
        "pgvector": "0.8.5",
    }
    return VectorStatistics(**{**none, **values, **changes})


def index_measurement(
    recall: float | None = 0.95,
    *,
    queries: int = 100,
    curve: tuple[tuple[int, float], ...] = (),
    uses_index: bool = True,
    vectors: int = 50_000,
    size_bytes: int = 400_000_000,
    **changes: object,
) -> IndexMeasurement:
    """As after queries of which each found all of its neighbours or none: the widest interval."""
    found = round((recall or 0) * queries)
    low, high = recall_interval([1.0] * found + [0.0] * (queries - found), 10)
    search = SearchMeasurement(
        queries, recall, uses_index, 1.5, 2.5, low, high, 30.0, 31.0,
        tuple(CurvePoint(ef_search, value, 0, 1, 1, 2) for ef_search, value in curve),
    )  # fmt: skip
    if recall is None:
        search = SearchMeasurement(0, None, uses_index, None, reason="5 vectors are too few")
    measurement = IndexMeasurement(
        space="space",
        measured_at=NOON,
        ef_search=40,
        index=index_state(size_bytes=size_bytes),
        bloat=1.1,
        search=search,
        vectors=vector_statistics(count=vectors, live_rows=3, dead_rows=1),
        id=7,
    )
    return replace(measurement, **changes)
