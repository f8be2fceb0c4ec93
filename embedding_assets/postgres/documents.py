"""What is kept about documents: their collections, and what the file of each one held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database

_PAGE: Final = 1_000

_BELOW: Final = sql.SQL("{0} COLLATE \"C\" >= {1} || '/' AND {0} COLLATE \"C\" < {1} || '0'")
"""Of names in a folder; an index has them in this order."""

_NOT_SYNCED: Final = sql.SQL("NOT EXISTS (SELECT FROM synced_sources s WHERE starts_with(d.origin, s.name || '/'))")


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents that were loaded from one folder, or files of it.

    Attributes:
        name: what their origins begin with.
        root: the folder, as it was last given.
        is_folder: whether it was loaded as a folder, and not only files of it.
    """

    name: str
    root: str
    is_folder: bool


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A document as it is recorded.

    Attributes:
        origin: what it is called.
        digest: see ``LoadedDocument``.
        content: digest of its file's bytes; see ``LoadedDocument``. None if that is not known.
        chunks: how many it had when it was recorded.
        rejected: rows or parts of it that were rejected.
        has_all_chunks: whether that many are there.
        mark: see ``LoadedDocument``.
    """

    origin: str
    digest: str
    content: str | None
    chunks: int
    rejected: int
    has_all_chunks: bool
    mark: str | None


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """A collection as lists show it.

    Attributes:
        name: of the collection; None: of documents that belong to none.
        root: the folder that it was last loaded from.
        documents: all of them.
        chunks: theirs.
        incomplete: documents that were not read to their end, or of which parts were rejected.
        loaded_at: when one of them was last loaded.
    """

    name: str | None
    root: str | None
    documents: int
    chunks: int
    incomplete: int
    loaded_at: datetime | None


@dataclass(frozen=True, slots=True)
class DocumentSummary:
    """A document as lists show it.

    Attributes:
        origin: what it is called.
        chunks: its chunks.
        rejected: rows or parts of it that were rejected.
        is_complete: whether it was read to its end, and nothing of it was rejected.
        loaded_at: when it was last loaded.
    """

    origin: str
    chunks: int
    rejected: int
    is_complete: bool
    loaded_at: datetime


def list_collections(database: Database) -> list[Collection]:
    """All of them, by name."""
    query = "SELECT name, root, is_folder FROM loaded_collections ORDER BY name"
    return [Collection(*row) for row in database.run(lambda connection: connection.execute(query).fetchall())]


def record_collection(database: Database, collection: Collection) -> None:
    """Keep a collection, or where it was found now. Once loaded as a folder, it stays one."""
    query = """
        INSERT INTO loaded_collections AS c (name, root, is_folder) VALUES (%s, %s, %s)
        ON CONFLICT (name) DO UPDATE SET root = excluded.root,
            is_folder = excluded.is_folder OR (c.is_folder AND c.root = excluded.root)
    """
    values = [collection.name, collection.root, collection.is_folder]
    database.run(lambda connection: connection.execute(query, values))


def record_loaded(database: Database, collection: str) -> None:
    """Keep that a load of a collection, or of a part of it, came to its end just now; see ``origins_with``."""
    query = "UPDATE loaded_collections SET loaded_at = clock_timestamp() WHERE name = %s"
    database.run(lambda connection: connection.execute(query, [collection]))


def find_documents(database: Database, origins: Sequence[str]) -> dict[str, KnownDocument]:
    """Those of ``origins`` that are recorded."""
    query = """
        SELECT d.origin, d.digest, d.content, d.chunks, d.rejected, d.chunks = (
            SELECT count(*) FROM knowledge_base k WHERE k.document_metadata ->> 'origin' = d.origin
        ), d.mark FROM loaded_documents d WHERE d.origin = ANY(%b::text[])
    """
    rows = database.run(lambda connection: connection.execute(query, [list(origins)]).fetchall())
    return {row[0]: KnownDocument(*row) for row in rows}


def record_mark(database: Database, origin: str, mark: str | None) -> None:
    """Keep by what the file of a document is known now, which holds what it held before."""
    query = "UPDATE loaded_documents SET mark = %s WHERE origin = %s"
    database.run(lambda connection: connection.execute(query, [mark, origin]))


def sample_documents(database: Database, collection: str, most: int) -> list[tuple[str, str]]:
    """Origin and content of some of a collection's documents, the same ones each time."""
    query = """
        SELECT origin, content FROM loaded_documents WHERE collection = %s AND content IS NOT NULL AND digest <> ''
        ORDER BY md5(origin) LIMIT %s
    """
    return database.run(lambda connection: connection.execute(query, [collection, most]).fetchall())


def count_collection(database: Database, collection: str) -> tuple[int, int]:
    """How many documents a collection has, and how many chunks."""
    query = "SELECT count(*), coalesce(sum(chunks), 0) FROM loaded_documents WHERE collection = %s"
    row: Any = database.run(lambda connection: connection.execute(query, [collection]).fetchone())
    return row[0], row[1]


def documents_below(
    database: Database, folder: str, collection: str | None
) -> Iterator[list[tuple[str, str | None, bool]]]:
    """Origin and content of documents in a folder, page by page, by name; those of one collection, or of none.

    What is synced from a table belongs to none, and is not among them. For the third value see ``origins_with``.
    """
    query: Any = sql.SQL("""
        SELECT origin, content, coalesce(
            d.loaded_at > (SELECT c.loaded_at FROM loaded_collections c WHERE c.name = %(collection)s), false
        ) FROM loaded_documents d
        WHERE {below} AND origin COLLATE "C" > %(after)s AND collection IS NOT DISTINCT FROM %(collection)s
          AND {not_synced} ORDER BY origin COLLATE "C" LIMIT %(most)s
    """).format(below=_BELOW.format(sql.Identifier("d", "origin"), sql.SQL("%(folder)s::text")), not_synced=_NOT_SYNCED)
    after = ""
    while True:
        page = _page(database, query, {"folder": folder, "after": after, "collection": collection, "most": _PAGE})
        if not page:
            return
        after = page[-1][0]
        yield page


def _page(database: Database, query: Any, parameters: dict[str, object]) -> list[Any]:
    return database.run(lambda connection: connection.execute(query, parameters).fetchall())


def origins_with(database: Database, collection: str, contents: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Content and origin of the complete documents of a collection that have one of these contents.

    The third value is whether that was recorded since a load of the collection last came to its end: by one that was
    stopped, or is under way.
    """
    query = """
        SELECT d.content, d.origin, d.loaded_at > c.loaded_at
        FROM loaded_documents d JOIN loaded_collections c ON c.name = d.collection
        WHERE d.collection = %s AND d.content = ANY(%s) AND d.digest <> ''
    """
    return database.run(lambda connection: connection.execute(query, [collection, list(contents)]).fetchall())


def summarize_collections(database: Database) -> list[CollectionSummary]:
    """Every collection, by name, and last the documents that belong to none; what sources have is not among them."""
    query = sql.SQL("""
        SELECT collection, c.root, count(origin), coalesce(sum(chunks), 0)::bigint,
               count(*) FILTER (WHERE digest = ''), max(d.loaded_at)
        FROM loaded_documents d LEFT JOIN loaded_collections c ON c.name = collection
        WHERE {} GROUP BY collection, c.root ORDER BY collection NULLS LAST
    """).format(_NOT_SYNCED)
    rows = database.run(lambda connection: connection.execute(query).fetchall())
    return [CollectionSummary(*row) for row in rows]


def list_documents(database: Database, name: str, most: int) -> list[DocumentSummary]:
    """The document called ``name``, or the first of those in the collection or folder of that name."""
    query = sql.SQL("""
        SELECT origin, chunks, rejected, digest <> '', loaded_at FROM loaded_documents d
        WHERE (origin = %(name)s OR ({below})) AND {not_synced} ORDER BY origin COLLATE "C" LIMIT %(most)s
    """).format(below=_BELOW.format(sql.Identifier("d", "origin"), sql.SQL("%(name)s::text")), not_synced=_NOT_SYNCED)
    rows = database.run(lambda connection: connection.execute(query, {"name": name, "most": most}).fetchall())
    return [DocumentSummary(*row) for row in rows]


def count_named(database: Database, name: str) -> tuple[int, int]:
    """How many documents, and chunks, ``forget_documents`` would remove."""
    query = sql.SQL("""
        SELECT count(*), coalesce(sum(chunks), 0) FROM loaded_documents d
        WHERE (origin = %(name)s OR ({below})) AND {not_synced}
    """).format(below=_BELOW.format(sql.Identifier("d", "origin"), sql.SQL("%(name)s::text")), not_synced=_NOT_SYNCED)
    row: Any = database.run(lambda connection: connection.execute(query, {"name": name}).fetchone())
    return row[0], row[1]


def forget_collection(database: Database, name: str) -> None:
    """Forget where a collection was loaded from, if no document is left of it."""
    query = """
        DELETE FROM loaded_collections WHERE name = %s
          AND NOT EXISTS (SELECT FROM loaded_documents WHERE collection = %s)
    """
    database.run(lambda connection: connection.execute(query, [name, name]))
