"""Documents into the table: what is unchanged is skipped, what changed replaces its chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING

from embedding_assets.documents.document import Document
from embedding_assets.documents.splitting import Splitter
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.chunks import LoadedDocument, is_unchanged, store_chunks
from embedding_assets.postgres.source_records import source_of
from embedding_assets.providers.space_selection import model_for_splitting

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.models import ProcessedChunk
    from embedding_assets.postgres.connection import Database

_BATCH_CHUNKS = 1000


def configured_splitter(settings: Settings, database: Database) -> Splitter:
    """A splitter for the model the table is to be embedded with; a chunk is never longer than that model reads."""
    resolved, files = model_for_splitting(settings, database)
    config = resolved.embedding
    return Splitter(
        files.tokenizer(),
        chunk_tokens=min(config.chunk_tokens, files.max_tokens(config.max_seq_length)),
        chunk_overlap=config.chunk_overlap,
    )


@dataclass(slots=True)
class LoadReport:
    """The outcome of loading.

    Attributes:
        documents: documents read, i.e. files and whatever else was loaded as one.
        unchanged: of these, documents that were loaded before as they are now.
        chunks: chunks of the others.
        added: chunks new to the table; they are pending now.
        removed: chunks that their documents no longer have.
        rejected: texts, rows or files that could not be loaded.
    """

    documents: int = 0
    unchanged: int = 0
    chunks: int = 0
    added: int = 0
    removed: int = 0
    rejected: int = 0


class ChunkWriter:
    """Stores documents in batches.

    Args:
        database: where the chunks go.
        on_progress: called with the number of chunks stored since the last call.

    Attributes:
        added: chunks new to the table.
        removed: chunks that their documents no longer have.
    """

    def __init__(self, database: Database, on_progress: Callable[[int], None]) -> None:
        self._database = database
        self._on_progress = on_progress
        self._waiting: list[ProcessedChunk] = []
        self._completed: list[LoadedDocument] = []
        self.added = self.removed = 0

    def add(self, chunks: Sequence[ProcessedChunk], completed: LoadedDocument | None = None) -> None:
        """Chunks of a document, and the document itself if they are its last ones: both are stored together."""
        self._waiting += chunks
        if completed is not None:
            self._completed.append(completed)
        if max(len(self._waiting), len(self._completed)) >= _BATCH_CHUNKS:
            self.flush()

    def flush(self) -> None:
        """Store what waits."""
        added, removed = store_chunks(self._database, self._waiting, self._completed)
        self.added += added
        self.removed += removed
        self._on_progress(len(self._waiting))
        self._waiting.clear()
        self._completed.clear()


def load_documents(
    database: Database,
    documents: Iterable[Document],
    splitter: Splitter,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> LoadReport:
    """Split documents and make the table hold their chunks.

    A stop at any moment leaves every document either as it was or complete, but for one that is larger than a
    transaction's worth of chunks: it is completed by loading it again.

    Args:
        database: where the chunks go.
        documents: those with the same ``origin`` must follow one another.
        splitter: how they become chunks.
        on_progress: called with the number of chunks stored since the last call.

    Raises:
        ConfigurationError: a document has an origin that belongs to a source.
    """
    report = LoadReport()
    writer = ChunkWriter(database, on_progress)
    for origin, parts in groupby(documents, key=lambda document: document.metadata.origin):
        report.documents += 1
        first = next(parts)
        digest = splitter.digest(first)
        if is_unchanged(database, origin, digest):
            report.unchanged += 1
            continue
        _check_is_free(database, origin)
        hashes: set[str] = set()
        for part in chain([first], parts):
            chunks = splitter.split(part)
            report.chunks += len(chunks)
            hashes.update(chunk.chunk_hash for chunk in chunks)
            writer.add(chunks)
        writer.add([], LoadedDocument(origin, digest, frozenset(hashes)))
    writer.flush()
    report.added, report.removed = writer.added, writer.removed
    return report


def _check_is_free(database: Database, origin: str) -> None:
    source = database.run(lambda connection: source_of(connection, origin)) if database.table.is_own else None
    if source is not None:
        raise ConfigurationError(
            f"{origin} would be taken for a row of the source {source}, whose next sync would remove it; give the "
            "document another origin"
        )
