"""What is kept about sources: their definitions, how far they are synced, the documents that came from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql
from psycopg.types.json import Jsonb

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.sources import SourceDefinition

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.sources import Source

_OF_SOURCE: Final = sql.SQL("{0} COLLATE \"C\" >= {1} || '/' AND {0} COLLATE \"C\" < {1} || '0'")

_BATCH_DOCUMENTS: Final = 500


@dataclass(frozen=True, slots=True)
class KnownSource:
    """A source that was registered.

    Attributes:
        definition: what it is.
        is_watched: whether triggers on its table note which rows change.
        compared_oid: the table, by PostgreSQL's number, that was last compared whole; None: not since it was defined.
        compared_manner: how its texts became chunks then.
        owners: the assets of Dagster that define it; none: the command line.
    """

    definition: SourceDefinition
    is_watched: bool
    compared_oid: int | None
    compared_manner: str | None
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """A source as lists show it.

    Attributes:
        name: of the source.
        documents: rows that are documents in the chunk table.
        chunks: their chunks.
        rejected: rows that cannot be documents.
        is_watched: whether triggers note which rows change.
        synced_at: when it was last brought up to date.
        compared_at: when it was last compared whole.
        owners: the assets of Dagster that define it.
    """

    name: str
    documents: int
    chunks: int
    rejected: int
    is_watched: bool
    synced_at: datetime | None
    compared_at: datetime | None
    owners: Sequence[str]


def documents_of(name: sql.Composable, column: sql.Composable) -> sql.Composed:
    """True of origins, in ``column``, that belong to the source called ``name``; an index has them in this order."""
    return _OF_SOURCE.format(column, name)


def register_source(
    connection: Connection, definition: SourceDefinition, *, is_watched: bool = False, owners: Sequence[str] = ()
) -> None:
    """Keep a source, or its new definition, with which it is compared whole when it is synced next.

    Args:
        connection: to the database.
        definition: what it is.
        is_watched: whether triggers note which rows change.
        owners: the assets of Dagster that define it from now on.

    Raises:
        ConfigurationError: there are documents of that name which did not come from it.
    """
    with connection.transaction():
        query = sql.SQL("""
            SELECT 1 FROM loaded_documents WHERE {} AND NOT EXISTS (SELECT FROM synced_sources WHERE name = %(name)s)
            LIMIT 1
        """).format(documents_of(sql.SQL("%(name)s::text"), sql.Identifier("origin")))
        if connection.execute(query, {"name": definition.name}).fetchone() is not None:
            raise ConfigurationError(
                f"documents were loaded whose origins begin with {definition.name}/, as those of this source would; "
                "choose another --name"
            )
        connection.execute(
            """
            INSERT INTO synced_sources AS s (name, definition, is_watched, owners) VALUES (%s, %s, %s, %s)
            ON CONFLICT (name) DO UPDATE SET
                compared_oid = CASE WHEN (s.definition, s.is_watched) = (excluded.definition, excluded.is_watched)
                    THEN s.compared_oid END,
                definition = excluded.definition, is_watched = excluded.is_watched,
                owners = excluded.owners
            """,
            [definition.name, Jsonb(definition.as_json()), is_watched, list(owners)],
        )


def release_source(connection: Connection, name: str) -> bool:
    """Let any asset of Dagster define a source. Returns whether there is one of that name."""
    return connection.execute("UPDATE synced_sources SET owners = '{}' WHERE name = %s", [name]).rowcount > 0


def require_comparison(connection: Connection, name: str) -> None:
    """Let the next sync of a source compare it whole."""
    connection.execute("UPDATE synced_sources SET compared_oid = NULL WHERE name = %s", [name])


def list_sources(connection: Connection) -> list[KnownSource]:
    """All of them, by name."""
    rows = connection.execute(
        "SELECT definition, is_watched, compared_oid, compared_manner, owners FROM synced_sources ORDER BY name"
    ).fetchall()
    return [
        KnownSource(SourceDefinition.from_json(definition), is_watched, oid, manner, tuple(owners))
        for definition, is_watched, oid, manner, owners in rows
    ]


def find_source(connection: Connection, name: str) -> KnownSource | None:
    """The source of that name."""
    return next((one for one in list_sources(connection) if one.definition.name == name), None)


def source_of(connection: Connection, origin: str) -> str | None:
    """Name of the source that an origin belongs to."""
    row = connection.execute(
        "SELECT name FROM synced_sources WHERE starts_with(%s, name || '/') LIMIT 1", [origin]
    ).fetchone()
    return row[0] if row else None


def summarize_sources(database: Database) -> list[SourceSummary]:
    """Every source with its documents and chunks, by name."""
    query = sql.SQL("""
        SELECT name, documents, chunks, rejected, is_watched, synced_at, compared_at, owners FROM synced_sources s
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE chunks > 0) AS documents, coalesce(sum(chunks), 0) AS chunks,
                   count(*) FILTER (WHERE chunks = 0) AS rejected
            FROM loaded_documents WHERE {}
        ) d ORDER BY name
    """).format(documents_of(sql.Identifier("s", "name"), sql.Identifier("origin")))
    rows = database.run(lambda connection: connection.execute(query).fetchall())
    return [SourceSummary(*row) for row in rows]


def record_synced(connection: Connection, source: Source, manner: str, *, is_compared: bool) -> None:
    """Record that a source was brought up to date, by comparing it whole or by what was noted."""
    connection.execute(
        """
        UPDATE synced_sources SET synced_at = now(),
            compared_oid = CASE WHEN %(compared)s THEN %(oid)s ELSE compared_oid END,
            compared_manner = CASE WHEN %(compared)s THEN %(manner)s ELSE compared_manner END,
            compared_at = CASE WHEN %(compared)s THEN now() ELSE compared_at END
        WHERE name = %(name)s AND definition = %(definition)s
        """,
        {
            "name": source.name,
            "compared": is_compared,
            "oid": source.oid,
            "manner": manner,
            "definition": Jsonb(source.definition.as_json()),
        },
    )


def remove_documents(database: Database, origins: Sequence[str]) -> int:
    """Remove documents with their chunks, and the record of them. Returns the number of chunks."""

    def work(connection: Connection) -> int:
        # The records first, in one order: as storing a document does.
        connection.execute(
            """
            DELETE FROM loaded_documents WHERE origin IN (
                SELECT origin FROM loaded_documents WHERE origin = ANY(%s) ORDER BY origin FOR UPDATE
            )
            """,
            [list(origins)],
        )
        return connection.execute(
            "DELETE FROM knowledge_base WHERE document_metadata ->> 'origin' = ANY(%s)", [list(origins)]
        ).rowcount

    return database.run(work)


def forget_source(database: Database, name: str) -> tuple[int, int]:
    """Remove the documents of a source with their chunks, at last the source; a stop in between is taken up again.

    Returns:
        How many documents and how many chunks were removed.
    """
    query: Any = sql.SQL("SELECT origin FROM loaded_documents WHERE {} LIMIT %(most)s").format(
        documents_of(sql.SQL("%(name)s::text"), sql.Identifier("origin"))
    )
    documents = chunks = 0
    while origins := [
        origin
        for (origin,) in database.run(
            lambda connection: connection.execute(query, {"name": name, "most": _BATCH_DOCUMENTS}).fetchall()
        )
    ]:
        documents += len(origins)
        chunks += remove_documents(database, origins)

    def work(connection: Connection) -> None:
        connection.execute("DELETE FROM synced_changes WHERE source = %s", [name])
        connection.execute("DELETE FROM synced_sources WHERE name = %s", [name])

    database.run(work)
    return documents, chunks
