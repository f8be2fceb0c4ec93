"""Rerankers: a model that reads a question and a text together, here or behind a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from embedding_assets.encoder.cross_encoder import CrossEncoder
from embedding_assets.errors import ConfigurationError
from embedding_assets.providers.reranking.server import RerankServer

if TYPE_CHECKING:
    from embedding_assets.config import Settings

__all__ = ["RerankServer", "Reranker", "open_reranker"]


class Reranker(Protocol):
    """Says how well texts answer a question."""

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """A finite number for each text, in their order; higher is better. Comparable within one question only.

        Raises:
            ConfigurationError: it is set up in a way that cannot work.
            ProviderUnavailableError: it is down.
        """
        ...


def open_reranker(settings: Settings) -> Reranker:
    """The configured reranker; loads and asks nothing yet.

    Raises:
        ConfigurationError: none is configured, or texts would be sent unencrypted.
    """
    config = settings.rerank
    if config.url is not None:
        return RerankServer(config)
    if config.model is not None:
        embedding = settings.embedding
        return CrossEncoder(config.model, config.revision, device=embedding.device, threads=embedding.threads)
    raise ConfigurationError(
        "there is no reranker; set EMBEDDING_RERANK_MODEL to a cross-encoder, or EMBEDDING_RERANK_URL to a server with "
        "/rerank"
    )
