"""Chunks on their way into the table, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from embedding_assets.postgres.chunks import MOST_STALE, LoadedDocument, remove_stale, store_documents

if TYPE_CHECKING:
    from embedding_assets.models import ProcessedChunk
    from embedding_assets.postgres.chunk_rows import ChunkRow
    from embedding_assets.postgres.connection import Database

_BATCH_CHUNKS = 1000


class ChunkWriter:
    """Stores documents in batches.

    Args:
        database: where the chunks go.
        on_progress: called with the number of chunks stored since the last call.
        keep_stale: remove what documents no longer have at the end, in ``finish``: text that moved to another one
            takes its vector with it.

    Attributes:
        added: chunks new to the table.
        reused: of these, chunks that got the vector of another one with the same text.
        removed: chunks that their documents no longer have.
        kept: chunks that documents no longer seem to have, which were not read to their end.
    """

    def __init__(self, database: Database, on_progress: Callable[[int], None], *, keep_stale: bool = False) -> None:
        self._database = database
        self._on_progress = on_progress
        self._keep_stale = keep_stale
        self._waiting: list[ProcessedChunk | ChunkRow] = []
        self._completed: list[LoadedDocument] = []
        self._begun: tuple[str, str | None] | None = None
        self._stale: list[tuple[str, str]] = []
        self.added = self.reused = self.removed = self.kept = 0

    def begin(self, origin: str, collection: str | None) -> None:
        """The chunks to come are those of this document; recorded with the first of them, unless it is complete."""
        self._begun = (origin, collection)

    def abandon(self) -> None:
        """The document that was begun has no chunks and is no document."""
        self._begun = None

    def add(self, chunks: Sequence[ProcessedChunk | ChunkRow], completed: LoadedDocument | None = None) -> None:
        """Chunks of a document, and the document itself if they are its last ones: both are stored together."""
        self._waiting += chunks
        if completed is not None:
            self._completed.append(completed)
            self._begun = None
        if max(len(self._waiting), len(self._completed)) >= _BATCH_CHUNKS:
            self.flush()

    def flush(self) -> None:
        """Store what waits."""
        stored = store_documents(
            self._database, self._waiting, self._completed, begun=self._begun, keep_stale=self._keep_stale
        )
        self.added += stored.added
        self.reused += stored.reused
        self.removed += stored.removed
        self.kept += stored.kept
        self._stale += stored.stale
        self._on_progress(len(self._waiting))
        self._waiting.clear()
        self._completed.clear()
        if len(self._stale) > MOST_STALE:
            self._remove_stale()

    def finish(self) -> None:
        """Store what waits, and remove what documents no longer have."""
        self.flush()
        self._remove_stale()

    def _remove_stale(self) -> None:
        for start in range(0, len(self._stale), _BATCH_CHUNKS):
            self.removed += remove_stale(self._database, self._stale[start : start + _BATCH_CHUNKS])
        self._stale.clear()
