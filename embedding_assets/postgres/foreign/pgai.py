"""pgai's vectorizers: what they embed, with what, and the chunks that they have stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import sql

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.foreign.chunk import ForeignChunk
from embedding_assets.postgres.foreign.relation import as_vector
from embedding_assets.postgres.foreign.snapshot import read_portions
from embedding_assets.postgres.source_lookup import open_source
from embedding_assets.postgres.sources import SourceDefinition, document_digest, fix_text_forms
from embedding_assets.postgres.table import quoted

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection
    from embedding_assets.postgres.sources import Source


@dataclass(frozen=True, slots=True)
class Vectorizer:
    """A row of ``ai.vectorizer``.

    Attributes:
        number: its id.
        name: its name; empty before pgai had names.
        source: the table that it reads, as in SQL.
        key: columns of that table's primary key, in its order.
        text: column that it embeds; empty: files that a column leads to.
        store: schema and table of the chunks; None: the vectors are in a column of the source.
        column: that column of the source.
        queues: tables that list rows which were edited since, or could not be embedded.
        template: how a chunk was formatted before it was embedded.
        embedding: model, dimensions and what else it said of them.
    """

    number: int
    name: str
    source: str
    source_name: tuple[str, str]
    key: tuple[str, ...]
    text: str
    store: tuple[str, str] | None
    column: str
    queues: tuple[tuple[str, str], ...]
    template: str
    embedding: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.number} ({self.name or self.source})"


def list_vectorizers(connection: Connection) -> list[Vectorizer]:
    """All vectorizers of the database.

    Raises:
        ConfigurationError: pgai was never installed here.
    """
    if connection.execute("SELECT to_regclass('ai.vectorizer')").fetchone() == (None,):
        raise ConfigurationError("this database has no table ai.vectorizer: pgai keeps its vectorizers there")
    # As JSON: the columns differ from version to version.
    rows = connection.execute("SELECT to_jsonb(v) FROM ai.vectorizer v ORDER BY id").fetchall()
    return [_vectorizer(row) for (row,) in rows]


def choose_vectorizer(found: Sequence[Vectorizer], wanted: str | None) -> Vectorizer:
    """The vectorizer of that id, name or source table, or the only one.

    Raises:
        ConfigurationError: there is none, or it is not clear which one is meant.
    """
    if wanted is None:
        chosen = list(found)
    else:
        called = [(one, {str(one.number), one.name, one.source, ".".join(one.source_name)}) for one in found]
        chosen = [one for one, names in called if wanted in names]
    if len(chosen) != 1:
        names = ", ".join(map(str, found)) or "none"
        problem = f"no single vectorizer is {wanted}" if wanted else "say which vectorizer"
        raise ConfigurationError(f"{problem}; there are: {names}")
    return chosen[0]


@dataclass(frozen=True, slots=True)
class SkippedRows:
    """Rows and chunks that are not imported.

    Attributes:
        edited: source rows that were edited since they were embedded, by pgai's own queues.
        changed: source rows that were edited since they were imported, or that are split in another way now.
        gone: chunks whose source row is gone.
    """

    edited: int
    changed: int
    gone: int


def source_definition(vectorizer: Vectorizer) -> SourceDefinition | None:
    """Its source as one that is synced from then on; None where its texts are in files."""
    if not vectorizer.text:
        return None
    schema, table = vectorizer.source_name
    return SourceDefinition(
        vectorizer.source, schema=schema, table=table, key=vectorizer.key, text=f"{{{vectorizer.text}}}"
    )


def count_skipped(connection: Connection, vectorizer: Vectorizer, manner: str) -> SkippedRows:
    """What ``read_store`` leaves out, as the connection's snapshot has it."""
    source, digest = _source_and_digest(connection, vectorizer, manner)
    queued = _is_queued(connection, vectorizer)
    rows: Any = connection.execute(
        sql.SQL("""
            SELECT count(*) FILTER (WHERE {queued}), count(*) FILTER (WHERE NOT ({queued}) AND d.digest <> {digest})
            FROM {source} k LEFT JOIN loaded_documents d ON d.origin = {origin}
        """).format(
            queued=queued, digest=digest, source=sql.Identifier(*vectorizer.source_name), origin=source.origin()
        ),
        [],
    ).fetchone()
    gone: Any = connection.execute(
        sql.SQL("SELECT count(*) FROM {} t WHERE NOT EXISTS (SELECT FROM {} k WHERE {})").format(
            sql.Identifier(*_store_of(vectorizer)), sql.Identifier(*vectorizer.source_name), _same_row(vectorizer.key)
        ),
        [],
    ).fetchone()
    return SkippedRows(*rows, *gone)


def read_store(connection: Connection, vectorizer: Vectorizer, manner: str) -> Iterator[list[ForeignChunk]]:
    """The chunks of a vectorizer, but for those of source rows that were edited since, or deleted.

    Args:
        connection: in a snapshot.
        vectorizer: whose.
        manner: digest of how a later sync makes chunks of a text.
    """
    source, digest = _source_and_digest(connection, vectorizer, manner)
    order = sql.SQL(", ").join(sql.SQL("t.{}").format(_name(name)) for name in vectorizer.key)
    query = sql.SQL("""
        SELECT t.embedding_uuid::text, {origin}, t.chunk, t.embedding::real[],
               row_number() OVER (PARTITION BY {order} ORDER BY t.chunk_seq) - 1, count(*) OVER (PARTITION BY {order}),
               {digest}, d.origin IS NOT NULL
        FROM {store} t JOIN {rows} k ON {same_row} LEFT JOIN loaded_documents d ON d.origin = {origin}
        WHERE NOT ({is_queued}) AND (d.origin IS NULL OR d.digest = {digest}) ORDER BY {order}, t.chunk_seq
    """).format(
        origin=source.origin(),
        order=order,
        digest=digest,
        store=sql.Identifier(*_store_of(vectorizer)),
        rows=sql.Identifier(*vectorizer.source_name),
        same_row=_same_row(vectorizer.key),
        is_queued=_is_queued(connection, vectorizer),
    )
    lines = _header_lines(vectorizer.template)
    for rows in read_portions(connection, query):
        yield [_chunk(lines, row) for row in rows]


def _source_and_digest(connection: Connection, vectorizer: Vectorizer, manner: str) -> tuple[Source, sql.Composable]:
    """The source, and what a sync takes for the digest of its row ``k``."""
    fix_text_forms(connection)
    definition = source_definition(vectorizer)
    if definition is None:
        # Files: no column has their text. The row's key alone says what it is.
        schema, table = vectorizer.source_name
        bare = SourceDefinition(
            vectorizer.source, schema=schema, table=table, key=vectorizer.key, text=f"{{{vectorizer.key[0]}}}"
        )
        return open_source(connection, bare), sql.SQL("'pgai'::text")
    source = open_source(connection, definition)
    return source, sql.SQL("(SELECT {} FROM (SELECT {}) AS made)").format(document_digest(manner), source.documents())


def _chunk(lines: int, row: tuple[Any, ...]) -> ForeignChunk:
    number, origin, chunk, vector, place, total, digest, is_loaded = row
    parts = chunk.split("\n", lines) if lines else [chunk]
    # Header, newline, text is what a model reads: parted at a newline, that is the chunk to the letter.
    is_parted = len(parts) == lines + 1 and parts[-1].strip() and any(parts[:-1])
    header, text = ("\n".join(parts[:-1]), parts[-1]) if is_parted else ("", chunk)
    return ForeignChunk(
        key=number,
        origin=origin,
        source=origin,
        title="",
        metadata={},
        header=header,
        text=text,
        place=place,
        total=total,
        vector=as_vector(vector),
        digest=digest,
        is_loaded=is_loaded,
    )


def _header_lines(template: str) -> int:
    """Lines that the template puts above the chunk; 0 where the chunk shares a line with them, or is not the last."""
    above, found, below = template.partition("$chunk")
    return above.count("\n") if found and above.endswith("\n") and not below else 0


def _vectorizer(row: dict[str, Any]) -> Vectorizer:
    config = row["config"]
    destination = config.get("destination") or {}
    key = sorted(row["source_pk"], key=lambda part: part["pknum"])
    schema, table = row["source_schema"], row["source_table"]
    column = destination.get("embedding_column") or ""
    store = None
    if not column:
        default = f"{destination.get('destination') or f'{table}_embedding'}_store"
        store = (
            row.get("target_schema") or destination.get("target_schema") or schema,
            row.get("target_table") or destination.get("target_table") or default,
        )
    loading = config.get("loading") or {}
    # Before pgai had loading, chunking said which column.
    text = loading.get("column_name") or (config.get("chunking") or {}).get("chunk_column") or ""
    return Vectorizer(
        number=row["id"],
        name=row.get("name") or "",
        source=".".join(quoted([part]) for part in (schema, table)),
        source_name=(schema, table),
        key=tuple(part["attname"] for part in key),
        text="" if loading.get("implementation") == "uri" else text,
        store=store,
        column=column,
        queues=tuple(
            (row["queue_schema"], row[name])
            for name in ("queue_table", "queue_failed_table")
            if row.get("queue_schema") and row.get(name)
        ),
        template=(config.get("formatting") or {}).get("template") or "$chunk",
        embedding=config.get("embedding") or {},
    )


def _store_of(vectorizer: Vectorizer) -> tuple[str, str]:
    assert vectorizer.store is not None
    return vectorizer.store


def _same_row(key: Sequence[str]) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("t.{0} = k.{0}").format(_name(name)) for name in key)


def _is_queued(connection: Connection, vectorizer: Vectorizer) -> sql.Composable:
    """True of a source row ``k`` that a queue lists: it was edited after it was embedded, or never could be."""
    conditions: list[sql.Composable] = [sql.SQL("false")]
    for queue in vectorizer.queues:
        name = sql.Identifier(*queue)
        if connection.execute("SELECT to_regclass(%s)", [name.as_string()]).fetchone() == (None,):
            continue
        same = sql.SQL(" AND ").join(sql.SQL("q.{0} = k.{0}").format(_name(part)) for part in vectorizer.key)
        conditions.append(sql.SQL("EXISTS (SELECT FROM {} q WHERE {})").format(name, same))
    return sql.SQL(" OR ").join(conditions)


def _name(name: str) -> sql.Identifier:
    # As part of a statement with parameters: the driver looks for placeholders in all of it.
    return sql.Identifier(name.replace("%", "%%"))
