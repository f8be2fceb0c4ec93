"""Audit of vectors: a sample of each column is computed again by its own model and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from embedding_assets.errors import ConfigurationError, ModelUnavailableError, ProviderError
from embedding_assets.postgres.samples import StoredVector, read_vectors, sample_vectors
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.providers.base import embed_checked
from embedding_assets.providers.local import LocalProvider
from embedding_assets.providers.space_selection import Selection, select_space
from embedding_assets.spaces import Similarity, SpaceColumn, VectorSpace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider

MINIMUM_COSINE: Final = 0.99
"""To the vector made of the same text again. Number formats and an API's own variation stay above 0.995, vectors of
two models are nearly orthogonal."""

_MINIMUM_COSINE_OF_INT8: Final = 0.97
"""The same for vectors computed in int8 to those computed without."""

_LOCAL_ROWS: Final = 64
"""Finds a column of which a tenth is wrong with a probability of 99.9%, or 99.5% where the wrong ones share pages, as
after one UPDATE; a hundredth with 47%: 1 - 0.99^64."""

_API_ROWS: Final = 44
"""Calls of an API cost: here 7,000 tokens or so, $0.00014 at $0.02 a million. Finds a wrong tenth with 97 to 99%."""

_CONFIRMING_ROWS: Final = 8

_PATIENCE_SECONDS: Final = 20.0
"""Longest time that a check waits for an API that is down, or has no room within its limits."""


@dataclass(frozen=True, slots=True)
class SpaceSample:
    """The result of computing some stored vectors of a space again.

    Attributes:
        column: the space and its column.
        compared: vectors that were compared.
        mismatched: hashes of the chunks whose vector is not what the model makes of their text, ascending.
        lowest_cosine: of all that were compared; None if none was.
        unchecked: why none was compared; None if some were.
    """

    column: SpaceColumn
    compared: int = 0
    mismatched: tuple[str, ...] = ()
    lowest_cosine: float | None = None
    unchecked: str | None = None


def minimum_cosine(space: VectorSpace) -> float:
    """Below it a stored vector is not what the space's model makes of its text."""
    return _MINIMUM_COSINE_OF_INT8 if space.is_int8 else MINIMUM_COSINE


def open_judge(selection: Selection) -> EmbeddingProvider:
    """What vectors of a space are compared with: its provider, and for a space of int8 the one that does without.

    Raises:
        ConfigurationError: the settings do not lead to that space's model.
        ModelUnavailableError: the model's files cannot be had.
    """
    provider = selection.open_provider()
    return provider.unrounded if isinstance(provider, LocalProvider) else provider


def audit_spaces(database: Database, settings: Settings, written: Mapping[str, int] | None = None) -> list[SpaceSample]:
    """A sample of every space that has vectors, oldest space first.

    A space whose model, key or server cannot be had now, or whose calls would exceed a limit, is reported as unchecked.

    Args:
        database: where.
        settings: which models.
        written: space → vectors written by the run that asks: then only these spaces are looked at, those of an API
            not at all, and of the others no more vectors than that. Default: all.
    """
    columns = [column for column in list_spaces(database) if written is None or written.get(column.space.name)]
    # Asked first: a space that is registered and still empty must not need its model.
    filled = [column for column in columns if sample_vectors(database, column, 1)]
    return [
        _audit_if_possible(database, column, settings, None if written is None else written[column.space.name])
        for column in filled
    ]


def audit_space(database: Database, column: SpaceColumn, provider: EmbeddingProvider, rows: int = 64) -> SpaceSample:
    """Compute ``rows`` stored vectors of a space again and compare.

    Text and vector are read together, so an edit that comes afterwards makes no difference; but what no longer is as
    it was read is not reported as a mismatch, since it may have been set right.

    Raises:
        ProviderError: nothing can be embedded now.
    """
    # A table that was adopted may hold blank texts, which no provider is asked to embed.
    stored = [row for row in sample_vectors(database, column, rows) if row.text.strip()]
    if not stored:
        return SpaceSample(column, unchecked="there is no vector of a text")
    provider.load()
    cosines: dict[str, float] = {}
    refused = ""
    for batch in embed_checked(provider, [row.text for row in stored]):
        for index, vector in zip(batch.indices, batch.vectors, strict=True):
            cosines[stored[index].chunk_hash] = likeness(stored[index].vector, vector, column.similarity)
        refused = next(iter(batch.errors.values()), refused)
    if not cosines:
        return SpaceSample(column, unchecked=f"none of {len(stored)} texts could be embedded again: {refused}")
    suspects = [row for row in stored if cosines.get(row.chunk_hash, 1.0) < minimum_cosine(column.space)]
    return SpaceSample(
        column,
        compared=len(cosines),
        mismatched=tuple(sorted(_still_stored(database, column, suspects))) if suspects else (),
        lowest_cosine=min(cosines.values()),
    )


def confirm_model(database: Database, column: SpaceColumn, provider: EmbeddingProvider) -> int:
    """Compute a few vectors of a space by a provider that is said to have the same model; returns how many.

    Raises:
        ConfigurationError: they differ, or none could be computed.
        ProviderError: nothing can be embedded now.
    """
    if not sample_vectors(database, column, 1):
        return 0
    sample = audit_space(database, column, provider, _CONFIRMING_ROWS)
    name = provider.space.name
    if sample.mismatched:
        raise ConfigurationError(
            f"{len(sample.mismatched)} of {sample.compared} vectors of space {column.space.name} are not what {name} "
            f"makes of their texts (cosine down to {sample.lowest_cosine or 0:.2f}): it is another model"
        )
    if sample.unchecked:
        raise ConfigurationError(f"whether {name} has the same model is not known: {sample.unchecked}")
    return sample.compared


def _audit_if_possible(database: Database, column: SpaceColumn, settings: Settings, written: int | None) -> SpaceSample:
    local = column.space.provider == "local"
    if written is not None and not local:
        return SpaceSample(column, unchecked="an API is asked by the nightly run and by `embedding-assets health` only")
    rows = _LOCAL_ROWS if local else _API_ROWS
    if written is not None:
        rows = min(rows, written)
    try:
        provider = open_judge(select_space(settings.with_patience(_PATIENCE_SECONDS), column, database))
        return audit_space(database, column, provider, rows)
    except (ConfigurationError, ModelUnavailableError, ProviderError) as error:
        return SpaceSample(column, unchecked=str(error))


def likeness(left: NDArray[np.float32], right: NDArray[np.float32], similarity: Similarity) -> float:
    """The cosine, in float64; where searches depend on lengths, times the shorter length as a share of the longer.

    0 where it is not defined: an adopted column may hold zeros, or vectors of any length.
    """
    if left.shape != right.shape:
        return 0.0
    a, b = left.astype(np.float64), right.astype(np.float64)
    shorter, longer = sorted((float(np.linalg.norm(a)), float(np.linalg.norm(b))))
    if not shorter:
        return 0.0
    return float(a @ b) / (longer * (shorter if similarity == "cosine" else longer))


def _still_stored(database: Database, column: SpaceColumn, rows: list[StoredVector]) -> list[str]:
    now = {row.chunk_hash: row for row in read_vectors(database, column, [row.key for row in rows])}
    return [
        row.chunk_hash
        for row in rows
        if row.chunk_hash in now
        and now[row.chunk_hash].text == row.text
        and np.array_equal(now[row.chunk_hash].vector, row.vector)
    ]
