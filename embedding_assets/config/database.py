"""Settings of the PostgreSQL server and of the connections to it."""

from __future__ import annotations

import shlex
from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from embedding_assets.config.environment import EnvironmentSettings


class DatabaseConfig(EnvironmentSettings):
    """The PostgreSQL server, and the connections to it."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_DATABASE_")

    url: SecretStr | None = Field(
        None, description="PostgreSQL connection URL. Unset: the embedded server under `EMBEDDING_DATA_DIR`."
    )
    password_command: SecretStr | None = Field(
        None,
        description="Command that prints the password, instead of one in the URL, e.g. for tokens that expire. Run "
        "without a shell, again after five minutes and after a refused login.",
    )
    password_file: Path | None = Field(
        None, description="File that holds the password, instead of one in the URL; read for every new connection."
    )
    pool_size: int = Field(
        5,
        ge=1,
        le=64,
        description="Most connections in a process's pool; a run has one more for its locks, in Dagster "
        "up to three. Two are enough to embed.",
    )
    connect_timeout_seconds: int = Field(10, ge=1, le=300, description="Longest wait for a connection.")
    retry_seconds: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="Seconds after its first failure for which what is transient (lost connection, deadlock) is "
        "retried.",
    )

    @field_validator("password_command")
    @classmethod
    def _can_be_split(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                words = shlex.split(value.get_secret_value())
            except ValueError:  # whose message may quote it
                words = []
            if not words:
                raise ValueError("is not a command line; check its quotes")
        return value

    @model_validator(mode="after")
    def _password_has_one_source(self) -> DatabaseConfig:
        names = [
            f"EMBEDDING_DATABASE_{name.upper()}"
            for name in ("password_command", "password_file")
            if getattr(self, name) is not None
        ]
        if len(names) > 1:
            raise ValueError(f"{' and '.join(names)} are both set; unset one")
        if names and self.url is None:
            raise ValueError(f"{names[0]} is set, but EMBEDDING_DATABASE_URL is not; set it, too")
        return self
