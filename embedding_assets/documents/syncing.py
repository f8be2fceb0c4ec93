"""Rows of sources as documents: the chunk table is kept in step with tables and queries of the same database."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from embedding_assets.documents.document import Document
from embedding_assets.documents.lines import normalized_newlines
from embedding_assets.documents.owners import owns, with_owner
from embedding_assets.documents.rejection import TOO_DEEP, Rejection, too_long
from embedding_assets.documents.writing import ChunkWriter
from embedding_assets.errors import ConfigurationError, DatabaseError
from embedding_assets.formatting import counted
from embedding_assets.models import DocumentMetadata
from embedding_assets.postgres.chunks import LoadedDocument, check_is_own
from embedding_assets.postgres.locks import hold
from embedding_assets.postgres.source_changes import must_compare, open_changes
from embedding_assets.postgres.source_lookup import open_source
from embedding_assets.postgres.source_records import (
    find_source,
    forget_source,
    record_synced,
    register_source,
    remove_documents,
    require_comparison,
)
from embedding_assets.postgres.source_trigger import unwatch, watch, watch_state
from embedding_assets.postgres.sources import MOST_TEXT_BYTES

if TYPE_CHECKING:
    from embedding_assets.documents.splitting import Splitter
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.source_changes import ChangedRow, SourceChanges
    from embedding_assets.postgres.source_records import KnownSource
    from embedding_assets.postgres.sources import Source, SourceDefinition

MOST_ORIGIN_BYTES: Final = 2_000
"""An index entry has no room for more."""

_BLANK = "has an empty or blank text"
_LONG_KEY = "has a key that is too long"
_LONG_TEXT = f"is longer than {MOST_TEXT_BYTES // 1_000_000} MB"


@dataclass(slots=True)
class SyncReport:
    """The outcome of bringing one source up to date.

    Attributes:
        source: its name.
        noted: whether only rows were looked at that triggers had noted; else all were compared.
        rows: rows of the source, or those that were noted.
        added: documents that are new.
        changed: documents whose chunks were made again.
        removed: documents that the source has no more.
        rejected: rows that were found not to fit a document; they are looked at again when they change.
        chunks_added: chunks new to the table; they are pending now.
        chunks_removed: chunks that went.
        remark: why a source that is watched was compared.
    """

    source: str
    noted: bool = False
    rows: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    rejected: int = 0
    chunks_added: int = 0
    chunks_removed: int = 0
    remark: str = ""


def add_source(
    database: Database, definition: SourceDefinition, *, watched: bool | None = None, owner: str | None = None
) -> None:
    """Register a source, or its new definition; its rows come with the first sync. Writes only what is new.

    Args:
        database: where.
        definition: what it is.
        watched: put triggers on the table that note changed rows, or take them off; None: as before, which is without.
        owner: the asset of Dagster that defines it, see ``owner_of``; None: as before.

    Raises:
        ConfigurationError: its name is taken, also by other assets that define it otherwise, or its changes cannot be
            noted.
        DatabasePermissionError: the role may not put triggers on the table.
    """
    check_is_own(database)
    with database.session() as connection, _alone(database, connection, definition.name):
        known = find_source(connection, definition.name)
        _check_owner(known, definition, owner)
        was_watched = known is not None and known.is_watched
        is_watched = was_watched if watched is None else watched
        before = () if known is None else known.owners
        if owner is not None and known is not None and known.definition != definition:
            # The others own it again once they say the same.
            before = tuple(other for other in before if owns(owner, [other]))
        owners = with_owner(owner, before)
        if known is not None and (known.definition, known.is_watched, known.owners) == (definition, is_watched, owners):
            return
        records = database.table.records

        def work() -> None:
            with connection.transaction():
                if is_watched and not (was_watched and known is not None and known.definition == definition):
                    watch(connection, records, open_source(connection, definition))
                elif was_watched and not is_watched:
                    unwatch(connection, records, definition.name)
                register_source(connection, definition, is_watched=is_watched, owners=owners)

        database.retry(work)


def _check_owner(known: KnownSource | None, definition: SourceDefinition, owner: str | None) -> None:
    """Several that say the same of it share it; each of them may say otherwise, and is its only owner then."""
    if known is None or owner is None or not known.owners or definition == known.definition:
        return
    if owns(owner, known.owners):
        return
    way_out = "give the query of one of them another name" if definition.query else "make one a query with a name"
    is_one = len(known.owners) == 1
    assets, keep, define, are = ("asset", "keeps", "defines", "is") if is_one else ("assets", "keep", "define", "are")
    owners = " and ".join(known.owners)
    raise ConfigurationError(
        f"the {assets} {owners} {keep} the rows of {definition.name} in this database, and "
        f"{define} them otherwise than {owner}: each would remove what the other one has brought. So {way_out}, or let "
        f"both say the same; if {owners} {are} no more, run `embedding-assets sync --release "
        f"{shlex.quote(definition.name)}`, and then this again"
    )


def remove_source(database: Database, name: str) -> tuple[int, int]:
    """Forget a source and remove its documents with their chunks; the source's table keeps nothing of ours.

    Returns:
        How many documents and how many chunks were removed.

    Raises:
        ConfigurationError: there is no such source.
    """
    check_is_own(database)
    with database.session() as connection, _alone(database, connection, name):
        _known(connection, name)

        def work() -> None:
            with connection.transaction():
                unwatch(connection, database.table.records, name)

        database.retry(work)
        return forget_source(database, name)


def sync_source(
    database: Database,
    name: str,
    splitter: Splitter,
    *,
    full: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
    on_reject: Callable[[Rejection], None] = lambda _: None,
) -> SyncReport:
    """Make the chunk table hold the documents that the rows of a source are, each as it was at one moment.

    Rows that change meanwhile are the next sync's. A stop at any moment leaves every document either as it was or
    complete, with which the next sync goes on. A second one for the same source waits.

    Args:
        database: where both are.
        name: of the source.
        splitter: how texts become chunks.
        full: compare all rows, even where triggers have noted which ones changed.
        on_progress: called with the number of chunks stored since the last call.
        on_reject: called for each row that cannot be a document.

    Raises:
        ConfigurationError: there is no such source, its table is gone, or several rows have the same key.
        DatabaseError: PostgreSQL refused, e.g. because the role may not read the source any more.
    """
    check_is_own(database)
    with database.session() as connection, _alone(database, connection, name):
        known = _known(connection, name)
        source = open_source(connection, known.definition)
        manner = manner_of(splitter, known.definition)
        report = SyncReport(name)
        report.remark = _reason_to_compare(database, connection, known, source, manner)
        report.noted = known.is_watched and not full and not report.remark
        with open_changes(connection, source, manner, noted=report.noted) as changes:
            writer = ChunkWriter(database, on_progress)
            _store(changes, writer, splitter, report, markdown=known.definition.markdown, on_reject=on_reject)
            report.chunks_added, report.chunks_removed = writer.added, writer.removed
            for origins, documents in changes.removed():
                report.chunks_removed += remove_documents(database, origins)
                report.removed += documents
            # Before the notes go: a stop in between has them looked at again.
            record_synced(connection, source, manner, is_compared=not report.noted)
            changes.remove_notes()
    return report


def _store(
    changes: SourceChanges,
    writer: ChunkWriter,
    splitter: Splitter,
    report: SyncReport,
    *,
    markdown: bool,
    on_reject: Callable[[Rejection], None],
) -> None:
    report.rows = changes.rows
    if changes.keyless:
        report.rejected += changes.keyless
        on_reject(Rejection(report.source, None, f"has NULL in the key of {counted(changes.keyless, 'row')}"))
    for row in changes.documents():
        document = row_document(row, markdown=markdown)
        if isinstance(document, Rejection):
            report.rejected += 1
            report.removed += row.is_known
            on_reject(document)
            if document.reason != _LONG_KEY:
                # Without chunks; so it is not looked at again before it changes.
                writer.add([], LoadedDocument(row.origin, row.digest, frozenset()))
            continue
        chunks = splitter.split(document)
        hashes = frozenset(chunk.chunk_hash for chunk in chunks)
        # Together: of a row that is deleted after a stop in between, nothing else would name the chunks.
        writer.add(chunks, LoadedDocument(row.origin, row.digest, hashes))
        report.changed += row.is_known
        report.added += not row.is_known
    writer.flush()


def row_document(row: ChangedRow, *, markdown: bool) -> Document | Rejection:
    """The document that a row is, or why it is none."""
    reason = _obstacle(row)
    if reason is not None:
        return Rejection(row.origin, None, reason)
    try:
        fields = {name: value for name, value in json.loads(row.metadata).items() if value not in (None, "")}
        metadata = DocumentMetadata.model_validate(
            {
                **fields,
                "source": str(fields.get("source") or row.origin),
                "title": row.title.strip(),
                "origin": row.origin,
            }
        )
    except RecursionError:
        return Rejection(row.origin, None, TOO_DEEP)
    except (ValidationError, ValueError):
        return Rejection(row.origin, None, "has metadata that JSON does not hold, such as a number that is too large")
    # A document of Markdown puts its title above its headings by itself.
    header = "" if markdown else metadata.title
    return Document(metadata, normalized_newlines(row.text or ""), markdown=markdown, context_header=header)


def _obstacle(row: ChangedRow) -> str | None:
    if len(row.origin.encode()) > MOST_ORIGIN_BYTES:
        return _LONG_KEY
    if row.text is None:
        return _LONG_TEXT
    return too_long(row.text) if row.text.strip() else _BLANK


def _reason_to_compare(
    database: Database, connection: Connection, known: KnownSource, source: Source, manner: str
) -> str:
    """Why notes would not do for a source that is watched; empty if they do, or if it is not watched."""
    if not known.is_watched:
        return ""
    if watch_state(connection, database.table.records, source) != "there":

        def work() -> None:
            with connection.transaction():
                watch(connection, database.table.records, source)
                require_comparison(connection, source.name)

        try:
            database.retry(work)
        except (ConfigurationError, DatabaseError) as error:
            return f"its triggers are gone or disabled, and were not put back: {error}"
        return "its triggers were gone or disabled, as after a restore or a swap of the table, and are back"
    reasons = {
        "this is the first sync since it was defined so, or watched": known.compared_oid is None,
        "its table is another one than before": known.compared_oid not in (None, source.oid),
        "texts are split in another way than before": known.compared_manner not in (None, manner),
    }
    reason = next((reason for reason, holds in reasons.items() if holds), "")
    if not reason and must_compare(connection, source.name):
        reason = "it was emptied, a column of it was renamed, or chunks of it are gone"
    return reason


def manner_of(splitter: Splitter, definition: SourceDefinition) -> str:
    """Digest of all that the chunks of a row depend on besides the row."""
    return hashlib.sha256(json.dumps([splitter.manner, definition.markdown]).encode()).hexdigest()[:12]


def _known(connection: Connection, name: str) -> KnownSource:
    known = find_source(connection, name)
    if known is None:
        raise no_such_source(name)
    return known


def no_such_source(name: str) -> ConfigurationError:
    """The error of a name that no source has."""
    return ConfigurationError(f"there is no source {name}; `embedding-assets sync --list` shows those there are")


def _alone(database: Database, connection: Connection, name: str) -> AbstractContextManager[None]:
    """Inside, no other process syncs that source into this table."""
    return hold(connection, f"sync {database.table.oid} {name}")
