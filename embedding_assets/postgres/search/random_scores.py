"""Stored vectors picked at random, with which a question is compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from psycopg import sql

from embedding_assets.postgres.samples import table_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn

_CANDIDATES: Final = 20
"""Rows of the pages looked at for each row that is wanted, so that few of those picked share a page."""


def random_vectors(database: Database, column: SpaceColumn, rows: int) -> NDArray[np.float32]:
    """At most ``rows`` stored vectors of a space, picked at random, shape (n, dimensions).

    Of a large table that is embedded in small part, fewer are found.
    """
    # Picked first and read afterwards: the vectors lie out of line, those of other candidates need not be fetched.
    query = sql.SQL("""
        SELECT {column}::real[] FROM (
            SELECT {column} FROM {sample} WHERE {column} IS NOT NULL AND {condition} ORDER BY random() LIMIT %(rows)s
        ) AS picked
    """).format(
        column=sql.Identifier(column.name),
        sample=table_sample(database.table, _CANDIDATES * rows),
        condition=database.table.condition,
    )
    found = database.run(lambda connection: connection.execute(query, {"rows": rows}).fetchall())
    return np.array([vector for (vector,) in found], dtype=np.float32).reshape(len(found), column.space.dimensions)
