"""What a question finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, overload

from embedding_assets.retrieval.snippet import Snippet

if TYPE_CHECKING:
    from embedding_assets.config import SearchMode

FEWEST_AT_RANDOM: Final = 30
"""Chunks picked at random whose scores say something."""

_NO_SNIPPET: Final = Snippet("")

_UNITS: Final = ("line", "page", "slide", "cell", "chapter")
"""What positions count, as documents of each kind have it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Another row with the same text.

    Attributes:
        chunk_hash: the row's hash.
        key: names and values of the row's own key.
        source: where it comes from.
        title: of its document.
        context_header: headings above it.
    """

    chunk_hash: str
    key: dict[str, str]
    source: str
    title: str
    context_header: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A chunk that stands before or after another in its document.

    Attributes:
        distance: chunks from one to the other; negative before it.
    """

    distance: int
    chunk_hash: str
    context_header: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A chunk, and by what it was found.

    Attributes:
        score: similarity of question and chunk, higher is nearer: the cosine, the inner product, or the negative
            Euclidean or Manhattan distance. Comparable only within one ``space``. None for a chunk without a vector,
            and where the question is asked by words alone.
        space: name of the vector space in which they were compared; empty without a score.
        key: names and values of the row's own key.
        vector_rank: place among those found by vector, from 1; None if it is not among them.
        text_rank: place among those found by words, from 1; None if it is not among them.
        holds_all_words: whether every word of the question is in the text or its header.
        rerank_score: what the reranker makes of it; None if it was not asked.
        snippet: the part of the text that has most of the question's words.
        other_places: further rows with the same text, of those that were found on the way to ``k`` different texts.
        context: neighbours within its document, in their order.
    """

    chunk_hash: str
    score: float | None
    source: str
    title: str
    context_header: str
    text: str
    metadata: dict[str, Any]
    space: str
    key: dict[str, str] = field(default_factory=dict)
    vector_rank: int | None = None
    text_rank: int | None = None
    holds_all_words: bool = False
    rerank_score: float | None = None
    snippet: Snippet = _NO_SNIPPET
    other_places: tuple[Place, ...] = ()
    context: tuple[Neighbour, ...] = ()

    @property
    def name(self) -> str:
        """What a person calls the row: its source, or else its key."""
        return self.source or name_of_key(self.key) or self.chunk_hash

    @property
    def position(self) -> str:
        """Where in its file it stands, as ``lines 88-93`` or ``page 7``; empty where that is not known."""
        found = _position(self.metadata)
        if found is None:
            return ""
        unit, first, last = found
        return f"{unit} {first}" if first == last else f"{unit}s {first}-{last}"

    @property
    def place(self) -> str:
        """Its name with its position, as ``guide.md:88-93`` or ``report.pdf, page 7``."""
        found = _position(self.metadata)
        if found is None or found[0] != "line":
            return f"{self.name}, {self.position}" if found else self.name
        _, first, last = found
        return f"{self.name}:{first}" if first == last else f"{self.name}:{first}-{last}"


@dataclass(frozen=True, slots=True)
class RandomScores:
    """How chunks picked at random score with a question.

    Attributes:
        mean: of their scores.
        spread: their standard deviation.
        chunks: how many were picked.
    """

    mean: float
    spread: float
    chunks: int


@dataclass(frozen=True, slots=True)
class Answer(Sequence[SearchResult]):
    """The chunks found, best first, and what is to be said of them.

    Attributes:
        results: at most ``k``.
        notes: what a reader should know, a sentence each: chunks that are left out, or not embedded yet.
        mode: by what they were ranked.
        random_scores: what a score is to be compared with, if the question asks for that and there are enough vectors.
    """

    results: tuple[SearchResult, ...]
    notes: tuple[str, ...] = ()
    mode: SearchMode = "hybrid"
    random_scores: RandomScores | None = None

    def __len__(self) -> int:
        return len(self.results)

    @overload
    def __getitem__(self, at: int) -> SearchResult: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[SearchResult]: ...

    def __getitem__(self, at: int | slice) -> SearchResult | Sequence[SearchResult]:
        return self.results[at]


def _position(metadata: dict[str, Any]) -> tuple[str, int, int] | None:
    """What is counted in a chunk's file, and the first and the last number of it."""
    position = metadata.get("position")
    if not isinstance(position, dict):
        return None
    for unit in _UNITS:
        first = position.get(unit)
        last = position.get(f"last_{unit}", first)
        # Somebody's own field of that name may hold anything.
        if isinstance(first, int) and isinstance(last, int):
            return unit, first, last
    return None


def name_of_key(key: dict[str, str]) -> str:
    """A key as a person reads it: its value, or several with their names."""
    if len(key) == 1:
        return next(iter(key.values()))
    return ", ".join(f"{name}={value}" for name, value in key.items())
