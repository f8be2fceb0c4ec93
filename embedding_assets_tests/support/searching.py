"""Searches as tests ask them."""

from typing import Any

from embedding_assets.postgres.search import find_chunks


def nearest_chunks(database, column, vector, *, k, where, index, missing_in=None) -> list[tuple[Any, ...]]:
    """The chunks nearest to a vector: (hash, source, text, header, metadata, distance)."""
    found = find_chunks(
        database, column=column, vector=vector, words=None, limit=k, where=where, index=index, missing_in=missing_in
    )
    return [
        (chunk.chunk_hash, chunk.source, chunk.text, chunk.header, chunk.metadata, chunk.distance)
        for chunk in found.chunks
    ]
