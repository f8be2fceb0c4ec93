"""The column of a vector space in the table: a new one, or one that is there; never a rewrite of the table."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.catalog import vector_indexes
from embedding_assets.postgres.trigger import unwatch_removals
from embedding_assets.spaces import Similarity, SpaceColumn, Storage, VectorSpace

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection
    from embedding_assets.postgres.table import Table

_LONGEST_INDEX: Final = 55
"""Characters of an index's name: with ``_pending`` behind it PostgreSQL keeps 63."""


@dataclass(frozen=True, slots=True)
class Place:
    """A column for the vectors of a space, its type, and the name of its index."""

    name: str
    storage: Storage
    index: str


@dataclass(frozen=True, slots=True)
class _Found:
    """A column that is there.

    Attributes:
        storage: its type.
        declared: dimensions that it says; None: any.
        stored: dimensions of a vector in it; None: it is empty.
    """

    storage: Storage
    declared: int | None
    stored: int | None


def take_first_column(
    connection: Connection,
    table: Table,
    space: VectorSpace,
    similarity: Similarity,
    *,
    setting_of: Mapping[str, str],
    claim: bool,
    may_leave: bool,
) -> Place | None:
    """The table's first vector column as that of ``space``, added if it is not there; None if it is left alone.

    Args:
        connection: in a transaction with a limit on waiting for locks.
        table: which.
        space: whose vectors the column is for.
        similarity: what it ranks by.
        setting_of: attribute of a space → the setting behind it, for messages.
        claim: take vectors that the column holds already for ones of this space.
        may_leave: leave a column alone that holds vectors of another length, or of a model that is not known.

    Raises:
        ConfigurationError: the column holds vectors of unknown origin, or cannot hold those of the space.
    """
    found = _find(connection, table, table.vectors)
    if found is None:
        _add(connection, table, table.vectors, space.storage, space.dimensions)
        return _place(connection, table, _nameless(space, similarity, table.vectors, space.storage))
    fits = found.declared == space.dimensions
    if found.stored is None:
        storage = found.storage if fits and (found.storage == "halfvec" or not table.is_own) else space.storage
        if not fits or found.storage != storage:
            if not table.is_own:
                raise ConfigurationError(
                    f"column {table.vectors} of {table} is {found.storage}({found.declared or 'any length'}), and "
                    f"{space.model} makes {space.dimensions} dimensions; name another column with "
                    "EMBEDDING_TABLE_COLUMN and run `embedding-assets adopt` again, or change this one"
                )
            # Nothing is in it: in its place a new one costs a moment, and another type a rewrite of all rows.
            drop_column(connection, table, table.vectors)
            _add(connection, table, table.vectors, storage, space.dimensions)
        return _place(connection, table, _nameless(space, similarity, table.vectors, storage))
    if problem := _unclaimable(table, space, found, setting_of, claim=claim):
        if may_leave:
            return None
        raise ConfigurationError(f"{problem}, or EMBEDDING_NEW_SPACE=true to leave it alone and add another column")
    return _place(connection, table, _nameless(space, similarity, table.vectors, found.storage))


def _place(connection: Connection, table: Table, column: SpaceColumn) -> Place:
    return Place(column.name, column.storage, index_name(connection, table, column))


def _nameless(space: VectorSpace, similarity: Similarity, name: str, storage: Storage) -> SpaceColumn:
    """A column whose index has no name yet."""
    return SpaceColumn(space, name, "", serving=False, similarity=similarity, storage=storage)


def claim_problem(
    connection: Connection, table: Table, space: VectorSpace, setting_of: Mapping[str, str]
) -> str | None:
    """The reason why the first column's vectors cannot be claimed for a space; None if they can, or there are none."""
    found = _find(connection, table, table.vectors)
    if found is None or found.stored is None:
        return None
    return _unclaimable(table, space, found, setting_of, claim=True)


def add_column(
    connection: Connection, table: Table, space: VectorSpace, similarity: Similarity, taken: Collection[str]
) -> Place:
    """A further column; not one of ``taken``, nor any that the table has."""
    slugs = [space.slug, *(f"{space.slug[:28].rstrip('_')}_{number}" for number in range(2, 100))]
    names = (f"embedding_{slug}" for slug in slugs)
    name = next(name for name in names if name not in taken and _find(connection, table, name) is None)
    _add(connection, table, name, space.storage, space.dimensions)
    return _place(connection, table, _nameless(space, similarity, name, space.storage))


def restore_column(connection: Connection, table: Table, name: str, storage: Storage, dimensions: int) -> bool:
    """Add the column of a space again if it is not there, as after a swap of the table; returns whether it was not."""
    if _find(connection, table, name) is not None:
        return False
    _add(connection, table, name, storage, dimensions)
    return True


def drop_column(connection: Connection, table: Table, name: str) -> None:
    """Drop a column, and with it its indexes; PostgreSQL keeps the rows as they are."""
    unwatch_removals(connection, table, name)
    connection.execute(sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(table.relation, sql.Identifier(name)), [])


def _unclaimable(
    table: Table, space: VectorSpace, found: _Found, setting_of: Mapping[str, str], *, claim: bool
) -> str | None:
    """The reason why a filled column cannot be the one of a space, and what to set."""
    column = table.vectors
    if found.stored != space.dimensions:
        return (
            f"{setting_of['dimensions']}: column {column} holds vectors of {found.stored} dimensions, "
            f"{space.model} makes {space.dimensions}; set {setting_of['model']} to the model that filled the column"
        )
    if space.is_int8:
        return (
            f"column {column} already holds vectors, and none are taken for ones computed in int8; unset "
            "EMBEDDING_PRECISION to take them for ones of the model as it is"
        )
    if not claim:
        return (
            f"column {column} already holds vectors, but not by which model; set EMBEDDING_PROVIDER to who made them "
            "and EMBEDDING_MODEL_NAME (with EMBEDDING_MODEL_REVISION), or for an API EMBEDDING_OPENAI_MODEL, to the "
            f"model, even if it is the default {space.model}"
        )
    if found.declared is None:
        return (
            f"column {column} does not say how long its vectors are, so no index can have it; while nothing else uses "
            f"the table, run ALTER TABLE {table} ALTER COLUMN {column} TYPE {found.storage}({found.stored})"
        )
    return None


def _find(connection: Connection, table: Table, name: str) -> _Found | None:
    row: Any = connection.execute(
        """
        SELECT format_type(atttypid, NULL), nullif(atttypmod, -1) FROM pg_attribute
        WHERE attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND attname = %s AND NOT attisdropped
        """,
        [table.schema, table.name, name],
    ).fetchone()
    if row is None:
        return None
    storage: Storage = "halfvec" if row[0].endswith("halfvec") else "vector"
    stored = connection.execute(
        sql.SQL("SELECT vector_dims({0}) FROM {1} WHERE {0} IS NOT NULL LIMIT 1").format(
            sql.Identifier(name), table.relation
        ),
        [],
    ).fetchone()
    return _Found(storage, row[1], stored[0] if stored else None)


def _add(connection: Connection, table: Table, name: str, storage: Storage, dimensions: int) -> None:
    connection.execute(
        sql.SQL("ALTER TABLE {} ADD COLUMN {} {}({})").format(
            table.relation, sql.Identifier(name), sql.Identifier(storage), sql.Literal(dimensions)
        ),
        [],
    )


def index_name(connection: Connection, table: Table, column: SpaceColumn) -> str:
    """The index that searches in the column can use, whatever its name and type; else a name that is free.

    Raises:
        ConfigurationError: all names that it could have are taken.
    """
    for state in vector_indexes(connection, table, column):
        if len(state.name.encode()) <= _LONGEST_INDEX and "%" not in state.name:
            return state.name
    # The driver would take a percent sign for a placeholder.
    base = f"idx_knowledge_{column.name}" if table.is_own else f"{table.name}_{column.name}_hnsw".replace("%", "_")
    if len(base.encode()) > _LONGEST_INDEX:
        base = f"{base.encode()[:40].decode(errors='ignore')}_{hashlib.sha256(base.encode()).hexdigest()[:8]}"
    for number in range(1, 100):
        name = base if number == 1 else f"{base[: _LONGEST_INDEX - 3]}_{number}"
        if _is_free(connection, table, name):
            return name
    raise ConfigurationError(f"the names {base} to {base}_99 are taken in schema {table.schema}")


def _is_free(connection: Connection, table: Table, name: str) -> bool:
    """True if no relation has this name, nor another table's the names of those that are built beside the index."""
    query = """
        SELECT 1 FROM pg_class c LEFT JOIN pg_index i ON indexrelid = c.oid
        WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND (relname = %s OR relname = ANY(%s) AND
            indrelid IS DISTINCT FROM to_regclass(format('%%I.%%I', %s::text, %s::text)))
    """
    beside = [f"{name}_{suffix}" for suffix in ("pending", "new", "old")]
    return connection.execute(query, [table.schema, name, beside, table.schema, table.name]).fetchone() is None
