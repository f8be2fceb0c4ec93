"""Resources: what is set here, e.g. in the launchpad, wins over the settings of the table and the environment."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from dagster import ConfigurableResource, ResourceDependency
from pydantic import Field, SecretStr

from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.adopting import adopt, plan_adoption
from embedding_assets.postgres.bootstrap import open_database, resolve_url
from embedding_assets.postgres.connection import Database


class PostgresResource(ConfigurableResource):  # type: ignore[type-arg]
    """A pool of connections to the database with ``knowledge_base``."""

    url: str | None = Field(
        default=None,
        description="Connection URL, best given as an EnvVar. Unset: EMBEDDING_DATABASE_URL, else embedded.",
    )

    @contextmanager
    def open(self, settings: Settings | None = None) -> Iterator[Database]:
        """The database, started and migrated if need be, closed at the end.

        Args:
            settings: those of a table; by default the environment's.
        """
        with open_database(self.apply(settings or get_settings())) as database:
            yield database

    def adopt(self, settings: Settings) -> None:
        """Adopt the table of these settings.

        Raises:
            ConfigurationError: something stands against it; the message says what, and what would do.
            DatabasePermissionError: a right is missing.
        """
        settings = self.apply(settings)
        with Database(resolve_url(settings), settings.database, settings.source) as database:
            adopt(database, settings.source)

    @contextmanager
    def before_adoption(self, settings: Settings) -> Iterator[Database]:
        """The database with a table as it will be once it is adopted; nothing is changed, and nothing but read in it.

        Raises:
            ConfigurationError: something stands against adopting it.
            DatabasePermissionError: a right is missing.
        """
        settings = self.apply(settings)
        with Database(resolve_url(settings), settings.database, settings.source) as database:
            database.use_table(plan_adoption(database, settings.source).table)
            yield database

    def apply(self, settings: Settings) -> Settings:
        """The settings with the URL that is set here."""
        if self.url is None:
            return settings
        changed = settings.database.model_copy(update={"url": SecretStr(self.url)})
        return settings.model_copy(update={"database": changed})


class ModelResource(ConfigurableResource):  # type: ignore[type-arg]
    """The local model of this process: loaded at first use, once, and shared by all steps that run in the process."""

    model_name: str | None = Field(default=None, description="Unset: EMBEDDING_MODEL_NAME.")
    model_revision: str | None = Field(default=None, description="Unset: EMBEDDING_MODEL_REVISION.")
    device: str | None = Field(default=None, description="auto, cpu, mps, cuda or cuda:N. Unset: EMBEDDING_DEVICE.")
    batch_size: int | None = Field(default=None, description="1 to 512. Unset: EMBEDDING_BATCH_SIZE.")

    def apply(self, settings: Settings) -> Settings:
        """The settings with what is set here.

        Raises:
            ConfigurationError: a value is not acceptable.
        """
        return _changed(settings, "embedding", self, ("model_name", "model_revision", "device", "batch_size"))

    def release(self) -> None:
        """Free the memory of the model."""
        from embedding_assets.encoder.shared import release_models

        release_models()


class EmbeddingProviderResource(ConfigurableResource):  # type: ignore[type-arg]
    """The provider of vectors, their vector space, and the limits on what they cost.

    The key of an API is not among this: it comes from the environment alone (EMBEDDING_OPENAI_API_KEY or
    OPENAI_API_KEY), since what is configured here is stored with every run and shown in the UI.
    """

    model: ResourceDependency[ModelResource]
    provider: str | None = Field(default=None, description="local or openai. Unset: EMBEDDING_PROVIDER.")
    fallback: str | None = Field(default=None, description="local or openai. Unset: EMBEDDING_FALLBACK.")
    new_space: bool | None = Field(default=None, description="Unset: EMBEDDING_NEW_SPACE.")
    openai_model: str | None = Field(default=None, description="Unset: EMBEDDING_OPENAI_MODEL.")
    openai_dimensions: int | None = Field(default=None, description="Unset: EMBEDDING_OPENAI_DIMENSIONS.")
    openai_base_url: str | None = Field(default=None, description="Unset: EMBEDDING_OPENAI_BASE_URL.")
    requests_per_minute: int | None = Field(
        default=None, description="Of all processes together. Unset: EMBEDDING_OPENAI_REQUESTS_PER_MINUTE."
    )
    tokens_per_minute: int | None = Field(
        default=None, description="Of all processes together. Unset: EMBEDDING_OPENAI_TOKENS_PER_MINUTE."
    )
    usd_per_run: float | None = Field(default=None, description="Unset: EMBEDDING_BUDGET_USD_PER_RUN.")
    usd_per_day: float | None = Field(
        default=None, description="All runs together. Unset: EMBEDDING_BUDGET_USD_PER_DAY."
    )
    usd_per_month: float | None = Field(
        default=None, description="All runs together. Unset: EMBEDDING_BUDGET_USD_PER_MONTH."
    )

    def apply(self, settings: Settings) -> Settings:
        """The settings with what the model resource and this one set.

        Raises:
            ConfigurationError: a value is not acceptable.
        """
        openai = ("openai_model", "openai_dimensions", "openai_base_url", "requests_per_minute", "tokens_per_minute")
        settings = _changed(self.model.apply(settings), "embedding", self, ("provider", "fallback", "new_space"))
        settings = _changed(settings, "openai", self, openai)
        return _changed(settings, "budget", self, ("usd_per_run", "usd_per_day", "usd_per_month"))


def _changed(
    settings: Settings,
    group: Literal["embedding", "openai", "budget"],
    resource: ConfigurableResource,  # type: ignore[type-arg]
    names: Sequence[str],
) -> Settings:
    """``settings`` with what the resource sets in a group by fields of these names, before which may be the group's."""
    values = {field: value for field in names if (value := getattr(resource, field)) is not None}
    if not values:
        return settings
    try:
        return settings.with_group(group, **{field.removeprefix(f"{group}_"): value for field, value in values.items()})
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error}\nin the configuration of {type(resource).__name__}, which sets {', '.join(values)}"
        ) from None
