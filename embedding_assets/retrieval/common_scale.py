"""Chunks of two searches in one order: distances of the same kind, and ranks that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from embedding_assets.postgres.search.statement import RANK_CONSTANT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedding_assets.postgres.search import FoundChunk
    from embedding_assets.spaces import Similarity


def distance(one: NDArray[np.float32], other: NDArray[np.float32], similarity: Similarity) -> float:
    """The distance that pgvector would find."""
    [found] = distances(one, other[np.newaxis], similarity).tolist()
    return float(found)


def distances(one: NDArray[np.float32], others: NDArray[np.float32], similarity: Similarity) -> NDArray[np.float64]:
    """The distances that pgvector would find from one vector to each row of ``others``; of a zero vector NaN."""
    first, second = one.astype(np.float64), others.astype(np.float64)
    match similarity:
        case "cosine":
            lengths = np.linalg.norm(first) * np.sqrt(np.einsum("ij,ij->i", second, second))
            with np.errstate(divide="ignore", invalid="ignore"):
                cosines: NDArray[np.float64] = 1 - second @ first / lengths
            return cosines
        case "dot":
            products: NDArray[np.float64] = -(second @ first)
            return products
        case "euclidean":
            lines: NDArray[np.float64] = np.linalg.norm(second - first, axis=1)
            return lines
        case "manhattan":
            blocks: NDArray[np.float64] = np.abs(second - first).sum(axis=1)
            return blocks


def with_others(
    found: Sequence[FoundChunk], others: Sequence[FoundChunk], *, is_complete: bool
) -> tuple[FoundChunk, ...]:
    """Chunks of a search, and others, which that search's vectors lack, each where its distance puts it.

    The rank by vector of one of the others is that of the first found chunk that is farther away, and so is its place
    in a fused order. What is farther than all of them is not near enough, unless these are all there are.

    Args:
        found: in their order, with ranks.
        others: with distances of the same kind.
        is_complete: whether the search has found all that there is.
    """
    by_words = {chunk.chunk_hash: chunk for chunk in found if chunk.distance is None}
    compared = {chunk.chunk_hash for chunk in found if chunk.distance is not None}
    leg = sorted((chunk for chunk in found if chunk.vector_rank is not None), key=_rank)
    last = _rank(leg[-1]) if leg else 0
    entering: list[FoundChunk] = []
    for other in sorted(others, key=lambda chunk: (chunk.distance, chunk.chunk_hash)):
        if other.chunk_hash in compared:  # embedded in between
            continue
        farther = next((chunk for chunk in leg if _of(chunk) > _of(other)), None)
        if farther is None and leg and not is_complete:
            continue
        rank = last + 1 if farther is None else _rank(farther)
        named = by_words.get(other.chunk_hash, other)
        entering.append(replace(named, distance=other.distance, vector_rank=rank + len(entering)))
    return _in_one_order([_scored(chunk, others) for chunk in found], entering)


def _scored(chunk: FoundChunk, others: Sequence[FoundChunk]) -> FoundChunk:
    """A chunk that was found by its words, with its distance if that is known."""
    same = next((other for other in others if other.chunk_hash == chunk.chunk_hash), None)
    return chunk if same is None or chunk.distance is not None else replace(chunk, distance=same.distance)


def _in_one_order(found: Sequence[FoundChunk], entering: Sequence[FoundChunk]) -> tuple[FoundChunk, ...]:
    """The found chunks in their order, their ranks by vector as they are now, and the others between them."""
    moved = {chunk.chunk_hash for chunk in entering}
    order: list[FoundChunk] = []
    for chunk in found:
        if chunk.chunk_hash in moved:
            continue
        if chunk.vector_rank is not None:
            nearer = sum(_of(other) < _of(chunk) for other in entering)
            chunk = replace(chunk, vector_rank=chunk.vector_rank + nearer)  # noqa: PLW2901
        order.append(chunk)
    for other in sorted(entering, key=lambda chunk: (_place(chunk), chunk.chunk_hash)):
        at = next((at for at, chunk in enumerate(order) if _place(chunk) > _place(other)), len(order))
        order.insert(at, other)
    return tuple(order)


def _rank(chunk: FoundChunk) -> int:
    return chunk.vector_rank or 0


def _of(chunk: FoundChunk) -> float:
    return float("inf") if chunk.distance is None else chunk.distance


def _place(chunk: FoundChunk) -> tuple[float, float]:
    """In the fused order, smaller ones first: what the question names, by its words; then the rest by both ranks."""
    ranks = (chunk.vector_rank, chunk.text_rank)
    fused = sum(1 / (RANK_CONSTANT + rank) for rank in ranks if rank is not None)
    return (chunk.text_rank if chunk.is_named and chunk.text_rank else float("inf")), -fused
