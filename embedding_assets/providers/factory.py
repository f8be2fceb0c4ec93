"""From settings and a table to the provider, its vector space and the column that space owns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedding_assets.config import Settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.encoder.files import ModelFiles, is_folder, locate_model
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.spaces import SpaceRecord, list_spaces, register_space
from embedding_assets.providers.local import LocalProvider, local_space
from embedding_assets.providers.openai import OpenAIProvider, openai_space

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider
    from embedding_assets.spaces import VectorSpace

__all__ = [
    "configured_model",
    "create_provider",
    "fallback_settings",
    "find_space",
    "follow_spaces",
    "open_space",
    "provider_for",
]


def follow_spaces(settings: Settings, records: list[SpaceRecord]) -> Settings:
    """Settings whose unset provider and unset model are those that the table is already embedded with.

    A table thus keeps its model when the default changes, and the demo's table keeps the demo's.
    """
    chosen = settings.embedding.model_fields_set
    serving = next((record for record in records if record.serving), None)
    if serving and "provider" not in chosen:
        settings = _with_provider(settings, serving.space.provider)
    if settings.embedding.provider != "local" or chosen & {"model_name", "model_revision"}:
        return settings
    local = [record for record in records if record.space.provider == "local"]
    if not local:
        return settings
    record = serving if serving in local else local[0]
    if record.space.revision.startswith("sha256:"):
        raise _folder_needed(record)
    return _with_model_of(settings, record.space, keep=chosen)


def fallback_settings(settings: Settings) -> Settings | None:
    """Settings under which the fallback is the provider; None when there is none."""
    if settings.embedding.fallback is None:
        return None
    return _with_provider(settings, settings.embedding.fallback)


def configured_model(settings: Settings, database: Database) -> tuple[Settings, ModelFiles]:
    """The settings after following the table, and the files of their local model, fetched if need be."""
    settings = follow_spaces(settings, list_spaces(database))
    return settings, _locate(settings)


def create_provider(settings: Settings, database: Database) -> EmbeddingProvider:
    """The provider these settings describe; the database keeps what an API has cost and may still be asked."""
    if settings.embedding.provider == "openai":
        return OpenAIProvider(settings.openai, settings.budget, database)
    return LocalProvider(_locate(settings), settings.embedding)


def find_space(settings: Settings, database: Database) -> SpaceRecord | None:
    """The space these settings lead to, if the table has it; registers and loads nothing."""
    records = list_spaces(database)
    if not records:
        return None
    space = _describe(follow_spaces(settings, records))
    return next((record for record in records if record.space == space), None)


def open_space(settings: Settings, database: Database) -> SpaceRecord:
    """The space to embed into, registered if it is new; loads no model.

    A further space needs ``EMBEDDING_NEW_SPACE``, or another provider than the table's named on purpose.

    Raises:
        SpaceMismatchError: the settings describe another space than the table's.
        ModelUnavailableError: the model's files cannot be had.
    """
    records = list_spaces(database)
    resolved = follow_spaces(settings, records)
    other_provider = all(record.space.provider != resolved.embedding.provider for record in records)
    return register_space(
        database,
        _describe(resolved),
        new_space=settings.embedding.new_space or other_provider,
        claim_vectors=_model_is_named(settings),
    )


def provider_for(settings: Settings, record: SpaceRecord, database: Database) -> EmbeddingProvider:
    """The provider of a space that exists, to embed further chunks or a query in it.

    Raises:
        ConfigurationError: the settings no longer lead to that space's model.
    """
    settings = _with_provider(settings, record.space.provider)
    if record.space.provider == "openai":
        settings = _with_api_model_of(settings, record.space)
    elif record.space.revision.startswith("sha256:"):
        if not is_folder(settings.embedding.model_name):
            raise _folder_needed(record)
    else:
        settings = _with_model_of(settings, record.space, keep=set())
    provider = create_provider(settings, database)
    if provider.space != record.space:
        differing = ", ".join(provider.space.differences(record.space))
        raise ConfigurationError(
            f"space {record.space.name} needs model {record.space.model} at {record.space.revision}, but the settings "
            f"lead to {provider.space.name} (differing: {differing}); set "
            + ("EMBEDDING_OPENAI_BASE_URL to that server" if record.space.provider == "openai" else "")
            + ("EMBEDDING_MODEL_NAME to that model" if record.space.provider == "local" else "")
        )
    return provider


def _describe(settings: Settings) -> VectorSpace:
    if settings.embedding.provider == "openai":
        return openai_space(settings.openai)
    return local_space(_locate(settings), settings.embedding)


def _model_is_named(settings: Settings) -> bool:
    if settings.embedding.provider == "openai":
        return "model" in settings.openai.model_fields_set
    return "model_name" in settings.embedding.model_fields_set


def _folder_needed(record: SpaceRecord) -> ConfigurationError:
    return ConfigurationError(
        f"the table was embedded with model {record.space.model} from a folder; set EMBEDDING_MODEL_NAME to that folder"
    )


def _with_provider(settings: Settings, provider: str) -> Settings:
    return settings.model_copy(update={"embedding": settings.embedding.model_copy(update={"provider": provider})})


def _with_api_model_of(settings: Settings, space: VectorSpace) -> Settings:
    values = {"model": space.model, "dimensions": space.dimensions, "max_input_tokens": space.max_tokens}
    return settings.model_copy(update={"openai": settings.openai.model_copy(update=values)})


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
