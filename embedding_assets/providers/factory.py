"""From settings and a table to the provider, its vector space and the column that space owns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedding_assets.config import Settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.encoder.files import ModelFiles, is_folder, locate_model
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.spaces import SpaceRecord, register_space, serving_space
from embedding_assets.providers.local import LocalProvider, local_space

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider
    from embedding_assets.spaces import VectorSpace

__all__ = ["configured_model", "create_provider", "follow_space", "open_space", "provider_for"]


def follow_space(settings: Settings, record: SpaceRecord | None) -> Settings:
    """Settings whose unset model is the one the table is already embedded with.

    A table thus keeps its model when the default changes, and the demo's table keeps the demo's.
    """
    if record is None or settings.embedding.model_fields_set & {"model_name", "model_revision"}:
        return settings
    if record.space.revision.startswith("sha256:"):
        raise _folder_needed(record)
    return _with_model_of(settings, record.space, keep=settings.embedding.model_fields_set)


def configured_model(settings: Settings, database: Database) -> tuple[Settings, ModelFiles]:
    """The settings after following the table, and the files of their model, fetched if need be."""
    settings = follow_space(settings, serving_space(database))
    return settings, _locate(settings)


def create_provider(settings: Settings) -> EmbeddingProvider:
    """The provider these settings describe, without looking at any table."""
    return LocalProvider(_locate(settings), settings.embedding)


def open_space(settings: Settings, database: Database) -> SpaceRecord:
    """The space to embed into, registered if it is the table's first; loads no model.

    Raises:
        SpaceMismatchError: the settings describe another space than the table's.
        ModelUnavailableError: the model's files cannot be had.
    """
    resolved, files = configured_model(settings, database)
    return register_space(
        database,
        local_space(files, resolved.embedding),
        new_space=settings.embedding.new_space,
        claim_vectors="model_name" in settings.embedding.model_fields_set,
    )


def provider_for(settings: Settings, record: SpaceRecord) -> EmbeddingProvider:
    """The provider of a space that exists, to embed further chunks or a query in it.

    Raises:
        ConfigurationError: the settings no longer lead to that space's model.
    """
    if record.space.revision.startswith("sha256:"):
        if not is_folder(settings.embedding.model_name):
            raise _folder_needed(record)
    else:
        settings = _with_model_of(settings, record.space, keep=set())
    provider = create_provider(settings)
    if provider.space != record.space:
        differing = ", ".join(provider.space.differences(record.space))
        raise ConfigurationError(
            f"space {record.space.name} needs model {record.space.model} at {record.space.revision}, but the settings "
            f"lead to {provider.space.name} (differing: {differing}); set EMBEDDING_MODEL_NAME to that model"
        )
    return provider


def _folder_needed(record: SpaceRecord) -> ConfigurationError:
    return ConfigurationError(
        f"the table was embedded with model {record.space.model} from a folder; set EMBEDDING_MODEL_NAME to that folder"
    )


def _with_model_of(settings: Settings, space: VectorSpace, *, keep: set[str]) -> Settings:
    values = {
        "model_name": space.model,
        "model_revision": None if space.model == DEMO_MODEL else space.revision,
        "dimensions": space.dimensions,
        "max_seq_length": space.max_tokens,
    }
    changes = {name: value for name, value in values.items() if name not in keep}
    return settings.model_copy(update={"embedding": settings.embedding.model_copy(update=changes)})


def _locate(settings: Settings) -> ModelFiles:
    config = settings.embedding
    return locate_model(
        config.model_name,
        config.pinned_revision,
        data_dir=settings.data_dir,
        timeout_seconds=config.hub_timeout_seconds,
    )
