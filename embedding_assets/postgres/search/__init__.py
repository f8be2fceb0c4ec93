"""Searching the table: by vectors, by words, or by both."""

from embedding_assets.postgres.search.coverage import count_missing, holds_vectors
from embedding_assets.postgres.search.finding import find_chunks
from embedding_assets.postgres.search.found import Found, FoundChunk

__all__ = ["Found", "FoundChunk", "count_missing", "find_chunks", "holds_vectors"]
