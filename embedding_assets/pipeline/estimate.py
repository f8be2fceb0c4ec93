"""An estimate of what embedding the backlog takes: tokens, seconds, dollars."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedding_assets.health.embeddings import THROUGHPUT_MINIMUM_CHUNKS
from embedding_assets.postgres.backlog import Backlog, count_backlog, count_backlog_texts, fetch_pending
from embedding_assets.postgres.chunks import count_chunks
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.usage.ledger import usd_of
from embedding_assets.providers.openai.prices import price_of
from embedding_assets.providers.space_selection import api_space, select_space

if TYPE_CHECKING:
    from embedding_assets.config import OpenAIConfig, Settings
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider
    from embedding_assets.spaces import SpaceColumn


def estimate_backlog(
    database: Database,
    column: SpaceColumn,
    settings: Settings,
    *,
    tokens_per_second: float | None = None,
    roughly: bool = False,
) -> tuple[Backlog, BacklogEstimate]:
    """Count the backlog and estimate what it takes.

    Args:
        database: where.
        column: the space to embed in.
        settings: with the price and the rate limits of an API.
        tokens_per_second: default: the rate of the latest run of some size, else what the limits of an API allow.
        roughly: estimate the chunks of a table that is far larger than its backlog, instead of counting them, and count
            what several chunks have in common each time.

    Raises:
        ConfigurationError: an API's price is not known, and there is a limit in dollars to hold.
    """
    backlog = count_backlog(database, column, written=0 if roughly else None)
    texts, tokens = count_backlog_texts(database, column.space, column, once=database.table.is_own and not roughly)
    if tokens_per_second is None:
        run = latest_run(database, column.space.name, at_least=THROUGHPUT_MINIMUM_CHUNKS)
        tokens_per_second = run.tokens / run.seconds if run and run.seconds > 0 else None
    seconds = tokens / tokens_per_second if tokens_per_second else None
    if column.space.provider == "openai":
        settings = select_space(settings, column, database).settings
        return backlog, _by_api(backlog.due, texts, tokens, seconds, settings)
    return backlog, BacklogEstimate(backlog.due, tokens, seconds, 0.0, 0.0, _repeated(backlog.due, texts))


def estimate_new_space(database: Database, settings: Settings) -> BacklogEstimate:
    """Estimate what the configured API takes for all chunks, where its space is not registered yet.

    Raises:
        ConfigurationError: the price is not known, and there is a limit in dollars to hold.
    """
    texts, tokens = count_backlog_texts(database, api_space(settings), None, once=database.table.is_own)
    return _by_api(count_chunks(database), texts, tokens, None, settings)


def estimate_unadopted(database: Database, settings: Settings) -> tuple[int, BacklogEstimate | None]:
    """Chunks of a table that is not adopted yet, which is only read; and what they take by an API, if one embeds them.

    Raises:
        ConfigurationError: as for ``estimate_new_space``.
    """
    if settings.embedding.provider == "openai":
        estimate = estimate_new_space(database, settings)
        return estimate.chunks, estimate
    return count_chunks(database), None


def _repeated(chunks: int, texts: int) -> int:
    """Chunks whose text is that of another; none where some of them came after the others were counted."""
    return max(0, chunks - texts)


def _by_api(chunks: int, texts: int, tokens: int, seconds: float | None, settings: Settings) -> BacklogEstimate:
    price = price_of(settings.openai, settings.budget)
    # A byte may be a token, and likely is a quarter of one.
    most = 4 * _tokens_of_a_request(texts, tokens, settings.openai)
    return BacklogEstimate(
        chunks,
        tokens,
        _seconds_by_limits(texts, tokens, settings.openai) if seconds is None else seconds,
        None if price is None else float(usd_of(tokens, price)),
        None if price is None else float(usd_of(most, price)),
        _repeated(chunks, texts),
    )


def _seconds_by_limits(texts: int, tokens: int, config: OpenAIConfig) -> float | None:
    """The same under the configured limits of an API; None when none is configured."""
    requests = max(-(-texts // config.max_inputs), -(-tokens // config.max_request_tokens))
    minutes = [
        amount / limit
        for amount, limit in ((tokens, config.tokens_per_minute), (requests, config.requests_per_minute))
        if limit is not None
    ]
    return max(minutes) * 60 if minutes else None


def _tokens_of_a_request(texts: int, tokens: int, config: OpenAIConfig) -> int:
    """Tokens of a full request, or of all there is if that is less."""
    by_inputs = -(-tokens * config.max_inputs // max(texts, 1))
    return min(tokens, by_inputs, config.max_request_tokens)


def measure_tokens_per_second(
    database: Database, column: SpaceColumn, provider: EmbeddingProvider, *, chunks: int = 64
) -> float | None:
    """Embed a few pending chunks and forget the vectors; None when nothing is pending. Not for an API, which bills."""
    sample = fetch_pending(database, column, range(256), after="", limit=chunks)
    if not sample:
        return None
    provider.load()
    started = time.monotonic()
    tokens = sum(sum(batch.token_counts) for batch in provider.embed([chunk.text for chunk in sample]))
    return tokens / max(time.monotonic() - started, 1e-9)


@dataclass(frozen=True, slots=True)
class BacklogEstimate:
    """An estimate of what embedding the backlog will take.

    Attributes:
        chunks: pending chunks that are due.
        tokens: those of their texts, each counted once; without a stored count a quarter of a token a byte.
        seconds: at the rate of recent runs, else as an API's limits allow; None where neither is known.
        usd: what the provider will bill; None where its price is not known.
        request_usd: the most that a full request may cost, which is reserved until it is answered; None as for that.
        repeated: chunks whose text is that of another one of them; it is embedded once. Not counted in a table of
            yours, where it is once for chunks that are embedded at about the same time.
    """

    chunks: int
    tokens: int
    seconds: float | None
    usd: float | None
    request_usd: float | None = 0.0
    repeated: int = 0
