"""Settings of the reranker, which reads question and text together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from embedding_assets.config.environment import EnvironmentSettings, is_web_address


class RerankConfig(EnvironmentSettings):
    """What ``search --rerank`` puts the first results in order by."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_RERANK_")

    model: str | None = Field(
        None,
        min_length=1,
        description="Cross-encoder of sentence-transformers: a folder, or a Hugging Face model that is cached. With "
        "`EMBEDDING_RERANK_URL`: the server's name of its model.",
    )
    revision: str | None = Field(None, description="Commit of the cross-encoder's repository. Unset: `main`.")
    url: str | None = Field(
        None,
        description="Server with `/rerank`, e.g. `http://localhost:8080` or `https://api.cohere.com/v2`. Unset: none.",
    )
    api: Literal["tei", "cohere"] | None = Field(
        None,
        description="Fields of its requests: `tei` has `texts`, `cohere` has `model` and `documents`, as Jina and vLLM "
        "have. Unset: `cohere` where a model is named.",
    )
    api_key: SecretStr | None = Field(None, description="Its key. Unset: none.")
    allow_http: bool = Field(
        False, description="Send texts and key unencrypted to another machine, in a network that is trusted."
    )
    candidates: int = Field(50, ge=2, le=1000, description="Results that are put in order, of more the first ones.")
    timeout_seconds: float = Field(10.0, gt=0, le=600, description="Longest wait for the server, repetitions included.")

    @field_validator("url")
    @classmethod
    def _url_is_one(cls, value: str | None) -> str | None:
        url = value.strip() if value else ""
        if url and (not is_web_address(url) or "?" in url or "#" in url):
            raise ValueError("is not a URL such as http://localhost:8080, without user, password or parameters")
        return url.rstrip("/") or None

    @property
    def is_set(self) -> bool:
        """Whether there is a reranker."""
        return bool(self.model or self.url)
