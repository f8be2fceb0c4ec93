"""Settings of searches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from embedding_assets.config.environment import EnvironmentSettings

SearchMode = Literal["hybrid", "vector", "text"]
"""By words and vectors, their ranks fused; by vectors alone; by words alone."""


class SearchConfig(EnvironmentSettings):
    """How questions are answered."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_SEARCH_")

    language: str = Field(
        "simple",
        min_length=1,
        description="Text search configuration of PostgreSQL by which texts and questions are split into words, e.g. "
        "`english`, which finds other forms of a word too.",
    )
    mode: SearchMode = Field(
        "hybrid",
        description="What searches rank by where they do not say: vectors and words together, `vector` alone, or "
        "`text` (the words alone).",
    )
