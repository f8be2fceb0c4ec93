"""What a question finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A chunk and how near it is to the query.

    Attributes:
        score: what the space ranks by, higher is nearer: the cosine, the inner product, or the negative Euclidean or
            Manhattan distance. Comparable only within one ``space``.
        space: name of the vector space in which the chunk was found.
    """

    chunk_hash: str
    score: float
    source: str
    title: str
    context_header: str
    text: str
    metadata: dict[str, Any]
    space: str


@dataclass(frozen=True, slots=True)
class Answer(Sequence[SearchResult]):
    """The chunks found, best first, and what is to be said of them.

    Attributes:
        results: at most ``k``.
        notes: what a reader should know, a sentence each: chunks that are left out, or not embedded yet.
    """

    results: tuple[SearchResult, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.results)

    @overload
    def __getitem__(self, at: int) -> SearchResult: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[SearchResult]: ...

    def __getitem__(self, at: int | slice) -> SearchResult | Sequence[SearchResult]:
        return self.results[at]
