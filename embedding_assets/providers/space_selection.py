"""From settings and a table to what is embedded into and with which provider: for a run and for a search."""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.encoder.files import ModelFiles, is_folder, locate_model
from embedding_assets.encoder.folder_name import folder_name
from embedding_assets.errors import (
    ConfigurationError,
    ModelUnavailableError,
    ProviderUnavailableError,
    RateLimitExceededError,
)
from embedding_assets.postgres.spaces import adjust_space, list_spaces, register_space, serving_space
from embedding_assets.providers.base import confirm_embedding
from embedding_assets.providers.local import LocalProvider, local_space
from embedding_assets.providers.openai.provider import OpenAIProvider, openai_space

if TYPE_CHECKING:
    from embedding_assets.config import EmbeddingConfig, Settings
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider
    from embedding_assets.spaces import Similarity, SpaceColumn, VectorSpace

logger = logging.getLogger(__name__)

_PROVIDERS: Final = ("local", "openai")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Selection:
    """A space of a table, and all it takes to embed in it.

    Attributes:
        settings: under which the space's provider and model are the configured ones.
        column: the space and its column.
        database: the table's.
        provider: the caller's own, or one that is open already; None: the configured one.
    """

    settings: Settings
    column: SpaceColumn
    database: Database = field(repr=False)
    provider: EmbeddingProvider | None = None

    def with_batch_size(self, texts: int) -> Selection:
        """The same with other most texts in a forward pass of a local model."""
        provider = self.provider
        if isinstance(provider, LocalProvider):
            provider = provider.with_batch_size(texts)
        return replace(self, settings=_with(self.settings, "embedding", batch_size=texts), provider=provider)

    def open_provider(self) -> EmbeddingProvider:
        """The provider of the space; loads no model yet.

        Raises:
            ConfigurationError: the settings no longer lead to that space's model.
            ModelUnavailableError: the model's files cannot be had.
        """
        if self.provider is not None:
            return self.provider
        space, provider = self.column.space, create_provider(self.settings, self.database)
        if provider.space != space:
            differing = ", ".join(provider.space.differences(space))
            to_server = "OPENAI_BASE_URL to that server, or EMBEDDING_OPENAI_SERVER if that is its name"
            remedy = to_server if space.provider == "openai" else "MODEL_NAME to that model"
            raise ConfigurationError(
                f"space {space.name} needs model {space.model} at {space.revision}, but the settings lead to "
                f"{provider.space.name} (differing: {differing}); set EMBEDDING_{remedy}"
            )
        return provider


def select_for_run(
    settings: Settings, database: Database, provider: EmbeddingProvider | None = None, *, look_only: bool = False
) -> Selection:
    """The space that a run embeds into, registered if it is new; with a ``provider`` of the caller's own, that one's.

    A further space needs ``EMBEDDING_NEW_SPACE``, unless it is the first of another provider that the settings name:
    naming one is meant. The model embeds one short text before its space is registered, so that one that cannot be
    used, a wrong key or a typing error leaves nothing behind; if an API is down, that is left to the run where there is
    a fallback.

    Args:
        settings: which provider and model.
        database: the table's.
        provider: the caller's own; None: the configured one.
        look_only: change nothing in the database, load no model and ask no API; of that only the key is checked. A
            space that would be registered has a column without a name.

    Raises:
        SpaceMismatchError: the settings describe another space than the table's.
        ModelUnavailableError: the model's files cannot be had.
        ProviderError: the model or API of a new space does not embed.
    """
    embedding = settings.embedding
    if provider is not None:
        column = register_space(database, provider.space, new_space=embedding.new_space, index_type=settings.index.type)
        column = adjust_space(database, column, query_prompt=None, similarity=embedding.similarity)
        return Selection(settings, column, database, provider)
    columns = list_spaces(database)
    followed = follow_table(settings, columns)
    if foreign_provider(followed):
        # Its index is maintained and judged like any other; who wants vectors is refused by open_provider.
        return Selection(followed, _serving(columns), database)
    space, similarity = describe_space(followed)
    space = _as_registered(followed, space, columns)
    contacted: list[EmbeddingProvider] = []
    column = register_space(
        database,
        space,
        new_space=embedding.new_space,
        new_provider=True,
        claim_vectors=_names_model(settings),
        similarity=similarity,
        index_type=settings.index.type,
        before=lambda: contacted.append(_make_contact(followed, database, look_only=look_only)),
        look_only=look_only,
    )
    if look_only:
        return Selection(followed, column, database)
    column = adjust_space(database, column, query_prompt=embedding.query_prompt, similarity=embedding.similarity)
    if column.similarity == "cosine" != similarity and embedding.similarity is None and not space.normalized:
        logger.warning(
            "searches in space %s rank by cosine, but its model was trained for %s; set EMBEDDING_SIMILARITY=%s to "
            "rank by that, or to cosine to keep it",
            column.space.name,
            similarity,
            similarity,
        )
    # Loaded once: what made contact goes on.
    return select_space(followed, column, database, contacted[0] if contacted else None)


def _make_contact(settings: Settings, database: Database, *, look_only: bool) -> EmbeddingProvider:
    """Embed a text, so that a model that cannot be used, or a wrong key, leaves nothing behind."""
    provider = create_provider(settings, database)
    if look_only:
        if isinstance(provider, OpenAIProvider):
            provider.load()
        return provider
    try:
        confirm_embedding(provider)
    except (ProviderUnavailableError, RateLimitExceededError):
        if settings.embedding.fallback is None:
            raise
    return provider


def find_for_run(settings: Settings, database: Database) -> tuple[Settings, SpaceColumn | None]:
    """The settings and the space that ``select_for_run`` leads to; registers, fetches and loads nothing.

    Where that would refuse the settings, the space may be another revision of the model they name. None: the table
    does not have it yet.

    Raises:
        ConfigurationError: the table's model came from a folder, which the settings do not name.
    """
    columns = list_spaces(database)
    followed = follow_table(settings, columns)
    if foreign_provider(followed):
        return followed, _serving(columns)
    if followed.embedding.provider == "openai":
        space = _as_registered(followed, api_space(followed), columns)
        candidates = [column for column in columns if column.space == space]
    else:
        candidates = [column for column in columns if _may_be(followed.embedding, column.space)]
        limit = followed.embedding.max_seq_length
        candidates = [column for column in candidates if column.space.max_tokens == limit] or candidates
    if len(candidates) > 1 or (candidates and followed.embedding.new_space):
        # Only now: reading a model's files may mean to hash, or to fetch them.
        space, _ = describe_space(followed)
        candidates = [column for column in candidates if column.space == space]
    if not candidates:
        return followed, None
    return _settings_of(followed, candidates[0]), candidates[0]


def select_space(
    settings: Settings, column: SpaceColumn, database: Database, provider: EmbeddingProvider | None = None
) -> Selection:
    """A space that exists, to embed a question or further chunks in, whatever provider and model the settings name.

    A ``provider`` of the caller's own is taken where the space is its.

    Raises:
        ConfigurationError: its model came from a folder, which the settings do not name.
    """
    if provider is not None and provider.space == column.space:
        return Selection(settings, column, database, provider)
    return Selection(_settings_of(settings, column), column, database)


def select_for_search(settings: Settings, database: Database, provider: EmbeddingProvider | None = None) -> Selection:
    """The space that searches are asked in, whose provider may be the caller's own.

    Raises:
        ConfigurationError: nothing was embedded yet, or its model came from a folder, which the settings do not name.
    """
    serving = serving_space(database)
    if serving is None:
        first = "`embedding-assets load PATH`, then " if database.table.is_own else ""
        raise ConfigurationError(f"nothing is embedded yet; run {first}`embedding-assets embed`")
    if provider is not None and provider.space != serving.space:
        raise ConfigurationError(
            f"searches are answered from space {serving.space.name}, but the provider passed makes vectors of "
            f"{provider.space.name}; pass that of the first, or `embedding-assets spaces use` the other"
        )
    return select_space(settings, serving, database, provider)


def configured_space(settings: Settings, database: Database) -> str | None:
    """Name of the space that the settings lead to; None when there is none yet, or they lead nowhere."""
    try:
        _, column = find_for_run(settings, database)
    except (ConfigurationError, ModelUnavailableError):
        return None  # a run says why
    return column.space.name if column else None


def create_provider(settings: Settings, database: Database | None = None) -> EmbeddingProvider:
    """The provider these settings describe.

    Args:
        settings: which provider, which model.
        database: keeps what an API has cost and may still be asked; a local model needs none.

    Raises:
        ConfigurationError: the provider is not one of this package, needs a database, or its settings do not fit its
            model.
        ModelUnavailableError: the model's files cannot be had.
    """
    if settings.embedding.provider == "openai":
        if database is None:
            raise ConfigurationError("an API is asked only where a database keeps count of what it costs")
        prompts = settings.embedding
        return OpenAIProvider(
            settings.openai,
            settings.budget,
            database,
            document_prompt=prompts.document_prompt or "",
            query_prompt=prompts.query_prompt or "",
        )
    if (foreign := foreign_provider(settings)) is not None:
        raise ConfigurationError(foreign)
    return LocalProvider(configured_files(settings), settings.embedding)


def follow_table(settings: Settings, columns: list[SpaceColumn]) -> Settings:
    """Settings whose unset provider and unset model are those that the table is already embedded with.

    A table thus keeps its model when the default changes, and the demo's table keeps the demo's.

    Raises:
        ConfigurationError: that model came from a folder, which the settings do not name.
    """
    chosen = settings.embedding.model_fields_set
    serving = next((column for column in columns if column.serving), None)
    if serving and "provider" not in chosen:
        settings = _with(settings, "embedding", provider=serving.space.provider)
    provider = settings.embedding.provider
    own = [column for column in columns if column.space.provider == provider]
    if provider == "openai":
        # The same name on another server may be another model.
        server = openai_space(settings.openai).revision
        own = [column for column in own if column.space.revision == server] or own
    named = _names_model(settings) or (provider == "local" and "model_revision" in chosen)
    if named or not own:
        return settings
    column = serving if serving is not None and serving in own else own[0]
    keep = chosen if provider == "local" else settings.openai.model_fields_set
    return _settings_of(settings, column, keep=keep, keep_prompt="document_prompt" in chosen)


def api_space(settings: Settings) -> VectorSpace:
    """The vector space of the configured API; sends no request."""
    return openai_space(settings.openai, prompt=settings.embedding.document_prompt or "")


def _settings_of(
    settings: Settings, column: SpaceColumn, *, keep: Container[str] = (), keep_prompt: bool = False
) -> Settings:
    """Settings under which a space's model is the configured one, but for the fields to ``keep``."""
    space = column.space
    values: dict[str, object]
    if space.provider == "local" and "precision" not in keep and space.is_int8 != settings.embedding.is_int8:
        settings = _with(settings, "embedding", precision="int8" if space.is_int8 else "auto")
    if space.provider not in _PROVIDERS:
        # What a provider of the caller's own is made of, no setting says.
        return _with(settings, "embedding", provider=space.provider)
    if not keep_prompt:
        settings = _with(settings, "embedding", document_prompt=space.prompt)
    if not column.serving or settings.embedding.query_prompt is None:
        # What is set is meant for the space that searches are asked in, not for a fallback's.
        settings = _with(settings, "embedding", query_prompt=column.query_prompt)
    if space.provider == "openai":
        settings = _with(settings, "embedding", provider="openai")
        group = "openai"
        values = {"model": space.model, "dimensions": space.dimensions, "max_input_tokens": space.max_tokens}
    elif not space.revision.startswith("sha256:"):
        group = "embedding"
        values = {
            "provider": space.provider,
            "model_name": space.model,
            "model_revision": None if space.model == DEMO_MODEL else space.weights,
            "dimensions": space.dimensions,
            "max_seq_length": space.max_tokens,
        }
    elif is_folder(settings.embedding.model_name):
        # Whether it is that model shows when its files are read.
        return _with(settings, "embedding", provider=space.provider)
    else:
        raise ConfigurationError(
            f"the table was embedded with model {space.model} from a folder; set EMBEDDING_MODEL_NAME to that folder"
        )
    return _with(settings, group, **{name: value for name, value in values.items() if name not in keep})


def _with(settings: Settings, group: str, **changes: object) -> Settings:
    """A copy with values of a space, which need no validation; they count as explicitly set."""
    return settings.model_copy(update={group: getattr(settings, group).model_copy(update=changes)})


def _names_model(settings: Settings) -> bool:
    if settings.embedding.provider == "openai":
        return "model" in settings.openai.model_fields_set
    return "model_name" in settings.embedding.model_fields_set


def _as_registered(settings: Settings, space: VectorSpace, columns: Sequence[SpaceColumn]) -> VectorSpace:
    """The table's space that differs from this one in a limit alone by which no text is cut; else this one."""
    if space.provider != "openai" or settings.openai.too_long == "truncate":
        return space
    alike = [column.space for column in columns if column.space.differences(space) in ([], ["max_tokens"])]
    return space if space in alike or not alike else alike[0]


def describe_space(settings: Settings) -> tuple[VectorSpace, Similarity]:
    """The configured space, and what its model was trained to be compared by."""
    if settings.embedding.provider == "openai":
        return api_space(settings), "cosine"
    files = configured_files(settings)
    return local_space(files, settings.embedding), files.similarity


def foreign_provider(settings: Settings) -> str | None:
    """Why no command or asset can embed where the table's provider is a caller's own; None where it is not."""
    provider: str = settings.embedding.provider  # the table's, where none is configured
    if provider in _PROVIDERS:
        return None
    return (
        f"{provider} is no provider of this package; pass yours to the call, e.g. embed_pending(provider=...) or "
        "search(..., provider=...)"
    )


def _serving(columns: Sequence[SpaceColumn]) -> SpaceColumn:
    return next(column for column in columns if column.serving)


def _may_be(config: EmbeddingConfig, space: VectorSpace) -> bool:
    """True if a space is that of the configured local model, as far as can be seen without the model's files."""
    name, revision = config.model_name, config.pinned_revision
    if name != DEMO_MODEL and is_folder(name):
        same_model = space.model == folder_name(name) and space.revision.startswith("sha256:")
    else:
        # What is no commit is a branch or a tag, and only the model's files show where it leads.
        named_commit = revision is not None and _COMMIT.fullmatch(revision)
        same_model = space.model == name and (not named_commit or space.weights == revision)
    same_model &= space.is_int8 == config.is_int8
    sizes_fit = space.dimensions == config.dimensions and space.max_tokens <= config.max_seq_length
    return space.provider == "local" and same_model and sizes_fit


def configured_files(settings: Settings) -> ModelFiles:
    """The files of the configured model, fetched if need be.

    Raises:
        ModelUnavailableError: they cannot be had.
    """
    config = settings.embedding
    return locate_model(
        config.model_name,
        config.pinned_revision,
        data_dir=settings.data_dir,
        timeout_seconds=config.hub_timeout_seconds,
    )
