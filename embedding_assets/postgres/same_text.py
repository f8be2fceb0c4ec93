"""Chunks of the same text share their vectors: found by an index on a digest of what is embedded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from embedding_assets.postgres.catalog import ensure_index

if TYPE_CHECKING:
    from embedding_assets.postgres.backlog import PendingChunk
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.spaces import SpaceColumn

TEXT_INDEX: Final = "idx_embedded_text"

# Only by the index: without statistics PostgreSQL would rather read the table up to the first row that fits.
_BY_INDEX: Final = "SELECT set_config('enable_seqscan', 'off', true)"


def ensure_text_index(database: Database) -> None:
    """Build the index that finds chunks by their text, without keeping writers out, unless it is there.

    Raises:
        DatabaseError: it could not be built.
    """
    ensure_index(database, TEXT_INDEX, sql.SQL("(({}))").format(database.table.fingerprint("")))


def known_vectors(
    database: Database, column: SpaceColumn, chunks: Sequence[PendingChunk]
) -> tuple[list[PendingChunk], NDArray[np.float32]]:
    """Those of ``chunks`` whose text has a vector in another row, and these vectors, shape (found, dimensions).

    None where the table is the user's, or has no index to find them by.
    """
    table = database.table
    if not table.is_own or not chunks:
        return [], np.empty((0, column.space.dimensions), np.float32)
    query = sql.SQL("""
        SELECT place - 1, text, vector FROM unnest(%s::text[]) WITH ORDINALITY AS c (fingerprint, place)
        CROSS JOIN LATERAL (
            SELECT {text} AS text, k.{column} AS vector FROM {table} k
            WHERE {fingerprint} = c.fingerprint AND k.{column} IS NOT NULL LIMIT 1
        ) AS known ORDER BY place
    """).format(
        column=sql.Identifier(column.name),
        table=table.relation,
        fingerprint=table.fingerprint(),
        text=table.text(),
    )
    fingerprints = [chunk.fingerprint for chunk in chunks]

    def work(connection: Connection) -> list[tuple[int, NDArray[np.float32]]]:
        if not has_text_index(connection):
            return []
        connection.execute(_BY_INDEX)
        rows = connection.execute(query, [fingerprints]).fetchall()
        return [(place, vector.to_numpy()) for place, text, vector in rows if text == chunks[place].text]

    found = database.run(work)
    vectors = np.stack([vector for _, vector in found]) if found else np.empty((0, column.space.dimensions))
    return [chunks[place] for place, _ in found], vectors.astype(np.float32)


def has_text_index(connection: Connection) -> bool:
    """True if ``knowledge_base`` has its index of texts, complete."""
    query = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid AND indisready"
    return connection.execute(query, [TEXT_INDEX]).fetchone() is not None
