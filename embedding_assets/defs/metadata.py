"""Domain records as Dagster metadata. Numbers stay numbers, so that Dagster draws their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dagster import (
    MarkdownMetadataValue,
    MetadataValue,
    TableColumn,
    TableColumnConstraints,
    TableMetadataValue,
    TableRecord,
    TableSchema,
)

from embedding_assets.defs.markdown import Cell, markdown_table, measures_table
from embedding_assets.formatting import counted, dollars, duration, share, visible
from embedding_assets.models import EmbeddingStats, PrefixStats
from embedding_assets.postgres.index.lifecycle import IndexReport
from embedding_assets.postgres.spaces import list_spaces

if TYPE_CHECKING:
    from embedding_assets.documents.configured import ConfiguredLoad
    from embedding_assets.documents.rejection import Rejection
    from embedding_assets.documents.syncing import SyncReport
    from embedding_assets.pipeline.estimate import BacklogEstimate
    from embedding_assets.postgres.backlog import Backlog
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.prefixes import PrefixCounts
    from embedding_assets.postgres.table_columns import DescribedColumn
    from embedding_assets.postgres.usage.ledger import Spending

_Value = str | int | float | MarkdownMetadataValue


def partition_metadata(prefix: str, own: PrefixStats, left: PrefixCounts | None) -> dict[str, _Value]:
    """What a run did in one partition, and what there is now, if that was counted."""
    now = {} if left is None else {"pending": left.pending, "dagster/partition_row_count": left.embedded}
    return {"partition": prefix, "embedded": own.embedded, **now, **_unless_zero(own)}


def complete_metadata(prefix: str, space: str) -> dict[str, _Value]:
    """Of a partition that a run has left without a chunk to embed in a space, and could not say so itself."""
    return {"partition": prefix, "pending": 0, "space": space}


def run_metadata(stats: EmbeddingStats, provider: str, spending: Spending) -> dict[str, _Value]:
    """What a run did in all its partitions; each is called so, beside the numbers of one of them.

    Only what is followed over time stands by itself; the rest is in ``run_details``, what was spent until now in the
    check of the costs. Zeros that say nothing are left out: a local model's dollars, the speed of a run without work.
    The dollars are those of the fallback too; so that nothing is hidden in a sum, its own counts stand beside.
    """
    fallback = stats.fallback
    costs = provider != "local" or bool(spending.month) or fallback is not None
    speed: dict[str, _Value] = {"run_chunks_per_second": round(stats.chunks_per_second, 2)}
    by_fallback: dict[str, _Value] = {}
    if fallback is not None:
        by_fallback = {"run_fallback_space": fallback.space, "run_fallback_embedded": fallback.embedded}
    details = _run_details(stats)
    return {
        "space": stats.space,
        "run_embedded": stats.embedded,
        **(speed if stats.embedded else {}),
        **(_costs(stats) if costs else {}),
        **by_fallback,
        **({"run_details": MetadataValue.md(measures_table(details))} if details else {}),
    }


def _unless_zero(stats: EmbeddingStats | PrefixStats) -> dict[str, int]:
    counts = {"failed": stats.failed, "skipped": stats.skipped, "truncated": stats.truncated}
    return {name: count for name, count in counts.items() if count}


def _run_details(stats: EmbeddingStats) -> dict[str, Cell]:
    """What is looked up rather than followed; nothing of a run without work."""
    worked: dict[str, Cell] = {"tokens": stats.tokens, "seconds": round(stats.seconds, 2)} if stats.embedded else {}
    return {
        **_unless_zero(stats),
        **worked,
        **({"computed": _computed(stats)} if stats.device else {}),
        **({"by the fallback": _by_fallback(stats.fallback)} if stats.fallback else {}),
        **({"left to other runs": ", ".join(stats.busy_prefixes)} if stats.busy_prefixes else {}),
    }


def _by_fallback(stats: EmbeddingStats) -> str:
    """Its counts in one line."""
    counts = {"embedded": stats.embedded, **_unless_zero(stats), "tokens": stats.tokens}
    done = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f"{done} in {duration(stats.seconds)}, {dollars(stats.usd)}"


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


def _costs(stats: EmbeddingStats) -> dict[str, _Value]:
    parts = [stats, *([stats.fallback] if stats.fallback else [])]
    usd, embedded = sum(part.usd for part in parts), sum(part.embedded for part in parts)
    # A run without work has no price a piece; a zero would be a dip in the drawing.
    price = {"run_usd_per_1000": round(1000 * usd / embedded, 10)} if embedded else {}
    return {"run_usd": round(usd, 10), **price}


def unadopted_metadata(why: str, chunks: int, estimate: BacklogEstimate | None) -> dict[str, _Value]:
    """What is known of a table that is not adopted yet, and why there is no more."""
    costs: dict[str, _Value] = {"tokens": estimate.tokens} if estimate else {}
    if estimate and estimate.usd:
        costs["estimated_usd"] = estimate.usd
    return {"not_adopted": why, "chunks": chunks, "embedded": 0, "pending": chunks, **costs}


def indexes_metadata(reports: Sequence[IndexReport]) -> dict[str, Any]:
    """The index of the configured space, which comes first, and of several spaces a row for each one's.

    What was not measured is left out; what is looked up rather than followed stands behind ``details``.
    """
    columns = ("space", "index", "valid", "size_mb", "recall", "p50_ms")
    kinds = {"space": "string", "index": "string", "valid": "bool"}
    rows = [{name: _measured(report).get(name) for name in columns} for report in reports]
    several = {"spaces": _table(rows, columns, kinds)} if len(reports) > 1 else {}
    shown = {name: value for name, value in _measured(reports[0]).items() if value is not None and name != "index"}
    return {**shown, **several, "details": MetadataValue.md(_details(reports[0]))}


def _measured(report: IndexReport) -> dict[str, Any]:
    state, measurement = report.state, report.measurement
    search = measurement.search
    return {
        "space": report.column.space.name,
        "index": state.name,
        "valid": state.valid,
        "vectors": measurement.vectors.count,
        "size_mb": round(state.size_bytes / 1e6, 2),
        "recall": _rounded(search.recall, 4),
        "p50_ms": _rounded(search.p50_ms, 2),
    }


def _details(report: IndexReport) -> str:
    """How the index was built and measured, and below it recall and latency of each hnsw.ef_search to choose from."""
    state, ef_search = report.state, report.measurement.ef_search
    search, vectors = report.measurement.search, report.measurement.vectors
    measures: dict[str, Cell] = {
        "index": state.name,
        "built with": f"m={state.m}, ef_construction={state.ef_construction}" if state.exists else None,
        "searched with": f"ef_search={ef_search}",
        "seconds of building": _rounded(report.build_seconds, 2),
        "queries of the measurement": search.queries,
        "recall, lower end of its interval": _rounded(search.recall_low, 4),
        "recall, upper end": _rounded(search.recall_high, 4),
        "p95, ms": _rounded(search.p95_ms, 2),
        "p50 without the index, ms": _rounded(search.exact_p50_ms, 2),
        "p95 without the index, ms": _rounded(search.exact_p95_ms, 2),
        "PostgreSQL takes the index by itself": None if search.recall is None else _yes(search.planner_uses_index),
        "size, as a multiple of a fresh index's": _rounded(report.measurement.bloat, 3),
        "table, MB": round(vectors.table_bytes / 1e6, 2),
        "of it out of line (TOAST), MB": round(vectors.toast_bytes / 1e6, 2),
        "dead rows": share(vectors.dead_share),
        "vectors of length 0": share(vectors.zero_share),
        "duplicates": None if search.duplicates is None else share(search.duplicates),
        "near duplicates": None if search.near_duplicates is None else share(search.near_duplicates),
        "shortest vector": _rounded(vectors.norm_min, 6),
        "longest vector": _rounded(vectors.norm_max, 6),
    }
    curve = [{name: round(value, 4) for name, value in asdict(point).items()} for point in search.curve]
    by_ef_search = ["Of each `hnsw.ef_search`, to choose one:", markdown_table(curve)] if curve else []
    return "\n\n".join([measures_table(measures), *by_ef_search])


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


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
    left_out: list[dict[str, Cell]] = [
        {"what": visible(what), "why": why, "count": count}
        for why, counts in counts_by_reason
        for what, count in counts.items()
    ]
    rejections: list[dict[str, Cell]] = [
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
    rejections: list[dict[str, Cell]] = [{"row": visible(one.source), "reason": visible(one.reason)} for one in first]
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


def _table(rows: Sequence[Mapping[str, Cell]], columns: Sequence[str], kinds: Mapping[str, str]) -> TableMetadataValue:
    """A table with these columns; their kinds are ``float`` but for those in ``kinds``."""
    return MetadataValue.table(
        records=[TableRecord(dict(row)) for row in rows],
        schema=TableSchema([TableColumn(name, kinds.get(name, "float")) for name in columns]),
    )


_OWN_COLUMNS = {
    "embedding": "vectors of the first model that embeds",
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


def source_metadata(database: Database, columns: Sequence[DescribedColumn], backlog: Backlog | None) -> dict[str, Any]:
    """What was seen of the table whose rows are embedded; without a backlog it has none."""
    estimated, count = (False, 0) if backlog is None else (backlog.estimated, backlog.chunks)
    rows = {"rows_by_estimate" if estimated else "dagster/row_count": count}
    return {**rows, **table_metadata(database, columns)}
