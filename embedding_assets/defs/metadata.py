"""Domain records as Dagster metadata. Numbers stay numbers, so that Dagster draws their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue, TableColumn, TableMetadataValue, TableRecord, TableSchema

from embedding_assets.formatting import visible
from embedding_assets.models import EmbeddingStats
from embedding_assets.postgres.index.lifecycle import IndexReport

if TYPE_CHECKING:
    from embedding_assets.documents.configured import ConfiguredLoad
    from embedding_assets.postgres.index.recall import CurvePoint
    from embedding_assets.postgres.usage.ledger import Spending

_Cell = str | int | float | None
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
        "threads": stats.threads,
        "streams": stats.streams,
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

    A column of the table is empty where the value was not measured. ``ef_search_curve`` is the configured space's.
    """
    columns = ("space", "index", "valid", "size_mb", "build_seconds", "recall", "queries", "p50_ms")
    rows = [_index_metadata(report) for report in reports]
    kinds = {"space": "string", "index": "string", "valid": "string", "queries": "int"}
    table = _table([{name: row.get(name) for name in columns} for row in rows], columns, kinds)
    return {**rows[0], "spaces": table, **_curve_metadata(reports[0].measurement.search.curve)}


def _index_metadata(report: IndexReport) -> dict[str, str | int | float]:
    state, measurement = report.state, report.measurement
    search, vectors = measurement.search, measurement.vectors
    measured = {
        "build_seconds": (report.build_seconds, 2),
        "recall": (search.recall, 4),
        "recall_low": (search.recall_low, 4),
        "recall_high": (search.recall_high, 4),
        "p50_ms": (search.p50_ms, 2),
        "p95_ms": (search.p95_ms, 2),
        "exact_p50_ms": (search.exact_p50_ms, 2),
        "exact_p95_ms": (search.exact_p95_ms, 2),
        "bloat": (measurement.bloat, 3),
        "table_mb": (vectors.table_bytes / 1e6, 2),
        "toast_mb": (vectors.toast_bytes / 1e6, 2),
        "dead_share": (vectors.dead_share, 4),
        "zero_share": (vectors.zero_share, 4),
        "duplicates": (search.duplicates, 4),
        "near_duplicates": (search.near_duplicates, 4),
        "norm_min": (vectors.norm_min, 6),
        "norm_max": (vectors.norm_max, 6),
    }
    return {
        "space": report.column.space.name,
        "index": state.name,
        "valid": "yes" if state.valid else "no",
        "operator_class": state.operator_class,
        "m": state.m,
        "ef_construction": state.ef_construction,
        "ef_search": measurement.ef_search,
        "vectors": vectors.count,
        "size_mb": round(state.size_bytes / 1e6, 2),
        "queries": search.queries,
        "planner_uses_index": "yes" if search.planner_uses_index else "no",
        **{name: round(value, digits) for name, (value, digits) in measured.items() if value is not None},
    }


def _curve_metadata(curve: Sequence[CurvePoint]) -> dict[str, _Value]:
    """Recall and latency of each hnsw.ef_search, so that one can be chosen; nothing if that was not measured."""
    if not curve:
        return {}
    rows = [{name: round(value, 4) for name, value in asdict(point).items()} for point in curve]
    return {"ef_search_curve": _table(rows, list(rows[0]), {"ef_search": "int"})}


def prefix_table(rows: Mapping[str, Mapping[str, int]]) -> TableMetadataValue:
    """A row for each prefix."""
    columns = list(next(iter(rows.values()))) if rows else ["pending"]
    kinds = {"prefix": "string", **dict.fromkeys(columns, "int")}
    return _table([{"prefix": prefix, **counts} for prefix, counts in rows.items()], list(kinds), kinds)


def load_metadata(loaded: ConfiguredLoad) -> dict[str, Any]:
    """What loading documents did, and the first of what could not be loaded: files and reasons, never text."""
    report = loaded.report
    counted: list[tuple[str, Mapping[str, int]]] = [
        ("of a kind that is not read", report.other_kinds),
        ("left out by this rule", report.left_out),
        ("rejected", dict(loaded.reasons.most_common())),
    ]
    left_out: list[dict[str, _Cell]] = [
        {"what": visible(what), "why": why, "count": count} for why, counts in counted for what, count in counts.items()
    ]
    rejections: list[dict[str, _Cell]] = [
        {"file": visible(one.source), "line": one.line, "reason": visible(one.reason)} for one in loaded.first
    ]
    return {
        "documents": report.documents,
        "new": report.new,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "renamed": report.renamed,
        "gone": report.gone,
        "pruned": report.pruned,
        "rejected": report.rejected,
        "chunks_added": report.added,
        "chunks_removed": report.removed,
        "chunks_reused": report.reused,
        "collections": ", ".join(loaded.collections) or "none",
        **({"missing": ", ".join(loaded.missing)} if loaded.missing else {}),
        **({"not_loaded": _table(left_out, ["what", "why", "count"], _WORDS)} if left_out else {}),
        **({"rejections": _table(rejections, ["file", "line", "reason"], _WORDS)} if rejections else {}),
    }


_WORDS = {"what": "string", "why": "string", "count": "int", "file": "string", "line": "int", "reason": "string"}


def _table(rows: Sequence[Mapping[str, _Cell]], columns: Sequence[str], kinds: Mapping[str, str]) -> TableMetadataValue:
    """A table with these columns; their kinds are ``float`` but for those in ``kinds``."""
    return MetadataValue.table(
        records=[TableRecord(dict(row)) for row in rows],
        schema=TableSchema([TableColumn(name, kinds.get(name, "float")) for name in columns]),
    )
