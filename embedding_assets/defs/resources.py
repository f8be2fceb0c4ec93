"""Resources: each reads its settings from the environment; what is set here, e.g. in the launchpad, wins."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import ConfigurableResource, ResourceDependency
from pydantic import Field, SecretStr

from embedding_assets.config import Settings, get_settings
from embedding_assets.postgres.connection import Database, open_database
from embedding_assets.postgres.spaces import SpaceRecord
from embedding_assets.providers.base import EmbeddingProvider
from embedding_assets.providers.factory import open_space, provider_for

__all__ = ["EmbeddingProviderResource", "ModelResource", "PostgresResource"]


class PostgresResource(ConfigurableResource):  # type: ignore[type-arg]
    """A pool of connections to the database with ``knowledge_base``."""

    url: str | None = Field(
        default=None,
        description="Connection URL, best given as an EnvVar. Unset: EMBEDDING_DATABASE_URL, else embedded.",
    )

    @contextmanager
    def open(self) -> Iterator[Database]:
        """The database, started and migrated if need be, closed at the end."""
        settings = get_settings()
        if self.url is not None:
            changed = settings.database.model_copy(update={"url": SecretStr(self.url)})
            settings = settings.model_copy(update={"database": changed})
        with open_database(settings) as database:
            yield database


class ModelResource(ConfigurableResource):  # type: ignore[type-arg]
    """The model of this process: loaded at first use, once, and shared by all steps that run in the process."""

    model_name: str | None = Field(default=None, description="Unset: EMBEDDING_MODEL_NAME.")
    model_revision: str | None = Field(default=None, description="Unset: EMBEDDING_MODEL_REVISION.")
    device: str | None = Field(default=None, description="auto, cpu, mps, cuda or cuda:N. Unset: EMBEDDING_DEVICE.")
    batch_size: int | None = Field(default=None, description="1 to 512. Unset: EMBEDDING_BATCH_SIZE.")

    def settings(self) -> Settings:
        """The settings from the environment with what is set here."""
        names = ("model_name", "model_revision", "device", "batch_size")
        return get_settings().with_embedding(
            **{name: value for name in names if (value := getattr(self, name)) is not None}
        )

    def release(self) -> None:
        """Free the memory of the model."""
        from embedding_assets.encoder.model import release_models

        release_models()


class EmbeddingProviderResource(ConfigurableResource):  # type: ignore[type-arg]
    """Who computes the vectors, and into which vector space."""

    model: ResourceDependency[ModelResource]
    provider: str | None = Field(default=None, description="Unset: EMBEDDING_PROVIDER.")
    new_space: bool | None = Field(default=None, description="Unset: EMBEDDING_NEW_SPACE.")

    def settings(self) -> Settings:
        """The settings that the model resource and this one describe."""
        names = ("provider", "new_space")
        return self.model.settings().with_embedding(
            **{name: value for name in names if (value := getattr(self, name)) is not None}
        )

    def open_space(self, database: Database) -> SpaceRecord:
        """The space to embed into, registered if it is new; loads no model."""
        return open_space(self.settings(), database)

    def provider_for(self, record: SpaceRecord, database: Database) -> EmbeddingProvider:
        """What computes vectors of that space."""
        return provider_for(self.settings(), record, database)
