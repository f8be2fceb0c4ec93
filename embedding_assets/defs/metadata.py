"""Domain records as Dagster metadata. Numbers stay numbers, so that Dagster draws their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue, TableColumn, TableColumnConstraints, TableMetadataValue, TableRecord, TableSchema

from embedding_assets.formatting import counted, visible
from embedding_assets.models import EmbeddingStats, PrefixStats
from embedding_assets.postgres.index.lifecycle import IndexReport
from embedding_assets.postgres.spaces import list_spaces

if TYPE_CHECKING:
    from embedding_assets.documents.configured import ConfiguredLoad
    from embedding_assets.documents.rejection import Rejection
    from embedding_assets.documents.syncing import SyncReport
    from embedding_assets.postgres.backlog import Backlog
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.index.recall import CurvePoint
    from embedding_assets.postgres.prefixes import PrefixCounts
    from embedding_assets.postgres.table_columns import DescribedColumn
    from embedding_assets.postgres.usage.ledger import Spending

_Cell = str | int | float | None
_Value = str | int | float | TableMetadataValue


def partition_metadata(prefix: str, own: PrefixStats, left: PrefixCounts | None) -> dict[str, _Value]:
    """What a run did in one partition, and what there is now, if that was counted."""
    counts = own.model_dump()
    shown = {name: count for name, count in counts.items() if count or name == "embedded"}
    now = {} if left is None else {"pending": left.pending, "dagster/partition_row_count": left.embedded}
    return {"partition": prefix, **shown, **now}


def run_metadata(stats: EmbeddingStats, provider: str, spending: Spending) -> dict[str, _Value]:
    """What a run did in all its partitions; each is called so, beside the numbers of one of them.

    Zeros that say nothing are left out: a local model's dollars, the speed of a run without work, failures of none.
    The dollars are those of the fallback too; so that nothing is hidden in a sum, its own counts stand beside.
    """
    fallback = stats.fallback
    costs = provider != "local" or bool(spending.month) or fallback is not None
    speed: dict[str, _Value] = {
        "run_chunks_per_second": round(stats.chunks_per_second, 2),
        "run_seconds": round(stats.seconds, 2),
        "run_tokens": stats.tokens,
    }
    return {
        "space": stats.space,
        "run_embedded": stats.embedded,
        **_unless_zero(stats, "run_"),
        **(speed if stats.embedded else {}),
        **({"run_computed": _computed(stats)} if stats.device else {}),
        **(_costs(stats, spending) if costs else {}),
        **_fallback(fallback),
        **({"run_busy_prefixes": ", ".join(stats.busy_prefixes)} if stats.busy_prefixes else {}),
        **({"run_by_prefix": _by_prefix(stats)} if stats.prefixes else {}),
    }


def _unless_zero(stats: EmbeddingStats, before: str) -> dict[str, _Value]:
    return {
        f"{before}{name}": getattr(stats, name) for name in ("failed", "skipped", "truncated") if getattr(stats, name)
    }


def _by_prefix(stats: EmbeddingStats) -> TableMetadataValue:
    return prefix_table({prefix: counts.model_dump() for prefix, counts in stats.prefixes.items()})


def _computed(stats: EmbeddingStats) -> str:
    """Where and how, in one line."""
    if stats.device == "api":
        return "by the API"
    parts = [
        f"on {stats.device}" + (f" in {stats.precision}" if stats.precision else ""),
        *([counted(stats.threads, "thread")] if stats.threads else []),
        *([f"{stats.streams} batches side by side"] if stats.streams > 1 else []),
        *([f"model loaded in {stats.model_load_seconds:.1f} s"] if stats.model_load_seconds else []),
        f"peak memory {stats.peak_memory_bytes / 1e6:,.0f} MB",
    ]
    return ", ".join(parts)


def _costs(stats: EmbeddingStats, spending: Spending) -> dict[str, _Value]:
    parts = [stats, *([stats.fallback] if stats.fallback else [])]
    usd, embedded = sum(part.usd for part in parts), sum(part.embedded for part in parts)
    # A run without work has no price a piece; a zero would be a dip in the drawing.
    price = {"run_usd_per_1000": round(1000 * usd / embedded, 10)} if embedded else {}
    so_far = {"usd_today": float(spending.day), "usd_this_month": float(spending.month)}
    return {"run_usd": round(usd, 10), **price, **so_far}


def _fallback(stats: EmbeddingStats | None) -> dict[str, _Value]:
    if stats is None:
        return {}
    return {
        "run_fallback_space": stats.space,
        "run_fallback_embedded": stats.embedded,
        **_unless_zero(stats, "run_fallback_"),
        "run_fallback_tokens": stats.tokens,
        "run_fallback_seconds": round(stats.seconds, 2),
        "run_fallback_usd": round(stats.usd, 10),
    }


def indexes_metadata(reports: Sequence[IndexReport]) -> dict[str, Any]:
    """The index of the configured space, which comes first, and of several spaces a row for each one's.

    What was not measured is left out; what is looked up rather than followed stands in the table ``details``.
    """
    columns = ("space", "index", "valid", "size_mb", "recall", "p50_ms")
    kinds = {"space": "string", "index": "string", "valid": "bool"}
    rows = [{name: _measured(report).get(name) for name in columns} for report in reports]
    several = {"spaces": _table(rows, columns, kinds)} if len(reports) > 1 else {}
    shown = {name: value for name, value in _measured(reports[0]).items() if value is not None}
    curve = _curve_metadata(reports[0].measurement.search.curve)
    return {**shown, **several, **curve, "details": _details(reports[0])}


def _measured(report: IndexReport) -> dict[str, Any]:
    state, measurement = report.state, report.measurement
    search = measurement.search
    # One line of the column that the UI has for it in a window of 1,280 pixels.
    built_with = f"m={state.m}, ef_construction={state.ef_construction}, ef_search={measurement.ef_search}"
    return {
        "space": report.column.space.name,
        "index": state.name,
        "valid": state.valid,
        "built_with": built_with if state.exists else None,
        "vectors": measurement.vectors.count,
        "size_mb": round(state.size_bytes / 1e6, 2),
        "recall": _rounded(search.recall, 4),
        "p50_ms": _rounded(search.p50_ms, 2),
        "p95_ms": _rounded(search.p95_ms, 2),
        "exact_p50_ms": _rounded(search.exact_p50_ms, 2),
        "bloat": _rounded(measurement.bloat, 3),
    }


def _details(report: IndexReport) -> TableMetadataValue:
    search, vectors = report.measurement.search, report.measurement.vectors
    measures = {
        "seconds of building": _rounded(report.build_seconds, 2),
        "queries of the measurement": search.queries,
        "recall, lower end of its interval": _rounded(search.recall_low, 4),
        "recall, upper end": _rounded(search.recall_high, 4),
        "p95 without the index, ms": _rounded(search.exact_p95_ms, 2),
        "PostgreSQL takes the index by itself": None if search.recall is None else int(search.planner_uses_index),
        "table, MB": round(vectors.table_bytes / 1e6, 2),
        "of it out of line (TOAST), MB": round(vectors.toast_bytes / 1e6, 2),
        "share of dead rows": _rounded(vectors.dead_share, 4),
        "share of vectors of length 0": _rounded(vectors.zero_share, 4),
        "share of duplicates": _rounded(search.duplicates, 4),
        "share of near duplicates": _rounded(search.near_duplicates, 4),
        "shortest vector": _rounded(vectors.norm_min, 6),
        "longest vector": _rounded(vectors.norm_max, 6),
    }
    rows: list[dict[str, _Cell]] = [
        {"measure": name, "value": value} for name, value in measures.items() if value is not None
    ]
    return _table(rows, ("measure", "value"), {"measure": "string"})


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


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


_WHERE_ANY = ("renamed", "gone", "pruned", "rejected", "blank_rows")
"""Counts of a load that are left out where they are 0."""


def load_metadata(loaded: ConfiguredLoad) -> dict[str, Any]:
    """What loading documents did, and the first of what could not be loaded: files and reasons, never text."""
    report = loaded.report
    counts_by_reason: list[tuple[str, Mapping[str, int]]] = [
        ("of a kind that is not read", report.other_kinds),
        ("left out by this rule", report.left_out),
        ("rejected", dict(loaded.reasons.most_common())),
    ]
    left_out: list[dict[str, _Cell]] = [
        {"what": visible(what), "why": why, "count": count}
        for why, counts in counts_by_reason
        for what, count in counts.items()
    ]
    rejections: list[dict[str, _Cell]] = [
        {"file": visible(one.source), "line": one.line, "reason": visible(one.reason)} for one in loaded.first
    ]
    return {
        "documents": report.documents,
        "new": report.new,
        "changed": report.changed,
        "unchanged": report.unchanged,
        **{name: getattr(report, name) for name in _WHERE_ANY if getattr(report, name)},
        "chunks_added": report.added,
        "chunks_removed": report.removed,
        **({"chunks_with_known_vector": report.reused} if report.reused else {}),
        "collections": ", ".join(loaded.collections) or "none",
        **({"missing": ", ".join(loaded.missing)} if loaded.missing else {}),
        **({"not_loaded": _table(left_out, ["what", "why", "count"], _WORDS)} if left_out else {}),
        **({"rejections": _table(rejections, ["file", "line", "reason"], _WORDS)} if rejections else {}),
    }


def sync_metadata(report: SyncReport, first: Sequence[Rejection]) -> dict[str, Any]:
    """What a comparison of rows did, and the first of those that cannot be documents: keys and reasons, never text."""
    rejections: list[dict[str, _Cell]] = [{"row": visible(one.source), "reason": visible(one.reason)} for one in first]
    return {
        "source": report.source,
        "rows_noted" if report.noted else "rows_compared": report.rows,
        "new": report.added,
        "changed": report.changed,
        "removed": report.removed,
        **({"rejected": report.rejected} if report.rejected else {}),
        "chunks_added": report.chunks_added,
        "chunks_removed": report.chunks_removed,
        **({"rejections": _table(rejections, ["row", "reason"], _WORDS)} if rejections else {}),
    }


_WORDS = {
    "row": "string",
    "what": "string",
    "why": "string",
    "count": "int",
    "file": "string",
    "line": "int",
    "reason": "string",
}


def _table(rows: Sequence[Mapping[str, _Cell]], columns: Sequence[str], kinds: Mapping[str, str]) -> TableMetadataValue:
    """A table with these columns; their kinds are ``float`` but for those in ``kinds``."""
    return MetadataValue.table(
        records=[TableRecord(dict(row)) for row in rows],
        schema=TableSchema([TableColumn(name, kinds.get(name, "float")) for name in columns]),
    )


_OWN_COLUMNS = {
    "chunk_hash": "identifies a chunk; its first characters are its partition",
    "chunk_text": "the text",
    "context_header": "the headings that the text stands under; embedded in front of it",
    "document_metadata": "of the document: its source, title and other fields",
    "chunk_index": "place of the chunk in its document, from 0",
    "total_chunks": "chunks of the document",
    "token_count": "tokens of header and text in the model's own counting",
    "text_version": "rises with each edit of the text",
    "pending_since": "when the text was last written or edited",
}


def _described(database: Database, spaces: Mapping[str, str], column: DescribedColumn) -> str | None:
    if column.name in spaces:
        return f"vectors of space {spaces[column.name]}"
    return column.comment or (_OWN_COLUMNS.get(column.name) if database.table.is_own else None)


def table_metadata(database: Database, columns: Sequence[DescribedColumn]) -> dict[str, Any]:
    """Where a table is and what it is made of, by the names that Dagster's catalog knows; without user or password."""
    host, _, name = database.address.rpartition("@")[2].rpartition("/")
    spaces = {space.name: space.space.name for space in list_spaces(database)}
    place = "" if host.startswith("/") else host  # the folder of a socket
    schema = TableSchema(
        [
            TableColumn(
                column.name,
                column.type,
                _described(database, spaces, column),
                TableColumnConstraints(nullable=not column.is_required),
            )
            for column in columns
        ]
    )
    return {
        "dagster/table_name": f"{name}.{database.table.schema}.{database.table.name}",
        "dagster/uri": f"postgresql://{place}/{name}",
        "dagster/column_schema": schema,
    }


def source_metadata(database: Database, columns: Sequence[DescribedColumn], backlog: Backlog) -> dict[str, Any]:
    """What was seen of the table whose rows are embedded."""
    rows = {"rows_by_estimate" if backlog.estimated else "dagster/row_count": backlog.chunks}
    return {**rows, **table_metadata(database, columns)}
