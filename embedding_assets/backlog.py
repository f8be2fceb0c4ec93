"""What is pending, what embedding it will take, and whether the index should wait until it is done."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from embedding_assets.config import get_settings
from embedding_assets.health import THROUGHPUT_MINIMUM_CHUNKS
from embedding_assets.planning import BacklogEstimate, plan_index
from embedding_assets.postgres.chunks import Backlog, count_backlog, count_backlog_tokens, fetch_pending
from embedding_assets.postgres.index import describe_index, drop_index
from embedding_assets.postgres.locks import TABLE_LOCK, hold
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.spaces import list_spaces, pending_index_waits
from embedding_assets.providers.cost import price_of, usd_of
from embedding_assets.providers.factory import settings_for

if TYPE_CHECKING:
    from embedding_assets.config import OpenAIConfig, Settings
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.spaces import SpaceRecord
    from embedding_assets.providers.base import EmbeddingProvider

__all__ = ["IndexPlan", "estimate_backlog", "measure_tokens_per_second", "plan_load", "prepare_index"]


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """Whether the index stays during the load, and why."""

    decision: Literal["keep", "defer"]
    reason: str


def estimate_backlog(
    database: Database,
    record: SpaceRecord,
    *,
    settings: Settings | None = None,
    tokens_per_second: float | None = None,
) -> tuple[Backlog, BacklogEstimate]:
    """Count the backlog and estimate what it takes.

    Args:
        database: where.
        record: the space to embed in.
        settings: price and rate limits of an API; default: from the environment.
        tokens_per_second: default: the rate of the latest run of some size, else what the limits of an API allow.

    Raises:
        ConfigurationError: an API's price is not known, and there is a limit in dollars to hold.
    """
    backlog = count_backlog(database, record)
    tokens = count_backlog_tokens(database, record)
    if tokens_per_second is None:
        run = latest_run(database, record.space.name, at_least=THROUGHPUT_MINIMUM_CHUNKS)
        tokens_per_second = run.tokens / run.seconds if run and run.seconds > 0 else None
    seconds = tokens / tokens_per_second if tokens_per_second else None
    usd: float | None = 0.0
    if record.space.provider == "openai":
        settings = settings_for(settings or get_settings(), record)
        if seconds is None:
            seconds = _seconds_by_limits(backlog.due, tokens, settings.openai)
        price = price_of(settings.openai, settings.budget)
        usd = None if price is None else float(usd_of(tokens, price))
    return backlog, BacklogEstimate(chunks=backlog.due, tokens=tokens, seconds=seconds, usd=usd)


def _seconds_by_limits(chunks: int, tokens: int, config: OpenAIConfig) -> float | None:
    """What the configured limits of an API make of it; None when none is configured."""
    requests = max(-(-chunks // config.max_inputs), -(-tokens // config.max_request_tokens))
    minutes = [
        amount / limit
        for amount, limit in ((tokens, config.tokens_per_minute), (requests, config.requests_per_minute))
        if limit is not None
    ]
    return max(minutes) * 60 if minutes else None


def measure_tokens_per_second(
    database: Database, record: SpaceRecord, provider: EmbeddingProvider, *, chunks: int = 64
) -> float | None:
    """Embed a few pending chunks and forget the vectors; None when nothing is pending. Not for an API, which bills."""
    sample = fetch_pending(database, record, range(256), after="", limit=chunks)
    if not sample:
        return None
    provider.load()
    started = time.monotonic()
    tokens = sum(sum(batch.token_counts) for batch in provider.embed([chunk.text for chunk in sample]))
    return tokens / max(time.monotonic() - started, 1e-9)


def plan_load(database: Database, record: SpaceRecord, backlog: Backlog, *, loading: int | None = None) -> IndexPlan:
    """Whether a coming load keeps the index.

    Args:
        database: where.
        record: the space.
        backlog: its state.
        loading: chunks that the load will take up; default: all that are due. A table that is loaded range by range
            keeps what one range built for the next.
    """
    loading = backlog.due if loading is None else loading
    exists = describe_index(database, record.index).exists
    decision = plan_index(embedded=backlog.embedded, pending=loading)
    counts = f"{loading:,} chunks to load, {backlog.embedded:,} embedded"
    if not exists:
        decision, reason = "defer", f"{counts}: loaded without an index, built afterwards"
    elif decision == "defer":
        reason = f"{counts}: the index waits for the load and is built once afterwards; until then searches are exact"
    else:
        reason = f"{counts}: the index stays and is extended row by row"
    return IndexPlan(decision, reason)


def prepare_index(
    database: Database, record: SpaceRecord, backlog: Backlog, *, loading: int | None = None
) -> IndexPlan:
    """As ``plan_load``; drops the index, without blocking readers, when it had better wait.

    Call it when nothing but the load itself is left to go wrong: the index is missing until the load is done.
    """
    plan = plan_load(database, record, backlog, loading=loading)
    if plan.decision == "defer":
        _drop_indexes(database, record)
    return plan


def _drop_indexes(database: Database, record: SpaceRecord) -> None:
    names = [record.index, *([] if record.serving else [record.pending_index])]
    if not any(describe_index(database, name).exists for name in names):
        return
    with database.session() as connection, hold(connection, TABLE_LOCK):
        # Only now: it may serve searches since, and then keeps the index that the sensor probes.
        [record] = [known for known in list_spaces(database) if known.space == record.space]
        drop_index(connection, record.index)
        if pending_index_waits(database, record):
            drop_index(connection, record.pending_index)
