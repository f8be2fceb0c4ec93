"""Settings of searches."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from embedding_assets.config.environment import EnvironmentSettings


class SearchConfig(EnvironmentSettings):
    """How questions are answered."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_SEARCH_")

    language: str = Field(
        "simple",
        min_length=1,
        description="Text search configuration of PostgreSQL by which texts and questions are split into words, e.g. "
        "`english`, which finds other forms of a word too.",
    )
