"""Chunks of the same text: it is embedded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedding_assets.postgres.same_text import known_vectors

if TYPE_CHECKING:
    from embedding_assets.postgres.backlog import PendingChunk
    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn


class Repeats:
    """The different texts of a window's chunks that are to be embedded.

    Args:
        database: where other chunks may have the same texts.
        column: the space to embed in.
        chunks: those of the window.

    Attributes:
        texts: each once, in the order of the chunks.
        known: chunks whose text has a vector already.
        known_vectors: these vectors, shape (len(known), dimensions).
        blank: chunks without a text. ``load`` refuses them, but an adopted table may hold some; a vector of nothing
            would match anything.
    """

    def __init__(self, database: Database, column: SpaceColumn, chunks: Sequence[PendingChunk]) -> None:
        self.blank = [chunk for chunk in chunks if not chunk.text.strip()]
        readable = [chunk for chunk in chunks if chunk.text.strip()]
        self.known, self.known_vectors = known_vectors(database, column, readable)
        done = {chunk.chunk_hash for chunk in self.known}
        groups: dict[str, list[PendingChunk]] = {}
        for chunk in readable:
            if chunk.chunk_hash not in done:
                groups.setdefault(chunk.text, []).append(chunk)
        self.texts = list(groups)
        self._groups = list(groups.values())

    def chunks(self, positions: Iterable[int]) -> list[PendingChunk]:
        """The chunks of the texts at these positions of ``texts``."""
        return [chunk for position in positions for chunk in self._groups[position]]

    def repeat(self, positions: Sequence[int], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vectors of ``chunks(positions)``, of those of the texts, shape (len(positions), dimensions)."""
        sizes = [len(self._groups[position]) for position in positions]
        return vectors if max(sizes) == 1 else np.repeat(vectors, sizes, axis=0)
