"""Domain records as Dagster metadata. Numbers stay numbers, so that Dagster draws their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dagster import MetadataValue, TableColumn, TableMetadataValue, TableRecord, TableSchema

from embedding_assets.indexing import IndexReport
from embedding_assets.models import EmbeddingStats

if TYPE_CHECKING:
    from embedding_assets.postgres.ledger import Spending

__all__ = ["indexes_metadata", "prefix_table", "run_metadata"]

_Value = str | int | float | TableMetadataValue


def run_metadata(stats: EmbeddingStats, provider: str, spending: Spending) -> dict[str, _Value]:
    """The statistics of a run, what it cost, and what was spent today and this month by all runs together.

    The dollars are those of the fallback too; so that nothing is hidden in a sum, its own counts stand beside.
    """
    return {
        "space": stats.space,
        "provider": provider,
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
        **_costs(stats),
        "usd_today": float(spending.day),
        "usd_this_month": float(spending.month),
        **_fallback(stats.fallback),
        "busy_prefixes": ", ".join(stats.busy_prefixes) or "none",
        "by_prefix": prefix_table({prefix: counts.model_dump() for prefix, counts in stats.prefixes.items()}),
    }


def _costs(stats: EmbeddingStats) -> dict[str, _Value]:
    parts = [stats, *([stats.fallback] if stats.fallback else [])]
    usd, embedded = sum(part.usd for part in parts), sum(part.embedded for part in parts)
    # A run without work has no price a piece; a zero would be a dip in the drawing.
    price = {"usd_per_1000_embeddings": round(1000 * usd / embedded, 10)} if embedded else {}
    return {"usd": round(usd, 10), **price}


def _fallback(stats: EmbeddingStats | None) -> dict[str, _Value]:
    if stats is None:
        return {}
    return {
        "fallback_space": stats.space,
        "fallback_embedded": stats.embedded,
        "fallback_failed": stats.failed,
        "fallback_skipped": stats.skipped,
        "fallback_tokens": stats.tokens,
        "fallback_seconds": round(stats.seconds, 2),
        "fallback_usd": stats.usd,
    }


def indexes_metadata(reports: Sequence[IndexReport]) -> dict[str, _Value]:
    """The index of the configured space, which comes first, and a row for each space's; unmeasured values are left out.

    A column of the table is empty where the value was not measured.
    """
    columns = ("space", "index", "valid", "size_mb", "build_seconds", "recall_at_10", "recall_queries", "search_p50_ms")
    rows = [_index_metadata(report) for report in reports]
    kinds = {"space": "string", "index": "string", "valid": "string", "recall_queries": "int"}
    table = MetadataValue.table(
        records=[TableRecord({name: row.get(name) for name in columns}) for row in rows],
        schema=TableSchema([TableColumn(name, kinds.get(name, "float")) for name in columns]),
    )
    return {**rows[0], "spaces": table}


def _index_metadata(report: IndexReport) -> dict[str, str | int | float]:
    state, recall = report.state, report.recall
    metadata: dict[str, str | int | float] = {
        "space": report.record.space.name,
        "index": state.name,
        "valid": "yes" if state.valid else "no",
        "operator_class": state.operator_class,
        "m": state.m,
        "ef_construction": state.ef_construction,
        "size_mb": round(state.size_bytes / 1e6, 2),
        "recall_queries": recall.queries,
        "planner_uses_index": "yes" if recall.planner_uses_index else "no",
    }
    if report.build_seconds is not None:
        metadata["build_seconds"] = round(report.build_seconds, 2)
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
