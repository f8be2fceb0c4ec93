"""Chunks that stand before and after others in their documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database

# Rows of one file are documents of one chunk each: these are not looked for among thousands of the same origin.
_QUERY = """
    SELECT DISTINCT ON (found.chunk_hash, k.chunk_index)
           found.chunk_hash, k.chunk_index - found.chunk_index, k.chunk_hash, {headings},
           coalesce(k.chunk_text, '')
    FROM unnest(%(hashes)s::text[]) AS wanted (chunk_hash)
    JOIN {relation} found ON found.chunk_hash = wanted.chunk_hash
    JOIN {relation} k ON k.document_metadata ->> 'origin' = found.document_metadata ->> 'origin'
     AND k.document_metadata ->> 'source' = found.document_metadata ->> 'source'
     AND k.chunk_index BETWEEN found.chunk_index - %(most)s AND found.chunk_index + %(most)s
     AND k.chunk_index <> found.chunk_index
    WHERE found.total_chunks > 1
    ORDER BY found.chunk_hash, k.chunk_index, k.chunk_hash
"""


@dataclass(frozen=True, slots=True)
class NeighbouringChunk:
    """A chunk near another one of its document.

    Attributes:
        of_hash: hash of the other one.
        distance: chunks from the other one to this; negative before it.
        chunk_hash: its own hash.
    """

    of_hash: str
    distance: int
    chunk_hash: str
    header: str = field(repr=False)
    text: str = field(repr=False)


def has_positions(database: Database) -> bool:
    """Whether the table says which place a chunk has in its document: a table of the user's does not."""
    return database.table.is_own


def find_neighbours(database: Database, hashes: Sequence[str], most: int) -> list[NeighbouringChunk]:
    """The chunks up to ``most`` places before and after each of these, in their order; found by their origin."""
    query = sql.SQL(_QUERY).format(relation=database.table.relation, headings=database.table.headings("k"))
    parameters = {"hashes": list(hashes), "most": most}
    rows = database.run(lambda connection: connection.execute(query, parameters).fetchall())
    return [NeighbouringChunk(*row) for row in rows]
