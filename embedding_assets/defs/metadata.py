"""Domain records as Dagster metadata. Numbers stay numbers, so that Dagster draws their history."""

from collections.abc import Mapping

from dagster import MetadataValue, TableColumn, TableMetadataValue, TableRecord, TableSchema

from embedding_assets.models import EmbeddingStats
from embedding_assets.postgres.index import IndexState, RecallSample

__all__ = ["prefix_table", "run_metadata", "vector_index_metadata"]

_Value = str | int | float | TableMetadataValue


def run_metadata(stats: EmbeddingStats) -> dict[str, _Value]:
    """The statistics of a run."""
    return {
        "space": stats.space,
        "device": stats.device or "none needed",
        "precision": stats.precision or "none needed",
        "embedded": stats.embedded,
        "failed": stats.failed,
        "skipped": stats.skipped,
        "truncated": stats.truncated,
        "tokens": stats.tokens,
        "seconds": round(stats.seconds, 2),
        "chunks_per_second": round(stats.chunks_per_second, 2),
        "model_load_seconds": round(stats.model_load_seconds, 2),
        "peak_memory_mb": round(stats.peak_memory_bytes / 1e6),
        "busy_prefixes": ", ".join(stats.busy_prefixes) or "none",
        "by_prefix": prefix_table({prefix: counts.model_dump() for prefix, counts in stats.prefixes.items()}),
    }


def vector_index_metadata(state: IndexState, recall: RecallSample, build_seconds: float | None) -> dict[str, _Value]:
    """Definition, size and recall of an index; what was not measured is left out."""
    metadata: dict[str, _Value] = {
        "index": state.name,
        "valid": "yes" if state.valid else "no",
        "operator_class": state.operator_class,
        "m": state.m,
        "ef_construction": state.ef_construction,
        "size_mb": round(state.size_bytes / 1e6, 2),
        "recall_queries": recall.queries,
        "planner_uses_index": "yes" if recall.planner_uses_index else "no",
    }
    if build_seconds is not None:
        metadata["build_seconds"] = round(build_seconds, 2)
    if recall.recall is not None:
        metadata["recall_at_10"] = round(recall.recall, 4)
    if recall.p50_milliseconds is not None:
        metadata["search_p50_ms"] = round(recall.p50_milliseconds, 2)
    return metadata


def prefix_table(rows: Mapping[str, Mapping[str, int]]) -> TableMetadataValue:
    """A row for each prefix."""
    columns = list(next(iter(rows.values()))) if rows else ["pending"]
    return MetadataValue.table(
        records=[TableRecord({"prefix": prefix, **counts}) for prefix, counts in rows.items()],
        schema=TableSchema([TableColumn("prefix", "string"), *(TableColumn(name, "int") for name in columns)]),
    )
