"""A question, and how it is to be answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from embedding_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from embedding_assets.postgres.conditions import Condition

SearchMode = Literal["hybrid", "vector", "text"]
"""By words and vectors, fused; by vectors alone; by words alone."""

MOST_RESULTS: Final = 1000
"""Largest ``k``."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        text: in plain words, or an identifier.
        k: how many chunks, 1 to ``MOST_RESULTS``.
        mode: by what the chunks are ranked.
        where: what must hold of each of them.
        space: name of the vector space to ask in; default: the one that serves searches.
        ef_search: how thoroughly the index is searched; default: as configured.

    Raises:
        ConfigurationError: the text is blank, or ``k`` is out of bounds.
    """

    text: str
    k: int = 5
    mode: SearchMode = "vector"
    where: tuple[Condition, ...] = ()
    space: str | None = None
    ef_search: int | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ConfigurationError("the query is empty")
        if self.k < 1:
            raise ConfigurationError(f"k is {self.k}, but a search returns at least 1 chunk")
        if self.k > MOST_RESULTS:
            raise ConfigurationError(f"k is {self.k}, but a search returns at most {MOST_RESULTS:,} chunks")
