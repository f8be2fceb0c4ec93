"""What a vectorizer of pgai says, as settings of this package, and the commands that go on from it."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.loading import configured_splitter
from embedding_assets.documents.syncing import add_source, manner_of
from embedding_assets.errors import ConfigurationError
from embedding_assets.importing.documents import import_documents
from embedding_assets.postgres.chunks import check_is_own
from embedding_assets.postgres.foreign.pgai import (
    choose_vectorizer,
    count_skipped,
    list_vectorizers,
    read_store,
    source_definition,
)
from embedding_assets.postgres.foreign.snapshot import snapshot
from embedding_assets.postgres.source_records import find_source

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.importing.options import ImportOptions
    from embedding_assets.importing.report import ImportReport
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.foreign.pgai import Vectorizer
    from embedding_assets.postgres.sources import SourceDefinition

_ADDRESSES: Final = {
    "ollama": "EMBEDDING_OPENAI_BASE_URL to Ollama's address with /v1 behind it, e.g. http://localhost:11434/v1",
    "voyageai": "EMBEDDING_OPENAI_BASE_URL=https://api.voyageai.com/v1, "
    'EMBEDDING_OPENAI_EXTRA_BODY_DOCUMENT={"input_type": "document"}',
    "litellm": "EMBEDDING_OPENAI_BASE_URL to a server that has the model",
}


def import_vectorizer(
    settings: Settings, database: Database, wanted: str | None, options: ImportOptions
) -> ImportReport:
    """Take over the chunks and vectors of a vectorizer, as documents of its source, which a later sync keeps in step.

    Rows that were edited since they were embedded are left to that sync.

    Args:
        settings: which model, where the vectorizer does not say.
        database: both tables'.
        wanted: id, name or source of the vectorizer; None: the only one.
        options: of any import.

    Raises:
        ConfigurationError: there is no such vectorizer, or it cannot be imported.
        ImportRefusedError: the vectors are not those of the model.
    """
    check_is_own(database)
    with database.session() as connection:
        vectorizer = choose_vectorizer(list_vectorizers(connection), wanted)
        check_importable(vectorizer)
        definition = source_definition(vectorizer)
        known = find_source(connection, vectorizer.source)
    if known is not None and definition is not None and known.definition != definition:
        raise ConfigurationError(
            f"{vectorizer.source} is synced with other columns than vectorizer {vectorizer} has; "
            f"`embedding-assets sync --forget {shlex.quote(vectorizer.source)}` forgets that"
        )
    settings = settings_of(settings, vectorizer)
    manner = "" if definition is None else manner_of(configured_splitter(settings, database), definition)
    with snapshot(database) as connection:
        skipped = count_skipped(connection, vectorizer, manner)
    report = import_documents(
        settings,
        database,
        partial(read_store, vectorizer=vectorizer, manner=manner),
        f"vectorizer {vectorizer} of pgai",
        options,
        # Before its documents: their names are then taken by it.
        before=lambda: _register(database, definition, is_known=known is not None),
    )
    for count, what in (
        (skipped.edited, "source rows were edited since pgai embedded them; the sync brings them"),
        (skipped.changed, "source rows were edited since they were imported; the sync brings them"),
        (skipped.gone, "chunks are of source rows that are gone; they were left out"),
    ):
        if count:
            report.remarks.append(f"{count:,} {what}.")
    if definition is None:
        report.remarks.append("Its texts are in files, which no sync reads: load them with `embedding-assets load`.")
    else:
        report.next_steps.insert(0, sync_command(vectorizer))
    return report


def _register(database: Database, definition: SourceDefinition | None, *, is_known: bool) -> None:
    if definition is not None and not is_known:
        add_source(database, definition)


def settings_of(settings: Settings, vectorizer: Vectorizer) -> Settings:
    """Settings that lead to the model of a vectorizer; a provider that is set already is left as it is.

    Raises:
        ConfigurationError: another model is set, or what to set cannot be known.
    """
    said = vectorizer.embedding
    kind, model, dimensions = said.get("implementation"), said.get("model"), said.get("dimensions")
    chosen = settings.embedding.model_fields_set
    if kind != "openai":
        if "provider" in chosen:
            return settings
        where = _ADDRESSES.get(str(kind), "EMBEDDING_OPENAI_BASE_URL to a server that has the model")
        raise ConfigurationError(
            f"vectorizer {vectorizer} embeds with {model} by {kind}; set EMBEDDING_PROVIDER=openai, "
            f"EMBEDDING_OPENAI_MODEL={model}, EMBEDDING_OPENAI_DIMENSIONS={dimensions} and {where}; or "
            "EMBEDDING_PROVIDER=local and EMBEDDING_MODEL_NAME to the same model's files"
        )
    if "provider" in chosen and settings.embedding.provider != "openai":
        # What is set is meant: the sample shows whether it is the same model.
        return settings
    ours = settings.openai
    for name, theirs in (("model", model), ("dimensions", dimensions)):
        if name in ours.model_fields_set and getattr(ours, name) != theirs:
            raise ConfigurationError(
                f"EMBEDDING_OPENAI_{name.upper()} is {getattr(ours, name)}, and vectorizer {vectorizer} embeds with "
                f"{theirs}; unset it"
            )
    changes: dict[str, object] = {"model": model, "dimensions": dimensions}
    if said.get("base_url") and "base_url" not in ours.model_fields_set:
        changes["base_url"] = said["base_url"]
    return settings.with_embedding(provider="openai").with_group("openai", **changes)


def check_importable(vectorizer: Vectorizer) -> None:
    """Refuse a vectorizer that has no chunks of its own.

    Raises:
        ConfigurationError: its vectors are in a column of its source.
    """
    if vectorizer.store is None:
        raise ConfigurationError(
            f"vectorizer {vectorizer} keeps its vectors in column {vectorizer.column} of {vectorizer.source}; run "
            f"`embedding-assets adopt {vectorizer.source} --text {vectorizer.text} --column {vectorizer.column} "
            f"--yes`, then `embedding-assets import column {vectorizer.source}.{vectorizer.column}`"
        )


def sync_command(vectorizer: Vectorizer) -> str:
    """The command that keeps its source in step."""
    parts = ["--key", ",".join(vectorizer.key), "--text", vectorizer.text]
    return " ".join(map(shlex.quote, ["embedding-assets", "sync", vectorizer.source, *parts]))
