"""Versions of what the assets compute, by which Dagster notices that they were materialized otherwise."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from embedding_assets.defs.table_spec import DOCUMENTS, EMBEDDINGS, HEALTH, QUALITY, ROWS
from embedding_assets.postgres.schema import HEAD

if TYPE_CHECKING:
    from embedding_assets.defs.table_spec import TableSpec

# Group of settings → those on which the outcome depends.
_SPACE: Final = {
    "embedding": (
        "provider", "model_name", "model_revision", "dimensions", "document_prompt", "similarity", "max_seq_length",
    ),
    "openai": ("model", "dimensions"),
}  # fmt: skip
_SPLITTING: Final = ("model_name", "chunk_tokens", "chunk_overlap", "chunk_header")
_DEPENDS_ON: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    ROWS: {"embedding": _SPLITTING},
    DOCUMENTS: {
        "embedding": _SPLITTING,
        "loading": ("text_column", "text_template", "encoding", "include", "exclude", "no_ignore", "accept_rejected"),
    },
    EMBEDDINGS: _SPACE,
    QUALITY: {
        **_SPACE,
        "index": ("ef_search",),
        "search": ("mode", "language"),
        "rerank": ("model", "revision", "url", "candidates"),
        "evaluation": ("queries", "questions"),
    },
    HEALTH: {**_SPACE, "index": ("type", "m", "ef_construction")},
}


def code_version(spec: TableSpec, name: str) -> str:
    """The version of the schema, and a digest of the settings that the asset's outcome depends on, if there are any."""
    settings = spec.settings_when_loaded()
    values = [
        [group, field, str(getattr(getattr(settings, group), field))]
        for group, fields in _DEPENDS_ON.get(ROWS if name in spec.synced else name, {}).items()
        for field in fields
    ]
    if name in spec.synced:
        values.append([ROWS, "", repr(spec.synced[name])])
    if not values:
        return HEAD
    return f"{HEAD}-{hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]}"
