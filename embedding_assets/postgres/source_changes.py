"""The rows of a source that differ from what was loaded: by comparing all of it, or those that were noted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, LiteralString

from psycopg import sql

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.source_records import documents_of
from embedding_assets.postgres.sources import MOST_TEXT_BYTES, document_digest, fix_text_forms

if TYPE_CHECKING:
    from psycopg import ServerCursor

    from embedding_assets.postgres.connection import Connection
    from embedding_assets.postgres.sources import Source

_FETCHED_DOCUMENTS: Final = 50
_FETCHED_NAMES: Final = 500
_FETCHED_NOTES: Final = 10_000

# One probe of an index for each row, not a join: that could put every text into a temporary file. A document that lost
# chunks differs too.
_DIFFERING: Final = """
    SELECT s.origin, s.digest, coalesce(d.chunks > 0, false), s.title,
           CASE WHEN s.bytes <= {most_bytes} THEN s.text END, s.metadata::text
    FROM (
        SELECT origin, title, text, metadata, octet_length(text) AS bytes, {digest} AS digest
        FROM (SELECT {documents} FROM {rows} OFFSET 0) r OFFSET 0
    ) s
    LEFT JOIN LATERAL (
        SELECT d.digest, d.chunks FROM loaded_documents d WHERE d.origin = s.origin OFFSET 0
    ) d ON true
    WHERE s.origin IS NOT NULL AND (
        d.digest IS DISTINCT FROM s.digest OR d.chunks <> (
            SELECT count(*) FROM knowledge_base b WHERE b.document_metadata ->> 'origin' = s.origin
        )
    )
"""

_NOTED: Final = """
    (SELECT DISTINCT key FROM synced_changes WHERE source = {name} AND key IS NOT NULL)
"""


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A row that is to be a document as it now is.

    Attributes:
        origin: what the document is called.
        digest: its fingerprint.
        is_known: whether there was such a document before; of a row that was rejected there was none.
        title: of the document, or empty.
        text: None if it is far too long.
        metadata: a JSON object.
    """

    origin: str
    digest: str
    is_known: bool
    title: str
    text: str | None
    metadata: str


class SourceChanges:
    """What differs between a source and what was loaded from it, as of one moment; read once, in batches.

    The server keeps it for this session, in temporary files where it is large: no snapshot is held meanwhile.

    Attributes:
        rows: rows of the source, or those of them that were noted.
        keyless: rows without a key, which cannot be documents.
    """

    def __init__(self, connection: Connection, source: Source, manner: str, *, noted: bool) -> None:
        self._connection = connection
        self._source = source
        self._manner = manner
        self._noted = noted
        self._cursors: list[ServerCursor[tuple[Any, ...]]] = []
        self.rows = self.keyless = 0
        fix_text_forms(connection)
        # A comparison takes as long as the source is large.
        for setting in ("statement_timeout", "idle_session_timeout"):
            connection.execute("SELECT set_config(%s, '0', false)", [setting])
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            self.rows, self.keyless = self._count()
            self._documents = self._declare("embedding_assets_documents", self._differing())
            self._removed = self._declare("embedding_assets_removed", self._gone())
            # Those whose rows this snapshot shows: a change and its note are committed together.
            self._notes = self._declare(
                "embedding_assets_notes",
                sql.SQL("SELECT id FROM synced_changes WHERE source = {}").format(self._name),
            )

    def documents(self) -> Iterator[ChangedRow]:
        """Rows that are new or were changed."""
        for rows in _batches(self._documents, _FETCHED_DOCUMENTS):
            for row in rows:
                yield ChangedRow(*row)

    def removed(self) -> Iterator[tuple[list[str], int]]:
        """Batches of origins that the source has no more, and how many of them were documents, not rejected rows."""
        for rows in _batches(self._removed, _FETCHED_NAMES):
            yield [origin for origin, _ in rows], sum(is_document for _, is_document in rows)

    def remove_notes(self) -> None:
        """Remove the notes that led to this, and no others."""
        for rows in _batches(self._notes, _FETCHED_NOTES):
            self._connection.execute(
                "DELETE FROM synced_changes WHERE source = %s AND id = ANY(%s)",
                [self._source.name, [number for (number,) in rows]],
            )

    def close(self) -> None:
        """Let the server drop what it kept."""
        if not self._connection.closed:
            for cursor in self._cursors:
                cursor.close()

    @property
    def _name(self) -> sql.Literal:
        return _literal(self._source.name)

    @property
    def _rows(self) -> sql.Composed:
        """What to read rows ``k`` from."""
        if not self._noted:
            return sql.SQL("{} k").format(self._source.rows)
        return sql.SQL("{} n JOIN {} k ON {}").format(
            sql.SQL(_NOTED).format(name=self._name), self._source.rows, self._source.key_equals(sql.SQL("n.key"))
        )

    def _differing(self) -> sql.Composed:
        return sql.SQL(_DIFFERING).format(
            most_bytes=sql.Literal(MOST_TEXT_BYTES),
            digest=document_digest(self._manner),
            documents=self._source.documents(),
            rows=self._rows,
        )

    def _gone(self) -> sql.Composed:
        origin = self._source.origin()
        if not self._noted:
            return sql.SQL("""
                SELECT d.origin, d.chunks > 0 FROM loaded_documents d
                WHERE {} AND NOT EXISTS (SELECT FROM {} WHERE {} = d.origin)
            """).format(documents_of(self._name, sql.Identifier("d", "origin")), self._rows, origin)
        return sql.SQL("""
            SELECT d.origin, d.chunks > 0 FROM {} n JOIN loaded_documents d ON d.origin = {}
            WHERE NOT EXISTS (SELECT FROM {} k WHERE {} AND {} = d.origin)
        """).format(
            sql.SQL(_NOTED).format(name=self._name),
            self._source.origin_of(sql.SQL("n.key")),
            self._source.rows,
            self._source.key_equals(sql.SQL("n.key")),
            origin,
        )

    def _count(self) -> tuple[int, int]:
        """Rows, and how many of them have no key.

        Raises:
            ConfigurationError: several rows have the same key.
        """
        if self._noted or self._source.has_unique_key:
            row: Any = self._connection.execute(
                sql.SQL("SELECT count(*) FROM {}").format(
                    sql.SQL("{} n").format(sql.SQL(_NOTED).format(name=self._name)) if self._noted else self._rows
                ),
                [],
            ).fetchone()
            return row[0], 0
        row = self._connection.execute(
            sql.SQL(
                "SELECT count(*), count(origin), count(DISTINCT origin) FROM (SELECT {} AS origin FROM {}) s"
            ).format(self._source.origin(), self._rows),
            [],
        ).fetchone()
        rows, keyed, distinct = row
        if distinct < keyed:
            raise ConfigurationError(
                f"{keyed - distinct:,} rows of {self._source.name} have the key of another row; a key must identify "
                "one: name more columns with --key, or make the query's key of them"
            )
        return rows, rows - keyed

    def _declare(self, name: str, query: sql.Composed) -> ServerCursor[tuple[Any, ...]]:
        cursor = self._connection.cursor(name, withhold=True)
        cursor.execute(query, [])
        self._cursors.append(cursor)
        return cursor


@contextmanager
def open_changes(connection: Connection, source: Source, manner: str, *, noted: bool) -> Iterator[SourceChanges]:
    """What differs between a source and what was loaded from it, found in one snapshot.

    Args:
        connection: in autocommit mode, used by nothing else meanwhile.
        source: what to read.
        manner: digest of how a text becomes chunks.
        noted: look only at rows that were noted.

    Raises:
        ConfigurationError: several rows have the same key.
    """
    changes = SourceChanges(connection, source, manner, noted=noted)
    try:
        yield changes
    finally:
        changes.close()


def must_compare(connection: Connection, name: str) -> bool:
    """True if notes alone do not say which rows changed: the table was emptied, or chunks are gone."""
    emptied: LiteralString = "SELECT EXISTS (SELECT FROM synced_changes WHERE source = %s AND key IS NULL)"
    if connection.execute(emptied, [name]).fetchone() == (True,):
        return True
    # The first and the last document speak for all: this is for a chunk table that was emptied or restored.
    ends = sql.SQL('(SELECT origin, chunks FROM loaded_documents WHERE {} ORDER BY origin COLLATE "C" {} LIMIT 1)')
    of_source = documents_of(sql.SQL("%(name)s::text"), sql.Identifier("origin"))
    query = sql.SQL("""
        SELECT EXISTS (
            SELECT FROM ({} UNION ALL {}) d WHERE d.chunks <> (
                SELECT count(*) FROM knowledge_base b WHERE b.document_metadata ->> 'origin' = d.origin
            )
        )
    """).format(ends.format(of_source, sql.SQL("ASC")), ends.format(of_source, sql.SQL("DESC")))
    return connection.execute(query, {"name": name}).fetchone() == (True,)


def _batches(cursor: ServerCursor[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while rows := cursor.fetchmany(size):
        yield rows


def _literal(text: str) -> sql.Literal:
    """As part of a statement with parameters, which has its percent signs doubled."""
    return sql.Literal(text.replace("%", "%%"))
