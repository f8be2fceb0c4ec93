"""A question to its nearest chunks, asked in the space that serves searches."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import ConfigurationError, ProviderError
from embedding_assets.postgres.connection import open_database
from embedding_assets.postgres.spaces import serving_space
from embedding_assets.postgres.vectors import nearest_chunks
from embedding_assets.providers.base import embed_checked
from embedding_assets.providers.factory import provider_for

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database

__all__ = ["SearchResult", "search"]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A chunk and how near it is to the query.

    Attributes:
        score: similarity, higher is nearer: the cosine for ``vector_cosine_ops``, the inner product for
            ``vector_ip_ops``, the negative distance for ``vector_l2_ops``.
    """

    chunk_hash: str
    score: float
    source: str
    title: str
    context_header: str
    text: str
    metadata: dict[str, Any]


def search(
    query: str,
    *,
    k: int = 5,
    where: dict[str, str] | None = None,
    settings: Settings | None = None,
    database: Database | None = None,
) -> list[SearchResult]:
    """The ``k`` chunks nearest to ``query``, nearest first.

    Args:
        query: a question in plain words.
        k: how many, at least 1.
        where: only chunks whose document metadata has these values, compared as text.
        settings: default: from the environment.
        database: default: the configured one, opened for this call.

    Raises:
        ConfigurationError: nothing was embedded yet, the query is blank, or ``k`` is less than 1.
        ProviderError: the query cannot be embedded.
    """
    settings = settings or get_settings()
    if not query.strip():
        raise ConfigurationError("the query is empty")
    if k < 1:
        raise ConfigurationError(f"k is {k}, but a search returns at least 1 chunk")
    with ExitStack() as stack:
        database = database or stack.enter_context(open_database(settings))
        record = serving_space(database)
        if record is None:
            raise ConfigurationError(
                "nothing is embedded yet; run `embedding-assets load PATH`, then `embedding-assets embed`"
            )
        provider = provider_for(settings, record, database)
        [batch] = embed_checked(provider, [query], query=True)
        if batch.errors:
            raise ProviderError(f"the query cannot be embedded: {batch.errors[0]}")
        rows = nearest_chunks(database, record, batch.vectors[0], k=k, where=where or {}, index=settings.index)
    return [_result(row, settings.index.operator_class) for row in rows]


def _result(row: tuple[Any, ...], operator_class: str) -> SearchResult:
    chunk_hash, text, header, metadata, distance = row
    if not isinstance(metadata, dict):  # an adopted table may hold any JSON
        metadata = {}
    return SearchResult(
        chunk_hash=chunk_hash,
        score=_similarity(distance, operator_class),
        source=str(metadata.get("source", "")),
        title=str(metadata.get("title", "")),
        context_header=header,
        text=text,
        metadata=metadata,
    )


def _similarity(distance: float, operator_class: str) -> float:
    # pgvector's distances: 1 - cosine, the negative inner product, the Euclidean distance.
    return 1 - distance if operator_class == "vector_cosine_ops" else -distance
