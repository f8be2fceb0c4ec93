"""What is pending, what embedding it will take, and whether the index should wait until it is done."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from embedding_assets.health import THROUGHPUT_MINIMUM_CHUNKS
from embedding_assets.planning import BacklogEstimate, plan_index
from embedding_assets.postgres.chunks import Backlog, count_backlog, count_backlog_tokens, fetch_pending
from embedding_assets.postgres.index import describe_index, drop_index
from embedding_assets.postgres.locks import TABLE_LOCK, hold
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.spaces import pending_index_waits

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.spaces import SpaceRecord
    from embedding_assets.providers.base import EmbeddingProvider

__all__ = ["IndexPlan", "estimate_backlog", "measure_tokens_per_second", "prepare_index"]


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """Whether the index stays during the load, and why."""

    decision: Literal["keep", "defer"]
    reason: str


def estimate_backlog(
    database: Database, record: SpaceRecord, *, tokens_per_second: float | None = None
) -> tuple[Backlog, BacklogEstimate]:
    """Count the backlog and estimate what it takes, at the given rate or that of the latest run of some size."""
    backlog = count_backlog(database, record)
    tokens = count_backlog_tokens(database, record)
    if tokens_per_second is None:
        run = latest_run(database, record.space.name, at_least=THROUGHPUT_MINIMUM_CHUNKS)
        tokens_per_second = run.tokens / run.seconds if run and run.seconds > 0 else None
    seconds = tokens / tokens_per_second if tokens_per_second else None
    return backlog, BacklogEstimate(chunks=backlog.due, tokens=tokens, seconds=seconds, usd=0.0)


def measure_tokens_per_second(
    database: Database, record: SpaceRecord, provider: EmbeddingProvider, *, chunks: int = 64
) -> float | None:
    """Embed a few pending chunks and forget the vectors; None when nothing is pending."""
    sample = fetch_pending(database, record, range(256), after="", limit=chunks)
    if not sample:
        return None
    provider.load()
    started = time.monotonic()
    tokens = sum(sum(batch.token_counts) for batch in provider.embed([chunk.text for chunk in sample]))
    return tokens / max(time.monotonic() - started, 1e-9)


def prepare_index(database: Database, record: SpaceRecord, backlog: Backlog) -> IndexPlan:
    """Decide whether the coming load keeps the index; drops it, without blocking readers, when it had better wait."""
    exists = describe_index(database, record.index).exists
    decision = plan_index(embedded=backlog.embedded, pending=backlog.due)
    if decision == "defer":
        _drop_indexes(database, record)
    counts = f"{backlog.due:,} chunks to load, {backlog.embedded:,} embedded"
    if not exists:
        decision, reason = "defer", f"{counts}: loaded without an index, built afterwards"
    elif decision == "defer":
        reason = f"{counts}: the index waits for the load and is built once afterwards; until then searches are exact"
    else:
        reason = f"{counts}: the index stays and is extended row by row"
    return IndexPlan(decision, reason)


def _drop_indexes(database: Database, record: SpaceRecord) -> None:
    names = [record.index, *([record.pending_index] if pending_index_waits(database, record) else [])]
    present = [name for name in names if describe_index(database, name).exists]
    if present:
        with database.session() as connection, hold(connection, TABLE_LOCK):
            for name in present:
                drop_index(connection, name)
