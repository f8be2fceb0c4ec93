"""A column of vectors in any table, and the columns that say whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.foreign.snapshot import read_portions
from embedding_assets.postgres.lookup import locate
from embedding_assets.postgres.table import quoted

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection

_VECTORS = ("vector", "halfvec", "real[]", "double precision[]")


@dataclass(frozen=True, slots=True)
class KeyedVector:
    """A vector, and the key of the row whose text it is of; a part of the key that is NULL is None."""

    key: tuple[str | None, ...]
    vector: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class ForeignColumn:
    """A column of vectors and the columns of the key beside it; names as in the catalog."""

    schema: str
    table: str
    key: tuple[str, ...]
    column: str


def split_column(connection: Connection, text: str) -> tuple[str, str]:
    """A table as in SQL, and the name of its column, of ``shop.articles.embedding``.

    Raises:
        ConfigurationError: it is not of that form.
    """
    problem = f"{text} does not name a column; write TABLE.COLUMN as in SQL, e.g. shop.articles.embedding"
    try:
        row: Any = connection.execute("SELECT parse_ident(%s)", [text]).fetchone()
    except connection.DataError:
        raise ConfigurationError(problem) from None
    if len(row[0]) < 2:
        raise ConfigurationError(problem)
    *relation, column = row[0]
    return ".".join(quoted([part]) for part in relation), column


def find_column(connection: Connection, relation: str, key: Sequence[str], column: str) -> ForeignColumn:
    """The column of vectors and its keys, looked up in the catalog.

    Raises:
        ConfigurationError: a column is not there, or holds no vectors.
    """
    schema, table, oid = locate(connection, relation)
    types = columns_of(connection, oid)
    for name in (*key, column):
        if name not in types:
            raise ConfigurationError(f"{relation} has no column {name}; it has {quoted(sorted(types))}")
    # pgvector's schema may or may not be searched.
    if types[column].rpartition(".")[2] not in _VECTORS:
        raise ConfigurationError(f"column {column} of {relation} is {types[column]}; vectors are {', '.join(_VECTORS)}")
    return ForeignColumn(schema, table, tuple(key), column)


def columns_of(connection: Connection, oid: int) -> dict[str, str]:
    """Columns of a table, and their types as PostgreSQL writes them."""
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = %s::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [oid],
    ).fetchall()
    return dict(rows)


def read_column(connection: Connection, found: ForeignColumn) -> Iterator[list[KeyedVector]]:
    """All vectors of a column with their keys, a portion at a time."""
    query = sql.SQL("SELECT ARRAY[{keys}]::text[], {column}::real[] FROM {table} WHERE {column} IS NOT NULL").format(
        keys=sql.SQL(", ").join(sql.SQL("{}::text").format(_name(name)) for name in found.key),
        column=_name(found.column),
        table=sql.Identifier(found.schema, found.table),
    )
    for rows in read_portions(connection, query):
        yield [KeyedVector(tuple(key), as_vector(vector)) for key, vector in rows]


def as_vector(numbers: Sequence[float] | None) -> NDArray[np.float32] | None:
    """A vector from an array of PostgreSQL's; None where there is none."""
    if numbers is None:
        return None
    with np.errstate(over="ignore"):
        return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64).astype(
            np.float32
        )


def _name(name: str) -> sql.Identifier:
    # As part of a statement that may have parameters: the driver looks for placeholders in all of it.
    return sql.Identifier(name.replace("%", "%%"))
