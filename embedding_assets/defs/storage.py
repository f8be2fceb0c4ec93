"""Storage of Dagster's runs and events: the same PostgreSQL as the table, in a schema of its own."""

from __future__ import annotations

from typing import Any, Final

from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.auth import PgTokenProvider

from embedding_assets.config import get_settings
from embedding_assets.postgres.bootstrap import resolve_url
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.engines import place_in_schema
from embedding_assets.postgres.namespace import own_schema
from embedding_assets.postgres.password import PasswordSource
from embedding_assets.postgres.url import KEEPALIVES, normalize_url

SCHEMA: Final = "dagster"


class EmbeddingAssetsStorage(DagsterPostgresStorage):
    """Dagster's PostgreSQL storage, found through this package's settings instead of dagster.yaml.

    The configuration is empty, so the instance reference that Dagster hands to other processes carries no password.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Any,  # noqa: ARG003
    ) -> EmbeddingAssetsStorage:
        """Connect to the configured PostgreSQL, or start the embedded one, and make the tables that are missing.

        Raises:
            ConfigurationError: a setting is malformed.
            DatabaseUnavailableError: the server cannot be reached or started.
            DatabasePermissionError: the role may not have the schema.
        """
        settings = get_settings()
        defaults = {**KEEPALIVES, "connect_timeout": settings.database.connect_timeout_seconds}
        url = normalize_url(resolve_url(settings), **defaults)
        source = PasswordSource(settings.database)
        # Alone, because dagster-postgres creates its tables one by one and takes the first for all of them.
        with own_schema(Database(url, settings.database), SCHEMA):
            url = place_in_schema(url, SCHEMA)
            if not source.is_set:
                return cls(postgres_url=url, inst_data=inst_data)
            return cls(postgres_url=url, inst_data=inst_data, token_provider=_Passwords(source))


class _Passwords(PgTokenProvider):
    """The password of each connection, from the settings' command or file, which keeps it for as long as is right."""

    def __init__(self, source: PasswordSource) -> None:
        super().__init__()
        self._source = source

    def get_token(self) -> str:
        """The password for a new connection."""
        return self._source.read() or ""

    def _fetch_token(self) -> tuple[str, float]:
        return self.get_token(), 0.0
