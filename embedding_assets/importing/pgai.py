"""What a vectorizer of pgai says, as settings of this package, and the commands that go on from it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from embedding_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.postgres.foreign.pgai import Vectorizer

_ADDRESSES: Final = {
    "ollama": "EMBEDDING_OPENAI_BASE_URL to Ollama's address with /v1 behind it, e.g. http://localhost:11434/v1",
    "voyageai": "EMBEDDING_OPENAI_BASE_URL=https://api.voyageai.com/v1, "
    'EMBEDDING_OPENAI_EXTRA_BODY_DOCUMENT={"input_type": "document"}',
    "litellm": "EMBEDDING_OPENAI_BASE_URL to a server that has the model",
}


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
            f"`embedding-assets adopt {vectorizer.source} --text {vectorizer.text} --column {vectorizer.column} --yes`, "
            f"then `embedding-assets import column {vectorizer.source}.{vectorizer.column}`"
        )


def sync_command(vectorizer: Vectorizer) -> str | None:
    """The command that keeps its source in step; None where its texts are in files."""
    if not vectorizer.text:
        return None
    key = ",".join(vectorizer.key)
    parts = ["embedding-assets", "sync", vectorizer.source, "--key", key, "--text", vectorizer.text]
    return " ".join(map(shlex.quote, parts))
