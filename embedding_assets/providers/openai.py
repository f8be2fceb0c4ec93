"""Vectors from OpenAI, or from a server that speaks its embeddings API."""

from __future__ import annotations

from urllib.parse import urlsplit

from embedding_assets.config import BudgetConfig, OpenAIConfig
from embedding_assets.postgres.connection import Database
from embedding_assets.spaces import VectorSpace

__all__ = ["openai_space"]


def openai_space(config: OpenAIConfig) -> VectorSpace:
    """The vector space of the configured model; asks nobody."""
    return VectorSpace(
        provider="openai",
        model=config.model,
        # The API tells no version of its weights, but the same name on another server may be another model.
        revision=urlsplit(config.base_url).netloc,
        dimensions=config.dimensions,
        normalized=True,
        prompt="",
        max_tokens=config.max_input_tokens,
    )


class OpenAIProvider:
    """Embeds by an API."""

    def __init__(self, config: OpenAIConfig, budget: BudgetConfig, database: Database) -> None:
        self.space = openai_space(config)
        raise NotImplementedError
