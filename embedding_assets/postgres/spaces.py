"""Which vector space owns which column, and which one serves searches."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

from psycopg import sql

from embedding_assets.errors import ConfigurationError, SpaceMismatchError
from embedding_assets.postgres.index import describe_index, ensure_pending_index
from embedding_assets.postgres.locks import TABLE_LOCK, hold
from embedding_assets.spaces import VectorSpace

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database

__all__ = ["SpaceRecord", "list_spaces", "pending_index_waits", "register_space", "serving_space"]

_ATTRIBUTES = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(VectorSpace))

_SETTING_OF = {
    "provider": "EMBEDDING_PROVIDER",
    "model": "EMBEDDING_MODEL_NAME",
    "revision": "EMBEDDING_MODEL_REVISION",
    "dimensions": "EMBEDDING_DIMENSIONS",
    "max_tokens": "EMBEDDING_MAX_SEQ_LENGTH",
}


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    """A vector space and the column and index of ``knowledge_base`` that belong to it alone."""

    space: VectorSpace
    column: str
    index: str
    serving: bool

    @property
    def pending_index(self) -> str:
        """Name of the partial index that finds chunks without a vector in this space."""
        return f"{self.index}_pending"


def list_spaces(database: Database) -> list[SpaceRecord]:
    """All spaces, oldest first."""
    return database.run(_select)


def serving_space(database: Database) -> SpaceRecord | None:
    """The space that searches are asked in; None before anything was embedded."""
    return next((record for record in list_spaces(database) if record.serving), None)


def register_space(
    database: Database, space: VectorSpace, *, new_space: bool = False, claim_vectors: bool = False
) -> SpaceRecord:
    """The record of ``space``; the first space of a table gets column ``embedding``, a further one its own.

    Args:
        space: what the settings describe.
        new_space: allow a further space; without it a mismatch is an error, so that a typing error in a model's name
            does not start to embed the whole table again.
        claim_vectors: take vectors that an adopted table already holds for ones of this space.

    Raises:
        SpaceMismatchError: the table is embedded in another space and ``new_space`` is off.
        ConfigurationError: column ``embedding`` holds vectors of unknown origin or another length.
    """
    record = database.run(lambda connection: _find(connection, space, new_space=new_space))
    if record is None:
        with database.session() as session, hold(session, TABLE_LOCK):
            record = database.run(
                lambda connection: _register(connection, space, new_space=new_space, claim_vectors=claim_vectors)
            )
    if not pending_index_waits(database, record) or describe_index(database, record.index).exists:
        ensure_pending_index(database, record)
    return record


def pending_index_waits(database: Database, record: SpaceRecord) -> bool:
    """Whether a space's partial index of pending chunks is left to its first load's end, as its vector index is.

    Where an index names a vector column, PostgreSQL enters every row whose vector is written into all indexes of the
    table again: into the vector indexes of other spaces too, which is as slow as filling those. Without, the row's new
    version stays in its page and no index notices (a heap-only tuple). Until then the backlog is most of the table, and
    the unique index of the hashes finds it, if that has their byte order. The serving space always has its partial
    index: the sensor probes it, and its first load meets no other vector index.
    """
    query = (
        "SELECT attcollation = '\"C\"'::regcollation FROM pg_attribute "
        "WHERE attrelid = 'knowledge_base'::regclass AND attname = 'chunk_hash'"
    )
    return not record.serving and database.run(lambda connection: connection.execute(query).fetchone()) == (True,)


def _select(connection: Connection) -> list[SpaceRecord]:
    rows = connection.execute(
        sql.SQL("SELECT {}, column_name, index_name, serving FROM embedding_spaces ORDER BY created_at, name").format(
            _ATTRIBUTES
        )
    ).fetchall()
    return [SpaceRecord(VectorSpace(*row[:-3]), *row[-3:]) for row in rows]


def _find(connection: Connection, space: VectorSpace, *, new_space: bool) -> SpaceRecord | None:
    """None when the space may be registered."""
    known = _select(connection)
    found = next((record for record in known if record.space == space), None)
    if found is None and known and not new_space:
        raise SpaceMismatchError(_mismatch(space, known))
    return found


def _register(connection: Connection, space: VectorSpace, *, new_space: bool, claim_vectors: bool) -> SpaceRecord:
    """Called under the table's lock, so that two first runs agree on one space."""
    if found := _find(connection, space, new_space=new_space):
        return found
    # Changing columns waits for every reader, and new readers behind it: give way and try again rather than block them.
    connection.execute("SET LOCAL lock_timeout = '2s'")
    if _select(connection):
        record = SpaceRecord(space, f"embedding_{space.slug}", f"idx_knowledge_embedding_{space.slug}", serving=False)
        connection.execute(
            sql.SQL("ALTER TABLE knowledge_base ADD COLUMN {} vector({})").format(
                sql.Identifier(record.column), sql.Literal(space.dimensions)
            )
        )
    else:
        record = SpaceRecord(space, "embedding", "idx_knowledge_embedding", serving=True)
        _claim_first_column(connection, space, claim_vectors=claim_vectors)
    connection.execute(
        sql.SQL("INSERT INTO embedding_spaces (name, {}, column_name, index_name, serving) VALUES ({}, {})").format(
            _ATTRIBUTES, sql.Placeholder(), sql.SQL(", ").join(sql.Placeholder() * (len(fields(VectorSpace)) + 3))
        ),
        [space.name, *astuple(space), record.column, record.index, record.serving],
    )
    return record


def _claim_first_column(connection: Connection, space: VectorSpace, *, claim_vectors: bool) -> None:
    row = connection.execute(
        "SELECT atttypmod, (SELECT vector_dims(embedding) FROM knowledge_base WHERE embedding IS NOT NULL LIMIT 1) "
        "FROM pg_attribute WHERE attrelid = 'knowledge_base'::regclass AND attname = 'embedding'"
    ).fetchone()
    declared, stored = row or (-1, None)
    if stored is not None and stored != space.dimensions:
        raise ConfigurationError(
            f"EMBEDDING_DIMENSIONS: column embedding holds vectors of {stored} dimensions, "
            f"{space.model} makes {space.dimensions}; set EMBEDDING_MODEL_NAME to the model that filled the column"
        )
    if stored is not None and not claim_vectors:
        raise ConfigurationError(
            "column embedding already holds vectors, but not by which model; set EMBEDDING_MODEL_NAME "
            f"(and EMBEDDING_MODEL_REVISION) to the model that made them, even if it is the default {space.model}"
        )
    if declared != space.dimensions:
        connection.execute("DROP INDEX IF EXISTS idx_knowledge_embedding")
        connection.execute(
            sql.SQL("ALTER TABLE knowledge_base ALTER COLUMN embedding TYPE vector({})").format(
                sql.Literal(space.dimensions)
            )
        )


def _mismatch(space: VectorSpace, known: list[SpaceRecord]) -> str:
    record = next((record for record in known if record.serving), known[0])
    lines = [f"the table is embedded in space {record.space.name}, but the settings describe {space.name}:"]
    for name in space.differences(record.space):
        setting = f" ({_SETTING_OF[name]})" if name in _SETTING_OF else ""
        lines.append(f"  {name}{setting} is {getattr(space, name)!r}, the table's is {getattr(record.space, name)!r}")
    lines.append(
        "unset these variables to go on with the table's model, "
        "or set EMBEDDING_NEW_SPACE=true to give the new one a column and an index of its own"
    )
    return "\n".join(lines)
