"""Documents into the table: what is unchanged is skipped, what changed replaces its chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import TYPE_CHECKING

from embedding_assets.documents.document import Document
from embedding_assets.documents.splitting import Splitter
from embedding_assets.documents.writing import ChunkWriter
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.chunks import LoadedDocument
from embedding_assets.postgres.documents import find_documents
from embedding_assets.postgres.source_records import source_of
from embedding_assets.providers.splitting_model import model_for_splitting

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database


def configured_splitter(settings: Settings, database: Database) -> Splitter:
    """A splitter for the model the table is to be embedded with; a chunk is never longer than that model reads."""
    resolved, files = model_for_splitting(settings, database)
    config = resolved.embedding
    return Splitter(
        files.tokenizer(),
        chunk_tokens=min(config.chunk_tokens, files.max_tokens(config.max_seq_length)),
        chunk_overlap=config.chunk_overlap,
        header=config.chunk_header,
    )


@dataclass(slots=True)
class LoadReport:
    """The outcome of loading.

    Attributes:
        documents: documents read, i.e. files and whatever else was loaded as one.
        unchanged: of these, documents that were loaded before as they are now.
        chunks: chunks of the others.
        added: chunks new to the table.
        removed: chunks that their documents no longer have, and those of documents that were removed.
        rejected: texts, rows or files that could not be loaded.
        rejected_files: of these, files of which nothing was loaded.
        rejected_before: rows of unchanged files that were rejected when these were read.
        blank_rows: rows without a text, of files that are not unchanged; they are no rejections.
        empty: files without words that never had chunks; they are no documents.
        new: documents that are new to the table.
        changed: documents whose chunks were made again.
        renamed: documents that are there under another name now; the old one was removed.
        taken_over: documents that an earlier version had called by their absolute paths, and that have a name now.
        gone: documents whose file is not there any more.
        pruned: of these, documents that were removed.
        prune_refused: whether they would have been too many to be removed unasked.
        reused: added chunks that got the vector of another one with the same text; the other ones are pending.
        kept: chunks of files that were not read to their end, had rejected rows, or shrank: they were left as they are.
        shrunk: files of which so much is missing that nothing was removed unasked.
        changing: files that changed each time they were read; left for the next load.
        other_kinds: files of kinds that are not read, by what their names end in.
        left_out: files and folders by the rule that leaves them out.
    """

    documents: int = 0
    unchanged: int = 0
    chunks: int = 0
    added: int = 0
    removed: int = 0
    rejected: int = 0
    rejected_files: int = 0
    rejected_before: int = 0
    blank_rows: int = 0
    empty: int = 0
    new: int = 0
    changed: int = 0
    renamed: int = 0
    taken_over: int = 0
    gone: int = 0
    pruned: int = 0
    prune_refused: bool = False
    reused: int = 0
    kept: int = 0
    shrunk: list[str] = field(default_factory=list)
    changing: list[str] = field(default_factory=list)
    other_kinds: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def count(self, writer: ChunkWriter) -> None:
        """Take over what a writer has counted."""
        self.added, self.removed = writer.added, self.removed + writer.removed
        self.reused, self.kept = writer.reused, writer.kept


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
        known = find_documents(database, [origin]).get(origin)
        if known is not None and known.digest == digest and known.has_all_chunks:
            report.unchanged += 1
            continue
        _check_is_free(database, origin)
        report.new += known is None
        report.changed += known is not None
        hashes: set[str] = set()
        writer.begin(origin, None)
        for part in chain([first], parts):
            chunks = splitter.split(part)
            report.chunks += len(chunks)
            hashes.update(chunk.chunk_hash for chunk in chunks)
            writer.add(chunks)
        writer.add([], LoadedDocument(origin, digest, frozenset(hashes)))
    writer.finish()
    report.count(writer)
    return report


def _check_is_free(database: Database, origin: str) -> None:
    source = database.run(lambda connection: source_of(connection, origin)) if database.table.is_own else None
    if source is not None:
        raise ConfigurationError(
            f"{origin} would be taken for a row of the source {source}, whose next sync would remove it; give the "
            "document another origin"
        )
