"""The protocol between the pipeline and whoever computes vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedding_assets.spaces import VectorSpace

__all__ = ["EmbeddedBatch", "EmbeddingProvider"]


@dataclass(frozen=True, slots=True)
class EmbeddedBatch:
    """The outcome for some of the texts a provider was given.

    Attributes:
        indices: which texts, as positions in the call's sequence.
        vectors: shape (len(indices), dimensions), in that order.
        token_counts: tokens read of each text.
        truncated: whether each text was longer than what was read.
        errors: texts that failed alone: position → error code. They are not among ``indices``.
    """

    indices: list[int]
    vectors: NDArray[np.float32]
    token_counts: list[int]
    truncated: list[bool]
    errors: dict[int, str] = field(default_factory=dict)


class EmbeddingProvider(Protocol):
    """Computes vectors of one vector space."""

    @property
    def space(self) -> VectorSpace:
        """The space its vectors belong to."""
        ...

    @property
    def device(self) -> str:
        """Where it computes, for the record of a run."""
        ...

    def load(self) -> float:
        """Make ready, e.g. load the model; returns the seconds this took, 0 if it was ready."""
        ...

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Iterator[EmbeddedBatch]:
        """Embed texts, in whatever order is fast; every text occurs in exactly one batch.

        A text that fails alone becomes an error of its batch; what is not one text's fault is raised.

        Raises:
            ProviderError: nothing more can be embedded now.
        """
        ...
