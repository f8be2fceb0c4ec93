"""Searches as tests ask them."""

from typing import Any

from embedding_assets.postgres.search import FoundChunk, find_chunks


def nearest_chunks(database, column, vector, *, k, where, index, missing_in=None) -> list[tuple[Any, ...]]:
    """The chunks nearest to a vector: (hash, source, text, header, metadata, distance)."""
    found = find_chunks(
        database, column=column, vector=vector, words=None, limit=k, where=where, index=index, missing_in=missing_in
    )
    return [
        (chunk.chunk_hash, chunk.source, chunk.text, chunk.header, chunk.metadata, chunk.distance)
        for chunk in found.chunks
    ]


def found_chunk(chunk_hash: str, **fields: object) -> FoundChunk:
    """A chunk as a search finds it, of which only what is given is known."""
    unknown = {
        "key": {"chunk_hash": chunk_hash}, "source": "", "text": "", "header": "", "metadata": {}, "distance": None,
        "vector_rank": None, "text_rank": None, "holds_all_words": False,
    }  # fmt: skip
    return FoundChunk(chunk_hash, **{**unknown, **fields})
