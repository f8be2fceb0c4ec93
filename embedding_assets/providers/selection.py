"""From settings and a table to the provider, its vector space and the column that space owns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from embedding_assets.config import EmbeddingConfig, Settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.encoder.files import ModelFiles, is_folder, locate_model
from embedding_assets.errors import ConfigurationError, ModelUnavailableError
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.providers.local import LocalProvider, local_space
from embedding_assets.providers.openai.provider import OpenAIProvider, openai_space
from embedding_assets.spaces import SpaceColumn

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider
    from embedding_assets.spaces import VectorSpace


_COMMIT = re.compile(r"[0-9a-f]{40}")


def follow_spaces(settings: Settings, columns: list[SpaceColumn]) -> Settings:
    """Settings whose unset provider and unset model are those that the table is already embedded with.

    A table thus keeps its model when the default changes, and the demo's table keeps the demo's.
    """
    chosen = settings.embedding.model_fields_set
    serving = next((column for column in columns if column.serving), None)
    if serving and "provider" not in chosen:
        settings = _with_provider(settings, serving.space.provider)
    own = [column for column in columns if column.space.provider == settings.embedding.provider]
    if settings.embedding.provider == "openai":
        # The same name on another server may be another model.
        server = openai_space(settings.openai).revision
        own = [column for column in own if column.space.revision == server] or own
        named = _model_is_named(settings)
    else:
        named = _model_is_named(settings) or "model_revision" in chosen
    if named or not own:
        return settings
    column = serving if serving in own else own[0]
    if column.space.provider == "openai":
        return _with_api_model_of(settings, column.space, keep=settings.openai.model_fields_set)
    if column.space.revision.startswith("sha256:"):
        raise _folder_needed(column)
    return _with_model_of(settings, column.space, keep=chosen)


def fallback_settings(settings: Settings) -> Settings | None:
    """Settings under which the fallback is the provider; None when there is none."""
    if settings.embedding.fallback is None:
        return None
    changes = {"provider": settings.embedding.fallback, "fallback": None}
    return settings.model_copy(update={"embedding": settings.embedding.model_copy(update=changes)})


def configured_model(settings: Settings, database: Database) -> tuple[Settings, ModelFiles]:
    """The settings after following the table, and the files of their local model, fetched if need be.

    Where an API computes the vectors, a local model still counts the tokens of documents: that of the table's local
    space, so that a document is split as before, or the demo model where there is no such space and no other model.

    Raises:
        ModelUnavailableError: the model's files cannot be had.
    """
    columns = list_spaces(database)
    resolved = follow_spaces(settings, columns)
    if resolved.embedding.provider == "local":
        return resolved, _locate(resolved)
    resolved = follow_spaces(_with_provider(settings, "local"), columns)
    try:
        return resolved, _locate(resolved)
    except ModelUnavailableError as unavailable:
        if "model_name" in resolved.embedding.model_fields_set:
            raise
        resolved = resolved.with_embedding(model_name=DEMO_MODEL)
        try:
            return resolved, _locate(resolved)
        except ModelUnavailableError:
            raise unavailable from None


def create_provider(settings: Settings, database: Database | None = None) -> EmbeddingProvider:
    """The provider these settings describe.

    Args:
        settings: which provider, which model.
        database: keeps what an API has cost and may still be asked; a local model needs none.

    Raises:
        ConfigurationError: the provider needs a database, or its settings do not fit its model.
        ModelUnavailableError: the model's files cannot be had.
    """
    if settings.embedding.provider == "openai":
        if database is None:
            raise ConfigurationError("an API is asked only where a database keeps count of what it costs")
        return OpenAIProvider(settings.openai, settings.budget, database)
    return LocalProvider(_locate(settings), settings.embedding)


def find_space(settings: Settings, database: Database) -> SpaceColumn | None:
    """The space that ``open_space`` would lead to, if the table has it; registers, fetches and loads nothing.

    Where ``open_space`` would refuse the settings, the space may be another revision of the model they name.

    Raises:
        ConfigurationError: the table's model came from a folder, which the settings do not name.
    """
    columns = list_spaces(database)
    settings = follow_spaces(settings, columns)
    if settings.embedding.provider == "openai":
        candidates = [column for column in columns if column.space == openai_space(settings.openai)]
    else:
        candidates = [column for column in columns if _may_be(settings.embedding, column.space)]
        limit = settings.embedding.max_seq_length
        candidates = [column for column in candidates if column.space.max_tokens == limit] or candidates
    if len(candidates) > 1 or (candidates and settings.embedding.new_space):
        # Only now: reading a model's files may mean to hash, or to fetch them.
        space = _describe(settings)
        candidates = [column for column in candidates if column.space == space]
    return candidates[0] if candidates else None


def open_space(settings: Settings, database: Database) -> SpaceColumn:
    """The space to embed into, registered if it is new; loads no model.

    A further space needs ``EMBEDDING_NEW_SPACE``, unless it is the first of another provider: who names one means it.

    Raises:
        SpaceMismatchError: the settings describe another space than the table's.
        ModelUnavailableError: the model's files cannot be had.
    """
    return register_space(
        database,
        _describe(follow_spaces(settings, list_spaces(database))),
        new_space=settings.embedding.new_space,
        new_provider=True,
        claim_vectors=_model_is_named(settings),
    )


def settings_for(settings: Settings, column: SpaceColumn) -> Settings:
    """Settings under which a space that exists is the one to embed into, whatever provider and model they name.

    Raises:
        ConfigurationError: its model came from a folder, which the settings do not name.
    """
    settings = _with_provider(settings, column.space.provider)
    if column.space.provider == "openai":
        return _with_api_model_of(settings, column.space, keep=set())
    if not column.space.revision.startswith("sha256:"):
        return _with_model_of(settings, column.space, keep=set())
    if not is_folder(settings.embedding.model_name):
        raise _folder_needed(column)
    return settings


def provider_for(settings: Settings, column: SpaceColumn, database: Database) -> EmbeddingProvider:
    """The provider of a space that exists, to embed further chunks or a query in it.

    Raises:
        ConfigurationError: the settings no longer lead to that space's model.
    """
    provider = create_provider(settings_for(settings, column), database)
    if provider.space != column.space:
        differing = ", ".join(provider.space.differences(column.space))
        of_api = column.space.provider == "openai"
        raise ConfigurationError(
            f"space {column.space.name} needs model {column.space.model} at {column.space.revision}, but the settings "
            f"lead to {provider.space.name} (differing: {differing}); set "
            + ("EMBEDDING_OPENAI_BASE_URL to that server" if of_api else "EMBEDDING_MODEL_NAME to that model")
        )
    return provider


def _describe(settings: Settings) -> VectorSpace:
    if settings.embedding.provider == "openai":
        return openai_space(settings.openai)
    return local_space(_locate(settings), settings.embedding)


def _may_be(config: EmbeddingConfig, space: VectorSpace) -> bool:
    """Whether a space is that of the configured local model, as far as can be told without the model's files."""
    name, revision = config.model_name, config.pinned_revision
    if name != DEMO_MODEL and is_folder(name):
        same_model = space.model == Path(name).expanduser().resolve().name and space.revision.startswith("sha256:")
    else:
        # What is no commit is a branch or a tag, and only the model's files tell where it leads.
        named_commit = revision is not None and _COMMIT.fullmatch(revision)
        same_model = space.model == name and (not named_commit or space.revision == revision)
    sizes_fit = space.dimensions == config.dimensions and space.max_tokens <= config.max_seq_length
    return space.provider == "local" and same_model and sizes_fit


def _model_is_named(settings: Settings) -> bool:
    if settings.embedding.provider == "openai":
        return "model" in settings.openai.model_fields_set
    return "model_name" in settings.embedding.model_fields_set


def _folder_needed(column: SpaceColumn) -> ConfigurationError:
    return ConfigurationError(
        f"the table was embedded with model {column.space.model} from a folder; set EMBEDDING_MODEL_NAME to that folder"
    )


def _with_provider(settings: Settings, provider: str) -> Settings:
    return settings.model_copy(update={"embedding": settings.embedding.model_copy(update={"provider": provider})})


def _with_api_model_of(settings: Settings, space: VectorSpace, *, keep: set[str]) -> Settings:
    values = {"model": space.model, "dimensions": space.dimensions, "max_input_tokens": space.max_tokens}
    changes = {name: value for name, value in values.items() if name not in keep}
    return settings.model_copy(update={"openai": settings.openai.model_copy(update=changes)})


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


def stand_in_settings(settings: Settings, primary: VectorSpace) -> Settings | None:
    """Settings under which the fallback is the provider; None when there is no fallback.

    Asked only once the provider is down: until then a fallback to itself does no harm, and who switches to what is
    otherwise the fallback need not unset that.

    Raises:
        ConfigurationError: the fallback is the provider of ``primary`` itself.
    """
    if settings.embedding.fallback == primary.provider:
        raise ConfigurationError(
            f"{primary.provider} is down, and EMBEDDING_FALLBACK is {primary.provider} too, which cannot stand in for "
            "itself; set EMBEDDING_FALLBACK to another provider, or unset it"
        )
    return fallback_settings(settings)


def configured_space(settings: Settings, database: Database) -> str | None:
    """Name of the space that the settings lead to, if there is one already."""
    try:
        column = find_space(settings, database)
    except (ConfigurationError, ModelUnavailableError):
        return None  # whoever wants to embed is told why
    return column.space.name if column else None
