"""Keep a PostgreSQL/pgvector table embedded: chunks of text go in, correct vectors and a healthy index come out.

Names are imported when first used, so that ``import embedding_assets`` loads neither torch nor Dagster.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedding_assets.config import EmbeddingConfig, Settings, get_settings
    from embedding_assets.defs.components.embedded_query import EmbeddedQuery
    from embedding_assets.defs.components.embedded_table import EmbeddedTable
    from embedding_assets.defs.factory import build_embedding_definitions
    from embedding_assets.defs.row_source import RowSource
    from embedding_assets.errors import (
        BudgetExceededError,
        ClusterError,
        ConfigurationError,
        DatabaseError,
        DatabasePermissionError,
        DatabaseUnavailableError,
        DocumentError,
        EmbeddingAssetsError,
        ImportRefusedError,
        ModelUnavailableError,
        PgvectorError,
        ProviderError,
        ProviderUnavailableError,
        QuotaExceededError,
        RateLimitExceededError,
        RowRefusedError,
        SpaceMismatchError,
        TableNotAdoptedError,
        TableRefusesError,
        TextRefusedError,
    )
    from embedding_assets.models import DocumentMetadata, EmbeddingCost, EmbeddingStats, ProcessedChunk
    from embedding_assets.pipeline.generator import EmbeddingGenerator
    from embedding_assets.pipeline.run import RunOutcome, embed_pending
    from embedding_assets.planning import PrefixRange
    from embedding_assets.providers.base import EmbeddedBatch, EmbeddingProvider
    from embedding_assets.retrieval import Answer, Question, Searcher, SearchResult, search, search_async
    from embedding_assets.service import EmbeddingService
    from embedding_assets.spaces import EmbeddedVector, EmbeddedVectors, SpaceColumn, VectorSpace

_HOMES = {
    name: module
    for module, names in {
        "config": "EmbeddingConfig Settings get_settings",
        "defs.components.embedded_query": "EmbeddedQuery",
        "defs.components.embedded_table": "EmbeddedTable",
        "defs.factory": "build_embedding_definitions",
        "defs.row_source": "RowSource",
        "errors": "BudgetExceededError ClusterError ConfigurationError DatabaseError DatabasePermissionError "
        "DatabaseUnavailableError DocumentError EmbeddingAssetsError ImportRefusedError ModelUnavailableError "
        "PgvectorError ProviderError ProviderUnavailableError QuotaExceededError RateLimitExceededError "
        "RowRefusedError SpaceMismatchError TableNotAdoptedError TableRefusesError TextRefusedError",
        "models": "DocumentMetadata EmbeddingCost EmbeddingStats ProcessedChunk",
        "pipeline.generator": "EmbeddingGenerator",
        "pipeline.run": "RunOutcome embed_pending",
        "planning": "PrefixRange",
        "providers.base": "EmbeddedBatch EmbeddingProvider",
        "retrieval": "Answer Question SearchResult Searcher search search_async",
        "service": "EmbeddingService",
        "spaces": "EmbeddedVector EmbeddedVectors SpaceColumn VectorSpace",
    }.items()
    for name in names.split()
}

__all__ = [
    "Answer",
    "BudgetExceededError",
    "ClusterError",
    "ConfigurationError",
    "DatabaseError",
    "DatabasePermissionError",
    "DatabaseUnavailableError",
    "DocumentError",
    "DocumentMetadata",
    "EmbeddedBatch",
    "EmbeddedQuery",
    "EmbeddedTable",
    "EmbeddedVector",
    "EmbeddedVectors",
    "EmbeddingAssetsError",
    "EmbeddingConfig",
    "EmbeddingCost",
    "EmbeddingGenerator",
    "EmbeddingProvider",
    "EmbeddingService",
    "EmbeddingStats",
    "ImportRefusedError",
    "ModelUnavailableError",
    "PgvectorError",
    "PrefixRange",
    "ProcessedChunk",
    "ProviderError",
    "ProviderUnavailableError",
    "Question",
    "QuotaExceededError",
    "RateLimitExceededError",
    "RowRefusedError",
    "RowSource",
    "RunOutcome",
    "SearchResult",
    "Searcher",
    "Settings",
    "SpaceColumn",
    "SpaceMismatchError",
    "TableNotAdoptedError",
    "TableRefusesError",
    "TextRefusedError",
    "VectorSpace",
    "build_embedding_definitions",
    "embed_pending",
    "get_settings",
    "search",
    "search_async",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"embedding_assets.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'embedding_assets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
