"""Chunks that another tool has made of documents, with their vectors, into ``knowledge_base``."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import ValidationError

from embedding_assets.importing.comparison import compare, refuse_whole
from embedding_assets.importing.report import ImportReport
from embedding_assets.importing.survey import API_SAMPLE, LOCAL_SAMPLE, Reservoir, Sampled, Survey, judge_vectors
from embedding_assets.importing.target import find_target, register_target, without_runs
from embedding_assets.models import DocumentMetadata, ProcessedChunk, embedded_text
from embedding_assets.postgres.backlog import PendingChunk
from embedding_assets.postgres.chunks import LoadedDocument, check_is_own, store_chunks
from embedding_assets.postgres.foreign.matching import fingerprints, match_keys
from embedding_assets.postgres.foreign.snapshot import snapshot
from embedding_assets.postgres.vectors import write_vectors

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.importing.options import ImportOptions
    from embedding_assets.importing.target import Target
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.foreign.chunk import ForeignChunk

Source = Callable[["Connection"], Iterator[list["ForeignChunk"]]]
"""Reads all chunks, a portion at a time, as the connection's snapshot has them."""

_METADATA_FIELDS: Final = frozenset(DocumentMetadata.model_fields)


@dataclass(slots=True)
class _Making:
    """Chunks of this package made of foreign ones; remembers the document that they stand in."""

    origin: str | None = None
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def make(self, foreign: ForeignChunk) -> ProcessedChunk | str:
        """The chunk, or the reason why there is none."""
        if foreign.origin != self.origin:
            self.origin = foreign.origin
            self.seen.clear()
        key = (foreign.header, foreign.text)
        if not foreign.text.strip():
            return "blank_text"
        extra = {name: value for name, value in foreign.metadata.items() if name not in _METADATA_FIELDS}
        try:
            metadata = DocumentMetadata.model_validate(
                {**extra, "source": foreign.source, "title": foreign.title, "origin": foreign.origin}
            )
            chunk = ProcessedChunk.create_from_chunk(
                foreign.text,
                metadata,
                context_header=foreign.header,
                chunk_index=foreign.place,
                total_chunks=foreign.total,
                occurrence=self.seen[key],
            )
        except ValidationError:
            return "unfit_text"
        self.seen[key] += 1
        return chunk


@dataclass(slots=True)
class _Document:
    """A document that is being imported."""

    origin: str
    hashes: list[str] = field(default_factory=list)
    digest: str | None = None

    def loaded(self) -> LoadedDocument:
        """It, once all its chunks have come."""
        own = hashlib.sha256(json.dumps([self.origin, self.hashes]).encode()).hexdigest()
        return LoadedDocument(self.origin, self.digest or own, frozenset(self.hashes))


@dataclass(slots=True)
class _Portion:
    """What is stored together: chunks, documents that are complete, and vectors of chunks by their hashes."""

    chunks: list[ProcessedChunk] = field(default_factory=list)
    completed: list[LoadedDocument] = field(default_factory=list)
    vectors: dict[str, tuple[ProcessedChunk, ForeignChunk]] = field(default_factory=dict)


def import_documents(
    settings: Settings,
    database: Database,
    source: Source,
    what: str,
    options: ImportOptions,
    *,
    before: Callable[[], None] = lambda: None,
) -> ImportReport:
    """Compare a sample, then make the table hold these documents' chunks, each with its vector.

    Done again, it adds what is new, and removes chunks that a document has no longer. A chunk whose vector cannot be
    taken over is pending afterwards.

    Args:
        settings: which model.
        database: the table's.
        source: the chunks; those of a document follow one another.
        what: they are, for a person.
        options: of any import.
        before: called when the sample has agreed, before anything is written.

    Raises:
        ImportRefusedError: the vectors are not those of the settings' model.
        ConfigurationError: the table is not one that documents are loaded into, or the space cannot be had.
        ProviderError: the sample cannot be embedded now.
    """
    check_is_own(database)
    target = find_target(settings, database)
    with snapshot(database) as connection, options.progress("reading", None) as advance:
        survey, sample = _survey(connection, target, source, options, advance)
    refuse_whole(target, survey, sample)
    comparison = compare(target, sample, of=survey.usable, drop=options.drop_differing, notice=options.notice)
    report = ImportReport.of_survey(what, target.space.name, survey, comparison, checked_only=options.check)
    if options.check or not survey.read:
        return report
    target = register_target(target, claim=False)
    before()
    _copy(target, source, {one.key for one in comparison.differing}, report, options)
    report.next_steps.append("embedding-assets embed")
    return report


def _survey(
    connection: Connection, target: Target, source: Source, options: ImportOptions, advance: Callable[[int], None]
) -> tuple[Survey, list[Sampled]]:
    size = options.sample or (API_SAMPLE if target.by_api else LOCAL_SAMPLE)
    survey, fit, scaled, making = Survey(), Reservoir(size), Reservoir(size), _Making()
    column = target.column.name if target.column else None
    for portion in source(connection):
        survey.read += len(portion)
        chunks = [making.make(foreign) for foreign in portion]
        hashes = [(chunk.chunk_hash,) if isinstance(chunk, ProcessedChunk) else ("",) for chunk in chunks]
        known = match_keys(connection, target.database.table, column, hashes)
        unfit = judge_vectors(target.space, [foreign.vector for foreign in portion])
        for place, (foreign, chunk) in enumerate(zip(portion, chunks, strict=True)):
            if isinstance(chunk, str):
                survey.refuse(chunk, foreign.key)
            elif known[place].is_embedded if place in known else foreign.is_loaded:
                survey.present += 1
            elif foreign.vector is None:
                survey.refuse("no_vector", foreign.key)
            else:
                text = embedded_text(chunk.context_header, chunk.chunk_text)
                sampled = Sampled(foreign.key, (), text, foreign.vector, _others(chunk))
                if place not in unfit:
                    survey.usable += 1
                    fit.offer(sampled)
                    continue
                survey.refuse(unfit[place], foreign.key)
                survey.dimensions.add(len(foreign.vector))
                if unfit[place] == "not_unit_length":
                    scaled.offer(sampled)
        advance(len(portion))
    return survey, fit.items or scaled.items


def _others(chunk: ProcessedChunk) -> dict[str, str]:
    """What else may have been embedded of a chunk."""
    title = chunk.metadata.title
    others = {"context_header": chunk.context_header, "chunk_text": chunk.chunk_text}
    if title:
        others |= {"title": title, "title, newline, text": f"{title}\n{chunk.chunk_text}"}
    return {name: text for name, text in others.items() if text}


def _copy(target: Target, source: Source, differing: set[str], report: ImportReport, options: ImportOptions) -> None:
    making, document = _Making(), None
    with (
        without_runs(target) as locks,
        snapshot(target.database) as connection,
        options.progress("writing", report.read) as advance,
    ):
        for portion in source(connection):
            locks.check()
            made = _Portion()
            unfit = judge_vectors(target.space, [foreign.vector for foreign in portion])
            for place, foreign in enumerate(portion):
                if document is not None and document.origin != foreign.origin:
                    made.completed.append(document.loaded())
                    document = None
                # What is loaded may be in newer chunks than these, which then find no row to write to.
                if document is None and not foreign.is_loaded:
                    document = _Document(foreign.origin, digest=foreign.digest)
                    report.documents += 1
                chunk = making.make(foreign)
                if isinstance(chunk, str):
                    continue
                if document is not None:
                    document.hashes.append(chunk.chunk_hash)
                    made.chunks.append(chunk)
                if place not in unfit and foreign.key not in differing:
                    made.vectors[chunk.chunk_hash] = (chunk, foreign)
            _store(target, connection, made, report)
            advance(len(portion))
        if document is not None:
            _store(target, connection, _Portion(completed=[document.loaded()]), report)


def _store(target: Target, connection: Connection, portion: _Portion, report: ImportReport) -> None:
    assert target.column is not None
    added, removed = store_chunks(target.database, portion.chunks, portion.completed)
    report.added += added
    report.removed += removed
    if not portion.vectors:
        return
    pairs = list(portion.vectors.values())
    texts = [embedded_text(chunk.context_header, chunk.chunk_text) for chunk, _ in pairs]
    rows = [
        PendingChunk(chunk.chunk_hash, text, fingerprint, (chunk.chunk_hash,))
        for (chunk, _), text, fingerprint in zip(pairs, texts, fingerprints(connection, texts), strict=True)
    ]
    stacked = np.stack([foreign.vector for _, foreign in pairs if foreign.vector is not None])
    outcome = write_vectors(target.database, target.column, rows, stacked)
    report.written += len(outcome.written)
    report.passed_over += len(outcome.refused)
