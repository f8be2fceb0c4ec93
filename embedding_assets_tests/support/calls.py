"""Calls of the API provider, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedding_assets.config import BudgetConfig, OpenAIConfig
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.base import embed_checked
from embedding_assets.providers.openai.provider import OpenAIProvider
from fake_api.server import ApiServer, api_vector_of


def make_provider(
    server: ApiServer, database: Database, *, budget: BudgetConfig | None = None, **settings: object
) -> OpenAIProvider:
    """A provider that asks the server; ``settings`` are fields of ``OpenAIConfig``."""
    values = {"base_url": server.url, "api_key": server.api_key, **settings}
    return OpenAIProvider(OpenAIConfig(**values), budget or BudgetConfig(), database)


def at_full_pace(provider: OpenAIProvider) -> OpenAIProvider:
    """The provider as if it had seen that its server takes all that is configured."""
    provider._recall()
    pace = provider._account.pace
    pace.inputs, pace.in_flight = pace.most_inputs, pace.most_in_flight
    return provider


@dataclass
class Result:
    """What all batches of a call hold, by the texts' positions."""

    vectors: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    truncated: set[int] = field(default_factory=set)
    errors: dict[int, str] = field(default_factory=dict)
    usd: float = 0.0
    batches: int = 0


def embed(provider: OpenAIProvider, texts: Sequence[str], *, into: Result | None = None) -> Result:
    """Embed texts; ``into`` keeps what came before an error."""
    result = Result() if into is None else into
    for batch in embed_checked(provider, texts):
        result.vectors |= dict(zip(batch.indices, batch.vectors, strict=True))
        result.tokens |= dict(zip(batch.indices, batch.token_counts, strict=True))
        result.truncated |= {index for index, cut in zip(batch.indices, batch.truncated, strict=True) if cut}
        result.errors |= batch.errors
        result.usd += batch.usd
        result.batches += 1
    return result


def assert_embedded(result: Result, texts: Sequence[str], *, but: Sequence[int] = ()) -> None:
    """Every text but those has its own vector."""
    assert sorted(result.vectors) == [index for index in range(len(texts)) if index not in set(but)]
    for index, vector in result.vectors.items():
        np.testing.assert_allclose(vector, api_vector_of(texts[index], len(vector)), atol=1e-6)
