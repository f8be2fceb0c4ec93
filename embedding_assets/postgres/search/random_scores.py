"""How near chunks picked at random are to a vector."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from pgvector import Vector
from psycopg import sql

from embedding_assets.postgres.index_form import DISTANCE_OPERATORS
from embedding_assets.postgres.samples import table_sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn

_CANDIDATES: Final = 20
"""Rows of the pages looked at for each row that is wanted, so that few of those picked share a page."""


def random_distances(database: Database, column: SpaceColumn, vector: NDArray[np.float32], rows: int) -> list[float]:
    """Distances of a vector from at most ``rows`` stored ones, picked at random; finite ones alone.

    Of a large table that is embedded in small part, fewer are found.
    """
    # Picked first and compared afterwards: the vectors lie out of line, those of other candidates need not be fetched.
    query = sql.SQL("""
        SELECT {column} {operator} %(vector)s::{storage} FROM (
            SELECT {column} FROM {sample} WHERE {column} IS NOT NULL AND {condition} ORDER BY random() LIMIT %(rows)s
        ) AS picked
    """).format(
        column=sql.Identifier(column.name),
        operator=DISTANCE_OPERATORS[column.similarity],
        storage=sql.Identifier(column.storage),
        sample=table_sample(database.table, _CANDIDATES * rows),
        condition=database.table.condition,
    )
    parameters = {"vector": Vector(vector), "rows": rows}
    found = database.run(lambda connection: connection.execute(query, parameters).fetchall())
    return [distance for (distance,) in found if math.isfinite(distance)]
