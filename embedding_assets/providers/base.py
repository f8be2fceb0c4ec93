"""The protocol between the pipeline and what computes vectors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embedding_assets.errors import ProviderError
from embedding_assets.spaces import VectorSpace

FIRST_TEXT: Final = "Hello."
"""What a model embeds before its space is registered."""


StillWanted = Callable[[Sequence[int]], Collection[int]]
"""Given positions of texts that are about to be computed, those of them that still are to be."""


@dataclass(frozen=True, slots=True)
class EmbeddedBatch:
    """The outcome for some of the texts a provider was given.

    Attributes:
        indices: which texts, as positions in the call's sequence.
        vectors: shape (len(indices), dimensions), in that order.
        token_counts: tokens read of each text.
        truncated: whether each text was longer than what was read.
        errors: texts that failed alone: position → error code. They are not among ``indices``.
        usd: what the provider bills for this batch, failed attempts included.
        overhead_tokens: tokens billed besides ``token_counts``: of attempts that failed, and of probes.
        unwanted: texts that were left out, as they were no longer wanted when their turn came.
    """

    indices: list[int]
    vectors: NDArray[np.float32]
    token_counts: list[int]
    truncated: list[bool]
    errors: dict[int, str] = field(default_factory=dict)
    usd: float = 0.0
    overhead_tokens: int = 0
    unwanted: list[int] = field(default_factory=list)


class EmbeddingProvider(Protocol):
    """Computes vectors of one vector space."""

    @property
    def space(self) -> VectorSpace:
        """The space its vectors belong to."""
        ...

    @property
    def device(self) -> str:
        """The device that computes, for the record of a run."""
        ...

    @property
    def precision(self) -> str:
        """In which number format it computes, for the record of a run; empty where that is not known."""
        ...

    @property
    def window_texts(self) -> int:
        """Texts that a call of ``embed`` should have at least, where there are so many, to be fast."""
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


@runtime_checkable
class AskingProvider(Protocol):
    """What a provider may do besides: ask, before it computes texts, whether they are still wanted."""

    def embed_wanted(self, texts: Sequence[str], still_wanted: StillWanted) -> Iterator[EmbeddedBatch]:
        """As ``embed``; what is no longer wanted is left out, and named by a batch as ``unwanted``."""
        ...


@runtime_checkable
class ThreadedProvider(Protocol):
    """What a provider that computes itself may say besides."""

    @property
    def threads(self) -> int:
        """Threads of the CPU that compute; 0 on other devices."""
        ...

    @property
    def streams(self) -> int:
        """Batches that are computed side by side."""
        ...


@runtime_checkable
class PreparingProvider(Protocol):
    """What a provider may do ahead, in another thread, with documents that it is about to be given."""

    def prepare(self, texts: Sequence[str]) -> None:
        """Do what needs no device; what fails is left to ``embed``."""
        ...


def embed_checked(
    provider: EmbeddingProvider, texts: Sequence[str], *, query: bool = False, still_wanted: StillWanted | None = None
) -> Generator[EmbeddedBatch, None, None]:
    """As ``provider.embed``, but every vector is fit for the provider's space: what is not becomes an error.

    Args:
        provider: what embeds; asks ``still_wanted`` only if it is an ``AskingProvider``.
        texts: what to embed.
        query: whether they are questions.
        still_wanted: asked before texts are computed or sent.

    Raises:
        ProviderError: nothing more can be embedded now, or the provider answers for a text twice.
    """
    missing = set(range(len(texts)))
    if still_wanted is not None and isinstance(provider, AskingProvider):
        batches = provider.embed_wanted(texts, still_wanted)
    else:
        batches = provider.embed(texts, query=query)
    for batch in batches:
        checked = _checked(batch, provider.space)
        answered = [*checked.indices, *checked.errors, *checked.unwanted]
        if len(set(answered)) < len(answered) or not missing.issuperset(answered):
            raise ProviderError(
                f"provider {provider.space.provider} answered for a text twice or for none it was given"
            )
        missing.difference_update(answered)
        yield checked
    if missing:
        nothing = np.empty((0, provider.space.dimensions), dtype=np.float32)
        yield EmbeddedBatch([], nothing, [], [], dict.fromkeys(sorted(missing), "no_vector"))


def confirm_embedding(provider: EmbeddingProvider) -> None:
    """Embed one short text.

    Raises:
        ProviderError: the provider does not embed it as vectors of its space are to be.
    """
    for batch in embed_checked(provider, [FIRST_TEXT]):
        for code in batch.errors.values():
            raise ProviderError(f"space {provider.space.name}: not even a short text could be embedded ({code})")


def _checked(batch: EmbeddedBatch, space: VectorSpace) -> EmbeddedBatch:
    if not batch.indices:
        return batch
    if {len(batch.vectors), len(batch.token_counts), len(batch.truncated)} != {len(batch.indices)}:
        # Which vector belongs to which text is unknown.
        return _failed(batch, dict.fromkeys(batch.indices, "wrong_vector_count"))
    invalid = space.find_invalid(batch.vectors)
    if not invalid:
        return batch
    rows = [row for row in range(len(batch.indices)) if row not in invalid]
    if not rows:
        return _failed(batch, {batch.indices[row]: code for row, code in invalid.items()})
    return replace(
        batch,
        indices=[batch.indices[row] for row in rows],
        vectors=batch.vectors[rows],
        token_counts=[batch.token_counts[row] for row in rows],
        truncated=[batch.truncated[row] for row in rows],
        overhead_tokens=batch.overhead_tokens + sum(batch.token_counts[row] for row in invalid),
        errors=batch.errors | {batch.indices[row]: code for row, code in invalid.items()},
    )


def _failed(batch: EmbeddedBatch, errors: dict[int, str]) -> EmbeddedBatch:
    """A batch of which nothing can be used."""
    return replace(
        batch,
        indices=[],
        vectors=batch.vectors[:0],
        token_counts=[],
        truncated=[],
        errors=batch.errors | errors,
        overhead_tokens=batch.overhead_tokens + sum(batch.token_counts),
    )
