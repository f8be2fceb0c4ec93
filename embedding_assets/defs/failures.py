"""Errors of this package as Dagster shows failures: our sentence first, and beside it what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from dagster import ConfigurableResource, Failure

from embedding_assets.errors import (
    ClusterError,
    DatabaseUnavailableError,
    EmbeddingAssetsError,
    ProviderUnavailableError,
    RateLimitExceededError,
)
from embedding_assets.logs import redact

_PASSING: Final = (ClusterError, DatabaseUnavailableError, ProviderUnavailableError, RateLimitExceededError)
"""What a retry policy of the project's may try again; for the others somebody has to change something first."""

_AGAIN: Final = "Run it again once that is put right. What was committed stays: it goes on from the table."

_VARIABLE: Final = re.compile(r"EMBEDDING_[A-Z0-9_]+")


@contextmanager
def explained(set_here: Mapping[str, str] | None = None) -> Iterator[None]:
    """Raise this package's errors as ``Failure``, with the error as its cause; any other stays as it is.

    Args:
        set_here: variable → what sets it instead of the environment, e.g. ``model_name of embedding_model``.
    """
    try:
        yield
    except EmbeddingAssetsError as error:
        raise as_failure(error, set_here or {}) from error


def as_failure(error: EmbeddingAssetsError, set_here: Mapping[str, str]) -> Failure:
    """The failure that Dagster's run page shows first; holds neither text nor secrets, as the error does not."""
    sentence = redact(str(error))
    _, _, remedy = sentence.partition("; ")
    metadata = {"error": type(error).__name__, "what_to_do": remedy.strip() or _AGAIN, "afterwards": _AGAIN}
    if not remedy:
        del metadata["afterwards"]
    named = sorted({name for name in _VARIABLE.findall(sentence) if name in set_here})
    if named:
        metadata["set_here"] = ", ".join(f"{name} by {set_here[name]}" for name in named)
        sentence += f" (here set by {', '.join(set_here[name] for name in named)})"
    if notes := getattr(error, "__notes__", []):
        metadata["left"] = redact(" ".join(notes))
    return Failure(sentence, metadata, allow_retries=isinstance(error, _PASSING))


def variables_set_by(resource: object, name: str) -> dict[str, str]:
    """Variable → field and resource, for each variable that a resource sets; the fields' descriptions name them."""
    fields = type(resource).model_fields if isinstance(resource, ConfigurableResource) else {}
    variables = {field: _VARIABLE.search(info.description or "") for field, info in fields.items()}
    return {
        found[0]: f"`{field}` of {name}"
        for field, found in variables.items()
        if found and getattr(resource, field) is not None
    }
