"""Settings of the service that answers questions."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from embedding_assets.config.environment import EnvironmentSettings
from embedding_assets.config.table import Names

_LEAST_KEY_CHARACTERS = 16


class ServeConfig(EnvironmentSettings):
    """The service that ``embedding-assets serve`` starts."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_SERVE_")

    key: SecretStr | None = Field(
        None,
        description="Key that requests bring as `Authorization: Bearer KEY`, at least 16 characters. Unset: none is "
        "asked for, and only this machine is served.",
    )
    hosts: Names = Field(
        (),
        description="Names under which clients reach the service, between commas, e.g. `search.example.org`. Unset: "
        "those of this machine; with a key, or on a socket, any.",
    )
    concurrency: int = Field(
        8,
        ge=1,
        le=256,
        description="Searches that are answered at once. Four times as many wait; the next is sent away with 503.",
    )
    timeout_seconds: float = Field(
        30.0, gt=0, le=3600, description="Longest time that a search may take, waiting included."
    )
    metrics_seconds: float = Field(
        30.0, ge=1, le=86_400, description="Least time between two looks at the table for `/metrics`."
    )

    @field_validator("key")
    @classmethod
    def _key_is_one(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        key = value.get_secret_value()
        if not re.fullmatch(r"[!-~]+", key):
            raise ValueError("has a character that a header cannot hold; use letters and digits")
        if len(key) < _LEAST_KEY_CHARACTERS:
            raise ValueError(
                f"is shorter than {_LEAST_KEY_CHARACTERS} characters; make one with `openssl rand -hex 24`"
            )
        return value

    @field_validator("hosts")
    @classmethod
    def _hosts_are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", name):
                raise ValueError("is not a list of names such as search.example.org, without scheme and port")
        return tuple(name.lower() for name in value)
