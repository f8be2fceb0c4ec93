"""Settings of OpenAI, and of servers that speak its embeddings API."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from embedding_assets.config.environment import EnvironmentSettings, is_web_address


class OpenAIConfig(EnvironmentSettings):
    """OpenAI, or a server that speaks its embeddings API (https://platform.openai.com/docs/api-reference/embeddings)."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_OPENAI_", populate_by_name=True)

    api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("EMBEDDING_OPENAI_API_KEY", "OPENAI_API_KEY"),
        description="The key. `OPENAI_API_KEY` is read too, for OpenAI and for the server of `OPENAI_BASE_URL` alone.",
    )
    base_url: str = Field(
        "https://api.openai.com/v1",
        validation_alias=AliasChoices("EMBEDDING_OPENAI_BASE_URL", "OPENAI_BASE_URL"),
        description="Address of the API; `OPENAI_BASE_URL` is read too.",
    )
    server: str | None = Field(
        None,
        pattern=r"^[^\s?#@]{1,200}$",
        description="Name of the server in the identity of its vector spaces, where its address may change. Unset: its "
        "address.",
    )
    allow_http: bool = Field(
        False, description="Send texts and key unencrypted to another machine, in a network that is trusted."
    )
    organization: str | None = Field(None, description="Organization to bill, where a key belongs to several.")
    project: str | None = Field(None, description="Project to bill.")
    model: str = Field("text-embedding-3-small", min_length=1, description="Model of the API.")
    dimensions: int = Field(768, ge=1, le=16_000, description="Length of a vector; the model must be able to make it.")
    send_dimensions: bool | None = Field(
        None, description="Ask the server for that length. Unset: only for `text-embedding-3-…`, which can shorten."
    )
    max_input_tokens: int = Field(8192, ge=8, le=1_000_000, description="Most tokens of a text.")
    too_long: Literal["truncate", "quarantine"] = Field(
        "truncate",
        description="A text that the server refuses as too long is cut (`truncate`) or given up (`quarantine`).",
    )
    max_inputs: int = Field(2048, ge=1, le=2048, description="Most texts in a request.")
    max_request_tokens: int = Field(
        250_000, ge=8, le=300_000, description="Most tokens in a request, at a quarter of a token a byte."
    )
    concurrency: int = Field(16, ge=1, le=256, description="Most requests in flight in a process.")
    requests_per_minute: int | None = Field(
        None, ge=1, description="Most requests a minute, of all processes together. Unset: as its headers say."
    )
    tokens_per_minute: int | None = Field(
        None, ge=8, description="Most tokens a minute, of all processes together. Unset: as its headers say."
    )
    extra_body: dict[str, Any] = Field({}, description='Further fields of a request, as JSON: `{"user": "search"}`.')
    extra_body_document: dict[str, Any] = Field(
        {}, description='Further fields where documents are embedded: `{"input_type": "passage"}`.'
    )
    extra_body_query: dict[str, Any] = Field(
        {}, description='Further fields where questions are embedded: `{"input_type": "query"}`.'
    )
    headers: dict[str, SecretStr] = Field({}, description='Further headers, as JSON: `{"api-key": "…"}`. Never shown.')
    query_parameters: dict[str, SecretStr] = Field({}, description='Parameters of the address: `{"api-version": "…"}`.')
    timeout_seconds: float = Field(60.0, gt=0, le=600, description="Longest wait for an answer.")
    wait_seconds: float | None = Field(
        None, gt=0, le=86_400, description="Longest wait of a request for its limits. Unset: as long as it takes."
    )
    connect_timeout_seconds: float = Field(5.0, gt=0, le=300, description="Longest wait for a connection.")
    retry_seconds: float = Field(
        120.0,
        ge=0,
        le=86_400,
        description="Seconds for which an outage, or refusals for rate alone, are waited out before a run stops.",
    )
    usd_per_million_tokens: Decimal | None = Field(
        None, ge=0, description="Price. Unset: the list price of a known model."
    )

    @field_validator("base_url")
    @classmethod
    def _base_url_is_one(cls, value: str) -> str:
        url = value.strip()
        if not is_web_address(url) or "?" in url or "#" in url:
            raise ValueError("is not a URL such as https://api.openai.com/v1, without user, password or parameters")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _dimensions_are_the_models(self) -> OpenAIConfig:
        if self.model == "text-embedding-ada-002" and self.dimensions != 1536:
            raise ValueError(
                f"EMBEDDING_OPENAI_DIMENSIONS is {self.dimensions}, but text-embedding-ada-002 makes 1536; "
                "set it to 1536, or choose a text-embedding-3 model"
            )
        return self

    @property
    def sends_dimensions(self) -> bool:
        """True if requests name the length of the vectors."""
        return self.model.startswith("text-embedding-3") if self.send_dimensions is None else self.send_dimensions
