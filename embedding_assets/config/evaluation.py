"""Settings of measuring answers."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from embedding_assets.config.environment import EnvironmentSettings


class EvaluationConfig(EnvironmentSettings):
    """Judged questions by which answers are measured."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_EVALUATION_")

    queries: Path | None = Field(
        None,
        description="File with judged questions, as `embedding-assets evaluate` reads it, or a folder in BEIR's form. "
        "With it there is an asset `retrieval_quality` with a check; of a table with a `key_prefix` where its own "
        "settings have it. Unset: neither.",
    )
    questions: int = Field(
        200,
        ge=1,
        le=100_000,
        description="Most questions that the asset asks each time; of more it takes those whose digests are lowest, "
        "which are the same ones each time.",
    )
    quality_drop: float = Field(
        0.01, ge=0, le=1, description="Fall of nDCG@10 below the last accepted value above which the check may warn."
    )
