"""What a search finds in the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from embedding_assets.models import shown_headings


@dataclass(frozen=True, slots=True)
class FoundChunk:
    """A chunk that was found, and by what.

    Attributes:
        chunk_hash: the row's hash.
        key: names and values of the row's own key.
        source: what shows a person which row it is.
        text: without ``header``.
        header: what is embedded in front of the text, if the table has it apart.
        metadata: what searches show of a row; empty where it is no JSON object.
        distance: exact, in the metric of the space's column; None without a question's vector, or without a vector of
            the row.
        vector_rank: place among those found by vector, from 1; None if it is not among them.
        text_rank: place among those found by words, from 1; None if it is not among them.
        holds_all_words: whether every word of the question is in the text or its header.
        is_named: whether it stands before those that are not, since it has an identifier of the question, such as a
            part number, that hardly any other row has.
    """

    chunk_hash: str
    key: dict[str, str]
    source: str
    text: str = field(repr=False)
    header: str = field(repr=False)
    metadata: dict[str, Any] = field(repr=False)
    distance: float | None
    vector_rank: int | None
    text_rank: int | None
    holds_all_words: bool
    is_named: bool = False

    @property
    def headings(self) -> str:
        """The headings above the text, whether they are embedded or not."""
        return shown_headings(self.header, self.metadata)


@dataclass(frozen=True, slots=True)
class Found:
    """The chunks that a search found, best first.

    Attributes:
        chunks: in the order of the fused ranks.
        notes: what a reader should know of how they were found, a sentence each.
    """

    chunks: tuple[FoundChunk, ...]
    notes: tuple[str, ...] = ()
