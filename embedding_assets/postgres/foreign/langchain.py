"""LangChain's collections: those of PGVector, old and new, and the tables of PGVectorStore."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.foreign.chunk import ForeignChunk
from embedding_assets.postgres.foreign.relation import as_vector, columns_of
from embedding_assets.postgres.foreign.snapshot import read_portions

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection

_TAKEN = frozenset({"source", "title", "origin"})


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection, and where its chunks are.

    Attributes:
        name: as LangChain has it; of PGVectorStore that of the table.
        schema, table: where the chunks are.
        key: column of their ids.
        text: column of their texts.
        metadata: column of their metadata, as JSON; None: there is none.
        number: UUID of the collection as text, where a table has several; None: the whole table.
        columns: metadata columns beside that.
    """

    name: str
    schema: str
    table: str
    key: str
    text: str
    metadata: str | None
    number: str | None
    columns: tuple[str, ...] = ()


def find_collections(connection: Connection, schema: str) -> list[Collection]:
    """All collections of a schema, by name."""
    return sorted([*_of_pgvector(connection, schema), *_of_stores(connection, schema)], key=lambda one: one.name)


def choose_collection(found: Sequence[Collection], name: str | None, schema: str) -> Collection:
    """The collection of that name, or the only one.

    Raises:
        ConfigurationError: there is none, or it is not clear which one is meant.
    """
    if not found:
        raise ConfigurationError(
            f"schema {schema} has no collection of LangChain: neither langchain_pg_embedding nor a table with "
            "langchain_id, content and embedding; name the schema by --schema"
        )
    chosen = [one for one in found if name in (None, one.name)]
    if len(chosen) != 1:
        names = ", ".join(one.name for one in found)
        problem = f"there is no collection {name}" if name else "there are several collections"
        raise ConfigurationError(f"{problem}; name one by --collection: {names}")
    return chosen[0]


def read_collection(connection: Connection, collection: Collection) -> Iterator[list[ForeignChunk]]:
    """The chunks of a collection; those of one source follow one another, by page and place in it where these are said.

    A chunk without a source is a document of its own.
    """
    metadata = sql.SQL("c.{}::jsonb").format(_name(collection.metadata)) if collection.metadata else sql.SQL("NULL")
    rest = sql.SQL(", ").join(
        sql.SQL("{}, c.{}").format(sql.Literal(name.replace("%", "%%")), _name(name)) for name in collection.columns
    )
    query = sql.SQL("""
        SELECT id, text, embedding::real[], metadata, document,
               row_number() OVER (PARTITION BY document ORDER BY page, start, id) - 1 AS place,
               count(*) OVER (PARTITION BY document)
        FROM (
            SELECT *, coalesce(nullif(metadata ->> 'source', ''), id) COLLATE "C" AS document,
                   CASE WHEN metadata ->> 'page' ~ '^[0-9]{{1,9}}$' THEN (metadata ->> 'page')::integer END AS page,
                   CASE WHEN metadata ->> 'start_index' ~ '^[0-9]{{1,9}}$'
                   THEN (metadata ->> 'start_index')::integer END AS start
            FROM (
                SELECT c.{key}::text COLLATE "C" AS id, c.{text}::text AS text, c.embedding,
                       CASE jsonb_typeof({metadata}) WHEN 'object' THEN {metadata} ELSE '{{}}' END
                       || jsonb_build_object({rest}) AS metadata
                FROM {table} c WHERE {of_collection}
            ) AS read
        ) AS placed ORDER BY document, place
    """).format(
        key=_name(collection.key),
        text=_name(collection.text),
        metadata=metadata,
        rest=rest,
        table=sql.Identifier(collection.schema, collection.table),
        of_collection=sql.SQL("true" if collection.number is None else "c.collection_id::text = %s"),
    )
    parameters = [] if collection.number is None else [collection.number]
    for rows in read_portions(connection, query, parameters):
        yield [_chunk(collection.name, row) for row in rows]


def _chunk(name: str, row: tuple[Any, ...]) -> ForeignChunk:
    key, text, vector, metadata, document, place, total = row
    title = metadata.get("title")
    return ForeignChunk(
        key=key,
        origin=f"langchain:{name}/{document}",
        source=document,
        title=title if isinstance(title, str) else "",
        metadata={field: value for field, value in metadata.items() if field not in _TAKEN},
        header="",
        text=text or "",
        place=place,
        total=total,
        vector=as_vector(vector),
    )


def _of_pgvector(connection: Connection, schema: str) -> list[Collection]:
    oid = _oid(connection, schema, "langchain_pg_embedding")
    if oid is None or _oid(connection, schema, "langchain_pg_collection") is None:
        return []
    columns = columns_of(connection, oid)
    if not {"collection_id", "document", "embedding", "cmetadata"} <= set(columns):
        return []
    # langchain-postgres has id; what came before has uuid, and maybe custom_id beside it.
    key = "id" if "id" in columns else "uuid"
    rows = connection.execute(
        sql.SQL("SELECT name, uuid::text FROM {}").format(sql.Identifier(schema, "langchain_pg_collection"))
    ).fetchall()
    return [
        Collection(name, schema, "langchain_pg_embedding", key, "document", "cmetadata", number)
        for name, number in rows
    ]


def _of_stores(connection: Connection, schema: str) -> list[Collection]:
    rows = connection.execute(
        """
        SELECT c.relname, c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname = %s AND relkind IN ('r', 'p') AND has_table_privilege(c.oid, 'SELECT') AND (
            SELECT count(*) FROM pg_attribute WHERE attrelid = c.oid AND NOT attisdropped
              AND attname IN ('langchain_id', 'content', 'embedding')
        ) = 3
        """,
        [schema],
    ).fetchall()
    found = []
    for name, oid in rows:
        columns = columns_of(connection, oid)
        metadata = "langchain_metadata" if "langchain_metadata" in columns else None
        ours = {"langchain_id", "content", "embedding", metadata}
        rest = tuple(column for column, kind in columns.items() if column not in ours and kind != "tsvector")
        found.append(Collection(name, schema, name, "langchain_id", "content", metadata, None, rest))
    return found


def _oid(connection: Connection, schema: str, name: str) -> int | None:
    row: Any = connection.execute(
        "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))::oid::bigint", [schema, name]
    ).fetchone()
    return row[0] if row else None


def _name(name: str) -> sql.Identifier:
    return sql.Identifier(name.replace("%", "%%"))
