"""Documents into the table: what is unchanged is skipped, what changed replaces its chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING

from embedding_assets.documents.document import Document
from embedding_assets.documents.splitting import Splitter
from embedding_assets.postgres.chunks import LoadedDocument, is_unchanged, store_chunks
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
    """
    report = LoadReport()
    waiting: list[ProcessedChunk] = []
    completed: list[LoadedDocument] = []

    def store() -> None:
        added, removed = store_chunks(database, waiting, completed)
        report.added += added
        report.removed += removed
        on_progress(len(waiting))
        waiting.clear()
        completed.clear()

    for origin, parts in groupby(documents, key=lambda document: document.metadata.origin):
        report.documents += 1
        first = next(parts)
        digest = splitter.digest(first)
        if is_unchanged(database, origin, digest):
            report.unchanged += 1
            continue
        hashes: set[str] = set()
        for part in chain([first], parts):
            chunks = splitter.split(part)
            report.chunks += len(chunks)
            hashes.update(chunk.chunk_hash for chunk in chunks)
            waiting += chunks
            if len(waiting) >= _BATCH_CHUNKS:
                store()
        completed.append(LoadedDocument(origin, digest, frozenset(hashes)))
    store()
    return report
